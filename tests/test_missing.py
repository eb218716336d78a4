"""Letters that Bitrix24 skipped are saved through its own mail: once each, and never where an activity is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from office import Office, letter

from imaprouter.binder.missing import AGAIN, MOST_TRIES, SETTLE, Missing
from imaprouter.binder.pairs import Pairs
from imaprouter.bitrix24.portal import Portal as Client
from imaprouter.cli import cli
from imaprouter.config import load
from imaprouter.model import Result as Outcome
from imaprouter.model import State
from imaprouter.sandbox.portal import DEFAULT_SCOPES
from imaprouter.service import portal_names
from imaprouter.store.journal import Journal

SAVE = "mail.message.createcrmactivity"
SCOPES = DEFAULT_SCOPES | {"mail"}
ADDRESSES = {"sales": frozenset({"sales@company.ru"})}


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    """Its portal has skipped what it holds for a draft or spam: the letters of a folder set aside."""
    with Office(tmp_path, dovecot, user) as opened:
        opened.options |= {"binding.create_missing": "true", "binding.wait": "'36h'"}
        opened.portal._rest.scopes = SCOPES
        opened.portal._rest.user_id = 1
        opened.sync._importer._box = opened.sync.connection = with_(opened.sync.connection, shared_with={1})
        yield opened


def with_(connection: Any, **fields: Any) -> Any:
    from dataclasses import replace

    return replace(connection, **fields)


def skips(office: Office, *, until: datetime | None = None) -> None:
    """The CRM connection is younger than all mail: the portal's mail takes it, the CRM does not."""
    late = until or datetime(2100, 1, 1, tzinfo=UTC)
    office.sync._importer._box = with_(office.sync._importer._box, crm_sync_from=late)


def missing(office: Office, *letters: bytes, sync: bool = True) -> list[int]:
    """Letters that are reported missing, by number."""
    skips(office)
    office.deliver(*(letters or (letter(to="sales@company.ru, masha@company.ru"),)))
    if sync:
        assert office.sync.sync_once() == []
    office.options["binding.create_missing"] = "false"
    office.run_once()
    expire(office)
    office.options["binding.create_missing"] = "true"
    found = [message.id for message in office.messages() if message.state is State.MISSING]
    assert found
    return found


def expire(office: Office) -> None:
    with office.journal() as journal:
        pairs = Pairs(journal, ADDRESSES)
        pairs.expire(datetime.now(UTC) + timedelta(hours=37), timedelta(hours=36), 100)


def looks(office: Office, *, after: timedelta = timedelta(), **binding: Any) -> int:
    """One look of the binder at what is missing, so long after now."""
    settings = load(office.config, {})
    with office.journal() as journal:
        now = datetime.now(UTC) + after
        client = Client(office.portal.webhook_url, requests_per_second=100, patience=timedelta())
        policy = with_(settings.binding, **binding)
        try:
            return Missing(client, journal, policy, Pairs(journal, ADDRESSES)).save(now)
        finally:
            client.close()


def saves(office: Office) -> int:
    return sum(write.method == SAVE for write in office.portal.writes)


def mails(office: Office) -> int:
    """The e-mail activities that the portal made out of mail."""
    return sum(row.get("UF_MAIL_MESSAGE") is not None for row in office.portal.crm.activities.values())


def state(office: Office, number: int) -> str:
    with office.journal() as journal:
        saving = journal.savings.get(number)
        return saving.state if saving else ""


def note(office: Office, number: int) -> str:
    with office.journal() as journal:
        message = journal.messages.get(number)
        assert message
        return message.note


def asked(office: Office) -> int:
    """Both looks: one that finds it, one that asks."""
    looks(office)
    assert saves(office) == 0, "what is imported at this moment is waited for"
    return looks(office, after=SETTLE)


# ── as it goes ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_skipped_letter_is_saved_and_bound_as_any_other(office: Office) -> None:
    [number] = missing(office)
    assert asked(office) == 2, "asked for, and found"
    office.make_due()
    office.run_once()
    [message] = office.messages()
    assert (message.state, message.result) == (State.SETTLED, Outcome.MOVED)
    [activity] = [n for n, row in office.portal.crm.activities.items() if row.get("UF_MAIL_MESSAGE")]
    assert office.deals(activity) == [1]
    explained = CliRunner().invoke(cli, ["--config", str(office.config), "explain", str(number)])
    assert "ask Bitrix24 to save letter 1 of its mail: done" in explained.output
    told = CliRunner().invoke(cli, ["--config", str(office.config), "explain", str(number), "--json"])
    [write] = [each for each in json.loads(told.stdout)["writes"] if each["kind"] == "saving"]
    assert write["request"] == {"method": SAVE, "params": {"messageId": 1}}
    for later in range(5):
        looks(office, after=AGAIN * later)
    assert (saves(office), mails(office)) == (1, 1)


def test_the_running_service_looks_for_itself(office: Office) -> None:
    """A round of the binder sees it, and leaves it for a while."""
    [number] = missing(office)
    office.run_once()
    assert state(office, number) == "seen"
    assert saves(office) == 0


def test_nothing_is_written_while_observing_or_unless_it_is_wanted(office: Office) -> None:
    missing(office)
    for binding in ({"mode": "observe"}, {"create_missing": False}):
        for after in (timedelta(), SETTLE, AGAIN):
            assert looks(office, after=after, **binding) == 0
    assert not [name for request in office.portal.requests for name, _ in request.calls if "mail." in name]


def test_old_letters_stay_missing(office: Office) -> None:
    """The option may be turned on after years."""
    [number] = missing(office)
    assert looks(office, after=timedelta(days=9)) == 0
    assert state(office, number) == ""


def test_a_redirected_letter_is_saved(office: Office) -> None:
    """Whoever redirects keeps the client's From, and so it is nobody's own letter."""
    redirected = letter(
        to="masha@company.ru", headers="Resent-From: masha@company.ru\nResent-To: sales@company.ru"
    )
    numbers = missing(office, redirected)
    asked(office)
    assert [state(office, number) for number in numbers] == ["asked"]
    assert mails(office) == 1


@pytest.mark.parametrize(("answer", "end"), [("true", "vain"), ("refused", "refused")])
def test_what_bitrix24_refuses_all_the_same_is_said(office: Office, answer: Any, end: str) -> None:
    """An employee of whom our copy of the CRM does not know."""
    office.portal.crm.users[99] = {
        "ID": 99,
        "EMAIL": "sergey@horns.ru",
        "ACTIVE": True,
        "USER_TYPE": "extranet",
    }
    office.portal.crm.quirks = office.portal._rest.quirks = with_(office.portal.quirks, unsaved_letter=answer)
    [number] = missing(office)
    office.portal.crm.users[99]["USER_TYPE"] = "employee"
    for rounds in range(4):
        looks(office, after=SETTLE * rounds * 2)
    assert (state(office, number), saves(office), mails(office)) == (end, 1, 0)
    assert "Bitrix24" in note(office, number)


# ── never two ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_sync_is_not_followed_by_a_call(office: Office) -> None:
    """Between the two looks the portal has made the activity by itself."""
    missing(office)
    looks(office)
    [stored] = office.portal.crm.mail.values()
    stored.importer.force(stored, 0)
    assert looks(office, after=SETTLE) == 1, "it was found"
    assert (saves(office), mails(office)) == (0, 1)
    assert office.messages()[0].state is State.PAIRED


def test_a_letter_that_comes_into_the_portals_mail_now_is_waited_for(office: Office) -> None:
    """The portal wakes up after it was reported missing: it is nowhere, then there with its activity."""
    [number] = missing(office, sync=False)
    looks(office)
    assert "does not show it" in note(office, number)
    skips(office, until=datetime(2000, 1, 1, tzinfo=UTC))
    office.sync.sync_once()
    for after in (AGAIN, AGAIN + SETTLE, AGAIN * 2):
        looks(office, after=after)
    assert (saves(office), mails(office)) == (0, 1)


def test_mail_that_says_it_is_in_the_crm_is_not_saved(office: Office) -> None:
    """Even if no activity is to be seen."""
    [number] = missing(office)
    [stored] = office.portal.crm.mail.values()
    stored.activity_id = next(iter(office.portal.crm.activities))
    looks(office)
    looks(office, after=AGAIN)
    assert saves(office) == 0
    assert "in the CRM" in note(office, number)


def test_two_letters_that_are_alike_are_not_saved(office: Office) -> None:
    [number] = missing(office)
    [stored] = office.portal.crm.mail.values()
    office.portal.crm.mail[2] = type(stored)(stored.letter, stored.importer)
    looks(office)
    looks(office, after=AGAIN)
    assert saves(office) == 0
    assert "alike" in note(office, number)


def test_a_copy_in_another_mailbox_that_was_asked_for_settles_it(office: Office) -> None:
    """One mail in two mailboxes, both missing: one call."""
    raw = letter(to="sales@company.ru, info@company.ru, masha@company.ru")
    first, *_ = missing(office, raw)
    with office.journal() as journal:
        copied(journal, first)
    found = [message.id for message in office.messages()]
    assert len(found) == 2
    asked(office)
    looks(office, after=AGAIN)
    looks(office, after=AGAIN * 2)
    assert (saves(office), mails(office)) == (1, 1)
    [second] = [number for number in found if number != first]
    assert "the same letter in another mailbox" in note(office, second)


def copied(journal: Journal, number: int) -> None:
    """The same message in another mailbox's folder."""
    database = journal.savings._db
    with journal.transaction():
        journal.folders.start("info", "INBOX", uidvalidity=1, cursor=0, watch_since=None)
        names = [row[1] for row in database.execute("PRAGMA table_info(messages)") if row[1] != "id"]
        values = ["'info'" if name == "mailbox" else name for name in names]
        values = ["(SELECT max(id) FROM folders)" if name == "folder_id" else name for name in values]
        database.execute(
            f"INSERT INTO messages ({', '.join(names)}) SELECT {', '.join(values)} FROM messages"
            " WHERE id = ?",
            (number,),
        )


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["close_after", "http_504_after", "truncated_json"])
def test_an_answer_that_was_lost_is_read_back(office: Office, fault: Any) -> None:
    """The activity was made: it is found, and nothing is sent again."""
    [number] = missing(office)
    office.portal.faults.add(fault, method=SAVE)
    asked(office)
    assert state(office, number) == "unknown"
    assert looks(office, after=SETTLE * 3) == 1
    assert (saves(office), mails(office)) == (1, 1)
    assert office.messages()[0].state is State.PAIRED


def test_a_call_that_never_arrived_is_made_again(office: Office) -> None:
    """Not before it is clear that there is no activity."""
    [number] = missing(office)
    office.portal.faults.add("close_before", method=SAVE)
    asked(office)
    assert state(office, number) == "unknown"
    looks(office, after=SETTLE + timedelta(minutes=5))
    assert saves(office) == 0, "it may be under way"
    looks(office, after=SETTLE * 3)
    assert (saves(office), mails(office), state(office, number)) == (1, 1, "asked")


def test_no_letter_is_asked_for_without_end(office: Office) -> None:
    [number] = missing(office)
    office.portal.faults.add("close_before", method=SAVE, times=None)
    for rounds in range(10):
        looks(office, after=SETTLE * rounds * 2)
    calls = [request for request in office.portal.requests if request.method == SAVE]
    assert (len(calls), state(office, number)) == (MOST_TRIES, "vain")


def test_a_repeat_within_a_day_is_answered_by_the_portal_itself(office: Office) -> None:
    """The activity was made and is not shown, as by a copy of the database that lags behind."""
    missing(office)
    office.portal.faults.add("close_after", method=SAVE)
    asked(office)
    [activity] = [n for n, row in office.portal.crm.activities.items() if row.get("UF_MAIL_MESSAGE")]
    row = office.portal.crm.activities.pop(activity)
    [stored] = office.portal.crm.mail.values()
    stored.activity_id = None
    looks(office, after=SETTLE * 3)
    office.portal.crm.activities[activity] = row
    calls = [request for request in office.portal.requests if request.method == SAVE]
    assert (len(calls), saves(office), mails(office)) == (2, 1, 1)


@pytest.mark.parametrize("executed", [True, False])
def test_killed_between_claim_and_answer(
    office: Office, executed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is on record: the next start reads back, and asks again only when there is nothing."""
    [number] = missing(office)

    class Killed(BaseException):
        pass

    ask = Client.call_v3

    def dies(self: Client, method: str, *args: Any, **options: Any) -> Any:
        if method != SAVE:
            return ask(self, method, *args, **options)
        if executed:
            ask(self, method, *args, **options)
        raise Killed

    looks(office)
    with monkeypatch.context() as patched:
        patched.setattr(Client, "call_v3", dies)
        with pytest.raises(Killed):
            looks(office, after=SETTLE)
    assert state(office, number) == "asking"
    assert looks(office, after=SETTLE + timedelta(minutes=1)) == 0
    looks(office, after=SETTLE * 3)
    assert (saves(office), mails(office)) == (1, 1)


def lacks_scope(office: Office) -> None:
    office.portal._rest.scopes = DEFAULT_SCOPES


def wrong_code(office: Office) -> None:
    for method in ("mail.message.list", SAVE):
        office.portal.faults.add(
            "error",
            method=method,
            times=None,
            status=401,
            code="BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION",
            text="Invalid request credentials",
        )


def older_portal(office: Office) -> None:
    office.portal.faults.add(
        "error", method="mail.message.list", times=None, status=404, code="ERROR_METHOD_NOT_FOUND"
    )


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lacks_scope, "give the webhook the scope mail"),
        (wrong_code, "the webhook's creator needs this right"),
        (older_portal, "ERROR_METHOD_NOT_FOUND"),
    ],
)
def test_what_is_not_allowed_is_said_and_tried_again(
    office: Office, trouble: Callable[[Office], None], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It bars nothing else: a letter that came meanwhile is bound."""
    [number] = missing(office)
    trouble(office)
    office.run_once()
    [failed] = [record for record in caplog.records if record.message == "saving.failed"]
    assert words in vars(failed)["fields"]["error"]
    skips(office, until=datetime(2000, 1, 1, tzinfo=UTC))
    office.deliver(letter(to="sales@company.ru, masha@company.ru", subject="another"))
    office.sync.sync_once()
    office.run_once()
    assert office.messages()[-1].result is not None
    office.portal.faults.clear()
    office.portal._rest.scopes = SCOPES
    looks(office, after=AGAIN * 2)
    looks(office, after=AGAIN * 2 + SETTLE)
    assert state(office, number) == "asked"


def test_a_right_that_is_lost_before_the_call_gives_the_claim_back(office: Office) -> None:
    [number] = missing(office)
    office.portal.faults.add(
        "error", method=SAVE, status=403, code="BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION"
    )
    asked(office)
    assert (state(office, number), saves(office)) == ("seen", 0)
    looks(office, after=SETTLE + AGAIN * 1.5)
    assert (state(office, number), saves(office), mails(office)) == ("asked", 1, 1)


def test_the_addresses_are_those_of_the_service(office: Office) -> None:
    [mailbox] = load(office.config, {}).mailboxes
    assert ADDRESSES["sales"] <= portal_names(mailbox)
