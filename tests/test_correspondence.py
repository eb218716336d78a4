"""Which letters were answered, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.correspondence import Written, answers, topic_of

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLIENT, OTHER = "sergey@horns.ru", "anna@romashka-sample.ru"


def from_client(
    number: int, hour: float = 0, *, parents: str = "", by: str = CLIENT, topic: str = ""
) -> Written:
    return Written(
        number=number,
        ours=False,
        at=NOON + timedelta(hours=hour),
        ids=frozenset({f"c{number}"}),
        parents=frozenset(parents.split()),
        people=frozenset({by}),
        topic=topic or f"topic {number}",
    )


def from_us(number: int, hour: float, *, parents: str = "", to: str = CLIENT, topic: str = "") -> Written:
    return Written(
        number=number,
        ours=True,
        at=NOON + timedelta(hours=hour),
        ids=frozenset({f"o{number}"}) if number else frozenset(),
        parents=frozenset(parents.split()),
        people=frozenset(to.split()),
        topic=topic or f"sent {number}",
    )


def after(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def test_a_reply_answers_what_it_names() -> None:
    assert answers([from_client(1), from_us(2, 3, parents="c1")]) == {1: after(3)}


def test_nobody_answers_a_later_letter_or_another_client() -> None:
    """Nor does a colleague who was written to within the thread."""
    assert answers([from_client(1, 4), from_us(2, 3, parents="c1")]) == {}
    assert answers([from_client(1), from_us(2, 3, parents="c1", to="masha@company.ru")]) == {}
    assert answers([from_client(1), from_us(2, 3, to=OTHER, topic="topic 1")]) == {}


def test_the_first_answer_counts() -> None:
    letters = [from_client(1), from_us(2, 3, parents="c1"), from_us(3, 1, parents="c1")]
    assert answers(letters) == {1: after(1)}


def test_one_answer_is_for_all_that_waited_in_the_thread() -> None:
    """The client asks again before anybody has answered; what he writes afterwards waits."""
    letters = [
        from_client(1),
        from_client(2, 1, parents="c1"),
        from_us(3, 2, parents="c2"),
        from_client(4, 3, parents="o3 c1"),
    ]
    assert answers(letters) == {1: after(2), 2: after(2)}


def test_a_thread_is_held_together_by_an_id_that_nobody_saw() -> None:
    assert answers([from_client(1, parents="unseen"), from_us(2, 1, parents="unseen")]) == {1: after(1)}


def test_a_letter_without_ids_answers_its_subject() -> None:
    """As the portal shows its own letters; one with ids belongs to its thread alone."""
    assert answers([from_client(1, topic="кп"), from_us(0, 2, topic="кп")]) == {1: after(2)}
    assert answers([from_client(1, topic="кп"), from_us(5, 2, topic="кп", parents="elsewhere")]) == {}
    assert answers([replace(from_client(1), topic=""), replace(from_us(0, 2), topic="")]) == {}


@pytest.mark.parametrize(
    ("subject", "topic"),
    [
        ("Re: КП", "кп"),
        ("RE[3]: Fwd: Ответ: КП", "кп"),
        ("Odp: PD: Oferta", "oferta"),
        ("AW: WG: Angebot", "angebot"),
        ("re : кп", "кп"),
        ("Ремонт: смета", "ремонт: смета"),
        ("Report: sales", "report: sales"),
        ("Re:", ""),
        ("", ""),
    ],
)
def test_replies_keep_the_topic(subject: str, topic: str) -> None:
    assert topic_of(subject) == topic


NAMES = st.sampled_from(["c1", "c2", "c3", "o1", "o2", "x", "y"])
LETTERS = st.lists(
    st.builds(
        Written,
        number=st.integers(1, 9),
        ours=st.booleans(),
        at=st.integers(0, 20).map(lambda hour: NOON + timedelta(hours=hour)),
        ids=st.frozensets(NAMES, max_size=2),
        parents=st.frozensets(NAMES, max_size=3),
        people=st.frozensets(st.sampled_from([CLIENT, OTHER]), max_size=2),
        topic=st.sampled_from(["", "кп", "счёт"]),
    ),
    max_size=9,
    unique_by=lambda letter: letter.number,
)


@given(LETTERS, st.randoms(use_true_random=False))
def test_an_answer_comes_later_from_us_and_to_the_client_in_any_order(
    letters: list[Written], random: Random
) -> None:
    found = answers(letters)
    by_number = {letter.number: letter for letter in letters}
    for number, at in found.items():
        question = by_number[number]
        assert not question.ours
        assert at > question.at
        assert any(each.ours and each.at == at and each.people & question.people for each in letters)
    shuffled = letters[:]
    random.shuffle(shuffled)
    assert answers(shuffled) == found


@given(LETTERS, st.integers(0, 9))
def test_a_further_letter_of_ours_takes_no_answer_away(letters: list[Written], which: int) -> None:
    ours = [letter for letter in letters if letter.ours]
    if not ours:
        return
    one = ours[which % len(ours)]
    assert answers([letter for letter in letters if letter != one]).keys() <= answers(letters).keys()
