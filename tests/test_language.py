"""What people are told in Russian and Polish: whole and fresh catalogues, and the choice of the language."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from string import Formatter

import catalogues
import pytest
from babel.messages import Catalog
from babel.messages.mofile import read_mo
from click.testing import CliRunner

from imaprouter.cli import cli
from imaprouter.language import LANGUAGES, LOCALE, catalogue, language
from imaprouter.model import (
    Address,
    Decision,
    Direction,
    Envelope,
    Finding,
    Outcome,
    State,
    Target,
    Verdict,
    deal,
)
from imaprouter.notice import notice
from imaprouter.reasons import ENGLISH, SENTENCES, Reason, Sentence, sentence, why
from imaprouter.store.journal import Journal
from imaprouter.store.messages import NewMessage

FIXTURES = Path(__file__).parent.parent / "fixtures"
RU = language("ru", {})
PL = language("pl", {})
TRANSLATED = pytest.mark.parametrize("name", catalogues.TRANSLATED)


# ── the catalogues ────────────────────────────────────────────────────────────────────────────────────────


def ids(catalog: Catalog) -> set[str | tuple[str, ...]]:
    return {message.id if isinstance(message.id, str) else forms(message.id) for message in catalog}


def forms(text: str | Iterable[str] | None) -> tuple[str, ...]:
    """Singular and plurals, or the only form there is."""
    return (text,) if isinstance(text, str) else tuple(text or ())


def translations(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Singular to translation, without the header, which names the version of Babel."""
    return {forms(message.id)[0]: forms(message.string) for message in catalog if message.id}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@TRANSLATED
def test_everything_that_is_said_is_in_the_catalogue_and_nothing_else(name: str) -> None:
    """After a new sentence: `./dev i18n`, write the translations, `./dev i18n`."""
    assert ids(catalogues.read(name)) == ids(catalogues.template())


@TRANSLATED
def test_everything_is_translated(name: str) -> None:
    """In all plural forms, and no translation is marked as a guess."""
    assert [message.id for message in catalogues.untranslated(catalogues.read(name))] == []


@TRANSLATED
def test_every_reason_has_a_sentence_in_every_language(name: str) -> None:
    """Asked of the compiled catalogue, as the program does."""
    said = language(name, {})
    assert [
        code
        for code, (one, many, _) in SENTENCES.items()
        if (said.ngettext(one, many, 2) == many if many else said.gettext(one) == one)
    ] == []


@TRANSLATED
def test_placeholders_are_those_of_the_english_sentence(name: str) -> None:
    """A translation with another one would fail when it is needed, or lose what it is about."""
    for message in catalogues.read(name):
        originals = forms(message.id)
        for number, form in enumerate(forms(message.string) if message.id else ()):
            assert not form or fields(form) == fields(originals[min(number, len(originals) - 1)]), message.id


@TRANSLATED
def test_compiled_catalogues_are_fresh(name: str) -> None:
    """`./dev i18n` compiles them."""
    fresh = read_mo(io.BytesIO(catalogues.compiled(catalogues.read(name))))
    with catalogue(name, "mo").open("rb") as file:
        assert translations(read_mo(file)) == translations(fresh)


def test_extraction_finds_every_way_of_saying() -> None:
    """N_, gettext, its short name, ngettext, the pairs of SENTENCES, and the words of the model."""
    found = ids(catalogues.template())
    assert {"no marker in the subject", "(no subject)", "unchanged", "already_right", "ambiguous"} <= found
    assert ("{count} new message", "{count} new messages") in found
    pairs = {(one, many) for one, many, _ in SENTENCES.values() if many}
    assert pairs <= found
    assert not {text for pair in pairs for text in pair} & found


def test_new_sentences_come_in_untranslated_and_old_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed from a similar sentence; what is translated stays; a plural has three forms."""
    template = catalogues.template()
    template.delete("left as it is")
    template.add("left as it was")
    template.add(("{count} letter", "{count} letters"))
    monkeypatch.setattr(catalogues, "template", lambda: template)
    catalog = catalogues.updated("ru")
    assert "left as it is" not in catalog
    assert [message.id for message in catalogues.untranslated(catalog)] == [
        "left as it was",
        ("{count} letter", "{count} letters"),
    ]
    assert catalog.num_plurals == 3
    assert translations(catalog)["a person decides"] == ("решает человек",)


def test_the_command_names_what_is_untranslated_and_compiles_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and one line for each; English stands in. A second run with the translation ends well."""
    shutil.copytree(LOCALE, tmp_path / "locale")
    monkeypatch.setattr("imaprouter.language.LOCALE", tmp_path / "locale")
    path = catalogue("pl", "po")
    whole = path.read_text("utf-8")
    path.write_text(whole.replace('msgstr "decyduje człowiek"', 'msgstr ""'), "utf-8")
    assert catalogues.main() == 1
    assert capsys.readouterr().out == "pl: not translated: 'a person decides'\n"
    assert language("pl", {}).gettext("a person decides") == "a person decides"
    assert language("pl", {}).gettext("unchanged") == "bez zmian"
    path.write_text(whole, "utf-8")
    assert catalogues.main() == 0
    assert path.read_text("utf-8") == whole
    assert language("pl", {}).gettext("a person decides") == "decyduje człowiek"


# ── plural forms ──────────────────────────────────────────────────────────────────────────────────────────

NEW_MESSAGES = {
    "en": {1: "1 new message", 2: "2 new messages", 5: "5 new messages", 21: "21 new messages"},
    "ru": {
        1: "1 новое письмо",
        2: "2 новых письма",
        5: "5 новых писем",
        11: "11 новых писем",
        21: "21 новое письмо",
        22: "22 новых письма",
    },
    "pl": {
        1: "1 nowa wiadomość",
        2: "2 nowe wiadomości",
        5: "5 nowych wiadomości",
        12: "12 nowych wiadomości",
        21: "21 nowych wiadomości",
        22: "22 nowe wiadomości",
    },
}


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [(name, number, text) for name, rows in NEW_MESSAGES.items() for number, text in rows.items()],
)
def test_plural_forms_follow_the_number(name: str, number: int, expected: str) -> None:
    """Russian has the form of one again at 21, Polish has not."""
    template = language(name, {}).ngettext("{count} new message", "{count} new messages", number)
    assert template.format(count=number) == expected


@pytest.mark.parametrize("number", [1, 2, 5, 21, 22])
def test_a_list_is_plural_from_two_on(number: int) -> None:
    """No numeral stands before it, so that twenty-one deals are not 'сделка' either."""
    reasons = [why("client_of", client="a@b.ru", deals=range(1, number + 1))]
    assert sentence(reasons).startswith(f"a@b.ru is a client of {'deal' if number == 1 else 'deals'} 1")
    assert sentence(reasons, RU).startswith(f"a@b.ru — клиент {'сделки' if number == 1 else 'сделок'} 1")
    assert sentence(reasons, PL).startswith(f"a@b.ru to klient {'deala' if number == 1 else 'deali'} 1")


# ── sentences ─────────────────────────────────────────────────────────────────────────────────────────────


def filled(code: str, template: Sentence, items: int) -> Reason:
    """A reason with something for every placeholder, lists where its plural counts them."""
    names = fields(template.one) | fields(template.many)
    words = tuple(f"w{number}" for number in range(items))
    return Reason(code, {name: words if name == template.counted else f"<{name}>" for name in names})


@pytest.mark.parametrize("said", [ENGLISH, RU, PL], ids=LANGUAGES)
@pytest.mark.parametrize("items", [1, 2, 5])
def test_every_sentence_says_all_its_values(items: int, said: NullTranslations) -> None:
    """Whatever fills a sentence is in it, with one and with several in its list."""
    for code, template in SENTENCES.items():
        reason = filled(code, template, items)
        text = sentence([reason], said)
        assert [word for value in reason.values.values() for word in forms(value) if word not in text] == []


def test_objects_of_the_crm_are_named_in_the_language() -> None:
    """Alone and in a list; the code and the values that are kept are the same for all."""
    reason = why("thread_decision", target=Target(deal(7).type, 7))
    assert reason.values == {"target": "deal 7"}
    assert sentence([reason], RU) == "место более раннего письма этой цепочки — сделка 7"
    assert sentence([reason], PL) == "miejsce wcześniejszej wiadomości z tego wątku to deal 7"
    several = why("several_deals", deals=(1, 2, 3))
    assert sentence([several, reason], RU).startswith("сделки 1, 2 и 3 подходят одинаково; место")


def test_the_notice_is_in_the_language_and_inert() -> None:
    """BB codes of a stranger's subject do not become links; a letter without a subject has a word for it."""
    envelope = Envelope(subject="[url=evil]КП", from_=(Address("a@b.ru"),))
    link = "[url=https://p/1]Рога (опт)[/url]"

    def told(said: NullTranslations, envelope: Envelope = envelope) -> str:
        return notice(envelope, "Рога [опт]", "https://p/1", said)

    assert told(ENGLISH).startswith(f"The e-mail “(url=evil)КП” from a@b.ru belongs to {link}.")
    assert told(RU).startswith(f"Письмо «(url=evil)КП» от a@b.ru относится к {link}.")
    assert told(PL).startswith(f"Wiadomość „(url=evil)КП” od a@b.ru należy do: {link}.")
    assert "«(без темы)»" in told(RU, replace(envelope, subject=""))


# ── the choice ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("option", "environ", "expected"),
    [
        ("pl", {"LC_ALL": "ru_RU.UTF-8"}, "pl"),
        ("en", {"LANG": "ru_RU.UTF-8"}, "en"),
        (None, {"LC_ALL": "ru_RU.UTF-8", "LC_MESSAGES": "pl_PL", "LANG": "pl_PL"}, "ru"),
        (None, {"LC_ALL": "", "LC_MESSAGES": "pl_PL", "LANG": "ru_RU"}, "pl"),
        (None, {"LANG": "RU@cyr"}, "ru"),
        (None, {"LC_ALL": "C", "LANG": "ru_RU"}, "en"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "plt_MG"}, "en"),
        (None, {"LANG": "../../ru"}, "en"),
        (None, {}, "en"),
    ],
)
def test_the_option_goes_before_the_environment(
    option: str | None, environ: dict[str, str], expected: str
) -> None:
    """And an unknown language is English."""
    said = language(option, environ).gettext("a person decides")
    assert said == {"en": "a person decides", "ru": "решает человек", "pl": "decyduje człowiek"}[expected]


def test_english_needs_no_catalogue() -> None:
    """Its sentences are in the source."""
    assert language("en", {}) is ENGLISH
    assert isinstance(RU, GNUTranslations)


# ── the commands ──────────────────────────────────────────────────────────────────────────────────────────


def imaprouter(*words: str | Path, **variables: str) -> str:
    result = CliRunner(env=variables).invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def replayed(*options: str, **variables: str) -> str:
    letter = FIXTURES / "mail" / "reply-to-masha.eml"
    config = ("--config", FIXTURES / "imaprouter.toml")
    return imaprouter(
        *options, *config, "replay", "--json", "--crm", FIXTURES / "crm.json", letter, **variables
    )


def test_json_keeps_codes_and_says_details_in_the_language() -> None:
    """Keys, codes, verdicts and the outcome are for programs; reason and detail are for people."""
    english, russian = json.loads(replayed()), json.loads(replayed("--lang", "ru"))
    assert russian["reason"].startswith("sergey@horns.ru — клиент сделок 1 и 2; ответственный за сделку 1")
    assert russian["trail"][0]["detail"] == "в теме нет метки сделки"
    for key in set(english) - {"reason", "trail", "considered"}:
        assert russian[key] == english[key]
    said = list(zip(russian["trail"], english["trail"], strict=True))
    said += [
        pair
        for ours, theirs in said
        for pair in zip(ours.pop("considered", []), theirs.pop("considered", []), strict=True)
    ]
    for ours, theirs in zip(russian["considered"], english["considered"], strict=True):
        said += zip(ours.pop("reasons"), theirs.pop("reasons"), strict=True)
        assert ours == theirs
    assert len(said) > 6
    for ours, theirs in said:
        assert {**ours, "detail": ""} == {**theirs, "detail": ""}
        assert ours["detail"] != theirs["detail"]


def test_the_variable_and_the_locale_choose_too() -> None:
    """IMAPROUTER_LANG stands for the option; without it the locale decides."""
    assert "klient deali" in replayed(IMAPROUTER_LANG="pl", LC_ALL="ru_RU.UTF-8")
    assert "клиент сделок" in replayed(IMAPROUTER_LANG="", LC_ALL="ru_RU.UTF-8")
    assert CliRunner().invoke(cli, ["--lang", "de", "queue"]).exit_code == 2


def journal_with(folder: Path) -> None:
    """One letter that waits for a person, one that waits for its activity."""
    now = datetime(2026, 11, 2, 10, tzinfo=UTC)
    finding = Finding("participants", Verdict.AMBIGUOUS, (why("several_deals", deals=(1, 2)),), (1, 2))
    asked = Decision(Outcome.LEAVE, "participants", finding.reasons, (finding,), review=True)
    named = Decision(Outcome.DEAL, "marker", (why("marker", deal=1),), (), deal(1))
    envelope = Envelope(from_=(Address("a@b.ru"),), to=(Address("sales@company.ru"),))
    journal = Journal(folder / "company.db")
    inbox = journal.folders.start("sales", "INBOX", uidvalidity=7, cursor=0, watch_since=None)
    with journal.transaction():
        for uid, decision, state in ((1, asked, State.REVIEW), (2, named, State.WAITING)):
            new = NewMessage(uid, Direction.INCOMING, envelope, decision, now, 1000, False, state)
            journal.messages.add(inbox, new, now)
    journal.close()


def test_explain_and_queue_speak_the_language(tmp_path: Path) -> None:
    """Headings, verdicts, states and sentences; the names of rules are keys of the configuration."""
    journal_with(tmp_path)
    there = {"IMAPROUTER_STORE__PATH": str(tmp_path / "company.db"), "IMAPROUTER_LANG": "ru"}
    assert imaprouter("explain", "1", **there).splitlines() == [
        "письмо 1: (без темы)",
        "  от         a@b.ru",
        "  кому       sales@company.ru",
        "  получено   2026-11-02T10:00:00+00:00  sales/INBOX UID 1",
        "  решение    на проверке, правило participants: сделки 1 и 2 подходят одинаково",
        "    participants неоднозначно сделки 1 и 2 подходят одинаково",
        "  состояние  на проверке",
    ]
    assert "  решение    сделка 1, правило marker: в теме указана сделка 1" in imaprouter(
        "explain", "2", **there
    )
    assert imaprouter("queue", **there) == (
        "     1  на проверке a@b.ru  (без темы)\n        сделки 1 и 2 подходят одинаково\n"
    )
    (row,) = map(json.loads, imaprouter("queue", "--json", **there).splitlines())
    assert (row["state"], row["code"], row["reason"]) == (
        "review",
        "several_deals",
        "сделки 1 и 2 подходят одинаково",
    )


def test_the_language_may_stand_behind_the_command(tmp_path: Path) -> None:
    """Where a user writes the other options; also behind a subcommand's name."""
    journal_with(tmp_path)
    there = {"IMAPROUTER_STORE__PATH": str(tmp_path / "company.db")}
    assert "  решение    на проверке" in imaprouter("explain", "1", "--lang", "ru", **there)
    assert "deale 1 i 2 pasują" in imaprouter("queue", "--lang", "pl", **there)
    assert imaprouter("queue", "assign", "1", "--leave", "--lang", "ru", **there) == "1: оставлено как есть\n"


def test_rules_are_named_in_the_language() -> None:
    """In sentences; as keys they are those of the configuration."""
    said = why("rule_says", rule="marker", deal=7)
    assert sentence([said]) == "marker in the subject: deal 7"
    assert sentence([said], RU) == "метка в теме: сделка 7"


def test_an_empty_queue_says_so_in_the_language(tmp_path: Path) -> None:
    """Polish, for a change."""
    Journal(tmp_path / "company.db").close()
    said = imaprouter("--lang", "pl", "queue", IMAPROUTER_STORE__PATH=str(tmp_path / "company.db"))
    assert said == "żadna wiadomość nie czeka na decyzję człowieka\n"


def test_the_demo_speaks_the_language() -> None:
    """What happens, the table and the last line; the letters' stories are data in English."""
    said = imaprouter("--lang", "ru", "demo")
    assert "Приходит 12 писем:" in said
    assert "Писем на своих местах: 12 из 12, перенесено: 9" in said
    assert "в теме указана сделка 1" in said
