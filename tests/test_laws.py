"""The laws of deciding: they hold for every letter, every policy and every CRM."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from company import COMPANIES, CONTACTS, DEALS, USERS, deal_row, index_of
from hypothesis import given
from hypothesis import strategies as st

from imaprouter import mail
from imaprouter.decide import decide
from imaprouter.model import Address, Decision, Envelope, Letter, Nature, Outcome, Standing, deal
from imaprouter.policy import ParticipantsPolicy, RoutingPolicy

OWN = frozenset({"sales@company.ru"})
LETTERS_SENT = [
    {
        "ID": 501,
        "DIRECTION": "2",
        "OWNER_TYPE_ID": "2",
        "OWNER_ID": "1",
        "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": "<crm.activity.501-ABC123@company.bitrix24.ru>"}},
    }
]
SENT = "crm.activity.501-abc123@company.bitrix24.ru"
PEOPLE = [
    *("sergey@horns.ru", "kolya@horns.ru", "info@horns.ru", "anna@romashka.ru", "alone@mail.ru"),
    *("masha@company.ru", "ilya@company.ru", "gone@company.ru", "sales@company.ru", "sales+d2@company.ru"),
    "stranger@nowhere.com",
]
SUBJECTS = ["КП", "#1", "Re: #2 и #3", "#1 #2", "#99", "#4", "C# и #12228", "№2"]
COMPANY = index_of(activities=LETTERS_SENT)

people = st.sampled_from(PEOPLE)


def letter_of(
    sender: str, to: list[str], cc: list[str], subject: str, parents: list[str], nature: Nature
) -> Letter:
    envelope = Envelope(
        subject=subject,
        from_=(Address(sender),),
        to=tuple(map(Address, to)),
        cc=tuple(map(Address, cc)),
        parents=tuple(parents),
        nature=nature,
    )
    return Letter(envelope, OWN, OWN)


letters = st.builds(
    lambda what, outgoing: replace(what, outgoing=outgoing),
    st.builds(
        letter_of,
        people,
        st.lists(people, max_size=3),
        st.lists(people, max_size=2),
        st.sampled_from(SUBJECTS),
        st.lists(st.sampled_from([SENT, "unknown@x"]), max_size=2),
        st.sampled_from(Nature),
    ),
    st.booleans(),
)
policies = st.builds(
    lambda conflict, several, nobody, closed, shared: RoutingPolicy(
        on_conflict=conflict,
        participants=ParticipantsPolicy(
            several_deals=several, no_responsible=nobody, no_active_deal=closed, shared_address=shared
        ),
    ),
    st.sampled_from(["order", "review"]),
    st.sampled_from(["review", "latest", "company"]),
    st.sampled_from(["company", "contact", "leave", "review"]),
    st.sampled_from(["company", "contact", "last_closed_deal", "leave", "review"]),
    st.sampled_from(["deals", "review"]),
)


def conclusion(decision: Decision) -> Mapping[str, object]:
    return {
        "outcome": decision.outcome,
        "target": decision.target,
        "rule": decision.rule,
        "review": decision.review,
        "candidates": decision.candidates,
        "considered": {one.target: one.standing for one in decision.considered},
    }


@given(letters, policies)
def test_every_letter_gets_a_whole_decision(what: Letter, policy: RoutingPolicy) -> None:
    """Nothing raises; a review has no target, a target fits its outcome, and there is always a reason."""
    decision = decide(what, COMPANY, policy)
    assert decision.reason
    assert decision.trail
    assert not (decision.review and decision.target)
    if decision.target:
        assert decision.outcome.value == decision.target.type.value
    else:
        assert decision.outcome in (Outcome.LEAVE, Outcome.IGNORE)


@given(letters, policies)
def test_whoever_was_considered_has_won_or_waits_or_lost(what: Letter, policy: RoutingPolicy) -> None:
    """The one chosen is the target, what a person may choose from is open, and nothing is named twice."""
    decision = decide(what, COMPANY, policy)
    standing = {one.target: one.standing for one in decision.considered}
    assert len(standing) == len(decision.considered)
    chosen = [target for target, found in standing.items() if found is Standing.CHOSEN]
    assert chosen == ([decision.target] if decision.target else [])
    if decision.review:
        assert all(standing[deal(number)] is Standing.OPEN for number in decision.candidates)
    else:
        assert Standing.OPEN not in standing.values()
    for one in decision.considered:
        assert one.reasons


@given(letters, policies, st.randoms(use_true_random=False))
def test_the_order_of_recipients_and_rows_changes_nothing(
    what: Letter, policy: RoutingPolicy, chance: random.Random
) -> None:
    """A decision depends on who is there, not on where he stands."""
    envelope = what.envelope
    to, cc = list(envelope.to), list(envelope.cc)
    deals, contacts, companies, users = list(DEALS), list(CONTACTS), list(COMPANIES), list(USERS)
    for rows in (to, cc, deals, contacts, companies, users):
        chance.shuffle(rows)
    turned = replace(what, envelope=replace(envelope, to=tuple(to), cc=tuple(cc)))
    index = index_of(
        activities=LETTERS_SENT, deals=deals, contacts=contacts, companies=companies, users=users
    )
    assert conclusion(decide(turned, index, policy)) == conclusion(decide(what, COMPANY, policy))


UNRELATED = index_of(
    activities=LETTERS_SENT,
    companies=[*COMPANIES, {"ID": 90, "TITLE": "Чужие", "EMAIL": [{"VALUE": "x@unrelated.ru"}]}],
    contacts=[
        *CONTACTS,
        {"ID": 91, "NAME": "Чужой", "COMPANY_IDS": [90], "EMAIL": [{"VALUE": "y@unrelated.ru"}]},
    ],
    deals=[*DEALS, deal_row(92, 5, COMPANY_ID=90, CONTACT_IDS=[91])],
)


@given(letters, policies)
def test_an_unrelated_deal_never_changes_a_decision(what: Letter, policy: RoutingPolicy) -> None:
    """A stranger's company, contact and deal are nothing to this letter."""
    assert conclusion(decide(what, UNRELATED, policy)) == conclusion(decide(what, COMPANY, policy))


def evidence_removed(what: Letter) -> list[Letter]:
    """The letter without its marker, without its thread, without one of its recipients, without them all."""
    envelope = what.envelope
    without = [
        replace(envelope, subject="КП"),
        replace(envelope, parents=()),
        replace(envelope, to=(), cc=()),
        *(replace(envelope, to=envelope.to[:at] + envelope.to[at + 1 :]) for at in range(len(envelope.to))),
        *(replace(envelope, cc=envelope.cc[:at] + envelope.cc[at + 1 :]) for at in range(len(envelope.cc))),
    ]
    return [replace(what, envelope=each) for each in without]


def certainty(decision: Decision) -> int:
    """How strong the evidence is on which a decision rests: the rank of its rule, 0 without any."""
    ranks = {"marker": 4, "thread": 3, "address": 2, "participants": 1}
    return ranks.get(decision.rule, 0)


@given(letters, policies)
def test_removing_evidence_never_makes_a_decision_more_certain(what: Letter, policy: RoutingPolicy) -> None:
    """What one kind of evidence does not hold is not held by a stronger one when something is taken away.

    Contradictory evidence is left aside: where two answers are a question, one of them alone is an answer.
    """
    if what.outgoing:
        return  # without recipients, our own letter has no client that could be checked against a marker
    decision = decide(what, COMPANY, policy)
    if decision.review:
        return
    for less in evidence_removed(what):
        assert certainty(decide(less, COMPANY, policy)) <= certainty(decision)


@given(policies, st.booleans())
def test_without_any_evidence_nothing_is_decided(policy: RoutingPolicy, outgoing: bool) -> None:
    """A stranger's letter that names nothing stays as Bitrix24 made it, whatever the policies say."""
    what = replace(letter_of("stranger@nowhere.com", [], [], "КП", [], Nature.CLIENT), outgoing=outgoing)
    decision = decide(what, COMPANY, policy)
    assert (decision.outcome, decision.target, decision.review) == (Outcome.LEAVE, None, False)


HEADERS = {
    "From": "Sergey <sergey@horns.ru>",
    "Reply-To": "kolya@horns.ru",
    "To": "masha@company.ru, sales@company.ru",
    "Cc": "ilya@company.ru",
    "Delivered-To": "sales+d2@company.ru",
    "Subject": "Re: #1",
    "Message-ID": "<a@horns.ru>",
    "In-Reply-To": f"<{SENT}>",
    "References": f"<x@y> <{SENT}>",
    "Date": "Mon, 12 Jan 2026 10:00:00 +0300",
    "Auto-Submitted": "no",
    "Thread-Index": "AdoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
}


@given(st.permutations(list(HEADERS)), st.sets(st.sampled_from(list(HEADERS))))
def test_the_order_of_header_lines_changes_nothing(order: list[str], left_out: set[str]) -> None:
    """Fields that stand once each carry no order."""

    def read(names: list[str]) -> Envelope:
        lines = [f"{name}: {HEADERS[name]}\r\n" for name in names if name not in left_out]
        return mail.parse(("".join(lines) + "\r\n").encode())

    turned, straight = read(order), read(list(HEADERS))
    assert replace(turned, defects=()) == replace(straight, defects=())
    assert set(turned.defects) == set(straight.defects)


lines = st.builds(
    lambda name, value: name.encode() + b": " + value + b"\r\n",
    st.sampled_from([*HEADERS, "Authentication-Results", "X-EVENT_NAME", "Precedence", "List-Id"]),
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([value.encode() for value in HEADERS.values()]),
        st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ),
)


@given(st.lists(lines, max_size=12), policies, st.booleans())
def test_no_header_raises(header: list[bytes], policy: RoutingPolicy, outgoing: bool) -> None:
    """Whatever bytes a stranger sends, there is a decision."""
    what = Letter(mail.parse(b"".join(header) + b"\r\nbody"), OWN, OWN, outgoing=outgoing)
    assert decide(what, COMPANY, policy).reason


@given(letters, policies, st.sampled_from(sorted({row["ID"] for row in DEALS})))
def test_a_deal_that_is_gone_is_never_chosen(what: Letter, policy: RoutingPolicy, gone: int) -> None:
    """An index without a deal names it at most as lost."""
    index = index_of(activities=LETTERS_SENT, deals=[row for row in DEALS if row["ID"] != gone])
    decision = decide(what, index, policy)
    assert decision.target != deal(gone)
    assert gone not in decision.candidates
    index.close()
