"""The laws hold where nothing went wrong, and tell each way of going wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import Office, letter

from faults import laws
from faults.harness import Site
from faults.laws import REVIEW, Book, Fate, Score, judge
from imaprouter.model import State, deal


@pytest.fixture
def book(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Book]:
    with Office(tmp_path, dovecot, user) as office:
        book = Book(office)
        book.post(letter(to="masha@company.ru", cc="sales@company.ru", subject="To be moved"), Fate(deal(1)))
        book.post(letter(to="ilya@company.ru", cc="sales@company.ru", subject="Right"), Fate(deal(2)))
        book.post(letter(subject="Question"), REVIEW)
        office.sync.sync_once()
        yield book


def test_a_day_without_faults_breaks_no_law(book: Book) -> None:
    book.office.run_once()
    assert book.caught_up()
    assert not judge(book)
    assert len(book.landings) == 3


def test_a_letter_that_nobody_read_is_lost(book: Book) -> None:
    book.office.run_once()
    book.post(letter(subject="Late"), REVIEW)
    assert not book.caught_up()
    assert len(judge(book).lost) == 2


def test_a_message_that_is_still_under_way_is_lost(book: Book) -> None:
    """Its activity has not come."""
    book.post(letter(to="ilya@company.ru", cc="sales@company.ru", subject="Late"), Fate(deal(2)))
    book.office.run_once()
    assert not book.caught_up()
    assert len(judge(book).lost) == 1


def test_a_mail_that_was_decided_twice_is_doubled(book: Book) -> None:
    book.office.run_once()
    with book.office.journal() as journal, journal.transaction():
        journal._db.execute(
            "UPDATE messages SET message_id = 'x', envelope = (SELECT envelope FROM messages WHERE id = 1)"
            " WHERE id = 2"
        )
    verdict = judge(book)
    assert len(verdict.doubled) == 1
    assert len(verdict.lost) == 1


def test_a_wrong_binding_a_needless_write_and_a_second_notice_are_told(book: Book) -> None:
    book.office.run_once()
    moved, right, question = sorted(book.landings)
    crm = book.office.portal.crm
    crm.set_bindings(moved, [(3, 20), (2, 2)])
    assert len(judge(book).wrong) == 1
    crm.set_bindings(question, [(3, 20), (2, 1)])
    assert len(judge(book).wrong) == 2
    notice = next(each for each in crm.notifications if each.kind == "system")
    crm.notifications.append(notice)
    assert len(judge(book).doubled) == 1
    write = next(each for each in book.office.portal.writes if each.method == "crm.activity.update")
    write.params["id"] = right
    assert len(judge(book).wrong) == 3


def test_an_end_that_was_not_expected_is_wrong(book: Book) -> None:
    book.office.run_once()
    with book.office.journal() as journal, journal.transaction():
        journal._db.execute("UPDATE messages SET state = ? WHERE id = 1", (State.FAILED,))
    assert len(judge(book).wrong) == 1


def test_a_case_that_fails_on_its_way_is_judged_where_it_stands(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that cannot be judged is counted as such."""
    score = Score()
    monkeypatch.setattr(laws, "SCORE", score)
    site = make_site()

    def fails() -> None:
        with site.case(warm=False):
            site.mail.pause()
            site.post("question")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed:
        fails()
    assert (score.cases, score.lost, score.unjudged) == (1, 2, 0)
    assert any("is not on record" in note for note in failed.value.__notes__)
    monkeypatch.setattr(laws, "judge", lambda book: 1 / 0)
    with pytest.raises(ZeroDivisionError) as failed:
        fails()
    assert (score.cases, score.lost, score.unjudged) == (2, 2, 1)
    assert failed.value.__notes__ == ["judged where it failed: it cannot be judged"]
    assert "cases 2, failed 0, unjudged 1" in str(score)
