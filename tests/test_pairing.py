"""Which activity is which message's: the fingerprint, its ties and its laws."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from imaprouter.model import Activity, Address, Direction, Envelope, Target, deal
from imaprouter.pairing import Waiting, fits, pair, subject_key

MOMENT = datetime(2026, 11, 2, 10, 15, 0, tzinfo=UTC)
ENVELOPE = Envelope(
    subject="Re: КП",
    from_=(Address("sergey@horns.ru"),),
    to=(Address("sales@company.ru"),),
    date=MOMENT,
    message_id="a@b",
)


def message(number: int = 1, envelope: Envelope = ENVELOPE, *, target: Target | None = None) -> Waiting:
    return Waiting(
        id=number,
        mailbox_emails=frozenset({"sales@company.ru"}),
        direction=Direction.INCOMING,
        envelope=envelope,
        internal_date=MOMENT + timedelta(seconds=3),
        target=target or deal(1),
        review=False,
    )


def activity(number: int = 100) -> Activity:
    return Activity(
        id=number,
        mailbox_email="sales@company.ru",
        direction=Direction.INCOMING,
        subject="Re: КП",
        start_time=MOMENT,
        created_at=MOMENT + timedelta(minutes=1),
        updated_at=MOMENT + timedelta(minutes=1),
        owner=None,
        responsible_id=5,
        completed=False,
        from_=frozenset({"sergey@horns.ru"}),
        to=frozenset({"sales@company.ru"}),
    )


def test_a_message_finds_its_activity() -> None:
    """Mailbox, direction, Date, subject and From agree."""
    assert pair([message()], [activity()]).pairs == ((1, 100),)


def test_what_differs_does_not_fit() -> None:
    """Another mailbox, direction, second, subject or sender is another message's activity."""
    strangers = [
        replace(activity(), mailbox_email="info@company.ru"),
        replace(activity(), direction=Direction.OUTGOING),
        replace(activity(), start_time=MOMENT + timedelta(seconds=30)),
        replace(activity(), start_time=None),
        replace(activity(), subject="Re: счёт"),
        replace(activity(), from_=frozenset({"olga@horns.ru"})),
    ]
    assert [fits(message(), stranger) for stranger in strangers] == [False] * len(strangers)


def test_what_the_portal_changes_still_fits() -> None:
    """White space, a default text for an empty subject, INTERNALDATE for an unusable Date, lost SETTINGS."""
    no_subject = message(envelope=replace(ENVELOPE, subject=""))
    no_date = message(envelope=replace(ENVELOPE, date=None))
    wide = message(envelope=replace(ENVELOPE, subject="Re:  КП "))
    bare = replace(activity(), mailbox_email="", from_=frozenset[str]())
    assert fits(wide, activity())
    assert fits(no_subject, replace(activity(), subject="Входящее письмо"))
    assert fits(no_date, replace(activity(), start_time=MOMENT + timedelta(seconds=3)))
    assert fits(message(), bare)


def test_long_subjects_are_compared_by_their_beginning() -> None:
    """The portal may cut a subject after 255 characters; 250 are compared."""
    assert subject_key("ж" * 300) == subject_key("ж" * 260)
    assert subject_key("ж" * 240) != subject_key("ж" * 241)


def test_two_letters_of_one_second_are_told_apart_by_their_recipients() -> None:
    """A robot wrote twice in one second with one subject: To breaks the tie."""
    to_info = message(2, replace(ENVELOPE, to=(Address("info@company.ru"),)), target=deal(2))
    hers = replace(activity(101), to=frozenset({"info@company.ru"}))
    found = pair([message(1), to_info], [hers, activity(100)])
    assert found.pairs == ((1, 100), (2, 101))


def test_a_redelivered_letter_takes_its_own_activity() -> None:
    """Two copies, two activities, one decision: paired in the order of arrival."""
    assert pair([message(1), message(2)], [activity(100), activity(101)]).pairs == ((1, 100), (2, 101))


def test_two_that_fit_and_would_be_treated_differently_are_not_guessed() -> None:
    """Same fingerprint, different deals: named as ambiguous, nothing paired."""
    found = pair([message(1), message(2, target=deal(2))], [activity(100)])
    assert found.pairs == ()
    assert found.ambiguous == ((1, (100,)), (2, (100,)))


letters = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["a", "b"]), st.integers(1, 2)), min_size=1, max_size=6
)


@given(letters, st.randoms(use_true_random=False))
def test_pairs_are_one_to_one_fitting_and_independent_of_order(
    drawn: list[tuple[int, str, int]], chance: random.Random
) -> None:
    """Each message and activity at most once, every pair fits, and shuffling changes nothing."""
    messages, activities = [], []
    for number, (second, subject, target) in enumerate(drawn, start=1):
        when = MOMENT + timedelta(seconds=10 * second)
        envelope = replace(ENVELOPE, subject=subject, date=when)
        messages.append(message(number, envelope, target=deal(target)))
        activities.append(replace(activity(100 + number), subject=subject, start_time=when))
    found = pair(messages, activities)
    by_message = {m.id: m for m in messages}
    by_activity = {a.id: a for a in activities}
    assert len({m for m, _ in found.pairs}) == len(found.pairs) == len({a for _, a in found.pairs})
    assert all(fits(by_message[m], by_activity[a]) for m, a in found.pairs)
    shuffled_messages, shuffled_activities = list(messages), list(activities)
    chance.shuffle(shuffled_messages)
    chance.shuffle(shuffled_activities)
    assert pair(shuffled_messages, shuffled_activities) == found
