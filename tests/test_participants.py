"""The participants rule to its depth: who counts as responsible, when a deal counts, who the client is."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from company import COMPANIES, CONTACTS, USERS, deal_row, index_of
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.address import normalise
from imaprouter.bitrix24 import rows as portal_rows
from imaprouter.decide import decide
from imaprouter.model import (
    Address,
    DealIndex,
    Decision,
    EntityType,
    Envelope,
    Finding,
    Letter,
    Outcome,
    Question,
    Target,
    Verdict,
    deal,
)
from imaprouter.policy import AddressPolicy, ParticipantsPolicy, RoutingPolicy
from imaprouter.reasons import sentence
from imaprouter.rules.candidates import few, written_at
from imaprouter.rules.participants import participants

OWN = frozenset({"sales@company.ru"})
SERGEY, ANNA = "sergey@horns.ru", "anna@romashka.ru"
MASHA, ILYA = "masha@company.ru", "ilya@company.ru"
COMPANY_10, CONTACT_20 = Target(EntityType.COMPANY, 10), Target(EntityType.CONTACT, 20)
CHANGED = datetime(2026, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def letter(
    sender: str = SERGEY,
    *to: str,
    reply_to: Sequence[str] = (),
    date: datetime | None = None,
    received: datetime | None = None,
    outgoing: bool = False,
) -> Letter:
    envelope = Envelope(
        subject="КП",
        from_=(Address(sender),),
        reply_to=tuple(map(Address, reply_to)),
        to=tuple(map(Address, to or ("sales@company.ru",))),
        date=date,
    )
    return Letter(envelope, OWN, OWN, outgoing, received=received)


def found(what: Letter, policy: RoutingPolicy | None = None, **rows: list[Any]) -> Finding:
    return participants(what, index_of(**rows), policy or RoutingPolicy())


def with_policy(**changes: Any) -> RoutingPolicy:
    return RoutingPolicy(participants=ParticipantsPolicy(**changes))


def codes(finding: Finding) -> list[str]:
    return [reason.code for reason in finding.reasons]


def handed_over(number: int, now: int, before: int, until: datetime = CHANGED, **more: Any) -> dict[str, Any]:
    former = [{"USER_ID": before, "UNTIL": until.isoformat()}]
    return deal_row(number, now, FORMER_RESPONSIBLES=former, **more)


# ── handover (F23) ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("date", "handover", "target"),
    [
        (CHANGED + 29 * DAY, 30 * DAY, deal(1)),
        (CHANGED + 30 * DAY, 30 * DAY, deal(1)),
        (CHANGED + 31 * DAY, 30 * DAY, COMPANY_10),
        (CHANGED + 31 * DAY, 60 * DAY, deal(1)),
        (CHANGED - 20 * DAY, 30 * DAY, deal(1)),
        (CHANGED, timedelta(0), COMPANY_10),
        (None, 30 * DAY, COMPANY_10),
    ],
)
def test_the_former_responsible_counts_for_a_while(
    date: datetime | None, handover: timedelta, target: Target
) -> None:
    """F23: until `handover` after the change, and before it; with 0 or an undated letter not at all."""
    finding = found(
        letter(SERGEY, MASHA, date=date), with_policy(handover=handover), deals=[handed_over(1, 6, 5)]
    )
    assert finding.target == target


def test_the_sentence_says_until_when_he_was_responsible() -> None:
    """A manager reads why a deal of Ilya's was found by Masha's name, and why it was not."""
    rows = [handed_over(1, 6, 5)]
    finding = found(letter(SERGEY, MASHA, date=CHANGED + DAY), deals=rows)
    assert finding.detail == (
        "sergey@horns.ru is a client of deal 1; masha@company.ru was responsible for deal 1 until 2026-03-01"
    )
    finding = found(letter(SERGEY, MASHA, date=CHANGED + 40 * DAY), deals=rows)
    assert finding.detail == (
        "sergey@horns.ru is a client of deal 1; masha@company.ru is responsible for none of them; "
        "masha@company.ru handed deal 1 over on 2026-03-01, too long ago to count"
    )


def test_former_and_present_responsibility_count_the_same() -> None:
    """Masha handed deal 1 over yesterday and has deal 2: either may be meant, so a person is asked."""
    finding = found(letter(SERGEY, MASHA, date=CHANGED + DAY), deals=[handed_over(1, 6, 5), deal_row(2, 5)])
    assert (finding.verdict, finding.candidates) == (Verdict.AMBIGUOUS, (1, 2))


def test_both_the_former_and_the_present_responsible_mean_one_deal() -> None:
    """Masha in To, Ilya in Cc during the handover: no contradiction."""
    rows = [handed_over(1, 6, 5), deal_row(2, 9)]
    assert found(letter(SERGEY, MASHA, ILYA, date=CHANGED + DAY), deals=rows).target == deal(1)


def test_a_former_responsible_who_was_dismissed_is_nobody() -> None:
    """After the handover his address excludes nothing: the single active deal stands."""
    rows = [handed_over(1, 6, 7)]
    finding = found(letter(SERGEY, "gone@company.ru", date=CHANGED + 31 * DAY), deals=rows)
    assert (finding.target, codes(finding)) == (deal(1), ["client_of"])


@pytest.mark.parametrize("address", ["gone@company.ru", "gone+kp@company.ru", "old@company.ru"])
def test_a_dismissed_responsible_counts_during_the_handover(address: str) -> None:
    """Deal 1 was his until yesterday; deal 2 never."""
    policy = with_policy(user_aliases={"gone@company.ru": ("old@company.ru",)})
    rows = [handed_over(1, 6, 7), deal_row(2, 6)]
    finding = found(letter(SERGEY, address, date=CHANGED + DAY), policy, deals=rows)
    assert (finding.target, codes(finding)[1]) == (deal(1), "former_addressed")


def test_an_employee_is_known_without_his_plus_tag() -> None:
    """Unless it is a tag of the mailbox's own address, which narrows and never excludes."""
    rows = [deal_row(1, 5), deal_row(2, 6)]
    assert found(letter(SERGEY, "masha+kp@company.ru"), deals=rows).target == deal(1)
    users = [*USERS, {"ID": 9, "EMAIL": "sales@company.ru", "ACTIVE": True}]
    own = found(letter(SERGEY, "sales+d1@company.ru"), deals=[deal_row(1, 5)], users=users)
    assert own.target == deal(1)


# ── the deal that was closed last ─────────────────────────────────────────────────────────────────────────


def won(number: int, responsible: int, **more: Any) -> dict[str, Any]:
    return deal_row(number, responsible, STAGE_SEMANTIC_ID="S", CLOSED="Y", **more)


@pytest.mark.parametrize(
    ("to", "rows", "target"),
    [
        ("sales@company.ru", [won(1, 5), won(2, 6)], deal(2)),
        (MASHA, [won(1, 5), won(2, 6)], deal(1)),
        (MASHA, [won(1, 6), won(2, 6)], deal(2)),
        ("sales@company.ru", [won(1, 5, COMPANY_ID=11), won(2, 6)], None),
        (MASHA, [won(1, 5, COMPANY_ID=11), won(2, 6)], deal(1)),
        ("sales@company.ru", [won(1, 5, COMPANY_ID=None), won(2, 6)], deal(2)),
        ("sales@company.ru", [won(1, 5, MOVED_TIME="2026-01-20T10:00:00+03:00"), won(2, 6)], deal(1)),
        (
            "sales@company.ru",
            [
                won(1, 5, MOVED_TIME="2026-01-10T10:00:00+03:00"),
                won(2, 6, MOVED_TIME="2026-01-09T10:00:00+03:00", DATE_MODIFY="2026-02-01T10:00:00+03:00"),
            ],
            deal(1),
        ),
    ],
)
def test_the_deal_that_was_closed_last(to: str, rows: list[Any], target: Target | None) -> None:
    """Of the addressed employees' first; those of two companies are a question.

    What a robot changed later is not closed later: the last change of stage counts, where it is known.
    """
    finding = found(letter(SERGEY, to), with_policy(no_active_deal="last_closed_deal"), deals=rows)
    assert finding.target == target
    assert (finding.verdict is Verdict.AMBIGUOUS) == (target is None)


# ── observers ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("observers", "target", "code"),
    [(True, deal(1), "observer_addressed"), (False, COMPANY_10, "no_responsible")],
)
def test_observers_count_when_the_company_wants_it(observers: bool, target: Target, code: str) -> None:
    """Ilya observes deal 1 and is responsible for nothing; by default he speaks for nothing either."""
    rows = [deal_row(1, 5, OBSERVERS=[6]), deal_row(2, 5)]
    finding = found(letter(SERGEY, ILYA), with_policy(observers=observers), deals=rows)
    assert (finding.target, finding.reasons[1].code) == (target, code)


def test_an_observer_counts_as_the_responsible_does() -> None:
    """Ilya observes deal 1 and has deal 2: a person is asked."""
    rows = [deal_row(1, 5, OBSERVERS=[6]), deal_row(2, 6)]
    finding = found(letter(SERGEY, ILYA), with_policy(observers=True), deals=rows)
    assert (finding.verdict, finding.candidates) == (Verdict.AMBIGUOUS, (1, 2))


def test_observers_come_with_the_portals_row() -> None:
    """crm.item.list calls them `observers`, and gives [] without any (rest.md 4)."""
    assert "observers" in portal_rows.DEAL_FIELDS
    assert portal_rows.deal({"id": 1, "observers": [6, "7"]}).observer_ids == (6, 7)
    assert portal_rows.deal({"id": 1, "observers": []}).observer_ids == ()
    assert portal_rows.deal({"id": 1}).observer_ids == ()


# ── time (F25) ────────────────────────────────────────────────────────────────────────────────────────────

MADE = datetime(2026, 1, 10, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "received", "target"),
    [
        (MADE - 2 * DAY, None, COMPANY_10),
        (MADE - timedelta(hours=20), None, deal(1)),
        (MADE + DAY, None, deal(1)),
        (None, None, deal(1)),
        (None, MADE - 2 * DAY, COMPANY_10),
        (MADE + 900 * DAY, MADE - 2 * DAY, COMPANY_10),
        (MADE - 2 * DAY, MADE + 900 * DAY, COMPANY_10),
    ],
)
def test_mail_older_than_the_deal_does_not_go_to_it(
    date: datetime | None, received: datetime | None, target: Target
) -> None:
    """F25: backfilled mail; a day is forgiven, a Date later than the arrival is not believed."""
    assert found(letter(date=date, received=received), deals=[deal_row(1, 5)]).target == target


def test_the_older_deal_is_meant_when_the_letter_is_older_than_the_other() -> None:
    """F25: no ambiguity between a deal that was there and one that was not."""
    rows = [deal_row(1, 5), deal_row(2, 5, DATE_CREATE="2026-05-01T10:00:00+03:00")]
    finding = found(letter(date=MADE + DAY), deals=rows)
    assert (finding.target, finding.candidates) == (deal(1), (1, 2))
    assert finding.detail == (
        "sergey@horns.ru is a client of deal 1; deal 2 was created after the letter was written"
    )


def test_a_clock_that_was_never_set_tells_nothing() -> None:
    """1970 is no time at which a letter about a deal of Bitrix24 was written."""
    found_ = found(letter(SERGEY, MASHA, date=datetime(1970, 1, 1, tzinfo=UTC), received=MADE + DAY))
    assert found_.target == deal(1)


def test_whoever_speaks_for_a_deal_in_another_pipeline_is_not_said_to_have_none() -> None:
    """support@ narrows to pipeline 3, where Masha has nothing; her deal is named as out, not as another's."""
    rows = [deal_row(1, 5), deal_row(2, 6, CATEGORY_ID=3)]
    policy = RoutingPolicy(address=AddressPolicy(category={"support@company.ru": 3}))
    finding = found(letter(SERGEY, MASHA, "support@company.ru"), policy, deals=rows)
    assert finding.detail == (
        "sergey@horns.ru is a client of deal 2; masha@company.ru is responsible for none of them; "
        "deal 1 is in another pipeline; ilya@company.ru, who is not addressed, is responsible for deal 2"
    )


def test_no_active_deal_then_is_no_active_deal() -> None:
    """The policy for clients without an active deal decides; a closed deal of later counts as little."""
    rows = [deal_row(1, 5), deal_row(4, 5, STAGE_SEMANTIC_ID="S")]
    policy = with_policy(no_active_deal="last_closed_deal")
    finding = found(letter(date=MADE - 9 * DAY), policy, deals=rows)
    assert (finding.target, codes(finding)) == (COMPANY_10, ["no_active_deal_then", "created_later"])


def test_a_letters_time() -> None:
    """Date, bounded by the arrival; either alone; or nobody knows."""
    assert written_at(letter(date=MADE, received=MADE + DAY)) == MADE
    assert written_at(letter(date=MADE + DAY, received=MADE)) == MADE
    assert written_at(letter(received=MADE)) == MADE
    assert written_at(letter()) is None


# ── who the client is (F18, F19, F22, F24) ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "written",
    [
        "Sergey@Horns.RU",
        "sergey@horns.ru.",
        '"sergey"@horns.ru',
        "  sergey@horns.ru ",
        "<sergey@horns.ru>",
        "sergey@HORNS。ru",
    ],
)
def test_one_address_in_all_its_forms(written: str) -> None:
    """F22: case, trailing dot, quoted local part, ideographic full stop."""
    assert found(letter(normalise(written), MASHA), deals=[deal_row(1, 5), deal_row(2, 6)]).target == deal(1)


def test_a_cyrillic_domain_is_its_ascii_form() -> None:
    """F22: the CRM has one form, the letter the other."""
    contacts = [
        {"ID": 20, "NAME": "Тимур", "COMPANY_IDS": [10], "EMAIL": [{"VALUE": "zakaz@пример-опт.com"}]}
    ]
    sender = normalise("Zakaz@xn----itbiqmbfcdx.com")
    assert found(letter(sender), contacts=contacts, deals=[deal_row(1, 5)]).target == deal(1)


def test_a_clients_plus_tag_is_another_address_unless_only_the_bare_one_is_known() -> None:
    """F22: sergey+shop@ is his own contact when the CRM has it, else Sergey."""
    rows = [deal_row(1, 5), deal_row(3, 5, COMPANY_ID=11, CONTACT_IDS=[30])]
    tagged = {"ID": 30, "NAME": "Магазин", "COMPANY_IDS": [11], "EMAIL": [{"VALUE": "sergey+shop@horns.ru"}]}
    assert found(letter("sergey+shop@horns.ru"), deals=rows, contacts=[*CONTACTS, tagged]).target == deal(3)
    assert found(letter("sergey+shop@horns.ru"), deals=rows).target == deal(1)
    assert found(letter(MASHA, "sergey+shop@horns.ru", outgoing=True), deals=rows).target == deal(1)
    assert found(letter("sergey@horns.ru"), deals=rows, contacts=[tagged]).verdict is Verdict.NO_MATCH


def test_an_address_that_is_known_comes_before_a_bare_one() -> None:
    """As the portal looks: Reply-To is not known as it stands, From is."""
    what = letter(ANNA, reply_to=["sergey+x@horns.ru"])
    assert found(what).target == deal(3)


def test_the_portal_is_asked_for_the_bare_address_too() -> None:
    """The live look-up knows as much as the index would."""
    finding = found(letter("new+tag@nowhere.ru"))
    assert finding.unknown == (
        Question("client", "new+tag@nowhere.ru"),
        Question("client", "new@nowhere.ru"),
    )


def test_reply_to_comes_before_from_and_from_serves_when_it_is_unknown() -> None:
    """As Bitrix24 looks for the client (mail-internals 2.4)."""
    assert found(letter(ANNA, MASHA, reply_to=[SERGEY])).target == deal(1)
    assert found(letter(ANNA, reply_to=["nobody@nowhere.ru"])).target == deal(3)


def test_a_deal_is_reached_through_any_of_its_contacts() -> None:
    """Anna is the second contact of Sergey's deal."""
    assert found(letter(ANNA), deals=[deal_row(1, 5, CONTACT_IDS=[20, 21])]).target == deal(1)


def test_a_deal_is_reached_through_the_company() -> None:
    """Sergey is no contact of it, but works for its company; the company's own address reaches it as well."""
    rows = [deal_row(1, 5, CONTACT_IDS=[])]
    assert found(letter(), deals=rows).target == deal(1)
    assert found(letter("info@horns.ru"), deals=rows).target == deal(1)


def test_a_contact_of_two_companies_has_the_deals_of_both() -> None:
    """F19: nobody addressed: a person; the manager of one addressed: that one; none active: the contact."""
    both = [{**CONTACTS[0], "COMPANY_IDS": [10, 11]}]
    rows = [deal_row(1, 5, CONTACT_IDS=[]), deal_row(2, 6, COMPANY_ID=11, CONTACT_IDS=[])]
    assert found(letter(), contacts=both, deals=rows).candidates == (1, 2)
    assert found(letter(SERGEY, ILYA), contacts=both, deals=rows).target == deal(2)
    assert found(letter(), contacts=both, deals=[]).target == CONTACT_20


def test_a_contact_who_moved_keeps_his_deal_and_reaches_the_new_companys() -> None:
    """F24: his own deal of the old company first; the new company's when its manager is addressed."""
    moved = [{**CONTACTS[0], "COMPANY_IDS": [11]}]
    rows = [deal_row(1, 5), deal_row(2, 5, CONTACT_IDS=[]), deal_row(3, 6, COMPANY_ID=11, CONTACT_IDS=[])]
    finding = found(letter(), contacts=moved, deals=rows)
    assert (finding.target, finding.candidates) == (deal(1), (1, 3))
    assert "deal 3 is the company's, not sergey@horns.ru's own" in finding.detail
    assert found(letter(SERGEY, ILYA), contacts=moved, deals=rows).target == deal(3)


def test_an_employee_who_is_only_in_delivered_to_is_addressed() -> None:
    """F18: a blind copy."""
    what = letter()
    blind = replace(what, envelope=replace(what.envelope, delivered_to=(ILYA,)))
    assert found(blind).target == deal(2)


# ── every value of the policies ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("narrowed", [False, True])
def test_last_closed_deal_is_no_template(narrowed: bool) -> None:
    """A template of recurring deals is neither active nor closed; without a closed deal, the company."""
    rows = [deal_row(5, 5, IS_RECURRING="Y"), deal_row(4, 5, STAGE_SEMANTIC_ID="F")]
    policy = with_policy(no_active_deal="last_closed_deal")
    if narrowed:
        policy = replace(policy, address=AddressPolicy(category={"sales@company.ru": 3}))
    target = COMPANY_10 if narrowed else deal(4)
    assert found(letter(), policy, deals=rows).target == target


@pytest.mark.parametrize(
    ("choice", "target", "verdict"),
    [
        ("company", COMPANY_10, Verdict.MATCH),
        ("contact", CONTACT_20, Verdict.MATCH),
        ("leave", None, Verdict.MATCH),
        ("review", None, Verdict.AMBIGUOUS),
    ],
)
def test_no_responsible_for_outgoing_mail(choice: Any, target: Target | None, verdict: Verdict) -> None:
    """Ilya writes to a client whose deals are all Masha's; the candidates are hers."""
    what = letter(ILYA, SERGEY, outgoing=True)
    finding = found(what, with_policy(no_responsible=choice), deals=[deal_row(1, 5)])
    assert (finding.target, finding.verdict, finding.candidates) == (target, verdict, (1,))


@pytest.mark.parametrize(
    ("choice", "target"), [("review", None), ("latest", deal(2)), ("company", COMPANY_10)]
)
def test_several_deals_of_several_addressed_employees(choice: Any, target: Target | None) -> None:
    """Masha has deals 1 and 2, Ilya deal 16, and deal 6 is of nobody who is addressed."""
    rows = [deal_row(1, 5), deal_row(2, 5), deal_row(16, 6), deal_row(6, 9)]
    finding = found(letter(SERGEY, MASHA, ILYA), with_policy(several_deals=choice), deals=rows)
    assert finding.target == target
    if choice == "review":
        assert finding.candidates == (1, 2, 16)
    if choice == "latest":
        assert "deals 1 and 16 were changed before that" in finding.detail


@pytest.mark.parametrize("choice", ["deals", "review"])
def test_a_contact_and_his_own_company_share_no_address(choice: Any) -> None:
    """The same e-mail on both is one client; on a foreign company it is shared."""
    own = [{**COMPANIES[0], "EMAIL": [{"VALUE": SERGEY}]}]
    assert found(letter(), with_policy(shared_address=choice), companies=own, deals=[deal_row(1, 5)]).target
    foreign = [{**COMPANIES[1], "EMAIL": [{"VALUE": SERGEY}]}]
    finding = found(letter(), with_policy(shared_address=choice), companies=foreign, deals=[deal_row(1, 5)])
    assert finding.target == (deal(1) if choice == "deals" else None)


def test_two_recipients_of_our_letter_are_no_shared_address() -> None:
    """Outgoing to Sergey and Anna: their deals together, each told by his name; the writer decides."""
    what = letter(MASHA, SERGEY, ANNA, outgoing=True)
    finding = found(what, with_policy(shared_address="review"))
    assert finding.target == deal(1)
    assert finding.detail.startswith(
        "sergey@horns.ru is a client of deals 1 and 2; anna@romashka.ru is a client of deal 3; "
    )


def test_two_clients_without_a_deal_are_a_question() -> None:
    """Outgoing to both: neither company is theirs together."""
    finding = found(letter(MASHA, SERGEY, ANNA, outgoing=True), deals=[])
    assert (finding.verdict, codes(finding)) == (Verdict.AMBIGUOUS, ["no_active_deal", "several_clients"])


# ── what is said of the deals that were not chosen ────────────────────────────────────────────────────────


def test_each_deal_that_lost_is_told_why() -> None:
    """Younger, another pipeline, another responsible, a dismissed one, an unknown one, only the company's."""
    rows = [
        deal_row(1, 5),
        deal_row(2, 5, CONTACT_IDS=[]),
        deal_row(3, 6),
        deal_row(4, 7),
        deal_row(5, 99),
        deal_row(6, 5, CATEGORY_ID=3),
        deal_row(7, 5, DATE_CREATE="2026-06-01T10:00:00+03:00"),
        deal_row(8, 5, STAGE_SEMANTIC_ID="S"),
    ]
    policy = RoutingPolicy(address=AddressPolicy(category={"office@company.ru": 0}))
    finding = found(letter(SERGEY, MASHA, "office@company.ru", date=CHANGED), policy, deals=rows)
    assert (finding.target, finding.candidates) == (deal(1), (1, 2, 3, 4, 5, 6, 7))
    told = {reason.code: reason.values["deals"] for reason in finding.reasons}
    assert told == {
        "client_of": ("1", "2", "3", "4", "5"),
        "responsible_addressed": ("1",),
        "companys_deal": ("2",),
        "other_responsible": ("3",),
        "dismissed_responsible": ("4",),
        "unknown_responsible": ("5",),
        "another_pipeline": ("6",),
        "created_later": ("7",),
    }


def test_a_decision_does_not_repeat_what_its_sentence_implies() -> None:
    """Contract section 4: that Masha has deal 1 says that deal 2 is not hers; the trail says whose it is."""
    index = index_of()
    decision = decide(letter(SERGEY, MASHA), index, RoutingPolicy())
    assert decision.reason == (
        "sergey@horns.ru is a client of deals 1 and 2; masha@company.ru is responsible for deal 1"
    )
    assert sentence(decision.trail[-1].reasons).endswith(
        "; ilya@company.ru, who is not addressed, is responsible for deal 2"
    )


def test_many_deals_stay_a_sentence() -> None:
    """Forty deals of ten managers: nobody reads on; the candidates are whole."""
    users = [
        *USERS,
        *({"ID": n, "EMAIL": f"m{n}@company.ru", "NAME": "М", "ACTIVE": True} for n in range(50, 60)),
    ]
    rows = [deal_row(number, 50 + number % 10) for number in range(1, 41)]
    finding = found(letter(SERGEY, MASHA), users=users, deals=rows)
    assert finding.candidates == tuple(range(1, 41))
    assert len(finding.detail) < 420
    assert codes(finding) == ["client_of", "no_responsible", "other_responsibles"]
    assert few([1, 2]) == ("1", "2")
    assert few(range(1, 10)) == ("1", "2", "3", "4", "5", "6", "7", "…")


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────────────

PEOPLE = (
    MASHA,
    "m.petrova@company.ru",
    ILYA,
    "gone@company.ru",
    "oleg@company.ru",
    "stranger@nowhere.ru",
    "sales@company.ru",
)
LAW_USERS = [*USERS, {"ID": 9, "EMAIL": "oleg@company.ru", "NAME": "Олег", "ACTIVE": True}]
LAW_CONTACTS = [
    {**CONTACTS[0], "COMPANY_IDS": [10, 11]},
    CONTACTS[1],
    {"ID": 23, "NAME": "Тёзка", "COMPANY_IDS": [12], "EMAIL": [{"VALUE": SERGEY}]},
]
MOMENTS = (None, CHANGED - 60 * DAY, CHANGED - DAY, CHANGED + DAY, CHANGED + 60 * DAY)
deal_rows = st.builds(
    lambda number, responsible, former, observers, company, contacts, category, semantic, created: (
        handed_over(
            number,
            responsible,
            former,
            OBSERVERS=observers,
            COMPANY_ID=company,
            CONTACT_IDS=contacts,
            CATEGORY_ID=category,
            STAGE_SEMANTIC_ID=semantic,
            DATE_CREATE=created.isoformat(),
        )
    ),
    st.integers(1, 30),
    st.sampled_from([0, 5, 6, 7, 9]),
    st.sampled_from([5, 6, 7, 9]),
    st.lists(st.sampled_from([5, 6, 7, 9]), max_size=2, unique=True),
    st.sampled_from([None, 10, 11, 12]),
    st.lists(st.sampled_from([20, 21, 23]), max_size=2, unique=True),
    st.sampled_from([0, 3]),
    st.sampled_from(["P", "P", "P", "S", "F"]),
    st.sampled_from([CHANGED - 90 * DAY, CHANGED]),
)
some_deals = st.lists(deal_rows, max_size=6, unique_by=lambda row: row["ID"])
letters = st.builds(
    lambda sender, to, reply_to, date, received: letter(
        sender, *to, reply_to=reply_to, date=date, received=received
    ),
    st.sampled_from([SERGEY, ANNA, "info@horns.ru", "sergey+tag@horns.ru"]),
    st.lists(st.sampled_from(PEOPLE), max_size=4, unique=True),
    st.lists(st.sampled_from([SERGEY, ANNA, "stranger@nowhere.ru"]), max_size=1),
    st.sampled_from(MOMENTS),
    st.sampled_from(MOMENTS),
)
policies = st.builds(
    lambda category, **choices: replace(
        with_policy(**choices), address=AddressPolicy(category={"sales@company.ru": 3} if category else {})
    ),
    st.booleans(),
    no_active_deal=st.sampled_from(["company", "contact", "last_closed_deal", "leave", "review"]),
    no_responsible=st.sampled_from(["company", "contact", "leave", "review"]),
    several_deals=st.sampled_from(["review", "latest", "company"]),
    shared_address=st.sampled_from(["deals", "review"]),
    handover=st.sampled_from([timedelta(0), 30 * DAY]),
    observers=st.booleans(),
    user_aliases=st.just({MASHA: ("m.petrova@company.ru",)}),
)


def law_index(
    deals: Sequence[Mapping[str, Any]],
    contacts: Sequence[Mapping[str, Any]] = LAW_CONTACTS,
    companies: Sequence[Mapping[str, Any]] = COMPANIES,
) -> DealIndex:
    return index_of(users=LAW_USERS, deals=deals, contacts=contacts, companies=companies)


def conclusion(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.target, decision.review, decision.candidates, decision.reason


def addressed_to(what: Letter, people: Sequence[str]) -> Letter:
    return replace(what, envelope=replace(what.envelope, to=tuple(map(Address, people))))


def recipients(what: Letter) -> list[str]:
    return [address.email for address in what.envelope.to]


@given(letters, some_deals, policies, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_recipients_changes_nothing(
    what: Letter, deals: list[dict[str, Any]], policy: RoutingPolicy, chance: random.Random
) -> None:
    """Not the decision, and not a word of its sentence."""
    to, rows, contacts, companies = recipients(what), list(deals), list(LAW_CONTACTS), list(COMPANIES)
    for each in (to, rows, contacts, companies):
        chance.shuffle(each)
    first = decide(what, law_index(deals), policy)
    second = decide(addressed_to(what, to), law_index(rows, contacts, companies), policy)
    assert conclusion(second) == conclusion(first)
    assert second.trail[-1] == first.trail[-1]


@given(letters, some_deals, policies, deal_rows)
def test_what_is_unrelated_changes_nothing(
    what: Letter, deals: list[dict[str, Any]], policy: RoutingPolicy, unrelated: dict[str, Any]
) -> None:
    """A stranger's deal, contact and company, whoever is responsible for it."""
    contact = {"ID": 91, "NAME": "Чужой", "COMPANY_IDS": [90], "EMAIL": [{"VALUE": "y@unrelated.ru"}]}
    company = {"ID": 90, "TITLE": "Чужие", "EMAIL": [{"VALUE": "x@unrelated.ru"}]}
    foreign = {**unrelated, "ID": 92, "COMPANY_ID": 90, "CONTACT_IDS": [91]}
    first = decide(what, law_index(deals), policy)
    more = law_index([*deals, foreign], [*LAW_CONTACTS, contact], [*COMPANIES, company])
    assert conclusion(decide(what, more, policy)) == conclusion(first)


@given(letters, some_deals, policies)
def test_taking_away_who_speaks_for_a_deal_never_makes_it_more_certain(
    what: Letter, deals: list[dict[str, Any]], policy: RoutingPolicy
) -> None:
    """A deal that was not chosen is not chosen either once nobody who speaks for it is addressed.

    (Of two employees with a deal each, either alone is certain: there the other was evidence against.)
    """
    policy = replace(policy, address=AddressPolicy())
    index = law_index(deals)
    before = decide(what, index, policy)
    for row in deals:
        speaking = {row["ASSIGNED_BY_ID"], *(row["OBSERVERS"] if policy.participants.observers else ())}
        written, handover = written_at(what), policy.participants.handover
        if written and handover and written <= CHANGED + handover:
            speaking.add(row["FORMER_RESPONSIBLES"][0]["USER_ID"])
        silent = {str(user["EMAIL"]) for user in LAW_USERS if user["ID"] in speaking}
        silent |= {alias for main in silent for alias in policy.participants.user_aliases.get(main, ())}
        rest = [email for email in recipients(what) if email not in silent]
        after = decide(addressed_to(what, rest), index, policy)
        if row["STAGE_SEMANTIC_ID"] == "P" and after.target == deal(row["ID"]):
            assert before.target == after.target


@given(letters, some_deals, policies)
def test_a_decision_is_whole_and_names_only_the_clients_deals(
    what: Letter, deals: list[dict[str, Any]], policy: RoutingPolicy
) -> None:
    """A target is one of the candidates; a review has none; every active deal that lost is told why."""
    finding = participants(what, law_index(deals), policy)
    assert set(finding.candidates) <= {row["ID"] for row in deals}
    if finding.target and finding.target.type is EntityType.DEAL:
        assert finding.target.id in finding.candidates
        told = {number for reason in finding.reasons[1:] for number in reason.values.get("deals", ())}
        active = {row["ID"] for row in deals if row["STAGE_SEMANTIC_ID"] == "P"}
        assert {str(n) for n in active & set(finding.candidates)} - {str(finding.target.id)} <= told
    if finding.verdict is Verdict.AMBIGUOUS:
        assert finding.target is None
        assert decide(what, law_index(deals), policy).outcome is Outcome.LEAVE
