"""`report`: what each column counts, which period a letter belongs to, and the three forms of the answer.

Journals are real: letters of fixtures/mail, decided against fixtures/crm.json, recorded and settled by the
functions that the service uses.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import time
import xml.etree.ElementTree
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imaprouter import arrival
from imaprouter import report as counting
from imaprouter.arrival import WatchedFolder
from imaprouter.cli import cli
from imaprouter.cli.tables import csv_lines
from imaprouter.config import load
from imaprouter.mailbox import FetchResult
from imaprouter.model import (
    Activity,
    EntityType,
    FetchedMessage,
    Finding,
    Nature,
    Outcome,
    State,
    Target,
    Verdict,
    deal,
)
from imaprouter.model import Result as Ended
from imaprouter.policy import LoopPolicy
from imaprouter.reasons import why
from imaprouter.recorder import Recorder
from imaprouter.report import RULES, SPREADS, Counts, Group, Row
from imaprouter.store.folders import Folder
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import NewMessage, StoredMessage
from imaprouter.store.snapshot import import_snapshot

FIXTURES = Path(__file__).parent.parent / "fixtures"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOBODY = dict.fromkeys(counting.NUMBERS, 0)
#: What other tests look at.
ANSWERING = ("not_seen", "replied", "unanswered")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this machine, in the notation that needs no database of zones."""

    def choose(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    choose("UTC0")
    yield choose
    monkeypatch.undo()
    time.tzset()


class Desk:
    """A journal that fills as the service's does, and the command that counts it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "imaprouter.toml"
        text = (FIXTURES / "imaprouter.toml").read_text("utf-8").replace("company.db", "imaprouter.db")
        self.config.write_text(text, "utf-8")
        (folder / "sales.password").write_text("sesame\n")
        self.routing = load(self.config, {}).routing
        self.journal = Journal(folder / "imaprouter.db")
        self._knowledge = Knowledge(":memory:", self.journal.messages)
        import_snapshot(self._knowledge, json.loads((FIXTURES / "crm.json").read_bytes()))
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._knowledge.close()
        self.journal.close()

    def arrives(
        self,
        name: str,
        at: datetime = NOON,
        *,
        mailbox: str = "sales",
        folder: str = "INBOX",
        address: str = "sales@company.ru",
        seen: bool = False,
        **policy: Any,
    ) -> StoredMessage:
        """A letter of fixtures/mail comes into this folder, at this moment, and is decided."""
        header = (FIXTURES / "mail" / f"{name}.eml").read_bytes().partition(b"\n\n")[0] + b"\n\n"
        return self.takes(header, at, mailbox, folder, address, seen=seen, **policy)

    def writes(self, *, to: str, answers: StoredMessage, at: datetime) -> StoredMessage:
        """Somebody answers; his letter lies in Sent."""
        header = (
            f"From: sales@company.ru\nTo: {to}\nSubject: Re: {next(self._numbers)}\n"
            f"Message-ID: <{next(self._numbers)}@company.ru>\nDate: {format_datetime(at)}\n"
            f"In-Reply-To: <{answers.envelope.message_id}>\n\n"
        )
        return self.takes(header.encode(), at, "sales", "Sent", "sales@company.ru")

    def pairs(self, message: StoredMessage, *, created_at: datetime) -> None:
        """Bitrix24 makes the activity of a message."""
        activity = Activity(
            id=next(self._numbers),
            mailbox_email="sales@company.ru",
            direction=message.direction,
            subject=message.envelope.subject,
            start_time=message.internal_date,
            created_at=created_at,
            updated_at=created_at,
            owner=None,
            responsible_id=5,
            completed=False,
        )
        with self.journal.transaction():
            self.journal.activities.add([activity], created_at)
            self.journal.activities.assign(activity.id, message.id, due=None)

    def fill_index(self) -> None:
        """The report may say titles and names."""
        with contextlib.closing(Index(index_path(self.config.parent / "imaprouter.db"))) as index:
            import_snapshot(index, json.loads((FIXTURES / "crm.json").read_bytes()))

    def takes(
        self,
        header: bytes,
        at: datetime,
        mailbox: str,
        folder: str,
        address: str,
        *,
        seen: bool = False,
        **policy: Any,
    ) -> StoredMessage:
        own = frozenset({address})
        watched = WatchedFolder(
            mailbox=mailbox,
            name=folder,
            kind="sent" if folder == "Sent" else "incoming",
            own_addresses=own,
            house_addresses=own | {"sales@company.ru"},
            start="all",
            policy=replace(self.routing, **policy),
            live_lookup=False,
        )
        flags = frozenset({"\\Seen"} if seen else set())
        message = FetchedMessage(next(self._numbers), header, at, 1000, flags)
        recorder = Recorder(watched, self.journal, self._knowledge, lambda uid: b"")
        recorder.record(self.folder(mailbox, folder), FetchResult((message,)), message.uid)
        return self.last()

    def cannot_read(self) -> None:
        """The server does not hand a message over."""
        uid = next(self._numbers)
        watched = self.folder("sales", "INBOX")
        with self.journal.transaction():
            self.journal.messages.add(watched, arrival.unreadable(uid, NOON), NOON)

    def last(self) -> StoredMessage:
        found = self.journal.messages.get(self.journal.messages.count())
        assert found
        return found

    def ends(
        self, message: StoredMessage, state: State, result: Ended | None = None, chosen: Target | None = None
    ) -> None:
        """The binder says where the message stands, with what a person chose in Bitrix24."""
        with self.journal.transaction():
            self.journal.messages.set_state(message.id, state, NOON, result=result, person_target=chosen)

    def answered(self, message: StoredMessage, chosen: Target) -> None:
        """`queue assign`, taken up and carried out."""
        with self.journal.transaction():
            self.journal.answers.choose(message.id, chosen)
            self.journal.messages.set_state(message.id, State.SETTLED, NOON, result=Ended.MOVED)

    def says(self, *words: str, lang: str = "en") -> Result:
        return CliRunner().invoke(cli, ["--config", str(self.config), "--lang", lang, "report", *words])

    def rows(self, *words: str) -> list[dict[str, Any]]:
        result = self.says("--json", *words)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout_bytes.decode("utf-8").splitlines()]

    def counts(self) -> dict[str, int]:
        """The numbers of the only row that are not 0; decisions as `decided_marker` and so on."""
        (row,) = self.rows()
        decided = {f"decided_{rule}": number for rule, number in row["decided"].items()}
        numbers = {name: row[name] for name in counting.NUMBERS if name not in ANSWERING} | decided
        return {name: number for name, number in numbers.items() if number}

    def folder(self, mailbox: str, name: str) -> Folder:
        found = self.journal.folders.get(mailbox, name)
        return found or self.journal.folders.start(mailbox, name, uidvalidity=7, cursor=0, watch_since=None)


@pytest.fixture
def desk(tmp_path: Path, zone: Callable[[str], None]) -> Iterator[Desk]:
    opened = Desk(tmp_path)
    yield opened
    opened.close()


# ── what came and went ────────────────────────────────────────────────────────────────────────────────────


def test_letters_of_clients_are_received(desk: Desk) -> None:
    """Known, unknown and through a mailing list; each decided by the rule that is on record."""
    for name in ("reply-to-masha", "unknown-sender", "list-copy"):
        desk.arrives(name)
    assert desk.counts() == {"received": 3, "decided_participants": 2, "decided_fallback": 1}


def test_a_letter_of_an_employee_is_not_received(desk: Desk) -> None:
    """It is ignored, and that is a decision."""
    message = desk.arrives("employee-forward")
    assert (message.result, message.decision.code) == (Ended.IGNORED, "employee_wrote")
    assert desk.counts() == {"decided_fallback": 1}


def test_machines_are_counted_by_themselves(desk: Desk) -> None:
    """A bounce, an automatic reply and a notification, also where a thread told the deal."""
    names = ("bounce-names-nothing", "auto-reply-names-nothing", "system-mail", "bounce-in-thread")
    natures = [desk.arrives(name).envelope.nature.value for name in names]
    assert natures == ["bounce", "auto_reply", "notification", "bounce"]
    assert desk.counts() == {"machines": 4, "decided_fallback": 3, "decided_thread": 1}


def test_what_went_out_is_sent(desk: Desk) -> None:
    """From the mailbox's address wherever it lies; in a Sent folder also with another From."""
    desk.arrives("outgoing-single-deal", folder="Sent")
    desk.arrives("outgoing-in-thread", NOON + timedelta(minutes=1))
    desk.arrives("employee-forward", folder="Sent")
    machine = desk.arrives("auto-reply-names-nothing", folder="Sent")
    assert machine.envelope.nature is Nature.AUTO_REPLY
    assert desk.counts()["sent"] == 4
    assert not {"received", "machines"} & set(desk.counts())


def test_a_loop_of_a_list_is_received_and_ignored(desk: Desk) -> None:
    """Only an employee's letter is none of a client's; the loop decided, not the last of all rules."""
    first = desk.arrives("list-copy", loop=LoopPolicy(limit=1))
    looping = desk.arrives("list-copy", NOON + timedelta(minutes=1), loop=LoopPolicy(limit=1))
    assert (first.decision.outcome, looping.decision.outcome) == (Outcome.DEAL, Outcome.IGNORE)
    assert desk.counts() == {"received": 2, "decided_participants": 1, "decided_loop": 1}


def test_the_same_mail_counts_once(desk: Desk) -> None:
    """Met again in another folder of the mailbox, with header, arrival and size of the first."""
    desk.arrives("reply-to-masha")
    again = desk.arrives("reply-to-masha", folder="Archive")
    assert again.result is Ended.SAME_MAIL
    assert desk.counts() == {"received": 1, "decided_participants": 1}


def test_a_mail_in_two_mailboxes_is_two_messages(desk: Desk) -> None:
    desk.arrives("reply-to-masha")
    desk.arrives("reply-to-masha", mailbox="masha", address="masha@company.ru")
    assert [(row["mailbox"], row["received"]) for row in desk.rows()] == [("masha", 1), ("sales", 1)]


def test_what_was_never_read_is_not_counted(desk: Desk) -> None:
    """Neither as a letter nor as a decision: who wrote it is not known."""
    desk.cannot_read()
    assert desk.rows() == []
    desk.arrives("reply-to-masha")
    assert desk.counts() == {"received": 1, "decided_participants": 1}


# ── decisions ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("marker-own-deal", "marker"),
        ("thread-in-reply-to", "thread"),
        ("plus-tag", "address"),
        ("reply-to-masha", "participants"),
        ("to-sales-only", "participants"),
        ("unknown-sender", "fallback"),
    ],
)
def test_decisions_are_counted_by_rule(desk: Desk, name: str, rule: str) -> None:
    """All rules are keys, in the same order, those with no decision as 0."""
    desk.arrives(name)
    (row,) = desk.rows()
    assert list(row["decided"]) == list(RULES)
    assert {known for known, number in row["decided"].items() if number} == {rule}


def test_a_loop_of_a_client_is_the_rule_loop_and_waits(desk: Desk) -> None:
    for minute in range(3):
        desk.arrives("reply-to-masha", NOON + timedelta(minutes=minute), loop=LoopPolicy(limit=2))
    assert desk.counts() == {"received": 3, "decided_participants": 2, "decided_loop": 1, "review": 1}


def test_conflicts_are_counted_whatever_won(desk: Desk) -> None:
    """With on_conflict = order the marker decides; with review the conflict is the rule, and waits."""
    won = desk.arrives("marker-against-thread")
    assert won.decision.rule == "marker"
    assert desk.counts() == {"received": 1, "decided_marker": 1, "conflicts": 1}
    desk.arrives("marker-against-thread", NOON + timedelta(minutes=1), on_conflict="review")
    assert desk.counts() == {
        "received": 2,
        "decided_marker": 1,
        "decided_conflict": 1,
        "conflicts": 2,
        "review": 1,
    }


def test_the_word_alone_is_no_conflict(desk: Desk) -> None:
    """It may stand in a reason: only a finding of that name counts."""
    message = desk.arrives("reply-to-masha")
    finding = Finding("fallback", Verdict.NO_MATCH, (why("earlier", text="conflict"),))
    decision = replace(message.decision, trail=(*message.decision.trail, finding))
    new = NewMessage(99, message.direction, message.envelope, decision, NOON, 1, False, State.WAITING)
    with desk.journal.transaction():
        desk.journal.messages.add(desk.folder("sales", "INBOX"), new, NOON)
    assert desk.counts() == {"received": 2, "decided_participants": 2}


# ── how it ended ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "result", "column"),
    [
        (State.SETTLED, Ended.MOVED, "moved"),
        (State.SETTLED, Ended.ALREADY_RIGHT, "already_right"),
        (State.MISSING, None, "missing"),
        (State.FAILED, None, "failed"),
        (State.REVIEW, None, "review"),
        (State.WAITING, None, ""),
        (State.PAIRED, None, ""),
        (State.SETTLED, Ended.LEFT, ""),
        (State.SETTLED, Ended.OBSERVED, ""),
    ],
)
def test_each_end_is_a_column_of_its_own(desk: Desk, state: State, result: Ended | None, column: str) -> None:
    desk.ends(desk.arrives("reply-to-masha"), state, result)
    ended = {column: 1} if column else {}
    assert desk.counts() == {"received": 1, "decided_participants": 1, **ended}


def test_review_is_what_waits_now(desk: Desk) -> None:
    message = desk.arrives("to-sales-only")
    assert message.state is State.REVIEW
    assert desk.counts()["review"] == 1
    desk.answered(message, deal(2))
    assert "review" not in desk.counts()


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chosen", [deal(2), Target(EntityType.COMPANY, 1), None])
def test_another_choice_than_ours_overrules(desk: Desk, chosen: Target | None) -> None:
    """Another deal, another kind of object with the same number, or nothing that can be named."""
    message = desk.arrives("reply-to-masha")
    assert message.decision.target == deal(1)
    desk.ends(message, State.SETTLED, Ended.PERSON, chosen)
    assert desk.counts() == {"received": 1, "decided_participants": 1, "overruled": 1}


def test_an_answer_against_our_decision_overrules_too(desk: Desk) -> None:
    """`queue assign` of a message that did not wait: moved, to where the person said."""
    desk.answered(desk.arrives("reply-to-masha"), deal(2))
    assert desk.counts() == {"received": 1, "decided_participants": 1, "moved": 1, "overruled": 1}


def test_the_same_choice_as_ours_overrules_nothing(desk: Desk) -> None:
    """Somebody moved it away and back again, or answered what we had decided."""
    desk.ends(desk.arrives("reply-to-masha"), State.SETTLED, Ended.PERSON, deal(1))
    desk.answered(desk.arrives("reply-to-masha", NOON + timedelta(minutes=1)), deal(1))
    assert desk.counts() == {"received": 2, "decided_participants": 2, "moved": 1}


def test_who_was_asked_answers(desk: Desk) -> None:
    """From the queue, in Bitrix24, or by leaving it: never as overruled."""
    first, second, third = (
        desk.arrives("to-sales-only", NOON + timedelta(minutes=minute)) for minute in range(3)
    )
    desk.answered(first, deal(2))
    desk.ends(second, State.SETTLED, Ended.PERSON, deal(1))
    desk.ends(third, State.SETTLED, Ended.PERSON)
    assert desk.counts() == {"received": 3, "decided_participants": 3, "moved": 1, "answered": 3}


def test_an_answer_that_is_not_taken_up_yet_still_waits(desk: Desk) -> None:
    message = desk.arrives("to-sales-only")
    desk.journal.answers.give(message.id, deal(2), NOON)
    assert desk.counts() == {"received": 1, "decided_participants": 1, "review": 1}


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_of_the_thread_to_its_writer_is_the_reply(desk: Desk) -> None:
    """Whoever sent it; what the client writes afterwards waits again."""
    desk.arrives("thread-in-reply-to")
    first = desk.rows()[0]
    assert (first["received"], first["replied"], first["unanswered"]) == (1, 0, 1)
    desk.writes(to="sergey@horns.ru", answers=desk.last(), at=NOON + timedelta(hours=3))
    row = desk.rows()[0]
    assert (row["replied"], row["unanswered"], row["sent"]) == (1, 0, 1)
    assert row["reply"] == {"median": 3 * 3600, "p90": 3 * 3600, "worst": 3 * 3600}
    assert row["waiting"] == {"median": None, "p90": None, "worst": None}


def test_a_reply_after_the_last_day_is_a_reply(desk: Desk) -> None:
    """The report is of the letters of that time; what became of them is as of now."""
    asked = desk.arrives("thread-in-reply-to")
    desk.writes(to="sergey@horns.ru", answers=asked, at=NOON + timedelta(days=9))
    (row,) = desk.rows("--to", "2026-11-24")
    assert (row["replied"], row["sent"]) == (1, 0)


def test_a_letter_to_somebody_else_is_no_reply(desk: Desk) -> None:
    asked = desk.arrives("thread-in-reply-to")
    desk.writes(to="masha@company.ru", answers=asked, at=NOON + timedelta(hours=1))
    assert desk.rows()[0]["unanswered"] == 1


def test_machines_and_colleagues_wait_for_no_answer(desk: Desk) -> None:
    for name in ("bounce-names-nothing", "employee-forward"):
        desk.arrives(name)
    assert desk.rows()[0]["unanswered"] == 0


def test_seen_is_what_the_mail_server_said(desk: Desk) -> None:
    desk.arrives("reply-to-masha")
    desk.arrives("to-sales-only", seen=True)
    assert desk.rows()[0]["not_seen"] == 1


def test_the_delay_is_from_the_mail_to_its_activity(desk: Desk) -> None:
    """Of those that have one."""
    message = desk.arrives("reply-to-masha")
    desk.arrives("to-sales-only")
    desk.pairs(message, created_at=NOON + timedelta(minutes=7))
    minutes = 7 * 60
    assert desk.rows()[0]["delay"] == {"median": minutes, "p95": minutes, "worst": minutes}


@pytest.mark.parametrize(
    ("count", "median", "high"), [(1, 1, 1), (2, 1, 2), (3, 2, 3), (10, 5, 9), (20, 10, 18), (100, 50, 90)]
)
def test_percentiles_are_by_nearest_rank(count: int, median: int, high: int) -> None:
    """So that each is a wait that really occurred."""
    spread = counting._spread([timedelta(hours=hour) for hour in range(count, 0, -1)], 90)
    assert (spread.median, spread.high) == (timedelta(hours=median), timedelta(hours=high))
    assert spread.worst == timedelta(hours=count)


def test_unanswered_letters_one_by_one(desk: Desk) -> None:
    """Longest waiting first, with whose they are and where they lie."""
    answered = desk.arrives("thread-in-reply-to", NOON - timedelta(days=2))
    desk.writes(to="sergey@horns.ru", answers=answered, at=NOON)
    young, old = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) - timedelta(days=2, hours=1)
    desk.arrives("reply-to-masha", young)
    desk.arrives("plus-tag", old)
    found = desk.rows("--unanswered")
    assert [row["id"] for row in found] == [4, 3]
    assert found[0]["waiting"] // 3600 == 49
    assert found[1]["target"] == {"type": "deal", "id": 1}
    assert [row["id"] for row in desk.rows("--unanswered", "--older-than", "4h")] == [4]
    assert "2d 01h  #4" in desk.says("--unanswered").stdout
    assert desk.says("--unanswered", "--older-than", "3d").stdout == "no letter waits for an answer\n"


# ── by whom ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("per", "groups"),
    [
        ("client", ["anna@romashka-sample.ru", "sergey@horns.ru"]),
        ("deal", ["", "Продажа"]),
        ("manager", ["", "Мария Петрова"]),
    ],
)
def test_rows_are_of_a_client_a_deal_or_a_manager(desk: Desk, per: str, groups: list[str]) -> None:
    """By what the letter belongs to, and who is responsible for that now; nobody's have an empty name."""
    desk.fill_index()
    desk.arrives("reply-to-masha")
    desk.arrives("unknown-sender")
    rows = desk.rows("--per", per)
    shown = [row[per] for row in rows]
    assert shown == sorted(shown)
    assert sum(row["received"] for row in rows) == 2
    if per != "client":
        assert [row["received"] for row in rows] == [1, 1]
        assert shown[0] == ""
        assert rows[0][f"{per}_id"] is None
        assert rows[1][f"{per}_id"] == {"deal": 1, "manager": 5}[per]
    else:
        assert "sergey@horns.ru" in shown


# ── periods ───────────────────────────────────────────────────────────────────────────────────────────────


def test_midnight_is_that_of_this_machine(desk: Desk, zone: Callable[[str], None]) -> None:
    """23:59 in Moscow is 20:59 in UTC, and the next minute another day; in New York both are one."""
    desk.arrives("reply-to-masha", datetime(2026, 11, 30, 20, 59, 59, 999999, tzinfo=UTC))
    desk.arrives("reply-to-masha", datetime(2026, 11, 30, 21, 0, tzinfo=UTC))
    zone("MSK-3")
    assert periods(desk, "--by", "day") == ["2026-11-30", "2026-12-01"]
    assert periods(desk) == ["2026-11", "2026-12"]
    zone("EST5")
    assert periods(desk, "--by", "day") == ["2026-11-30"]


def test_summer_time_moves_midnight(desk: Desk, zone: Callable[[str], None]) -> None:
    """New York: 04:00 UTC in summer, 05:00 in winter."""
    zone("EST5EDT,M3.2.0,M11.1.0")
    desk.arrives("reply-to-masha", datetime(2026, 7, 2, 4, 30, tzinfo=UTC))
    desk.arrives("reply-to-masha", datetime(2026, 12, 2, 4, 30, tzinfo=UTC))
    assert periods(desk, "--by", "day") == ["2026-07-02", "2026-12-01"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 29), ("2026-11-29", "2026-W48", "2026-11")),
        (date(2026, 11, 30), ("2026-11-30", "2026-W49", "2026-11")),
        (date(2026, 12, 1), ("2026-12-01", "2026-W49", "2026-12")),
        (date(2026, 12, 31), ("2026-12-31", "2026-W53", "2026-12")),
        (date(2027, 1, 3), ("2027-01-03", "2026-W53", "2027-01")),
        (date(2027, 1, 4), ("2027-01-04", "2027-W01", "2027-01")),
        (date(2024, 12, 30), ("2024-12-30", "2025-W01", "2024-12")),
        (date.min, ("0001-01-01", "0001-W01", "0001-01")),
        (date.max, ("9999-12-31", "9999-W52", "9999-12")),
    ],
)
def test_periods_are_written_as_iso_8601(day: date, expected: tuple[str, str, str]) -> None:
    """A week begins on Monday and belongs to the year of its Thursday."""
    bys: tuple[counting.By, ...] = ("day", "week", "month")
    assert tuple(counting.period(day, by) for by in bys) == expected


def test_weeks_and_months_gather_their_days(desk: Desk) -> None:
    """Sunday, Monday, Tuesday over the border of a month: two weeks, and two months otherwise."""
    for day in (datetime(2026, 11, 29, 12, tzinfo=UTC) + timedelta(days=days) for days in range(3)):
        desk.arrives("reply-to-masha", day)
    assert received(desk, "--by", "week") == [("2026-W48", 1), ("2026-W49", 2)]
    assert received(desk, "--by", "month") == [("2026-11", 2), ("2026-12", 1)]
    assert received(desk) == received(desk, "--by", "month"), "the default"


def test_rows_are_of_one_period_and_mailbox_oldest_first(desk: Desk) -> None:
    """Whatever the order in which the messages came on record."""
    desk.arrives("reply-to-masha", datetime(2027, 1, 5, tzinfo=UTC))
    desk.arrives("reply-to-masha", datetime(2026, 9, 2, tzinfo=UTC), mailbox="support")
    desk.arrives("to-sales-only", datetime(2026, 9, 7, tzinfo=UTC))
    desk.arrives("plus-tag", datetime(2026, 9, 3, tzinfo=UTC))
    rows = [(row["period"], row["mailbox"], row["received"]) for row in desk.rows()]
    assert rows == [("2026-09", "sales", 2), ("2026-09", "support", 1), ("2027-01", "sales", 1)]


def test_first_and_last_day_are_included(desk: Desk, zone: Callable[[str], None]) -> None:
    """From the first moment of the one to the last of the other, in the zone of this machine."""
    zone("MSK-3")
    for moment in ("24T20:59:59", "24T21:00:00", "25T09:00:00", "25T20:59:59", "25T21:00:00"):
        desk.arrives("reply-to-masha", datetime.fromisoformat(f"2026-11-{moment}+00:00"))
    assert received(desk, "--by", "day") == [("2026-11-24", 1), ("2026-11-25", 3), ("2026-11-26", 1)]
    only = ("--from", "2026-11-25", "--to", "2026-11-25")
    assert received(desk, "--by", "day", *only) == [("2026-11-25", 3)]
    assert received(desk, "--by", "day", "--from", "2026-11-25") == [("2026-11-25", 3), ("2026-11-26", 1)]
    assert received(desk, "--by", "day", "--to", "2026-11-25") == [("2026-11-24", 1), ("2026-11-25", 3)]
    assert received(desk, *only) == [("2026-11", 3)], "a part of the month"


def test_the_last_day_ends_later_in_the_west(desk: Desk, zone: Callable[[str], None]) -> None:
    """And begins earlier in the east: half a day around UTC's."""
    desk.arrives("reply-to-masha", datetime(2026, 11, 24, 10, 30, tzinfo=UTC))
    desk.arrives("reply-to-masha", datetime(2026, 11, 26, 10, 30, tzinfo=UTC))
    only = ("--by", "day", "--from", "2026-11-25", "--to", "2026-11-25")
    zone("LINE-14")
    assert received(desk, *only) == [("2026-11-25", 1)]
    zone("WEST12")
    assert received(desk, *only) == [("2026-11-25", 1)]


@pytest.mark.parametrize("name", ["MSK-3", "EST5"])
@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_a_stranger_may_date_a_letter_at_the_end_of_time(
    desk: Desk, zone: Callable[[str], None], name: str, moment: datetime
) -> None:
    """Without INTERNALDATE the Date header stands in; the local day may lie outside of all calendars."""
    zone(name)
    desk.arrives("reply-to-masha", moment)
    assert received(desk, "--by", "day") == [(moment.date().isoformat(), 1)]
    assert received(desk, "--from", "0001-01-01", "--to", "9999-12-31") == received(desk)


def periods(desk: Desk, *words: str) -> list[str]:
    return [row["period"] for row in desk.rows(*words)]


def received(desk: Desk, *words: str) -> list[tuple[str, int]]:
    return [(row["period"], row["received"]) for row in desk.rows(*words)]


# ── the sums ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_of_an_earlier_version_keeps_its_column() -> None:
    rows = [Row("2026-11", Group("sales"), Counts(decided={"zodiac": 1, "astrology": 1}))]
    assert counting.rules(rows) == (*RULES, "astrology", "zodiac")


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """Two months; a mailbox whose name is not ASCII in the second."""
    desk.ends(desk.arrives("marker-own-deal"), State.SETTLED, Ended.MOVED)
    desk.arrives("to-sales-only", NOON + timedelta(days=1))
    desk.arrives("bounce-names-nothing", NOON + timedelta(days=1))
    desk.arrives("plus-tag", NOON + timedelta(days=30), mailbox="продажи")
    return desk


KEYS = (
    *("period", "mailbox", "received", "not_seen", "replied", "unanswered", "machines", "sent", "decided"),
    *("conflicts", "moved", "already_right", "review", "missing", "failed", "overruled", "answered"),
    *("reply", "waiting", "delay"),
)


def test_json_has_stable_keys_and_no_total(filled: Desk) -> None:
    """In the contract's order; --json is another word for it; the language changes nothing."""
    rows = filled.rows()
    assert [tuple(row) for row in rows] == [KEYS, KEYS]
    november, december = rows
    waited = november.pop("waiting")
    assert waited.keys() == {"median", "p90", "worst"}
    nothing = {"median": None, "worst": None}
    assert november == {
        **NOBODY,
        "period": "2026-11",
        "mailbox": "sales",
        "received": 2,
        "machines": 1,
        "decided": {**dict.fromkeys(RULES, 0), "marker": 1, "participants": 1, "fallback": 1},
        "not_seen": 2,
        "unanswered": 2,
        "moved": 1,
        "review": 1,
        "reply": nothing | {"p90": None},
        "delay": nothing | {"p95": None},
    }
    assert (december["mailbox"], december["decided"]["address"]) == ("продажи", 1)
    assert filled.says("--format", "json").stdout == filled.says("--json", lang="ru").stdout
    assert filled.says("--json", "--format", "json").exit_code == 0


def test_csv_says_the_same_in_columns(filled: Desk) -> None:
    """UTF-8, a column for each rule where JSON has `decided`; the same columns with no row at all."""
    text = filled.says("--format", "csv", lang="ru").stdout_bytes.decode("utf-8")
    table = csv.DictReader(io.StringIO(text))
    spreads = [f"{name}_{part}" for name, high in SPREADS.items() for part in ("median", high, "worst")]
    columns = [*KEYS[:8], *(f"decided_{rule}" for rule in RULES), *KEYS[9:-3], *spreads]
    assert table.fieldnames == columns
    for line, row in zip(table, filled.rows(), strict=True):
        flat: dict[str, Any] = {}
        for name, value in row.items():
            flat |= (
                {f"{name}_{key}": one for key, one in value.items()}
                if isinstance(value, dict)
                else {name: value}
            )
        assert {name: str("" if value is None else value) for name, value in flat.items()} == line
    nothing = filled.says("--format", "csv", "--from", "2030-01-01")
    assert (nothing.exit_code, nothing.stdout) == (0, ",".join(columns) + "\n")


def test_csv_for_a_russian_excel(filled: Desk) -> None:
    """Semicolons, and the mark without which Excel takes UTF-8 for cp1251."""
    content = filled.says("--format", "csv", "--dialect", "excel-ru").stdout_bytes
    assert content.startswith(b"\xef\xbb\xbfperiod;mailbox;received;")
    assert content.count(b"\r\n") == 3


def test_a_formula_stays_a_text(desk: Desk) -> None:
    """A spreadsheet calculates what begins with '=', and a stranger writes addresses and subjects."""
    row: dict[str, str | int | None] = {"period": "=1+1", "received": -1, "mailbox": "@sum", "client": "a=b"}
    line = b"".join(csv_lines(list(row), [row])).decode().splitlines()[1]
    assert line == "'=1+1,-1,'@sum,a=b"


def test_a_workbook_has_numbers_as_numbers(filled: Desk, tmp_path: Path) -> None:
    """And nothing of a stranger's as a formula or a link."""
    file = tmp_path / "report.xlsx"
    result = filled.says("--format", "xlsx", "--output", str(file), lang="ru")
    assert (result.exit_code, result.stdout) == (0, "")
    with zipfile.ZipFile(file) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        strings = book.read("xl/sharedStrings.xml").decode()
        names = book.read("xl/workbook.xml").decode()
    assert 'name="отчёт"' in names
    assert "получено" in strings
    assert "<f>" not in sheet
    assert re.search(r'<c r="C2"[^>]*><v>2</v>', sheet)


def test_the_page_needs_no_network_and_runs_nothing(filled: Desk) -> None:
    """One file: no script, no address to fetch from; texts of strangers are inert."""
    desk = filled
    message = desk.arrives("reply-to-masha")
    hostile = replace(message.envelope, subject="<script>alert(1)</script>\"'&")
    new = NewMessage(99, message.direction, hostile, message.decision, NOON, 1, False, State.WAITING)
    with desk.journal.transaction():
        desk.journal.messages.add(desk.folder("sales", "INBOX"), new, NOON)
    page = desk.says("--format", "html").stdout_bytes.decode("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["']?(?!https://company)""", page)
    assert page.count("<svg") == 4
    assert page.count("<rect") >= 6
    elements = xml.etree.ElementTree.fromstring(
        page.partition("<body>")[2].join(("<body>", "")).partition("</html>")[0]
    )
    assert len(elements.findall(".//table")) == 2


def test_output_goes_into_a_file(filled: Desk, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert filled.says("--json", "--output", str(file)).stdout == ""
    assert file.read_bytes() == filled.says("--json").stdout_bytes


def test_output_is_utf_8_whatever_the_locale(filled: Desk) -> None:
    """A pipe in the encoding of another century would lose the name of the mailbox."""
    runner = CliRunner(charset="ascii")
    for form in ("json", "csv"):
        result = runner.invoke(cli, ["--config", str(filled.config), "report", "--format", form])
        assert "продажи" in result.stdout_bytes.decode("utf-8")


def test_the_table_is_aligned_and_ends_with_the_total(filled: Desk) -> None:
    """Text to the left, numbers to the right; only rules that decided something have a column."""
    table, _, _rest = filled.says().stdout.partition("\n\n")
    headings, *rows = cells(table)
    assert headings == [
        *("period", "mailbox", "received", "not seen", "replied", "unanswered", "machines", "sent"),
        *("by marker", "by address", "by participants", "by fallback", "conflicts", "moves", "already right"),
        *("in review", "missing", "failed", "overruled", "answered"),
        *("waiting median", "waiting 90 %", "waiting worst"),
    ]
    assert [row[:-3] for row in rows] == [
        ["2026-11", "sales", *"220210101101010000"],
        ["2026-12", "продажи", *"110100010000000000"],
        ["total", "", *"330310111101010000"],
    ]


def cells(text: str) -> list[list[str]]:
    """The columns under the dashes, row by row, the headings as one row; each cell where it belongs."""
    lines = text.splitlines()
    (first, last) = (number for number, line in enumerate(lines) if line.startswith("-"))
    assert (lines[first], last) == (lines[last], len(lines) - 2)
    spans = [(match.start(), match.end()) for match in re.finditer("-+", lines[first])]
    for line in lines:
        outside = "".join(line[end:start] for (_, end), (start, _) in itertools.pairwise(spans))
        assert not outside.strip(), line
        for number, (start, end) in enumerate(spans):
            cell = line.ljust(spans[-1][1])[start:end]
            assert cell == (cell.strip().ljust if number < 2 else cell.strip().rjust)(end - start), line
    table = [[line[start:end].strip() for start, end in spans] for line in lines]
    headings = [" ".join(filter(None, words)) for words in zip(*table[:first], strict=True)]
    return [headings, *table[first + 1 : last], table[-1]]


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("ru", ("период", "ящик", "получено", "отправлено", "правило", "противоречия", "проверке", "итого")),
        ("pl", ("okres", "skrzynka", "otrzymano", "wysłano", "reguła", "sprzeczności", "odmowa", "razem")),
    ],
)
def test_headings_are_in_the_language(filled: Desk, lang: str, words: tuple[str, ...]) -> None:
    """All of them: no English word is left but the names of rules and mailboxes."""
    said = filled.says(lang=lang).stdout.partition("\n\n")[0]
    assert set(words) <= set(said.split())
    kept = {"sales", "продажи", "marker", "address", "participants", "fallback"}
    table = filled.says().stdout.partition("\n\n")[0]
    english = {word for word in table.split() if word.isalpha()} - kept
    assert not english & set(said.split())


@pytest.mark.parametrize(
    ("lang", "sentence"),
    [
        ("en", "no message is on record for this time"),
        ("ru", "за это время в журнале нет ни одного письма"),
        ("pl", "w dzienniku nie ma wiadomości z tego czasu"),
    ],
)
def test_an_empty_journal_is_no_error(desk: Desk, lang: str, sentence: str) -> None:
    """The table says that there is nothing; JSON Lines are none."""
    result = desk.says(lang=lang)
    assert (result.exit_code, result.stdout) == (0, f"{sentence}\n")
    assert desk.says("--json").stdout == ""


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "2026-02-30"), "2026-02-30"),
        (("--to", "24.11.2026"), "24.11.2026"),
        (("--from", "yesterday"), "yesterday"),
        (("--from", "2026-11-25", "--to", "2026-11-24"), "--from 2026-11-25 is after --to 2026-11-24"),
        (("--by", "year"), "year"),
        (("--format", "pdf"), "pdf"),
        (("--per", "moon"), "moon"),
        (("--format", "xlsx"), "--output"),
        (("--dialect", "excel-ru"), "--format csv"),
        (("--older-than", "4h"), "--unanswered"),
        (("--notify",), "--unanswered with --older-than"),
        (("--unanswered", "--notify"), "--unanswered with --older-than"),
        (("--unanswered", "--older-than", "soon"), "30s, 5m, 24h or 2d"),
        (("--unanswered", "--format", "html"), "table, json, csv"),
        (("--json", "--format", "csv"), "--json or --format csv"),
    ],
)
def test_wrong_words_are_usage_errors(desk: Desk, words: tuple[str, ...], told: str) -> None:
    """Exit code 2, what is wrong, and no result."""
    result = desk.says(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_journal_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not made."""
    monkeypatch.setenv("IMAPROUTER_STORE__PATH", str(tmp_path / "none.db"))
    result = CliRunner().invoke(cli, ["report"])
    assert (result.exit_code, "there is no journal" in result.stderr) == (1, True)
    assert not (tmp_path / "none.db").exists()


def test_a_damaged_decision_is_told_with_advice(desk: Desk) -> None:
    """Another program wrote into the journal: no traceback."""
    desk.arrives("reply-to-masha")
    with desk.journal.transaction():
        desk.journal.messages._db.execute("UPDATE messages SET decision = '{'")
    result = desk.says()
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr
    assert "backup" in result.stderr


def test_help_names_the_time_zone() -> None:
    said = " ".join(CliRunner().invoke(cli, ["report", "--help"]).stdout.split())
    assert "local time zone of this machine" in said
