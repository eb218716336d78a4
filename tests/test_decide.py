"""Rules and decision: the policies, one by one, and the laws that hold for every letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from company import CONTACTS, DEALS, deal_row, index_of

from imaprouter.decide import decide
from imaprouter.marker_signature import signature
from imaprouter.model import (
    Address,
    Decision,
    EntityType,
    Envelope,
    Finding,
    Letter,
    Nature,
    Outcome,
    Question,
    Target,
    Verdict,
    deal,
)
from imaprouter.policy import (
    AddressPolicy,
    MarkerPolicy,
    ParticipantsPolicy,
    RoutingPolicy,
    ThreadPolicy,
)
from imaprouter.rules.domains import corporate
from imaprouter.store.index import Index

POLICY = RoutingPolicy()
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


def letter(
    sender: str = "sergey@horns.ru",
    *to: str,
    cc: tuple[str, ...] = (),
    subject: str = "КП",
    parents: tuple[str, ...] = (),
    nature: Nature = Nature.CLIENT,
    reply_to: tuple[str, ...] = (),
) -> Letter:
    envelope = Envelope(
        subject=subject,
        from_=(Address(sender),),
        reply_to=tuple(map(Address, reply_to)),
        to=tuple(map(Address, to or ("sales@company.ru",))),
        cc=tuple(map(Address, cc)),
        parents=parents,
        nature=nature,
    )
    return Letter(envelope, OWN, OWN)


def routed(
    what: Letter, policy: RoutingPolicy = POLICY, index: Index | None = None, **rows: list[Any]
) -> Decision:
    return decide(what, index or index_of(activities=LETTERS_SENT, **rows), policy)


def finding(decision: Decision, rule: str) -> Finding:
    (found,) = [found for found in decision.trail if found.rule == rule]
    return found


def with_participants(**changes: Any) -> RoutingPolicy:
    return replace(POLICY, participants=ParticipantsPolicy(**changes))


# ── the exact example: two funnels, one client ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("employee", "number"), [("masha@company.ru", 1), ("ilya@company.ru", 2)])
def test_the_addressed_manager_names_the_deal(employee: str, number: int) -> None:
    """Sergey has a deal with each: To and Cc tell which."""
    for what in (letter("sergey@horns.ru", employee), letter(cc=(employee,))):
        decision = routed(what)
        assert (decision.target, decision.rule, decision.review) == (deal(number), "participants", False)
        assert employee in decision.reason


def test_two_deals_and_nobody_addressed_is_a_question() -> None:
    """Nobody guesses: both deals are candidates, a person decides."""
    decision = routed(letter())
    assert (decision.outcome, decision.target, decision.review) == (Outcome.LEAVE, None, True)
    assert decision.candidates == (1, 2)


# ── marker ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "sender", "verdict"),
    [
        ("off", "anna@romashka.ru", Verdict.MATCH),
        ("related", "sergey@horns.ru", Verdict.MATCH),
        ("related", "stranger@nowhere.ru", Verdict.MATCH),
        ("related", "anna@romashka.ru", Verdict.REJECTED),
        ("strict", "sergey@horns.ru", Verdict.MATCH),
        ("strict", "colleague@horns.ru", Verdict.MATCH),
        ("strict", "stranger@nowhere.ru", Verdict.REJECTED),
        ("strict", "anna@romashka.ru", Verdict.REJECTED),
    ],
)
def test_sender_check(check: Any, sender: str, verdict: Verdict) -> None:
    """off: anybody; related: not somebody else's client; strict: the client or his corporate domain."""
    policy = replace(POLICY, marker=MarkerPolicy(sender_check=check))
    assert finding(routed(letter(sender, subject="Re: #1"), policy), "marker").verdict is verdict


def test_a_free_mail_domain_relates_nobody() -> None:
    """Sharing mail.ru with a client proves nothing."""
    rows = [deal_row(1, 5, COMPANY_ID=None, CONTACT_IDS=[22])]
    policy = replace(POLICY, marker=MarkerPolicy(sender_check="strict"))
    decision = routed(letter("other@mail.ru", subject="#1"), policy, deals=rows)
    assert finding(decision, "marker").verdict is Verdict.REJECTED


@pytest.mark.parametrize(("choice", "rule"), [("bind", "marker"), ("next_rule", "participants")])
def test_marker_of_a_closed_deal(choice: Any, rule: str) -> None:
    """closed_deal: the won deal, or the next rule."""
    policy = replace(POLICY, marker=MarkerPolicy(closed_deal=choice))
    assert routed(letter("sergey@horns.ru", "masha@company.ru", subject="#4"), policy).rule == rule


def test_a_deal_that_the_index_does_not_know_is_asked_of_the_portal() -> None:
    """No match now, and a question for the live look-up."""
    decision = routed(letter(subject="#99"))
    assert finding(decision, "marker").verdict is Verdict.NO_MATCH
    assert Question("deal", "99") in decision.unknown


@pytest.mark.parametrize(
    ("subject", "target", "review"),
    [("#1 и #3", deal(1), False), ("#1 и #2", None, True), ("#1 #1", deal(1), False)],
)
def test_several_markers(subject: str, target: Target | None, review: bool) -> None:
    """The one of the sender's; two of his are a question."""
    policy = replace(POLICY, marker=MarkerPolicy(sender_check="off"))
    decision = routed(letter(subject=subject), policy)
    assert (decision.target, decision.review) == (target, review)


KEY = "a long random text"
SIGNED = f"#1-{signature(1, KEY)}"
WRONG = f"#1-{signature(1, 'another')}"


@pytest.mark.parametrize(
    ("subject", "verdict"),
    [
        (SIGNED, Verdict.MATCH),
        (f"#1 {SIGNED}", Verdict.MATCH),
        (f"{SIGNED} #1", Verdict.MATCH),
        (f"{WRONG} {SIGNED}", Verdict.MATCH),
        (f"Deal {SIGNED}", Verdict.MATCH),
        (f"Deal #1 {SIGNED}", Verdict.MATCH),
        (f"#3 {SIGNED}", Verdict.MATCH),
        (WRONG, Verdict.REJECTED),
        (f"Deal {WRONG}", Verdict.REJECTED),
        ("Deal #1", Verdict.REJECTED),
    ],
)
@pytest.mark.parametrize("more", [(), (r"Deal #(?P<deal>\d+)",), (r"(?i:re: )?deal #(?P<deal>\d+)",)])
def test_no_bare_number_hides_a_signature(subject: str, verdict: Verdict, more: tuple[str, ...]) -> None:
    """Not one to its left, and not a wider pattern's; a stranger under `strict` has the signature only."""
    choices = MarkerPolicy(sender_check="strict", secret=KEY, patterns=(*MarkerPolicy().patterns, *more))
    decision = routed(letter("stranger@nowhere.ru", subject=subject), replace(POLICY, marker=choices))
    found = finding(decision, "marker")
    assert found.verdict is verdict
    assert (decision.target == deal(1)) is (verdict is Verdict.MATCH)


def test_a_wrong_signature_does_not_take_a_bare_number_with_it() -> None:
    """Beside it, the number is the client's own word; under it, it is not read."""
    policy = replace(POLICY, marker=MarkerPolicy(secret=KEY))
    assert finding(routed(letter(subject=f"#1 {WRONG}"), policy), "marker").verdict is Verdict.MATCH
    assert finding(routed(letter(subject=WRONG), policy), "marker").verdict is Verdict.REJECTED


# ── thread ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_to_a_letter_of_the_crm_belongs_to_its_deal() -> None:
    """In-Reply-To names the whole Message-ID of the outgoing activity."""
    decision = routed(letter(parents=("unknown@x", SENT)))
    assert (decision.target, decision.rule) == (deal(1), "thread")


def test_the_number_in_a_crm_id_proves_nothing() -> None:
    """A forged code is rejected; of a letter that is not known the portal is asked."""
    decision = routed(letter(parents=("crm.activity.501-zzz999@company.bitrix24.ru",)))
    assert finding(decision, "thread").verdict is Verdict.REJECTED
    assert finding(decision, "thread").code == "wrong_crm_id"
    decision = routed(letter(parents=("crm.activity.999-zzz999@company.bitrix24.ru",)))
    assert finding(decision, "thread").verdict is Verdict.NO_MATCH
    assert Question("activity", "999") in decision.unknown


@pytest.mark.parametrize("subject", ["#51", "КП"])
def test_a_contacts_other_company_has_no_right_to_a_deal_that_names_its_own(subject: str) -> None:
    """Deal 51 is company 10's, its contact works for 10 and 11: Anna of 11 is another client."""
    contacts = [*CONTACTS, {"ID": 30, "COMPANY_IDS": [10, 11], "EMAIL": [{"VALUE": "two@x.ru"}]}]
    deals = [*DEALS, deal_row(51, 5, COMPANY_ID=10, CONTACT_IDS=[30])]
    sent = {**LETTERS_SENT[0], "OWNER_ID": "51"}
    index = index_of(contacts=contacts, deals=deals, activities=[sent])
    decision = routed(letter("anna@romashka.ru", subject=subject, parents=(SENT,)), index=index)
    assert finding(decision, "thread").verdict is Verdict.REJECTED
    assert decision.target == deal(3)
    if "#" in subject:
        assert finding(decision, "marker").verdict is Verdict.REJECTED


def test_a_tag_may_be_spelled_in_capitals_in_the_pattern() -> None:
    policy = replace(POLICY, address=AddressPolicy(plus_tag=r"Deal(?P<deal>\d+)"))
    assert routed(letter("sergey@horns.ru", "sales+Deal2@company.ru"), policy).target == deal(2)


@pytest.mark.parametrize("domain", ["neostrada.pl", "interia.com", "mail.com.ua", "pisem.net", "post.ru"])
def test_a_provider_of_mailboxes_is_no_company(domain: str) -> None:
    assert corporate(domain) == ""


def test_a_machines_answer_that_is_rejected_says_why() -> None:
    """Anna's absence note answers a letter of Sergey's deal: it names a message, and not hers."""
    decision = routed(letter("anna@romashka.ru", parents=(SENT,), nature=Nature.AUTO_REPLY))
    assert (decision.outcome, decision.code) == (Outcome.IGNORE, "not_the_senders_deal")


def test_somebody_elses_client_does_not_inherit_a_thread() -> None:
    """Anna quotes an id of Sergey's thread: rejected, her own deal instead."""
    decision = routed(letter("anna@romashka.ru", parents=(SENT,)))
    assert finding(decision, "thread").verdict is Verdict.REJECTED
    assert decision.target == deal(3)


@pytest.mark.parametrize(("choice", "rule"), [("bind", "thread"), ("next_rule", "participants")])
def test_thread_of_a_closed_deal(choice: Any, rule: str) -> None:
    """closed_deal holds for threads, too."""
    policy = replace(POLICY, thread=ThreadPolicy(closed_deal=choice))
    rows = [deal_row(1, 5, STAGE_SEMANTIC_ID="S"), deal_row(2, 6)]
    assert routed(letter(parents=(SENT,)), policy, deals=rows).rule == rule


def sent(activity: int, kind: int, owner: int) -> tuple[dict[str, Any], str]:
    """A letter that the CRM sent from (kind, owner), and its canonical id."""
    written = f"crm.activity.{activity}-abc123@company.bitrix24.ru"
    row = {
        **LETTERS_SENT[0],
        "ID": activity,
        "OWNER_TYPE_ID": str(kind),
        "OWNER_ID": str(owner),
        "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": f"<{written}>"}},
    }
    return row, written


def by_thread(kind: int, owner: int, sender: str = "sergey@horns.ru", **rows: list[Any]) -> Finding:
    row, written = sent(601, kind, owner)
    index = index_of(activities=[row], **rows)
    return finding(decide(letter(sender, parents=(written,)), index, POLICY), "thread")


def test_a_thread_of_a_deal_that_nobody_knows_is_a_question() -> None:
    found = by_thread(2, 999)
    assert (found.verdict, found.target, found.code) == (Verdict.NO_MATCH, None, "no_such_deal")
    assert found.unknown == (Question("deal", "999"),)


def test_a_template_of_recurring_deals_is_no_target() -> None:
    """Neither of a thread nor of a tag."""
    rows = [*DEALS, deal_row(9, 5, IS_RECURRING="Y")]
    template = index_of(deals=rows).deal(9)
    assert template
    assert template.recurring
    assert by_thread(2, 9, deals=rows).code == "recurring_template"
    decision = routed(letter("sergey@horns.ru", "sales+d9@company.ru"), deals=rows)
    assert (finding(decision, "address").verdict, finding(decision, "address").code) == (
        Verdict.NO_MATCH,
        "recurring_template",
    )


def lead_row(number: int, status: str = "P", **fields: Any) -> dict[str, Any]:
    return {
        "ID": number,
        "TITLE": "Заявка",
        "STATUS_ID": {"P": "NEW", "S": "CONVERTED", "F": "JUNK"}[status],
        "STATUS_SEMANTIC_ID": status,
        "EMAIL": [{"VALUE": "new@lead.ru"}],
        **fields,
    }


@pytest.mark.parametrize(
    ("sender", "verdict"),
    [
        ("new@lead.ru", Verdict.MATCH),
        ("stranger@nowhere.ru", Verdict.MATCH),
        ("sergey@horns.ru", Verdict.MATCH),
        ("anna@romashka.ru", Verdict.REJECTED),
    ],
)
def test_a_lead_is_not_inherited_by_somebody_elses_client(sender: str, verdict: Verdict) -> None:
    found = by_thread(1, 40, sender, leads=[lead_row(40, CONTACT_ID=20)])
    assert found.verdict is verdict
    assert (found.target == Target(EntityType.LEAD, 40)) is (verdict is Verdict.MATCH)


@pytest.mark.parametrize(
    ("status", "deals", "target"),
    [
        ("S", [deal_row(1, 5, LEAD_ID=40)], deal(1)),
        ("S", [deal_row(1, 5, LEAD_ID=40), deal_row(2, 5, LEAD_ID=41)], deal(1)),
        ("S", [deal_row(1, 5, LEAD_ID=40), deal_row(2, 5, LEAD_ID=40)], None),
        ("S", [deal_row(1, 5)], None),
        ("F", [], None),
    ],
)
def test_a_closed_lead_leads_to_its_deal(status: str, deals: list[Any], target: Target | None) -> None:
    """Or nowhere."""
    found = by_thread(1, 40, leads=[lead_row(40, status, CONTACT_ID=20, COMPANY_ID=10)], deals=deals)
    assert found.target == target
    assert found.code == ("thread_portal" if target else "thread_without_deal")


def test_a_lead_that_is_gone_is_no_target() -> None:
    assert by_thread(1, 999).code == "thread_without_deal"


# ── who is kin ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "domain",
    [
        *("yahoo.co.uk", "hotmail.co.uk", "outlook.de", "live.nl", "gmx.at", "msn.com", "icloud.com"),
        *("t-online.de", "qq.com", "163.com", "free.fr", "orange.fr", "wanadoo.fr", "laposte.net", "web.de"),
        *("hotmail.ru", "yandex.ua", "ya.ru", "mail.ru", "bk.ru", "rambler.ru", "ukr.net", "wp.pl", "o2.pl"),
        *("onet.pl", "interia.pl", "op.pl", "seznam.cz", "libero.it", "gmail.com"),
    ],
)
def test_free_mail_is_nobodys_domain(domain: str) -> None:
    assert corporate(domain) == corporate(f"mx.{domain}") == ""


def test_a_company_with_such_a_word_in_its_name_has_a_domain() -> None:
    assert corporate("mail.live-music.ru") == "live-music.ru"
    assert corporate("outlook.horns.ru") == "horns.ru"


def test_a_shared_domain_does_not_outweigh_a_client_of_others() -> None:
    """Olga at the same host has a company of her own; Petr, known without one, is a colleague."""
    contacts = [
        *CONTACTS,
        {"ID": 30, "NAME": "Ольга", "COMPANY_IDS": [11], "EMAIL": [{"VALUE": "olga@horns.ru"}]},
        {"ID": 31, "NAME": "Пётр", "COMPANY_IDS": [], "EMAIL": [{"VALUE": "petr@horns.ru"}]},
    ]
    for sender, verdict in (("olga@horns.ru", Verdict.REJECTED), ("petr@horns.ru", Verdict.MATCH)):
        assert finding(routed(letter(sender, subject="#1"), contacts=contacts), "marker").verdict is verdict


# ── conflicts with the participants ───────────────────────────────────────────────────────────────────────


def conflict_of(what: Letter, policy: RoutingPolicy = POLICY, **rows: list[Any]) -> Finding | None:
    trail = decide(what, index_of(activities=LETTERS_SENT, **rows), policy).trail
    return next((found for found in trail if found.rule == "conflict"), None)


@pytest.mark.parametrize("choice", ["company", "review", "leave"])
def test_an_addressed_employee_who_excludes_the_threads_deal_is_a_conflict(choice: Any) -> None:
    """Deals 1 and 2 are Masha's; the thread says 1, the letter goes to Ilya."""
    rows = [deal_row(1, 5), deal_row(2, 5)]
    what = letter("sergey@horns.ru", "ilya@company.ru", parents=(SENT,))
    policy = with_participants(no_responsible=choice)
    found = conflict_of(what, policy, deals=rows)
    assert found is not None
    assert [reason.code for reason in found.reasons] == [
        *("rule_says", "client_of", "no_responsible", "stronger_wins"),
    ]
    assert routed(what, policy, deals=rows).target == deal(1)
    decision = routed(what, replace(policy, on_conflict="review"), deals=rows)
    assert (decision.rule, decision.review, decision.candidates) == ("conflict", True, (1, 2))


def test_an_ambiguity_without_the_threads_deal_is_a_conflict() -> None:
    """Masha has 2 and 3; the thread says 1, which is Ilya's."""
    rows = [deal_row(1, 6), deal_row(2, 5), deal_row(3, 5)]
    found = conflict_of(letter("sergey@horns.ru", "masha@company.ru", parents=(SENT,)), deals=rows)
    assert found is not None
    assert found.candidates == (1, 2, 3)
    assert conflict_of(letter("sergey@horns.ru", "ilya@company.ru", parents=(SENT,)), deals=rows) is None
    assert conflict_of(letter(parents=(SENT,)), deals=rows) is None


@pytest.mark.parametrize(("to", "conflicts"), [("sales@company.ru", False), ("masha@company.ru", True)])
def test_a_policys_pick_contradicts_no_deal_that_fits(to: str, conflicts: bool) -> None:
    """`latest` says 3, the thread 1; to Masha only 2 and 3 fit."""
    rows = [deal_row(1, 6), deal_row(2, 5), deal_row(3, 5)]
    policy = replace(with_participants(several_deals="latest"), on_conflict="review")
    decision = routed(letter("sergey@horns.ru", to, parents=(SENT,)), policy, deals=rows)
    assert (decision.rule == "conflict") is conflicts
    assert finding(decision, "participants").target == deal(3)


# ── address ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plus_tag_names_the_deal() -> None:
    """sales+d1@ in To; a tag on a stranger's address means nothing."""
    assert routed(letter("sergey@horns.ru", "sales+d1@company.ru")).rule == "address"
    assert routed(letter("sergey@horns.ru", "friend+d1@elsewhere.ru")).rule != "address"


def test_a_plus_tag_of_somebody_elses_deal_is_rejected() -> None:
    """The sender is known as another client."""
    decision = routed(letter("anna@romashka.ru", "sales+d1@company.ru"))
    assert finding(decision, "address").verdict is Verdict.REJECTED
    assert decision.target == deal(3)


def test_an_alias_narrows_to_its_pipeline() -> None:
    """Of Sergey's two deals the one in pipeline 1."""
    policy = replace(POLICY, address=AddressPolicy(category={"support@company.ru": 1}))
    assert routed(letter("sergey@horns.ru", "support@company.ru"), policy).target == deal(2)


# ── participants: every value of every policy ─────────────────────────────────────────────────────────────

COMPANY_10 = Target(EntityType.COMPANY, 10)
CONTACT_20 = Target(EntityType.CONTACT, 20)


@pytest.mark.parametrize(
    ("choice", "target", "review"),
    [
        ("company", COMPANY_10, False),
        ("contact", CONTACT_20, False),
        ("last_closed_deal", deal(4), False),
        ("leave", None, False),
        ("review", None, True),
    ],
)
def test_no_active_deal(choice: Any, target: Target | None, review: bool) -> None:
    """The client has only a won deal."""
    decision = routed(letter(), with_participants(no_active_deal=choice), deals=DEALS[3:])
    assert (decision.target, decision.review, decision.rule) == (target, review, "participants")


@pytest.mark.parametrize(
    ("choice", "target", "review"),
    [
        ("company", COMPANY_10, False),
        ("contact", CONTACT_20, False),
        ("leave", None, False),
        ("review", None, True),
    ],
)
def test_no_responsible(choice: Any, target: Target | None, review: bool) -> None:
    """Ilya is addressed, and none of the client's deals is his."""
    decision = routed(
        letter("sergey@horns.ru", "ilya@company.ru"),
        with_participants(no_responsible=choice),
        deals=DEALS[:1],
    )
    assert (decision.target, decision.review) == (target, review)


@pytest.mark.parametrize(
    ("choice", "target", "review"),
    [("review", None, True), ("latest", deal(2), False), ("company", COMPANY_10, False)],
)
def test_several_deals(choice: Any, target: Target | None, review: bool) -> None:
    """Two deals fit equally; the latest is the one that was changed last."""
    decision = routed(letter(), with_participants(several_deals=choice))
    assert (decision.target, decision.review) == (target, review)


@pytest.mark.parametrize(("choice", "review"), [("deals", False), ("review", True)])
def test_shared_address(choice: Any, review: bool) -> None:
    """One address on two contacts: their deals together, or a person."""
    twins = [CONTACTS[0], {**CONTACTS[1], "EMAIL": [{"VALUE": "sergey@horns.ru"}]}]
    decision = routed(letter(), with_participants(shared_address=choice), contacts=twins, deals=[DEALS[2]])
    assert decision.review is review
    assert decision.target == (None if review else deal(3))


def test_an_alias_of_an_employee_counts() -> None:
    """m.petrova@ is Masha."""
    policy = with_participants(user_aliases={"masha@company.ru": ("m.petrova@company.ru",)})
    assert routed(letter("sergey@horns.ru", "m.petrova@company.ru"), policy).target == deal(1)


def test_reply_to_comes_before_from() -> None:
    """A web form writes in the client's name, as Bitrix24 reads it."""
    decision = routed(letter("form@site.ru", "masha@company.ru", reply_to=("sergey@horns.ru",)))
    assert decision.target == deal(1)


def test_the_contacts_own_deal_comes_before_a_colleagues() -> None:
    """Both are the company's; one has the sender as its contact."""
    colleague = {"ID": 23, "NAME": "Ольга", "COMPANY_IDS": [10], "EMAIL": [{"VALUE": "olga@horns.ru"}]}
    rows = [deal_row(1, 5, CONTACT_IDS=[20]), deal_row(2, 6, CONTACT_IDS=[23])]
    decision = routed(letter("olga@horns.ru"), deals=rows, contacts=[*CONTACTS, colleague])
    assert decision.target == deal(2)


def test_the_shared_mailbox_of_a_user_excludes_nothing() -> None:
    """sales@ may be somebody's address in the portal: that is no addressed employee."""
    users = [{"ID": 9, "EMAIL": "sales@company.ru", "NAME": "Общий", "ACTIVE": True}]
    assert routed(letter(), users=users, deals=DEALS[:1]).target == deal(1)


# ── natures, conflicts, outgoing ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nature", [Nature.BOUNCE, Nature.AUTO_REPLY])
def test_a_machine_is_routed_by_what_it_answers_only(nature: Nature) -> None:
    """Its sender says nothing: thread, or ignored."""
    assert routed(letter(parents=(SENT,), nature=nature)).target == deal(1)
    assert routed(letter("sergey@horns.ru", "masha@company.ru", nature=nature)).outcome is Outcome.IGNORE


def test_a_colleagues_letter_is_ignored() -> None:
    """Bitrix24 makes no activity of it (mail-internals 1.8)."""
    assert routed(letter("masha@company.ru", subject="#1")).outcome is Outcome.IGNORE


def test_a_from_that_reads_two_ways_is_not_trusted() -> None:
    """No participants by such a sender; the marker still obeys sender_check."""
    what = letter("sergey@horns.ru", "masha@company.ru")
    unclear = replace(what, envelope=replace(what.envelope, from_is_clear=False))
    decision = routed(unclear)
    assert decision.target is None
    assert finding(decision, "participants").code == "from_unclear"


@pytest.mark.parametrize(("choice", "target", "review"), [("order", deal(2), False), ("review", None, True)])
def test_contradictions_are_named(choice: Any, target: Target | None, review: bool) -> None:
    """Marker says 2, thread says 1: the stronger wins or a person decides, and the trail names both."""
    policy = replace(POLICY, on_conflict=choice)
    decision = routed(letter(subject="#2", parents=(SENT,)), policy)
    assert (decision.target, decision.review) == (target, review)
    assert finding(decision, "conflict").candidates == (1, 2)


def test_outgoing_mail_turns_the_roles_round() -> None:
    """The recipient is the client, the writer the employee."""
    what = letter("masha@company.ru", "sergey@horns.ru")
    decision = routed(replace(what, outgoing=True))
    assert decision.target == deal(1)
