"""Files of earlier versions: they open, everything in them can be read, and their schema is a new one's.

tests/schemas holds what those versions wrote, as SQL: one file of each kind for each migration but the last.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlite_utils import Database, Migrations

from imaprouter.cli import cli
from imaprouter.errors import StoreError
from imaprouter.language import language
from imaprouter.model import Decision, State, deal
from imaprouter.reasons import Reason, sentence
from imaprouter.store import index_schema, journal_schema
from imaprouter.store.database import APPLICATION_ID, open_database
from imaprouter.store.index import Index
from imaprouter.store.journal import Journal
from imaprouter.store.journal_schema import with_reasons
from imaprouter.store.rows import Tables, dump, load

SCHEMAS = Path(__file__).parent / "schemas"
KINDS = {"journal": journal_schema.migrations, "index": index_schema.migrations}
DUMPS = sorted(path.stem for path in SCHEMAS.glob("*.sql"))
JOURNALS = [name for name in DUMPS if name.startswith("journal")]
INDEXES = [name for name in DUMPS if name.startswith("index")]


def names(migrations: Migrations) -> list[str]:
    with closing(Database(memory=True)) as empty:
        return [migration.name for migration in migrations.pending(empty)]


STAGES = [(kind, before) for kind, migrations in KINDS.items() for before in names(migrations)]


def restored(name: str, folder: Path) -> Path:
    """The file that an earlier version left."""
    path = folder / f"{name}.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SCHEMAS / f"{name}.sql").read_text("utf-8"))
    return path


@contextmanager
def journal_of(path: Path) -> Iterator[Journal]:
    with closing(Journal(path)) as journal:
        yield journal


def decisions(path: Path) -> dict[int, dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, decision FROM messages").fetchall()
    return {number: json.loads(text) for number, text in rows}


def schema(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def fresh(kind: str, folder: Path) -> set[tuple[str, ...]]:
    path = folder / "fresh.db"
    open_database(path, KINDS[kind], synchronous="NORMAL").close()
    return schema(path)


# ── files that earlier versions wrote ─────────────────────────────────────────────────────────────────────


def test_there_is_a_file_of_every_earlier_version() -> None:
    """One for each migration but the last."""
    for kind, migrations in KINDS.items():
        written = [f"{kind}-{number}" for number in range(1, len(names(migrations)))]
        assert [name for name in DUMPS if name.startswith(kind)] == written


@pytest.mark.parametrize("name", JOURNALS)
def test_every_message_of_an_earlier_journal_is_read(name: str, tmp_path: Path) -> None:
    """By number and in its state, with its activities, and with a sentence for every finding."""
    with journal_of(restored(name, tmp_path)) as journal:
        numbers = range(1, journal.messages.count() + 1)
        found = [journal.messages.get(number) for number in numbers]
        assert [message.state for message in found if message] == [
            State.PAIRED,
            State.REVIEW,
            State.SETTLED,
            State.WAITING,
            State.SETTLED,
            State.UNREADABLE,
        ]
        for message in filter(None, found):
            assert message.decision.reason
            assert all(finding.detail for finding in message.decision.trail)
        [asked] = journal.messages.in_states(State.REVIEW)
        assert asked.waits_for_person
        assert asked.decision.candidates == (1, 2)
        assert [message.id for message in journal.messages.open_questions(9)] == [4]
        assert [paired.activity.id for paired in journal.activities.of_message(1)] == [100]
        assert [paired.activity.id for paired in journal.activities.of_message(3)] == [101]
        assert [activity.id for activity in journal.activities.unpaired()] == [102]
        assert journal.traces.notices(1) == {5: "sent"}
        assert [write.outcome for write in journal.traces.writes(3)] == ["done"]
        known = journal.messages.known_message("letter-1@horns.ru")
        assert known
        assert known.target == deal(1)
        by_person = journal.messages.get(5)
        assert by_person
        assert by_person.person_target == deal(3)
        folder = journal.folders.get("sales", "INBOX")
        assert folder
        assert (folder.cursor, len(folder.anchors)) == (6, 6)


def test_what_was_said_in_sentences_is_still_said(tmp_path: Path) -> None:
    """Word for word in English, as a citation in another language; all the rest of a decision stays."""
    path = restored("journal-1", tmp_path)
    before = decisions(path)
    with journal_of(path) as journal:
        for number, old in before.items():
            message = journal.messages.get(number)
            assert message
            new = message.decision
            assert new.reasons == (Reason("earlier", {"text": old["reason"]}),)
            assert new.reason == old["reason"]
            assert [finding.detail for finding in new.trail] == [found["detail"] for found in old["trail"]]
            assert [finding.rule for finding in new.trail] == [found["rule"] for found in old["trail"]]
            assert (new.outcome, new.rule, new.review) == (old["outcome"], old["rule"], old["review"])
            assert old["reason"] in sentence(new.reasons, language("ru", {}))


def test_decisions_with_reasons_stay_as_they_are(tmp_path: Path) -> None:
    """To the letter."""
    path = restored("journal-2", tmp_path)
    before = decisions(path)
    Journal(path).close()
    assert decisions(path) == before


@pytest.mark.parametrize("name", JOURNALS)
def test_commands_tell_of_an_earlier_journal(name: str, tmp_path: Path) -> None:
    """`explain` of every message and `queue`, for people and for programs."""
    options = ["--config", str(tmp_path / "imaprouter.toml"), "--lang", "ru"]
    (tmp_path / "imaprouter.toml").write_text(f"store.path = {json.dumps(str(restored(name, tmp_path)))}")
    for number in range(1, 7):
        for words in (["explain", str(number)], ["explain", str(number), "--json"]):
            assert CliRunner().invoke(cli, options + words).exit_code == 0
    result = CliRunner().invoke(cli, [*options, "queue", "--json"])
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [2, 6]


@pytest.mark.parametrize("name", [name for name in JOURNALS if name < "journal-7"])
def test_writes_of_an_earlier_journal_say_what_they_changed_and_for_which_rule(
    name: str, tmp_path: Path
) -> None:
    """What they found and left is known as far as the activity knows it."""
    path = restored(name, tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM writes")
        connection.executemany(
            "INSERT INTO writes (at, message_id, activity_id, step, outcome) VALUES (?, 1, 100, ?, 'done')",
            [
                ("2026-11-02T10:00:01.000000+00:00", step)
                for step in ("stamp", "bind to deal 1", "responsible becomes user 5", "notify user 5")
            ],
        )
        connection.execute("UPDATE activities SET last_bindings = first_bindings WHERE id = 100")
    with journal_of(path) as journal:
        writes = journal.traces.writes(1)
        assert [write.kind for write in writes] == ["stamp", "bindings", "responsible", "notice"]
        message = journal.messages.get(1)
        assert message
        assert {write.rule for write in writes} == {message.decision.rule}
        paired = journal.activities.get(100)
        assert paired
        assert (writes[1].before, writes[1].after) == (paired.first_bindings, paired.first_bindings)
        assert writes[0].before is None


@pytest.mark.parametrize("name", INDEXES)
def test_an_earlier_index_answers(name: str, tmp_path: Path) -> None:
    """Deals, clients, employees and sent letters, and who observes or was responsible, where it is known."""
    with closing(Index(restored(name, tmp_path))) as index:
        found = index.deal(1)
        assert found
        assert (found.contact_ids, found.responsible_id, found.active) == ((20,), 5, True)
        assert (found.former, found.observer_ids) == ((), ())
        assert (found.responsible_since, found.moved_at) == (None, None)
        second = index.deal(2)
        assert second
        known = name != "index-1"
        assert [tenure.user_id for tenure in second.former] == [5] * known
        assert second.observer_ids == (5,) * known
        assert [one.id for one in index.deals_of([20], [])] == [1, 2, 4]
        assert index.client("sergey@horns.ru").contact_ids == (20,)
        assert [lead.id for lead in index.client("new@mail.ru").leads] == [30]
        masha = index.user_by_email("masha@company.ru")
        assert masha
        assert masha.id == 5
        assert index.counts()["sent_letters"] == 1
        assert index.generation() == 1


@pytest.mark.parametrize("name", DUMPS)
def test_an_earlier_file_gets_the_schema_of_a_new_one(name: str, tmp_path: Path) -> None:
    """And is migrated once: the second opening changes nothing."""
    kind = name.partition("-")[0]
    path = restored(name, tmp_path)
    for _ in range(2):
        open_database(path, KINDS[kind], synchronous="NORMAL").close()
        assert schema(path) == fresh(kind, tmp_path)


@pytest.mark.parametrize(("kind", "before"), STAGES)
def test_every_stage_reaches_the_present_schema(kind: str, before: str, tmp_path: Path) -> None:
    """Whatever number of migrations a file has seen, from none on."""
    path = tmp_path / "half.db"
    with closing(Database(path)) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        KINDS[kind].apply(database, stop_before=before)
    open_database(path, KINDS[kind], synchronous="NORMAL").close()
    assert schema(path) == fresh(kind, tmp_path)


# ── one decision ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[1]", '{"reasons":[],"trail":[]}', '{"reasons": [], "trail": [3, null]}'],
)
def test_what_is_no_earlier_decision_stays(text: str) -> None:
    """A damaged text is not this migration's business."""
    assert with_reasons(text) == text


def test_a_decision_of_two_shapes_gets_one() -> None:
    """Only what lacks reasons is rewritten; the code stands in for a missing sentence."""
    mixed = {
        "outcome": "leave",
        "rule": "marker",
        "reasons": [{"code": "no_marker", "values": {}}],
        "trail": [
            {"rule": "marker", "verdict": "no_match", "reasons": [{"code": "no_marker", "values": {}}]},
            {"rule": "thread", "verdict": "no_match", "code": "no_parents", "review": False},
        ],
    }
    decision = load(with_reasons(json.dumps(mixed)), Decision)
    assert decision.reasons == (Reason("no_marker"),)
    assert [finding.code for finding in decision.trail] == ["no_marker", "earlier"]
    assert decision.trail[1].detail == "no_parents"
    assert with_reasons(dump(decision)) == dump(decision)


# ── what cannot be read ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["{", '{"outcome":"leave"}', "null"])
def test_a_value_of_another_shape_is_a_store_error(text: str, tmp_path: Path) -> None:
    """It says what could not be read, and what to do."""
    path = restored("journal-2", tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE messages SET decision = ? WHERE id = 2", (text,))
    with journal_of(path) as journal:
        assert journal.messages.get(1)
        with pytest.raises(StoreError, match=r"holds a Decision that cannot be read: .+") as raised:
            journal.messages.get(2)
    assert "restore" in raised.value.advice


def test_a_tuple_of_another_shape_is_a_store_error() -> None:
    """Types without a name of their own too."""
    with pytest.raises(StoreError, match=r"holds a tuple\[int, \.\.\.\] that cannot be read"):
        load("{}", tuple[int, ...])


def test_sqlite_errors_outside_a_transaction_are_store_errors(tmp_path: Path) -> None:
    """They name the file."""
    path = restored("index-1", tmp_path)
    with closing(open_database(path, index_schema.migrations, synchronous="NORMAL")) as database:
        tables = Tables(database)
        database.execute("DROP TABLE deals")
        for ask in (tables._row, tables._rows):
            with pytest.raises(StoreError, match=r"index-1\.db: no such table: deals"):
                ask("SELECT id FROM deals")
