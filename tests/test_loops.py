"""Loops between two desks (peers.md F16), and bounces that name what they return in their body only."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from company import index_of
from dovecot import Dovecot
from imap_peer import Peer, opened, serving
from office import FIXTURES, Office, letter

from imaprouter.arrival import WatchedFolder
from imaprouter.decide import decide
from imaprouter.mail import HEADER_FIELDS
from imaprouter.mailbox import Session
from imaprouter.mailbox.values import REPORT_BYTES
from imaprouter.model import (
    Address,
    Decision,
    Direction,
    Envelope,
    Letter,
    Nature,
    Outcome,
    Result,
    Standing,
    State,
    deal,
)
from imaprouter.policy import LoopPolicy, RoutingPolicy
from imaprouter.reasons import why
from imaprouter.store.folders import Folder
from imaprouter.store.journal import Journal
from imaprouter.store.messages import EXCHANGE, Exchange, NewMessage

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
OWN = frozenset({"sales@company.ru", "info@company.ru"})
PAIR = "robot@horns.ru sales@company.ru"


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as at_work:
        yield at_work


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "imaprouter.db")
    yield journal
    journal.close()


@pytest.fixture
def folder(journal: Journal) -> Folder:
    return journal.folders.start("sales", "INBOX", uidvalidity=7, cursor=0, watch_since=None)


# ── the decision ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("recent", "limit", "outcome"),
    [(20, 20, Outcome.DEAL), (21, 20, Outcome.LEAVE), (21, 0, Outcome.DEAL), (3, 2, Outcome.LEAVE)],
)
def test_more_letters_than_the_limit_are_a_loop(recent: int, limit: int, outcome: Outcome) -> None:
    """Whoever writes, and whatever the letter says: a person looks; a limit of 0 turns it off."""
    envelope = Envelope(
        subject="#1 КП", from_=(Address("sergey@horns.ru"),), to=(Address("sales@company.ru"),)
    )
    policy = RoutingPolicy(loop=LoopPolicy(limit=limit))
    decision = decide(Letter(envelope, OWN, OWN, recent=recent), index_of(), policy)
    assert decision.outcome is outcome
    assert (decision.code == "loop") == decision.review == (outcome is Outcome.LEAVE)
    if decision.review:
        standing = {one.target.id: one.standing for one in decision.considered}
        assert (decision.candidates, standing[1]) == ((1, 2), Standing.OPEN)
    assert 1 in decision.candidates
    assert not decision.review or decision.unknown == ()


@pytest.mark.parametrize("nature", [Nature.AUTO_REPLY, Nature.BOUNCE, Nature.SYSTEM, Nature.LIST])
def test_machines_in_a_loop_are_ignored(nature: Nature) -> None:
    envelope = Envelope(
        subject="#1", from_=(Address("sergey@horns.ru"),), to=(Address("sales@company.ru"),), nature=nature
    )
    decision = decide(Letter(envelope, OWN, OWN, recent=21), index_of(), RoutingPolicy(loop=LoopPolicy(20)))
    assert (decision.outcome, decision.review, decision.code) == (Outcome.IGNORE, False, "loop")


# ── the two parties ───────────────────────────────────────────────────────────────────────────────────────


def watched(**changes: Any) -> WatchedFolder:
    folder = WatchedFolder(
        mailbox="sales",
        name="INBOX",
        kind="incoming",
        own_addresses=OWN,
        house_addresses=OWN,
        start="all",
        policy=RoutingPolicy(),
        live_lookup=False,
    )
    return replace(folder, **changes)


def test_both_directions_have_the_same_parties() -> None:
    """The client's letters and our answers are one exchange, whichever address of ours they name."""
    came = Envelope(from_=(Address("sergey@horns.ru"),), to=(Address("sales@company.ru"),))
    went = Envelope(from_=(Address("info@company.ru"),), to=(Address("sergey@horns.ru"),))
    assert watched().pair_key(came) == watched().pair_key(went) == "info@company.ru sergey@horns.ru"
    assert watched(kind="sent", name="Sent").pair_key(went) == watched().pair_key(went)


def test_a_web_form_is_not_one_party() -> None:
    """A site writes for its visitors, each of whom stands in Reply-To."""
    form = Envelope(from_=(Address("site@shop.ru"),), reply_to=(Address("anna@romashka.ru"),))
    assert watched().pair_key(form) == "anna@romashka.ru info@company.ru"


def test_without_two_addresses_there_is_no_pair() -> None:
    """A letter without a sender, and one to ourselves."""
    assert watched().pair_key(Envelope()) == ""
    own = Envelope(from_=(Address("sales@company.ru"),), to=(Address("info@company.ru"),))
    assert watched().pair_key(own) == ""


# ── what is on record ─────────────────────────────────────────────────────────────────────────────────────


def recorded(uid: int, minutes: float, **changes: Any) -> NewMessage:
    """A letter of PAIR that arrived, and was written, so many minutes after NOW."""
    moment = NOW + timedelta(minutes=minutes)
    new = NewMessage(
        uid=uid,
        direction=Direction.INCOMING,
        envelope=Envelope(message_id=f"{uid}@x", date=moment, fingerprint=str(uid)),
        decision=Decision(Outcome.LEAVE, "fallback", (why("nothing_known"),), ()),
        internal_date=moment,
        size=1,
        seen=False,
        state=State.SETTLED,
        result=Result.LEFT,
        pair_key=PAIR,
    )
    return replace(new, **changes)


def exchange(journal: Journal, date: datetime | None = NOW, most: int = 20) -> Exchange:
    return journal.messages.exchange("sales", PAIR, NOW, date, most)


def test_the_letters_of_the_last_hour_are_counted(journal: Journal, folder: Folder) -> None:
    """Not older ones, not other people's, not copies, and never more than are asked for."""
    letters = [
        recorded(1, -61),
        recorded(2, -60),
        recorded(3, -1),
        recorded(4, 0),
        recorded(5, -1, pair_key="anna@romashka.ru sales@company.ru"),
        recorded(6, -1, pair_key=""),
    ]
    numbers = [journal.messages.add(folder, one, NOW) for one in letters]
    journal.messages.add(folder, recorded(7, -1, same_as=numbers[2]), NOW)
    assert exchange(journal) == Exchange(3, stopped=False)
    assert exchange(journal, date=None) == Exchange(3, stopped=False)
    assert exchange(journal, most=2) == Exchange(2, stopped=False)
    assert journal.messages.exchange("office", PAIR, NOW, NOW, 20) == Exchange()
    assert journal.messages.exchange("sales", "", NOW, NOW, 20) == Exchange()


def test_mail_that_was_moved_to_a_new_server_is_no_loop(journal: Journal, folder: Folder) -> None:
    """All of it arrived this minute; it was written over months."""
    for uid in range(1, 30):
        written = Envelope(message_id=f"{uid}@x", date=NOW - timedelta(days=uid), fingerprint=str(uid))
        journal.messages.add(folder, recorded(uid, 0, envelope=written), NOW)
    assert exchange(journal) == Exchange()


def test_a_stopped_letter_is_remembered(journal: Journal, folder: Folder) -> None:
    """So that an incident is told once."""
    stopped = Decision(Outcome.IGNORE, "loop", (why("loop", limit=20),), ())
    journal.messages.add(folder, recorded(1, -5, decision=stopped), NOW)
    journal.messages.add(folder, recorded(2, -1), NOW)
    assert exchange(journal) == Exchange(2, stopped=True)


def test_deciding_again_keeps_the_parties(journal: Journal, folder: Folder) -> None:
    """A second decision is made from the journal, which hands out no pair."""
    number = journal.messages.add(folder, recorded(1, -1, state=State.WAITING), NOW)
    journal.messages.redecide(number, recorded(1, -1, pair_key=""), NOW)
    assert exchange(journal).letters == 1


def test_a_letter_that_is_read_late_still_asks_the_portal(journal: Journal, folder: Folder) -> None:
    """What could not be read first gets its first decision by `redecide`, with that decision's questions."""
    number = journal.messages.add(folder, recorded(1, -1, state=State.UNREADABLE), NOW)
    late = recorded(1, -1, state=State.WAITING, result=None, open_questions=True)
    journal.messages.redecide(number, late, NOW)
    assert [message.id for message in journal.messages.open_questions(10)] == [number]


def test_counting_reads_no_whole_table(journal: Journal, tmp_path: Path) -> None:
    """It is asked for every letter."""
    with sqlite3.connect(tmp_path / "imaprouter.db") as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {EXCHANGE}", (PAIR, 0, "sales", 0, 20)).fetchall()
    database.close()
    assert any("messages_by_pair_key" in row[3] for row in plan)
    assert not any(row[3].startswith("SCAN messages") for row in plan)


# ── the whole path ────────────────────────────────────────────────────────────────────────────────────────


def loops_told(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.getMessage() == "loop.detected" for record in caplog.records)


def test_a_loop_is_stopped_and_told_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """F16: three letters go where they belong, what follows within the hour waits for a person."""
    office.options["routing.loop.limit"] = "3"
    office.deliver(*(letter(to="masha@company.ru", cc="sales@company.ru") for _ in range(5)))
    office.deliver(letter("anna@romashka.ru"))
    with caplog.at_level(logging.WARNING, "imaprouter"):
        office.run_once()
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru"))
        office.run_once()
    codes = [message.decision.code for message in office.messages() if message.decision.rule == "loop"]
    targets = [message.decision.target for message in office.messages()]
    assert codes == ["loop"] * 3
    assert targets[:3] == [deal(1)] * 3
    assert office.messages()[5].decision.rule != "loop"
    assert [message.state for message in office.messages()[3:5]] == [State.REVIEW] * 2
    assert loops_told(caplog) == 1
    assert all(record.levelno == logging.WARNING for record in caplog.records if "loop" in record.message)


def bounce(name: str = "postfix-unknown-user") -> bytes:
    """A labelled bounce that returns <kp-1@company.ru>."""
    raw = (FIXTURES / "natures" / "bounce" / f"{name}.eml").read_bytes()
    return raw.replace(b"\n", b"\r\n")


def sent(message_id: str) -> bytes:
    """Our letter that Bitrix24 put into deal 1."""
    return letter("sales@company.ru", "sergey@horns.ru", subject="#1 КП", message_id=message_id)


@pytest.mark.parametrize("reads", [True, False])
def test_a_bounce_goes_where_the_returned_letter_went(office: Office, reads: bool) -> None:
    """Its header names nothing; routing.bounces.read_report looks into the body."""
    office.options["routing.bounces.read_report"] = "true" if reads else "false"
    office.deliver(sent("kp-1@company.ru"), folder="Sent")
    office.run_once()
    office.deliver(bounce())
    office.run_once()
    message = office.messages()[0]
    assert message.envelope.nature is Nature.BOUNCE
    assert message.decision.target == (deal(1) if reads else None)
    assert message.decision.code == ("thread_decision" if reads else "bounce_names_nothing")
    assert message.envelope.parents == (("kp-1@company.ru",) if reads else ())


def test_a_bounce_is_no_evidence_for_what_answers_it(office: Office) -> None:
    """Its deal is known, and a letter that answers the bounce alone does not inherit it."""
    office.options["routing.bounces.read_report"] = "true"
    office.deliver(sent("kp-1@company.ru"), folder="Sent")
    office.run_once()
    office.deliver(bounce())
    office.run_once()
    its_id = office.messages()[0].envelope.message_id
    office.deliver(letter("stranger@elsewhere.ru", in_reply_to=its_id))
    office.run_once()
    answer = office.messages()[1]
    assert answer.decision.target is None
    assert answer.decision.outcome is Outcome.LEAVE


def test_a_bounce_that_names_a_known_letter_is_not_opened(office: Office) -> None:
    """The header suffices: nothing of the body comes into the journal."""
    office.options["routing.bounces.read_report"] = "true"
    office.deliver(sent("kp-12@company.ru"), folder="Sent")
    office.run_once()
    raw = bounce("gmail-address-not-found").replace(b"Subject: KP", b"References: <more@company.ru>")
    office.deliver(raw)
    office.run_once()
    message = office.messages()[0]
    assert message.decision.target == deal(1)
    assert message.envelope.parents == ("kp-12@company.ru",)


# ── Session.report ────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_is_read_in_part_and_leaves_no_trace(dovecot: Dovecot, user: str) -> None:
    """At most REPORT_BYTES of the text, without \\Seen; nothing for a message that is not there."""
    long = bounce() + b"x" * 2 * REPORT_BYTES
    name = dovecot.deliver(user, bounce())
    dovecot.deliver(user, long)
    session = Session(dovecot.account(user), HEADER_FIELDS)
    session.connect()
    try:
        session.open("INBOX")
        uids = [uid for window in session.uids_from(1) for uid in window]
        bodies = sorted((session.report(uid) for uid in uids), key=len)
        assert bodies[0] == bounce().partition(b"\r\n\r\n")[2]
        assert bodies[1] == long.partition(b"\r\n\r\n")[2][:REPORT_BYTES]
        assert session.report(uids[-1] + 1) == b""
    finally:
        session.close()
    assert dovecot.flags(user, name) == ""


def test_a_report_that_breaks_the_line_is_given_up() -> None:
    """Asked for twice, on two connections; then the session goes on without it."""

    def breaking(peer: Peer) -> None:
        peer.greet()
        peer.until("FETCH")

    with opened(breaking, breaking, serving) as session:
        assert session.report(1) == b""
        session.noop()
