"""`transfer` over real HTTP: activities go to other timelines, nothing is guessed, `undo` takes it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dovecot import Dovecot
from office import Office, letter

from imaprouter.binder import orders
from imaprouter.cli import cli
from imaprouter.config import draft
from imaprouter.model import Binding
from imaprouter.model import Result as Outcome
from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.portal import Portal
from imaprouter.store.journal import Journal
from imaprouter.timelines import Place, condition, place, steps
from imaprouter.transfer import moving
from imaprouter.transfer.standing import Standing

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4
LONG_AGO = datetime(2026, 3, 1, 12, tzinfo=UTC)
Pair = tuple[int, int]


class Desk:
    """A portal with three contacts, two companies, a converted lead, and activities; no mailbox."""

    def __init__(self, folder: Path, portal: Portal) -> None:
        self.folder = folder
        self.portal = portal
        self.crm = portal.crm
        for number in (10, 11):
            self.crm.add(COMPANY, {"ID": number, "TITLE": f"Company {number}"})
        for number, companies in ((20, [10]), (21, [10, 11]), (22, []), (23, [11])):
            fired = {"UF_CRM_FIRED": "1"} if number == 23 else {"UF_CRM_FIRED": "0"}
            self.crm.add(CONTACT, {"ID": number, "NAME": f"C{number}", "COMPANY_IDS": companies, **fired})
        self.crm.add(LEAD, {"ID": 30, "TITLE": "One", "STATUS_ID": "CONVERTED"})
        self.crm.add(LEAD, {"ID": 31, "TITLE": "Two", "STATUS_ID": "CONVERTED"})
        for number, lead in ((1, 30), (2, 31), (3, 31), (4, None)):
            self.crm.add(DEAL, {"ID": number, "TITLE": f"Deal {number}", "LEAD_ID": lead})

    def activity(self, *bound: Pair, call: bool = False, when: datetime = LONG_AGO) -> int:
        kind = {"TYPE_ID": 2, "PROVIDER_ID": "VOXIMPLANT_CALL"} if call else {}
        fields = {"SUBJECT": "КП", "START_TIME": when.isoformat(), "CREATED": when.isoformat(), **kind}
        return self.crm.add_activity(fields, bound)

    def bindings(self) -> dict[int, list[Pair]]:
        return {number: sorted(self.crm.bindings(number)) for number in sorted(self.crm.activities)}

    def call(self, *words: object, mode: str = "act") -> Result:
        path = self.folder / "imaprouter.toml"
        path.write_text(
            f"portal.webhook_url = {json.dumps(self.portal.webhook_url)}\n"
            f"portal.requests_per_second = 100.0\nbinding.mode = '{mode}'\n"
        )
        path.chmod(0o600)
        return CliRunner().invoke(cli, ["--config", str(path), *map(str, words)])

    def transfer(self, source: str, to: str, *words: object) -> list[dict[str, Any]]:
        result = self.call("transfer", "--from", source, "--to", to, *words, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Portal({}, limits=UNLIMITED) as portal:
        yield Desk(tmp_path, portal)


def writes(desk: Desk) -> list[str]:
    return [write.method.removeprefix("crm.activity.binding.") for write in desk.portal.writes]


# ── where to ──────────────────────────────────────────────────────────────────────────────────────────────


def test_contacts_activities_go_to_their_one_company_and_unclear_ones_are_named(desk: Desk) -> None:
    mine, both = desk.activity((CONTACT, 20)), desk.activity((DEAL, 4), (CONTACT, 20))
    several, none = desk.activity((CONTACT, 21)), desk.activity((CONTACT, 22))
    *lines, last = desk.transfer("contact", "company")
    assert desk.bindings() == {
        mine: [(COMPANY, 10)],
        both: [(DEAL, 4), (COMPANY, 10)],
        several: [(CONTACT, 21)],
        none: [(CONTACT, 22)],
    }
    left = {line["source"]: (line["reason"], line["candidates"]) for line in lines if "source" in line}
    assert left == {
        "contact 21": ("several", ["company 10", "company 11"]),
        "contact 22": ("none", []),
    }
    assert last["summary"]["moved"] == 2
    shown = desk.call("transfer", "--from", "contact", "--to", "company").stdout
    assert "contact 21: it could go to company 10 and company 11" in shown


def test_where_the_list_knows_the_primary_company_alone_the_others_are_asked_for(tmp_path: Path) -> None:
    from imaprouter.sandbox.quirks import Quirks

    with Portal({}, limits=UNLIMITED, quirks=Quirks(item_company_ids=False)) as portal:
        desk = Desk(tmp_path, portal)
        clear, several = desk.activity((CONTACT, 20)), desk.activity((CONTACT, 21))
        desk.transfer("contact", "company")
        assert desk.bindings() == {clear: [(COMPANY, 10)], several: [(CONTACT, 21)]}


def test_a_converted_leads_activities_go_to_its_deal_and_several_deals_are_named(desk: Desk) -> None:
    one, two = desk.activity((LEAD, 30), (DEAL, 1)), desk.activity((LEAD, 31))
    *lines, _ = desk.transfer("lead", "deal")
    assert desk.bindings() == {one: [(DEAL, 1)], two: [(LEAD, 31)]}
    assert [line["candidates"] for line in lines if "source" in line] == [["deal 2", "deal 3"]]
    assert writes(desk) == ["delete"], "what is bound to the deal already gets no second binding"


@pytest.mark.parametrize(("kind", "type_id", "old", "new"), [("deal", 2, 1, 4), ("company", 4, 10, 11)])
def test_one_timeline_goes_to_another_by_a_move(
    desk: Desk, kind: str, type_id: int, old: int, new: int
) -> None:
    moved, other = desk.activity((type_id, old)), desk.activity((CONTACT, 20))
    desk.transfer(f"{kind}:{old}", f"{kind}:{new}")
    assert desk.bindings() == {moved: [(type_id, new)], other: [(CONTACT, 20)]}
    assert writes(desk) == ["move"]


def test_a_person_decides_what_is_unclear_by_ids(desk: Desk) -> None:
    activity = desk.activity((CONTACT, 21))
    desk.transfer("contact:21", "company:11")
    assert desk.bindings() == {activity: [(COMPANY, 11)]}


def test_a_target_that_does_not_exist_gets_nothing(desk: Desk) -> None:
    activity = desk.activity((DEAL, 1))
    left, _ = desk.transfer("deal:1", "deal:99")
    assert left["reason"] == "target_gone"
    assert desk.bindings() == {activity: [(DEAL, 1)]}


# ── which ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_kind_and_period_choose(desk: Desk) -> None:
    letter, call = desk.activity((CONTACT, 20)), desk.activity((CONTACT, 20), call=True)
    late = desk.activity((CONTACT, 20), call=True, when=LONG_AGO + timedelta(days=60))
    desk.transfer("contact", "company", "--kind", "call", "--until", "2026-03-01")
    assert [desk.bindings()[each] for each in (letter, call, late)] == [
        [(CONTACT, 20)],
        [(COMPANY, 10)],
        [(CONTACT, 20)],
    ]
    desk.transfer("contact", "company", "--since", "2026-04-01")
    assert [desk.bindings()[each] for each in (letter, late)] == [[(CONTACT, 20)], [(COMPANY, 10)]]


def test_only_sources_that_meet_the_condition(desk: Desk) -> None:
    stays, goes = desk.activity((CONTACT, 20)), desk.activity((CONTACT, 23))
    desk.transfer("contact", "company", "--where", "UF_CRM_FIRED=1")
    assert desk.bindings() == {stays: [(CONTACT, 20)], goes: [(COMPANY, 11)]}


@pytest.mark.parametrize("wrong", ["UF_CRM_FIERD=1", "NO_FIELD=1", "fired", "ID=20"])
def test_a_condition_that_cannot_be_asked_is_an_error_and_nothing_is_moved(desk: Desk, wrong: str) -> None:
    desk.activity((CONTACT, 20))
    result = desk.call("transfer", "--from", "contact", "--to", "company", "--where", wrong)
    assert result.exit_code == 2
    assert wrong in result.stderr
    assert writes(desk) == []


def test_kept_bindings_stay_and_a_second_run_adds_nothing(desk: Desk) -> None:
    activity = desk.activity((CONTACT, 20))
    for _ in range(2):
        desk.transfer("contact", "company", "--keep")
        assert desk.bindings() == {activity: [(CONTACT, 20), (COMPANY, 10)]}
    assert writes(desk) == ["add"]


@pytest.mark.parametrize(
    ("source", "to"), [("deal", "deal"), ("company", "contact"), ("deal:1", "deal:1"), ("offer", "deal")]
)
def test_ways_that_there_are_not_are_refused(desk: Desk, source: str, to: str) -> None:
    assert desk.call("transfer", "--from", source, "--to", to).exit_code == 2


# ── safely ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("words", "mode"), [(("--dry-run",), "act"), ((), "observe")])
def test_a_rehearsal_says_it_all_and_writes_nothing(desk: Desk, words: tuple[str, ...], mode: str) -> None:
    activity = desk.activity((CONTACT, 20))
    result = desk.call("transfer", "--from", "contact", "--to", "company", *words, "--json", mode=mode)
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["outcome"] for line in shown if "activity" in line] == ["would"]
    assert desk.bindings() == {activity: [(CONTACT, 20)]}
    assert writes(desk) == []
    assert not (desk.folder / "imaprouter.db").exists()


@pytest.mark.parametrize("way", [("contact", "company"), ("lead", "deal"), ("deal:4", "deal:1")])
def test_undo_leaves_the_bindings_as_they_were(desk: Desk, way: tuple[str, str]) -> None:
    for pairs in (
        [(CONTACT, 20)],
        [(DEAL, 4), (COMPANY, 10), (CONTACT, 20)],
        [(CONTACT, 20), (CONTACT, 23)],
        [(LEAD, 30), (DEAL, 1)],
        [(LEAD, 30)],
    ):
        desk.activity(*pairs)
        desk.activity(*pairs, call=True)
    before = desk.bindings()
    desk.transfer(*way)
    assert desk.bindings() != before
    assert desk.call("undo", "--rule", "transfer").exit_code == 0
    assert desk.bindings() == before
    assert "there is nothing to put back" in desk.call("undo", "--rule", "transfer").stdout


def test_one_activity_is_put_back_and_a_persons_later_change_stays(desk: Desk) -> None:
    first, second, third = (desk.activity((CONTACT, 20)) for _ in range(3))
    desk.transfer("contact", "company")
    assert desk.call("undo", "--activity", first).exit_code == 0
    assert desk.bindings()[first] == [(CONTACT, 20)]
    desk.crm.bind_by_hand(second, (COMPANY, 10), (CONTACT, 20))
    result = desk.call("undo", "--since", "2026-01-01")
    assert "somebody has changed the bindings since" in result.stdout
    assert desk.bindings()[second] == [(CONTACT, 20), (COMPANY, 10)]
    assert desk.bindings()[third] == [(CONTACT, 20)]


def test_what_a_crash_broke_off_is_gone_on_with(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between what is added and what is taken away; contacts that were done stay done."""
    first, second = desk.activity((CONTACT, 20)), desk.activity((CONTACT, 23))
    before = desk.bindings()
    calls = []
    original = orders.send

    def dies(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(moving, "send", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit, AssertionError)):
        desk.transfer("contact", "company")
    assert desk.bindings() == {first: [(COMPANY, 10)], second: [(CONTACT, 23), (COMPANY, 11)]}
    monkeypatch.setattr(moving, "send", original)
    again = desk.call("transfer", "--from", "contact", "--to", "company", "--json")
    assert "goes on with the transfer" in again.stderr
    assert desk.bindings() == {first: [(COMPANY, 10)], second: [(COMPANY, 11)]}
    assert json.loads(again.stdout.splitlines()[-1])["summary"]["moved"] == 2
    assert writes(desk) == ["add", "delete", "add", "delete"]
    with closing(Journal(desk.folder / "imaprouter.db")) as journal:
        assert journal.transfers.begun("contact to company; kind all") is None
    desk.call("undo", "--rule", "transfer")
    assert desk.bindings() == before


def test_missing_rights_are_told_and_end_with_77(desk: Desk) -> None:
    refused, done = desk.activity((CONTACT, 20)), desk.activity((CONTACT, 23))
    desk.crm.read_only.add((COMPANY, 10))
    result = desk.call("transfer", "--from", "contact", "--to", "company")
    assert result.exit_code == 77
    assert f"activity {refused}  refused by Bitrix24" in result.stdout
    assert desk.bindings() == {refused: [(CONTACT, 20)], done: [(COMPANY, 11)]}


# ── standing rules ────────────────────────────────────────────────────────────────────────────────────────


def test_a_standing_rule_moves_what_is_new(desk: Desk) -> None:
    from imaprouter.bitrix24.portal import Portal as Client
    from imaprouter.timelines import Transfer

    old = desk.activity((CONTACT, 20))
    with closing(Journal(desk.folder / "imaprouter.db")) as journal:
        client = Client(desk.portal.webhook_url, requests_per_second=100)
        rule = Transfer(place("contact"), place("company"), "call")
        watched = frozenset({"sales@company.ru"})

        def look() -> int:
            rules = Standing(client, [rule], mailbox_emails=watched, wait=timedelta(hours=36))
            return rules.look(journal, datetime.now(UTC))

        look()
        call, letter = desk.activity((CONTACT, 20), call=True), desk.activity((CONTACT, 20))
        unclear = desk.activity((CONTACT, 21), call=True)
        assert look() == 1
        used = len(desk.portal.requests)
        assert look() == 0
        assert len(desk.portal.requests) - used == 1, "a quiet look is one request"
        client.close()
    bound = desk.bindings()
    assert bound[call] == [(COMPANY, 10)]
    assert [bound[each] for each in (old, letter, unclear)] == [
        [(CONTACT, 20)],
        [(CONTACT, 20)],
        [(CONTACT, 21)],
    ]


def test_routing_comes_first_and_undo_leaves_what_it_decided(
    tmp_path: Path, dovecot: Dovecot, user: str
) -> None:
    """Through the service: a settled letter goes to the company, one that waits for a person does not."""
    with Office(tmp_path, dovecot, user) as office:
        office.further_mailboxes = "[[transfer]]\nfrom = 'contact'\nto = 'company'\n"
        office.run_once()
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"), letter())
        settled, asked = office.sync.sync_once()
        before = office.bound(asked)
        contact, company = Binding(CONTACT, 20), Binding(COMPANY, 10)
        assert contact in before
        office.run_once()
        assert office.deals(settled) == [1]
        assert contact not in office.bound(settled)
        assert company in office.bound(settled)
        assert office.bound(asked) == before
        office.run_once()
        assert [message.result for message in office.messages()] == [Outcome.MOVED, None], (
            "no hand of a person"
        )
        CliRunner().invoke(cli, ["--config", str(office.config), "undo", "--rule", "transfer"])
        assert contact in office.bound(settled)
        assert office.deals(settled) == [1]
        assert office.messages()[0].result is Outcome.MOVED
        left = CliRunner().invoke(
            cli, ["--config", str(office.config), "transfer", "--from", "contact", "--to", "company"]
        )
        assert f"activity {asked}  left to routing first" in left.stdout


def test_a_rule_with_mistakes_is_named_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "imaprouter.toml"
    path.write_text(
        "[[transfer]]\nfrom = 'contact'\nto = 'company'\nknid = 'call'\n"
        "[[transfer]]\nto = 'company'\n"
        "[[transfer]]\nfrom = 'deal'\nto = 'deal'\n"
        "[[transfer]]\nfrom = 'contact'\nto = 'company'\nwhere = ['fired']\n"
    )
    problems = draft(path, {}).problems
    assert problems[0] == "transfer[0].knid: unknown key; did you mean kind?"
    assert problems[1] == "transfer[1].from: is missing"
    assert problems[2].startswith("transfer[2]: from deal to deal takes an id on both sides")
    assert problems[3].startswith("transfer[3].where: expected a field")


# ── pure ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_places_conditions_and_steps() -> None:
    assert place("Deal:12") == Place(place("deal").type, 12)
    assert [str(condition(each)) for each in ("A=1", "A != 1", "A>=2", "A@1, 2")] == [
        "A=1",
        "A!=1",
        "A>=2",
        "A@1,2",
    ]
    contact, other, company = Binding(CONTACT, 1), Binding(CONTACT, 2), Binding(COMPANY, 5)
    both = [(contact, company), (other, company)]
    assert [str(step) for step in steps(both, [contact, other], keep=False)] == [
        "bind to company 5",
        "unbind from contact 1",
        "unbind from contact 2",
    ]
    assert steps(both, [company], keep=False) == []
    assert steps([(contact, company)], [contact, company], keep=True) == []
