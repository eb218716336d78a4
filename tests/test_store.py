"""The journal and the index: what is kept, what is refused, what several processes may do at once."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from company import deal_row, index_of, snapshot

from imaprouter.errors import StoreBusy, StoreError, StoreTooNew
from imaprouter.model import (
    Activity,
    Binding,
    Contact,
    Deal,
    Decision,
    Direction,
    EntityType,
    Envelope,
    Nature,
    Outcome,
    Result,
    State,
    Target,
    Tenure,
    User,
    deal,
)
from imaprouter.reasons import why
from imaprouter.store.folders import ANCHORS, Folder
from imaprouter.store.index import Index, index_path
from imaprouter.store.journal import Journal
from imaprouter.store.lock import exclusive
from imaprouter.store.messages import NewMessage
from imaprouter.store.snapshot import export_snapshot, import_snapshot, read_snapshot

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "imaprouter.db")
    yield opened
    opened.close()


@pytest.fixture
def folder(journal: Journal) -> Folder:
    return journal.folders.start("sales", "INBOX", uidvalidity=7, cursor=0, watch_since=None)


def new_message(uid: int = 1, message_id: str = "a@b", target: Target | None = None) -> NewMessage:
    outcome = Outcome(target.type) if target else Outcome.LEAVE
    return NewMessage(
        uid=uid,
        direction=Direction.INCOMING,
        envelope=Envelope(
            subject="КП", message_id=message_id, date=NOW, fingerprint=f"print of {message_id}"
        ),
        decision=Decision(outcome, "marker", (why("marker", deal=1),), (), target),
        internal_date=NOW + timedelta(seconds=2),
        size=1000,
        seen=False,
        state=State.WAITING,
    )


def activity(number: int = 100) -> Activity:
    return Activity(
        id=number,
        mailbox_email="sales@company.ru",
        direction=Direction.INCOMING,
        subject="КП",
        start_time=NOW,
        created_at=NOW,
        updated_at=NOW,
        owner=Binding(2, 2),
        responsible_id=6,
        completed=False,
    )


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_are_private(tmp_path: Path) -> None:
    """Mail and customers are nobody else's business: mode 0600."""
    Journal(tmp_path / "imaprouter.db").close()
    assert stat.S_IMODE((tmp_path / "imaprouter.db").stat().st_mode) == 0o600


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A wrong store.path must not be migrated into."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (id INTEGER)")
    other.close()
    with pytest.raises(StoreError, match="another program"):
        Journal(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The error says what to do."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to look like a header " * 20)
    with pytest.raises(StoreError, match="choose another"):
        Journal(path)


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """An old program must not write into a schema that it does not know."""
    path = tmp_path / "imaprouter.db"
    Journal(path).close()
    with sqlite3.connect(path) as later:
        later.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('journal', 'later', '')"
        )
    later.close()
    with pytest.raises(StoreTooNew, match="later"):
        Journal(path)


def test_several_processes_may_open_a_new_journal_at_once(tmp_path: Path) -> None:
    """Migrations run under the write lock: nobody fails with 'locked'."""
    code = (
        "import sys; from pathlib import Path; from imaprouter.store.journal import Journal\n"
        "Journal(Path(sys.argv[1])).close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "imaprouter.db")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [(b"", 0)] * 4


def test_a_journal_belongs_to_one_service(tmp_path: Path) -> None:
    """The second one is told so; afterwards the journal is free again."""
    path = tmp_path / "imaprouter.db"
    with exclusive(path):
        with pytest.raises(StoreBusy, match="another imaprouter service") as refused, exclusive(path):
            pass
        assert refused.value.exit_code == 75
    with exclusive(path):
        pass


# ── folders and messages ──────────────────────────────────────────────────────────────────────────────────


def test_messages_cursor_and_anchors_move_together_or_not_at_all(journal: Journal, folder: Folder) -> None:
    """An error inside the transaction leaves nothing behind."""

    def record_half() -> None:
        with journal.transaction():
            journal.messages.add(folder, new_message(), NOW)
            journal.folders.advance(folder, 1, {1: "mark"})
            raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        record_half()
    assert journal.messages.count() == 0
    assert journal.folders.get("sales", "INBOX") == folder


def test_the_cursor_never_goes_back_and_anchors_are_the_last_ones(journal: Journal, folder: Folder) -> None:
    """Fifty marks are kept; a late, lower cursor changes nothing."""
    with journal.transaction():
        journal.folders.advance(folder, 90, {uid: f"m{uid}" for uid in range(1, 91)})
        journal.folders.advance(folder, 80, {})
    now = journal.folders.get("sales", "INBOX")
    assert now
    assert now.cursor == 90
    assert sorted(now.anchors) == list(range(91 - ANCHORS, 91))


def test_a_new_epoch_starts_from_the_first_uid(journal: Journal, folder: Folder) -> None:
    """UIDs lost their meaning: cursor 0, no anchors, the old messages stay."""
    with journal.transaction():
        journal.messages.add(folder, new_message(), NOW)
        journal.folders.advance(folder, 1, {1: "mark"})
    renewed = journal.folders.begin_epoch(folder, 8)
    assert (renewed.uidvalidity, renewed.epoch, renewed.cursor, dict(renewed.anchors)) == (8, 2, 0, {})
    assert journal.messages.count() == 1


def test_what_was_recorded_comes_back_equal(journal: Journal, folder: Folder) -> None:
    """Envelope and decision survive the way through JSON."""
    new = new_message(target=deal(1))
    number = journal.messages.add(folder, new, NOW)
    found = journal.messages.get(number)
    assert found
    assert (found.envelope, found.decision, found.state) == (new.envelope, new.decision, State.WAITING)
    assert journal.messages.by_reference("<A@b>") == [found] == journal.messages.by_reference(str(number))


def test_the_same_mail_is_recognised_under_another_uid(journal: Journal, folder: Folder) -> None:
    """Fingerprint, INTERNALDATE and size, as the portal compares; a redelivered copy is another message."""
    number = journal.messages.add(folder, new_message(), NOW)
    arrived = NOW + timedelta(seconds=2)
    found = journal.messages.same_mail("sales", "print of a@b", arrived, 1000)
    assert found
    assert found.id == number
    assert journal.messages.same_mail("sales", "print of a@b", arrived + timedelta(seconds=1), 1000) is None
    assert journal.messages.same_mail("sales", "print of a@b", arrived, 1001) is None
    assert journal.messages.same_mail("info", "print of a@b", arrived, 1000) is None


# ── what a thread may inherit ─────────────────────────────────────────────────────────────────────────────


def test_a_thread_inherits_a_decision(journal: Journal, folder: Folder) -> None:
    """The Message-ID of a decided letter names its deal."""
    journal.messages.add(folder, new_message(target=deal(1)), NOW)
    known = journal.messages.known_message("a@b")
    assert known
    assert (known.target, known.source) == (deal(1), "decision")


def test_a_persons_choice_outranks_ours(journal: Journal, folder: Folder) -> None:
    """Re-bound by hand: the thread follows the person."""
    number = journal.messages.add(folder, new_message(target=deal(1)), NOW)
    journal.messages.set_state(number, State.SETTLED, NOW, result=Result.PERSON, person_target=deal(9))
    known = journal.messages.known_message("a@b")
    assert known
    assert (known.target, known.source) == (deal(9), "person")


def test_a_machines_letter_is_no_evidence(journal: Journal, folder: Folder) -> None:
    """Bounces and automatic replies never lead later letters anywhere."""
    new = new_message(target=deal(1))
    machine = replace(new, envelope=replace(new.envelope, nature=Nature.AUTO_REPLY))
    journal.messages.add(folder, machine, NOW)
    assert journal.messages.known_message("a@b") is None


def test_an_id_that_two_mails_claim_proves_nothing(journal: Journal, folder: Folder) -> None:
    """Anybody can send a mail with somebody else's Message-ID (imap.md 4)."""
    journal.messages.add(folder, new_message(1, target=deal(1)), NOW)
    journal.messages.add(folder, new_message(2, target=deal(2)), NOW)
    assert journal.messages.known_message("a@b") is None


def test_an_empty_message_id_is_never_known(journal: Journal, folder: Folder) -> None:
    """`<>` is no id (F6)."""
    journal.messages.add(folder, new_message(message_id="", target=deal(1)), NOW)
    assert journal.messages.by_reference("<>") == []
    assert journal.messages.by_reference("< >") == []


# ── activities ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_activity_is_known_once(journal: Journal) -> None:
    """Polling with an overlap shows it again."""
    assert journal.activities.add([activity(), activity(101)], NOW) == 2
    assert journal.activities.add([activity()], NOW) == 0
    assert [found.id for found in journal.activities.unpaired()] == [100, 101]


def test_first_bindings_are_written_once(journal: Journal, folder: Folder) -> None:
    """What the portal had before us is the base of every later judgement."""
    number = journal.messages.add(folder, new_message(target=deal(1)), NOW)
    journal.activities.add([activity()], NOW)
    journal.activities.assign(100, number, due=NOW)
    journal.activities.note_first_bindings(100, (Binding(2, 2),), frozenset({9}))
    journal.activities.note_first_bindings(100, (Binding(2, 1),), frozenset())
    (due,) = journal.activities.due(NOW, 10, farthest=NOW + timedelta(hours=2))
    assert due.first_bindings == (Binding(2, 2),)
    assert due.unwanted_leads == frozenset({9})


def test_the_next_attempt_is_set_before_this_one(journal: Journal, folder: Folder) -> None:
    """A crash in an attempt does not repeat it at once."""
    number = journal.messages.add(folder, new_message(target=deal(1)), NOW)
    journal.activities.add([activity()], NOW)
    journal.activities.assign(100, number, due=NOW)
    journal.activities.schedule(100, NOW + timedelta(seconds=15))
    assert journal.activities.due(NOW, 10, farthest=NOW + timedelta(hours=2)) == []
    assert journal.activities.next_attempt() == NOW + timedelta(seconds=15)


def test_what_a_clock_that_was_wrong_has_written_is_old_enough(journal: Journal, folder: Folder) -> None:
    """An attempt set for tomorrow is due; a message and an activity of tomorrow have waited long enough."""
    tomorrow, hour = NOW + timedelta(days=1), timedelta(hours=1)
    number = journal.messages.add(folder, new_message(target=deal(1)), tomorrow)
    journal.activities.add([activity()], tomorrow)
    assert [found.id for found in journal.messages.expired(NOW - hour, NOW + hour, 10)] == [number]
    assert [found.id for found in journal.activities.unpaired(not_within=(NOW - hour, NOW + hour))] == [100]
    journal.activities.assign(100, number, due=tomorrow)
    assert [found.activity.id for found in journal.activities.due(NOW, 10, farthest=NOW + hour)] == [100]


def test_a_person_is_notified_once_per_message(journal: Journal, folder: Folder) -> None:
    """The claim comes before the sending; it is given back only when nothing was sent."""
    number = journal.messages.add(folder, new_message(target=deal(1)), NOW)
    assert journal.traces.claim_notice(number, 5, NOW)
    assert not journal.traces.claim_notice(number, 5, NOW)
    assert journal.traces.claim_notice(number, 6, NOW)
    journal.traces.release_notice(number, 6)
    assert journal.traces.claim_notice(number, 6, NOW)


def test_messages_are_found_by_either_of_their_times(journal: Journal, folder: Folder) -> None:
    """START_TIME may be the Date header or INTERNALDATE, to the second."""
    journal.messages.add(folder, new_message(target=deal(1)), NOW)
    second = int(NOW.timestamp())
    assert len(journal.messages.unpaired_near([second])) == 1
    assert len(journal.messages.unpaired_near([second + 3])) == 1
    assert journal.messages.unpaired_near([second + 10]) == []


# ── index and snapshot ────────────────────────────────────────────────────────────────────────────────────


def test_the_index_answers_what_rules_ask() -> None:
    """Clients by address, deals by contact and by company, employees by address."""
    index = index_of()
    client = index.client("sergey@horns.ru")
    assert (client.contact_ids, client.company_ids) == ((20,), (10,))
    assert [found.id for found in index.deals_of((20,), ())] == [1, 2, 4]
    assert [found.id for found in index.deals_of((), (11,))] == [3]
    assert index.deals_of((), ()) == ()
    assert index.client("stranger@nowhere.ru").contacts == ()
    assert getattr(index.user_by_email("masha@company.ru"), "id", None) == 5


def test_dismissed_employees_are_nobody() -> None:
    """A letter from, or to, somebody who left is an outsider's matter."""
    assert index_of().user_by_email("gone@company.ru") is None


def test_a_snapshot_survives_the_way_through_the_index() -> None:
    """Export, import, export again: nothing is lost or added."""
    letters = [
        {
            "ID": 501,
            "DIRECTION": "2",
            "OWNER_TYPE_ID": "2",
            "OWNER_ID": "1",
            "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": "<crm.activity.501-ABC123@company.bitrix24.ru>"}},
        }
    ]
    once = export_snapshot(index_of(activities=letters))
    again = Index(":memory:")
    import_snapshot(again, once)
    assert export_snapshot(again) == once
    known = again.known_message("crm.activity.501-abc123@company.bitrix24.ru")
    assert known
    assert known.target == Target(EntityType.DEAL, 1)


def test_importing_replaces_what_was_there() -> None:
    """Rows that the new snapshot does not have are gone, with their links and addresses."""
    index = index_of()
    import_snapshot(index, snapshot(contacts=[], deals=[deal_row(1, 5, CONTACT_IDS=[])]))
    assert index.deal(2) is None
    assert not index.client("sergey@horns.ru")
    assert index.deals_of((20,), ()) == ()


def test_a_broken_snapshot_changes_nothing() -> None:
    """The error names the row."""
    index = index_of()
    with pytest.raises(StoreError, match=r"deals\[1\]"):
        import_snapshot(index, snapshot(deals=[deal_row(1, 5), {"TITLE": "no id"}]))
    assert index.deal(2) is not None
    with pytest.raises(StoreError, match="no JSON"):
        read_snapshot(b"{", "crm.json")


def test_the_index_lies_beside_the_journal() -> None:
    """One path in the configuration, two files."""
    assert index_path(Path("/var/lib/imaprouter.db")) == Path("/var/lib/imaprouter-index.db")


# ── former responsibles and observers ─────────────────────────────────────────────────────────────────────


def seen(index: Index, responsible: int, modified: datetime | None, number: int = 1) -> tuple[Tenure, ...]:
    """The portal shows deal `number` with this responsible; what the index then knows of former ones."""
    with index.writing():
        index.put_deals([Deal(id=number, responsible_id=responsible, modified_at=modified)], 1)
    found = index.deal(number)
    assert found
    return found.former


def test_the_index_notes_who_was_responsible_before() -> None:
    """F23: the old responsible stays known, until the time at which the deal was changed."""
    index = Index(":memory:")
    assert seen(index, 5, NOW) == ()
    assert seen(index, 5, NOW + timedelta(hours=1)) == ()
    assert seen(index, 6, NOW + timedelta(hours=2)) == (Tenure(5, NOW + timedelta(hours=2)),)
    assert seen(index, 6, NOW + timedelta(hours=3)) == (Tenure(5, NOW + timedelta(hours=2)),)


def test_the_index_notes_since_when_somebody_is_responsible() -> None:
    """Unknown for whom it found there; for his successors the time of the change, also when they are gone."""
    index = Index(":memory:")
    days = [NOW + timedelta(days=day) for day in range(4)]
    seen(index, 5, days[0])
    assert responsible_since(index) is None
    seen(index, 6, days[1])
    seen(index, 6, days[2])
    assert responsible_since(index) == days[1]
    assert seen(index, 7, days[3]) == (Tenure(6, days[3], days[1]), Tenure(5, days[1]))
    assert responsible_since(index) == days[3]


def responsible_since(index: Index) -> datetime | None:
    found = index.deal(1)
    assert found
    return found.responsible_since


def test_former_responsibles_stand_latest_first_and_never_beside_themselves() -> None:
    """5, then 6, then 7, then 5 again: whoever is back is no former one, and his new time counts later."""
    index = Index(":memory:")
    days = [NOW + timedelta(days=day) for day in range(5)]
    seen(index, 5, days[0])
    seen(index, 6, days[1])
    assert seen(index, 7, days[2]) == (Tenure(6, days[2], days[1]), Tenure(5, days[1]))
    assert seen(index, 5, days[3]) == (Tenure(7, days[3], days[2]), Tenure(6, days[2], days[1]))
    assert seen(index, 6, days[4]) == (Tenure(5, days[4], days[3]), Tenure(7, days[3], days[2]))


@pytest.mark.parametrize("modified", [None, NOW - timedelta(seconds=1)])
def test_a_row_that_tells_no_time_tells_no_handover(modified: datetime | None) -> None:
    """Undated, or older than the row that is kept: nobody can say since when another one is responsible."""
    index = Index(":memory:")
    seen(index, 5, NOW)
    assert seen(index, 6, modified) == ()


def test_nobody_is_no_former_responsible() -> None:
    """A deal without a responsible gets one: that is no handover."""
    index = Index(":memory:")
    seen(index, 0, NOW)
    assert seen(index, 5, NOW + timedelta(days=1)) == ()


def test_observers_are_those_of_the_last_row() -> None:
    """Whoever observes no longer is gone."""
    index = Index(":memory:")
    for observers in ((7, 6), (6,)):
        with index.writing():
            index.put_deals([Deal(id=1, observer_ids=observers)], 1)
        found = index.deal(1)
        assert found
        assert found.observer_ids == tuple(sorted(observers))


def test_a_deal_that_is_gone_takes_its_former_responsibles_and_observers_along() -> None:
    """Its number might otherwise come back with them."""
    index = Index(":memory:")
    seen(index, 5, NOW)
    seen(index, 6, NOW + timedelta(days=1))
    with index.writing():
        index.put_deals([Deal(id=1, responsible_id=6, observer_ids=(7,), modified_at=NOW)], 1)
        index.drop_stale("deals", 2)
        index.put_deals([Deal(id=1, responsible_id=6)], 2)
    found = index.deal(1)
    assert found
    assert (found.former, found.observer_ids) == ((), ())


def test_a_snapshot_carries_observers_and_former_responsibles() -> None:
    """Both are optional; what an earlier snapshot said differently is no handover."""
    row = deal_row(
        1, 6, OBSERVERS=[7], FORMER_RESPONSIBLES=[{"USER_ID": 5, "UNTIL": "2026-10-26T10:00:00+03:00"}]
    )
    index = index_of(deals=[deal_row(1, 7), deal_row(2, 5)])
    import_snapshot(index, snapshot(deals=[row, deal_row(2, 6)]))
    first, second = index.deal(1), index.deal(2)
    assert first
    assert second
    assert first.former == (Tenure(5, datetime(2026, 10, 26, 7, tzinfo=UTC)),)
    assert (first.observer_ids, second.former, second.observer_ids) == ((7,), (), ())
    once = export_snapshot(index)
    again = Index(":memory:")
    import_snapshot(again, once)
    assert export_snapshot(again) == once
    assert "OBSERVERS" not in once["deals"][1]


def test_a_former_responsible_without_a_time_is_refused() -> None:
    """The error names the row."""
    row = deal_row(1, 6, FORMER_RESPONSIBLES=[{"USER_ID": 5}])
    with pytest.raises(StoreError, match=r"deals\[0\].*UNTIL"):
        index_of(deals=[row])


def staff(index: Index) -> dict[str, User]:
    """The employees as a decision sees them."""
    with index.reading():
        return index.users_by_email(["masha@company.ru", "new@company.ru"])


def test_a_decision_sees_what_anybody_has_written_of_the_staff(tmp_path: Path) -> None:
    """The employees are kept from one decision to the next, but not beyond a change."""
    index, other = Index(tmp_path / "index.db"), Index(tmp_path / "index.db")
    masha, new = User(5, "Masha", "masha@company.ru"), User(6, "New", "new@company.ru")
    assert staff(index) == {}
    with index.writing():
        index.put_users([masha], 1)
    assert staff(index) == staff(index) == {"masha@company.ru": masha}
    with other.writing():
        other.put_users([new], 1)
    assert staff(index) == {"masha@company.ru": masha, "new@company.ru": new}
    with other.writing():
        other.put_users([replace(new, active=False)], 1)
    assert staff(index) == {"masha@company.ru": masha}
    with index.reading():
        assert index.user(6) == replace(new, active=False)


def test_a_decision_sees_nothing_of_what_was_taken_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.db")
    masha = User(5, "Masha", "masha@company.ru")
    with contextlib.suppress(KeyError), index.writing():
        index.put_users([masha], 1)
        assert staff(index) == {"masha@company.ru": masha}
        raise KeyError
    assert staff(index) == {}


def test_one_decision_sees_one_state_of_the_index(tmp_path: Path) -> None:
    """What another connection commits meanwhile is seen by the next one."""
    index, other = Index(tmp_path / "index.db"), Index(tmp_path / "index.db")
    with index.reading():
        assert index.deal(1) is None
        with other.writing():
            other.put_deals([Deal(1)], 1)
        assert index.deal(1) is None
    assert index.deal(1) == Deal(1)


def test_a_staff_too_large_to_keep_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imaprouter.store.index._MOST_STAFF", 1)
    index = Index(":memory:")
    twins = [User(n, f"Masha {n}", "masha@company.ru") for n in (5, 6)]
    with index.writing():
        index.put_users(twins, 1)
    assert staff(index) == {"masha@company.ru": twins[0]}
    with index.reading():
        assert index.users([6, 5, 7]) == tuple(twins)


def test_what_hangs_on_a_row_comes_in_its_order() -> None:
    """The first contact and the first company are the primary ones, whatever their numbers."""
    index = Index(":memory:")
    whole = Deal(1, contact_ids=(30, 10, 20), observer_ids=(7, 9))
    with index.writing():
        index.put_deals([whole, Deal(2, company_id=4), Deal(3, contact_ids=(10,))], 1)
        index.put_contacts([Contact(10, "Anna", 1, (9, 4, 6), ("a@x.ru", "b@x.ru"))], 1)
    assert index.deals_of([10], [4]) == (whole, Deal(2, company_id=4), Deal(3, contact_ids=(10,)))
    assert index.client("b@x.ru").contacts == (Contact(10, "Anna", 1, (9, 4, 6), ("a@x.ru", "b@x.ru")),)
