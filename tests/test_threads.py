"""Threads with a history: ids on record, unseen ancestors, conversations, and who may teach them what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from company import COMPANIES, CONTACTS, DEALS, deal_row, snapshot
from hypothesis import given
from hypothesis import strategies as st

from imaprouter import mail
from imaprouter.decide import decide
from imaprouter.model import (
    Address,
    Decision,
    Direction,
    EntityType,
    Envelope,
    Finding,
    KnownMessage,
    Letter,
    Nature,
    Question,
    Result,
    State,
    Target,
    Verdict,
    deal,
)
from imaprouter.policy import MarkerPolicy, ParticipantsPolicy, RoutingPolicy, ThreadPolicy
from imaprouter.rules.thread import thread
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import NewMessage
from imaprouter.store.snapshot import import_snapshot
from imaprouter.store.threads import QUERIES

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
POLICY = RoutingPolicy()
OWN = frozenset({"sales@company.ru"})
SERGEY, OLGA, ANNA, STRANGER = "sergey@horns.ru", "olga@horns.ru", "anna@romashka.ru", "x@nowhere.ru"
MASHA, ILYA = "masha@company.ru", "ilya@company.ru"
SENT = "crm.activity.501-abc123@company.bitrix24.ru"
SENT_BY_CRM = {
    "ID": 501,
    "DIRECTION": "2",
    "OWNER_TYPE_ID": "2",
    "OWNER_ID": "1",
    "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": "<crm.activity.501-ABC123@company.bitrix24.ru>"}},
}
#: An id that nobody saw, and an Outlook conversation.
UNSEEN, TALK = "unseen@phone.horns.ru", "0101d7" + "ab" * 19


class Desk:
    """A journal and an index, and letters that arrive one after the other."""

    def __init__(self, policy: RoutingPolicy = POLICY, **rows: list[Any]) -> None:
        self.policy = policy
        self.journal = Journal(":memory:")
        self.knowledge = Knowledge(":memory:", self.journal.messages)
        import_snapshot(self.knowledge, snapshot(**{"activities": [SENT_BY_CRM], **rows}))
        self.folder = self.journal.folders.start("sales", "INBOX", uidvalidity=7, cursor=0, watch_since=None)
        self.uid = 0

    def close(self) -> None:
        self.knowledge.close()
        self.journal.close()

    def decide(self, letter: Letter, policy: RoutingPolicy | None = None) -> Decision:
        return decide(letter, self.knowledge, policy or self.policy)

    def arrives(self, letter: Letter, *, same_as: int | None = None) -> int:
        """Decide and record; returns the journal id."""
        self.uid += 1
        with self.journal.transaction():
            return self.journal.messages.add(
                self.folder, self.new(letter, self.decide(letter), same_as), NOW + timedelta(minutes=self.uid)
            )

    def new(self, letter: Letter, decision: Decision, same_as: int | None = None) -> NewMessage:
        return NewMessage(
            uid=self.uid,
            direction=Direction.OUTGOING if letter.outgoing else Direction.INCOMING,
            envelope=letter.envelope,
            decision=decision,
            internal_date=NOW,
            size=1000,
            seen=False,
            state=State.REVIEW if decision.review else State.WAITING,
            same_as=same_as,
        )

    def person_chooses(self, number: int, target: Target) -> None:
        self.journal.messages.set_state(
            number, State.SETTLED, NOW, result=Result.PERSON, person_target=target
        )

    def weak(self, ancestor: str = UNSEEN) -> Target | None:
        known = self.knowledge.weak_message(ancestor)
        return known.target if known else None

    def talk(self) -> Target | None:
        known = self.knowledge.known_conversation(TALK)
        return known.target if known else None


@pytest.fixture
def desk() -> Iterator[Desk]:
    opened = Desk()
    yield opened
    opened.close()


def letter(
    sender: str = SERGEY,
    *to: str,
    answers: tuple[str, ...] = (),
    subject: str = "КП",
    message_id: str = "",
    outgoing: bool = False,
    **more: Any,
) -> Letter:
    envelope = Envelope(
        subject=subject,
        from_=(Address(sender),),
        to=tuple(map(Address, to or ("sales@company.ru",))),
        message_id=message_id,
        parents=answers,
        fingerprint=f"{sender} {message_id} {subject} {answers}",
        **more,
    )
    return Letter(envelope, OWN, OWN, outgoing)


def finding(decision: Decision) -> Finding:
    (found,) = [found for found in decision.trail if found.rule == "thread"]
    return found


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in finding(decision).reasons]


# ── ids on record ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_all_before_our_first_answer_follows_the_letter_that_we_got(desk: Desk) -> None:
    """F12: a colleague of the client's answers his letter to us before we do."""
    desk.arrives(letter(SERGEY, MASHA, message_id="first@horns.ru"))
    decision = desk.decide(letter(OLGA, "sales@company.ru", SERGEY, answers=("first@horns.ru",)))
    assert (decision.target, codes(decision)) == (deal(1), ["thread_decision"])


def test_an_answer_to_a_letter_in_our_sent_folder_follows_it(desk: Desk) -> None:
    """F12: our own letter is on record from the Sent folder, and so is our answer to our own letter."""
    desk.arrives(letter(MASHA, SERGEY, message_id="ours@company.ru", outgoing=True))
    assert desk.decide(letter(answers=("ours@company.ru",))).target == deal(1)
    again = letter("sales@company.ru", SERGEY, answers=("ours@company.ru",), outgoing=True)
    assert desk.decide(again).target == deal(1)


def test_a_good_id_in_either_field_suffices(desk: Desk) -> None:
    """F2: strangers' ids before and behind the good one change nothing."""
    for answers in ((SENT, "other@x"), ("other@x", SENT)):
        assert desk.decide(letter(answers=answers)).target == deal(1)


def test_a_letter_is_known_under_the_id_that_a_gateway_gave_it_and_under_its_own(desk: Desk) -> None:
    """F4: answers name the one or the other; both are compared in their canonical form."""
    desk.arrives(
        letter(SERGEY, MASHA, message_id="Own-Id@horns.ru", other_ids=("<Rewritten.1@MX.google.com>",))
    )
    for name in ("own-id@horns.ru", "rewritten.1@mx.google.com"):
        assert desk.decide(letter(answers=(name,))).rule == "thread", name
    assert len(desk.journal.messages.by_reference("<rewritten.1@mx.google.com>")) == 1


def test_two_letters_that_claim_one_id_prove_nothing_also_as_a_further_id(desk: Desk) -> None:
    """F4, F6: a rewritten id can be claimed as easily as a Message-ID."""
    desk.arrives(letter(SERGEY, MASHA, message_id="one@horns.ru"))
    desk.arrives(letter(ANNA, message_id="two@romashka.ru", other_ids=("one@horns.ru",)))
    assert desk.knowledge.known_message("one@horns.ru") is None


def test_empty_ids_are_never_stored_and_never_match(desk: Desk) -> None:
    """F6: letters without an id have nothing in common, whatever came before."""
    desk.arrives(letter(SERGEY, MASHA, message_id="", answers=("",), other_ids=("", "<>", "< >")))
    assert desk.knowledge.known_message("") is None
    assert desk.weak("") is None
    assert desk.knowledge.known_conversation("") is None
    tables = desk.journal.messages
    assert tables._rows("SELECT * FROM other_ids") == tables._rows("SELECT * FROM weak_ids") == []
    assert desk.decide(letter(answers=("",))).review


@pytest.mark.parametrize(
    ("cut", "known"),
    [
        ("20261101-0815-4711@mail.horns.ru", True),
        ("20261101-0815-4711@mail.ho", True),
        ("20261101-0815-4711@", True),
        ("20261101-0815-4711", False),
        ("20261101-0815-47", False),
    ],
)
def test_an_id_that_was_cut_behind_its_at_sign_is_found(desk: Desk, cut: str, known: bool) -> None:
    """F5: the whole local part names the letter; a part of it might name another one."""
    desk.arrives(letter(SERGEY, MASHA, message_id="20261101-0815-4711@mail.horns.ru"))
    assert (desk.decide(letter(answers=(cut,))).rule == "thread") is known


def test_a_cut_id_that_two_letters_begin_with_is_unknown(desk: Desk) -> None:
    """F5: nobody guesses, even where both have the same deal."""
    for host in ("a.horns.ru", "b.horns.ru"):
        desk.arrives(letter(SERGEY, MASHA, message_id=f"20261101-0815-4711@{host}"))
    assert desk.knowledge.known_message("20261101-0815-4711@") is None


def test_a_short_local_part_is_never_completed(desk: Desk) -> None:
    """F5: `17@mail.horns.co` and `17@mail.horns.com` may be two letters of two hosts."""
    desk.arrives(letter(SERGEY, MASHA, message_id="17@mail.horns.com"))
    assert desk.knowledge.known_message("17@mail.horns.co") is None


def test_a_cut_id_of_the_portals_letter_needs_its_whole_code(desk: Desk) -> None:
    """F5: `crm.activity.501-abc123@` is verified; a part of the code proves nothing."""
    assert desk.decide(letter(answers=("crm.activity.501-abc123@comp",))).target == deal(1)
    assert finding(desk.decide(letter(answers=("crm.activity.501-abc",)))).verdict is Verdict.NO_MATCH
    forged = finding(desk.decide(letter(answers=("crm.activity.501-abc124@",))))
    assert (forged.verdict, forged.code, forged.unknown) == (Verdict.REJECTED, "wrong_crm_id", ())


@pytest.mark.parametrize(
    "written", [f"&lt;{SENT}&gt;", f"%3C{SENT}%3E", "%3c" + SENT.replace("@", "%40") + "%3e", f"<{SENT}>"]
)
def test_an_id_that_a_web_page_passed_on_is_read(desk: Desk, written: str) -> None:
    raw = f"From: {SERGEY}\r\nTo: sales@company.ru\r\nSubject: KP\r\nIn-Reply-To: {written}\r\n\r\n"
    assert mail.parse(raw.encode()).parents == (SENT,)


def test_a_strangers_letter_with_an_id_of_the_portal_is_not_the_portals(desk: Desk) -> None:
    """Only our own letter has such an id; what comes in with it was forged."""
    desk.arrives(letter("x@nowhere.com", subject="#3", message_id=SENT))
    assert desk.decide(letter(answers=(SENT,))).target == deal(1)


# ── several ancestors ─────────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_of_contradicting_ancestors_wins_and_the_other_is_named(desk: Desk) -> None:
    """F8: a thread that was merged of two deals."""
    desk.arrives(letter(SERGEY, ILYA, message_id="of-2@horns.ru"))
    decision = desk.decide(letter(answers=("of-2@horns.ru", "unknown@x", SENT)))
    found = finding(decision)
    assert (found.target, found.candidates) == (deal(2), (1, 2))
    assert codes(decision) == ["thread_decision", "thread_contradicts"]
    assert "deal 1" in found.detail


def test_a_forwarded_thread_of_another_client_hides_no_good_ancestor(desk: Desk) -> None:
    """F14: Anna answers in her own thread, with a letter of Sergey's quoted nearest."""
    desk.arrives(letter(ANNA, message_id="hers@romashka.ru"))
    decision = desk.decide(letter(ANNA, answers=(SENT, "hers@romashka.ru")))
    assert decision.target == deal(3)
    assert codes(decision) == ["thread_decision", "not_the_senders_deal"]


def test_a_tracked_letter_that_was_forwarded_to_another_client_is_not_inherited(desk: Desk) -> None:
    """F14: Anna has only Sergey's thread to show: rejected, her own deal by the participants."""
    decision = desk.decide(letter(ANNA, answers=("forward@horns.ru", SENT)))
    assert (finding(decision).verdict, decision.target) == (Verdict.REJECTED, deal(3))


def test_a_reused_thread_is_a_named_contradiction_and_follows_the_person(desk: Desk) -> None:
    """F11: a new topic in an old thread; `review` asks, and what a person chose leads the answers to it."""
    reused = letter(SERGEY, ILYA, answers=(SENT,), message_id="new-topic@horns.ru")
    assert desk.decide(reused).target == deal(1)
    asked = desk.decide(reused, replace(POLICY, on_conflict="review"))
    assert (asked.review, asked.candidates) == (True, (1, 2))
    desk.person_chooses(desk.arrives(reused), deal(2))
    decision = desk.decide(letter(answers=("new-topic@horns.ru", SENT)))
    assert (decision.target, codes(decision)) == (deal(2), ["thread_person", "thread_contradicts"])


def test_a_company_of_ours_is_passed_over_and_one_of_a_persons_counts(desk: Desk) -> None:
    """Our own 'no deal was found' may have changed since; a person's choice stays."""
    number = desk.arrives(letter(SERGEY, "viktor@company.ru", ILYA, message_id="a@horns.ru", subject="#4"))
    company = Target(EntityType.COMPANY, 10)
    desk.person_chooses(number, company)
    assert desk.decide(letter(answers=("a@horns.ru",))).target == company


def test_a_deal_that_the_index_does_not_know_is_asked_of_the_portal(desk: Desk) -> None:
    """Whether the sender belongs to it cannot be told before."""
    number = desk.arrives(letter(SERGEY, MASHA, message_id="a@horns.ru"))
    desk.person_chooses(number, deal(77))
    assert Question("deal", "77") in desk.decide(letter(answers=("a@horns.ru",))).unknown


# ── unseen ancestors ──────────────────────────────────────────────────────────────────────────────────────


def test_two_replies_to_one_unseen_letter_meet(desk: Desk) -> None:
    """F1: the second one names nobody, and its sender has two deals."""
    assert desk.decide(letter(answers=(UNSEEN,))).review
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,), message_id="first@horns.ru"))
    for sender in (SERGEY, OLGA):
        decision = desk.decide(letter(sender, answers=("own@x", UNSEEN)))
        assert (decision.target, codes(decision)) == (deal(1), ["thread_weak"]), sender


def test_any_rule_teaches(desk: Desk) -> None:
    """F1: the first letter was decided by its marker; the sender's two deals are both his."""
    desk.arrives(letter(SERGEY, subject="#2", answers=(UNSEEN,)))
    assert desk.weak() == deal(2)


def test_our_own_letter_teaches(desk: Desk) -> None:
    """F1: an answer from the Sent folder to a letter that came another way."""
    desk.arrives(letter(ILYA, SERGEY, answers=(UNSEEN,), outgoing=True))
    assert desk.weak() == deal(2)


@pytest.mark.parametrize("sender", [STRANGER, OLGA, ANNA])
def test_a_letter_of_somebody_else_teaches_nothing(sender: str) -> None:
    """GLPI 86: whoever quotes an id with somebody else's deal pulls no later letter."""
    desk = Desk(replace(POLICY, marker=MarkerPolicy(sender_check="off")))
    number = desk.arrives(letter(sender, subject="#1", answers=(UNSEEN,), conversation=TALK))
    stored = desk.journal.messages.get(number)
    assert stored
    assert stored.decision.target == deal(1)
    assert (desk.weak(), desk.talk()) == (None, None)
    desk.close()


def test_a_from_that_reads_two_ways_teaches_nothing(desk: Desk) -> None:
    """GLPI 86: the marker may still decide, the sender proves nothing."""
    desk.arrives(letter(SERGEY, subject="#1", answers=(UNSEEN,), from_is_clear=False))
    assert desk.weak() is None


@pytest.mark.parametrize("nature", [Nature.BOUNCE, Nature.AUTO_REPLY, Nature.SYSTEM])
def test_a_machine_teaches_nothing(desk: Desk, nature: Nature) -> None:
    """Its thread ids lead it to a deal; it leads nobody."""
    desk.arrives(letter(SERGEY, MASHA, answers=(SENT, UNSEEN), nature=nature, conversation=TALK))
    assert (desk.weak(), desk.talk()) == (None, None)


def test_an_open_question_teaches_nothing_until_a_person_answers(desk: Desk) -> None:
    """A review has no deal; the person's choice is one."""
    number = desk.arrives(letter(answers=(UNSEEN,), conversation=TALK))
    assert (desk.weak(), desk.talk()) == (None, None)
    desk.person_chooses(number, deal(2))
    assert (desk.weak(), desk.talk()) == (deal(2), deal(2))


def test_a_copy_teaches_nothing(desk: Desk) -> None:
    """The same mail in another folder is no second witness."""
    number = desk.arrives(letter(message_id="a@horns.ru"))
    desk.arrives(letter(SERGEY, MASHA, message_id="a@horns.ru", answers=(UNSEEN,)), same_as=number)
    assert desk.weak() is None


def test_witnesses_that_disagree_prove_nothing_and_a_person_outranks_them(desk: Desk) -> None:
    """F1: all letters that answer the unseen one have to agree."""
    number = desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,), conversation=TALK))
    desk.arrives(letter(SERGEY, ILYA, answers=(UNSEEN,), conversation=TALK))
    assert (desk.weak(), desk.talk()) == (None, None)
    desk.person_chooses(number, deal(2))
    assert (desk.weak(), desk.talk()) == (deal(2), deal(2))


def test_two_persons_who_disagree_prove_nothing(desk: Desk) -> None:
    """Nobody chooses between people; a company is no deal."""
    first = desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    second = desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,), subject="ещё"))
    desk.person_chooses(first, deal(2))
    desk.person_chooses(second, deal(1))
    assert desk.weak() is None
    company = Target(EntityType.COMPANY, 10)
    desk.person_chooses(first, company)
    desk.person_chooses(second, company)
    assert desk.weak() is None


def test_what_is_on_record_is_not_weak(desk: Desk) -> None:
    """A letter that came late, under any of its ids, and a letter of the portal's speak for themselves."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN, SENT, "seen@x")))
    assert desk.weak() == deal(1)
    assert desk.weak(SENT) is None
    desk.arrives(letter(STRANGER, message_id="late@x", other_ids=(UNSEEN,)))
    assert desk.weak() is None


def test_an_ancestor_on_record_comes_before_every_hint(desk: Desk) -> None:
    """Even when the unseen one stands nearer."""
    desk.arrives(letter(SERGEY, ILYA, answers=(UNSEEN,), conversation=TALK))
    decision = desk.decide(letter(answers=(UNSEEN, SENT), conversation=TALK))
    assert (decision.target, codes(decision)) == (deal(1), ["thread_portal"])


@pytest.mark.parametrize("sender", [STRANGER, ANNA, "alone@mail.ru"])
def test_a_hint_counts_only_for_the_deals_client(desk: Desk, sender: str) -> None:
    """A stranger who quotes the id gets nothing, unlike with an ancestor on record."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    decision = desk.decide(letter(sender, answers=(UNSEEN,)))
    assert (finding(decision).verdict, codes(decision)) == (Verdict.NO_MATCH, ["hint_not_the_clients"])
    assert decision.rule != "thread"


def test_a_hint_gives_way_to_what_sender_and_recipients_say(desk: Desk) -> None:
    """Sergey writes to Ilya: deal 2, whatever an unseen letter hints at; the hint is named."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    decision = desk.decide(letter(SERGEY, ILYA, answers=(UNSEEN,)))
    assert (decision.target, decision.rule) == (deal(2), "participants")
    assert codes(decision) == ["hint_outweighed"]
    assert "deal 1" in finding(decision).detail


@pytest.mark.parametrize("changes", [{"subject": "#2"}, {"to": "sales+d2@company.ru"}])
def test_a_hint_is_no_contradiction(desk: Desk, changes: dict[str, str]) -> None:
    """Somebody typed a deal: with on_conflict = review nobody is asked because of a mere hint."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    typed = letter(SERGEY, changes.get("to", "sales@company.ru"), subject=changes.get("subject", "КП"))
    decision = desk.decide(answering(typed, [UNSEEN]), replace(POLICY, on_conflict="review"))
    assert (decision.target, decision.review, codes(decision)) == (deal(2), False, ["hint_outweighed"])


def test_a_hint_does_not_reach_beyond_those_who_are_addressed() -> None:
    """Elena is addressed and has none of his deals: the policy's answer, not the hint."""
    elena = {"ID": 8, "EMAIL": "elena@company.ru", "NAME": "Елена", "ACTIVE": True}
    desk = Desk(users=[*snapshot()["users"], elena])
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    for choice in ("company", "review"):
        policy = replace(POLICY, participants=ParticipantsPolicy(no_responsible=choice))
        decision = desk.decide(letter(SERGEY, "elena@company.ru", answers=(UNSEEN,)), policy)
        assert codes(decision) == ["hint_outweighed"], choice
    desk.close()


def test_a_hint_is_better_than_a_policys_guess(desk: Desk) -> None:
    """several_deals = latest says 2; another letter of this thread was about 1."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    policy = replace(POLICY, participants=ParticipantsPolicy(several_deals="latest"))
    assert desk.decide(letter(), policy).target == deal(2)
    assert desk.decide(letter(answers=(UNSEEN,)), policy).target == deal(1)


def test_a_hint_at_a_closed_deal_obeys_the_policy(desk: Desk) -> None:
    """closed_deal holds for hints, too."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    rows = [deal_row(1, 5, STAGE_SEMANTIC_ID="S", CLOSED="Y"), deal_row(2, 6)]
    import_snapshot(desk.knowledge, snapshot(deals=rows))
    policy = replace(POLICY, thread=ThreadPolicy(closed_deal="next_rule"))
    assert codes(desk.decide(letter(OLGA, answers=(UNSEEN,)), policy)) == ["deal_closed"]
    assert desk.decide(letter(OLGA, answers=(UNSEEN,))).target == deal(1)


def test_a_hint_at_an_unknown_deal_is_a_question(desk: Desk) -> None:
    """Whose deal it is has to be known before the hint counts."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    import_snapshot(desk.knowledge, snapshot(deals=DEALS[1:]))
    found = finding(desk.decide(letter(OLGA, answers=(UNSEEN,))))
    assert (found.verdict, found.unknown) == (Verdict.NO_MATCH, (Question("deal", "1"),))


def test_a_second_decision_replaces_what_the_first_taught(desk: Desk) -> None:
    """The portal answered a question in between, and the letter went elsewhere."""
    first = letter(SERGEY, MASHA, answers=(UNSEEN,), conversation=TALK)
    number = desk.arrives(first)
    moved = desk.decide(letter(SERGEY, ILYA))
    desk.journal.messages.redecide(number, desk.new(first, moved), NOW)
    assert (desk.weak(), desk.talk()) == (deal(2), deal(2))
    nobodys = desk.decide(letter(STRANGER))
    desk.journal.messages.redecide(number, desk.new(first, nobodys), NOW)
    assert (desk.weak(), desk.talk()) == (None, None)


def test_of_an_endless_thread_both_ends_are_remembered(desk: Desk) -> None:
    """What replies share is the nearest ids and the first one; the rest would only grow the journal."""
    ids = tuple(f"{number}@x" for number in range(500))
    desk.arrives(letter(SERGEY, MASHA, answers=ids))
    assert desk.weak("0@x") == desk.weak("499@x") == deal(1)
    assert len(desk.journal.messages._rows("SELECT * FROM weak_ids")) == 50


# ── Outlook's conversation ────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_is_a_hint_after_all_others(desk: Desk) -> None:
    """Thread-Index alone, with no id in common; an unseen ancestor says it better."""
    desk.arrives(letter(SERGEY, MASHA, conversation=TALK))
    desk.arrives(letter(SERGEY, ILYA, answers=(UNSEEN,)))
    alone = desk.decide(letter(conversation=TALK))
    assert (alone.target, codes(alone)) == (deal(1), ["thread_conversation"])
    both = desk.decide(letter(answers=(UNSEEN,), conversation=TALK))
    assert (both.target, codes(both)) == (deal(2), ["thread_weak"])


@pytest.mark.parametrize(
    ("sender", "to", "code"),
    [(ANNA, "sales@company.ru", "hint_not_the_clients"), (SERGEY, ILYA, "hint_outweighed")],
)
def test_a_conversation_counts_under_the_same_conditions(desk: Desk, sender: str, to: str, code: str) -> None:
    """Anybody can copy a Thread-Index."""
    desk.arrives(letter(SERGEY, MASHA, conversation=TALK))
    decision = desk.decide(letter(sender, to, conversation=TALK))
    assert (decision.rule, codes(decision)) == ("participants", [code])


# ── queries ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_no_query_reads_a_whole_table(desk: Desk, query: str) -> None:
    """They run for every id of every letter, inside the transaction that records it."""
    values = ("a", "b") if "?2" in query else ("a",)
    plan = [row[3] for row in desk.journal.messages._rows(f"EXPLAIN QUERY PLAN {query}", values)]
    assert any(step.startswith("SEARCH") for step in plan)
    assert [step for step in plan if step.startswith("SCAN")] == []


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────────────


def _history() -> Desk:
    """Ids of every kind: of each deal, a person's, contradicting ones, a closed deal's, unseen ones."""
    desk = Desk(contacts=CONTACTS, companies=COMPANIES)
    desk.arrives(
        letter(SERGEY, MASHA, message_id="of-1@x", answers=("weak-1@x", "both@x"), conversation=TALK)
    )
    desk.arrives(letter(SERGEY, ILYA, message_id="of-2@x", answers=("weak-2@x", "both@x")))
    desk.arrives(letter(ANNA, message_id="of-3@x", answers=("weak-3@x",)))
    desk.arrives(letter(SERGEY, subject="#4", message_id="of-4@x"))
    desk.person_chooses(desk.arrives(letter(SERGEY, message_id="person@x")), deal(2))
    desk.arrives(letter(SERGEY, "nobody@company.ru", message_id="review@x"))
    desk.arrives(letter(STRANGER, message_id="stranger@x", answers=("poison@x",)))
    return desk


HISTORY = _history()
KNOWN = [SENT, "of-1@x", "of-2@x", "of-3@x", "of-4@x", "person@x", "review@x", "stranger@x"]
HINTED = ["weak-1@x", "weak-2@x", "weak-3@x", "both@x", "poison@x"]
ancestors = st.lists(st.sampled_from(KNOWN + HINTED), max_size=5, unique=True)
replies = st.builds(
    lambda sender, to, answers, subject, nature, talk: letter(
        sender, to, answers=tuple(answers), subject=subject, nature=nature, conversation=talk
    ),
    st.sampled_from([SERGEY, OLGA, ANNA, STRANGER, "info@horns.ru", "alone@mail.ru"]),
    st.sampled_from(["sales@company.ru", MASHA, ILYA]),
    ancestors,
    st.sampled_from(["КП", "#1", "#2"]),
    st.sampled_from([Nature.CLIENT, Nature.AUTO_REPLY, Nature.LIST]),
    st.sampled_from(["", TALK]),
)
policies = st.builds(
    lambda conflict, closed, several: replace(
        POLICY,
        on_conflict=conflict,
        thread=ThreadPolicy(closed_deal=closed),
        participants=ParticipantsPolicy(several_deals=several),
    ),
    st.sampled_from(["order", "review"]),
    st.sampled_from(["bind", "next_rule"]),
    st.sampled_from(["review", "latest", "company"]),
)


def conclusion(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.target, decision.rule, decision.review, decision.candidates


def answering(what: Letter, answers: list[str] | tuple[str, ...]) -> Letter:
    return replace(what, envelope=replace(what.envelope, parents=tuple(answers)))


@given(replies, policies, st.data())
def test_an_unknown_ancestor_never_changes_a_decision(what: Letter, policy: RoutingPolicy, data: Any) -> None:
    """Wherever it stands among the others."""
    answers = list(what.envelope.parents)
    answers.insert(
        data.draw(st.integers(0, len(answers))), data.draw(st.sampled_from(["new@x", "", "a", "b@"]))
    )
    assert conclusion(HISTORY.decide(answering(what, answers), policy)) == conclusion(
        HISTORY.decide(what, policy)
    )


@given(replies, policies, st.randoms(use_true_random=False))
def test_only_the_place_of_the_nearest_that_counts_matters(
    what: Letter, policy: RoutingPolicy, chance: Any
) -> None:
    """Ids that do not count may stand anywhere, and further ones in any order behind it."""
    quiet = replace(what, envelope=replace(what.envelope, conversation=""))
    answers = list(what.envelope.parents)
    counting = [one for one in answers if one in KNOWN and _matches(quiet, one, policy)]
    if not counting:
        return
    others = [one for one in answers if one != counting[0]]
    chance.shuffle(others)
    limit = min((others.index(one) for one in counting[1:]), default=len(others))
    others.insert(chance.randint(0, limit), counting[0])
    before = thread(what, HISTORY.knowledge, policy)
    turned = thread(answering(what, others), HISTORY.knowledge, policy)
    assert (turned.target, turned.candidates) == (before.target, before.candidates)


def _matches(what: Letter, message_id: str, policy: RoutingPolicy) -> bool:
    return thread(answering(what, [message_id]), HISTORY.knowledge, policy).verdict is Verdict.MATCH


@given(replies, policies, st.data())
def test_fewer_ancestors_are_never_more_certain(what: Letter, policy: RoutingPolicy, data: Any) -> None:
    """What a part of the ids names, all of them name: no id takes the thread's evidence away."""
    answers = what.envelope.parents
    kept = [one for one in answers if data.draw(st.booleans())]
    fewer = thread(answering(what, kept), HISTORY.knowledge, policy)
    if fewer.verdict is Verdict.MATCH:
        assert thread(what, HISTORY.knowledge, policy).verdict is Verdict.MATCH


@given(replies, policies)
def test_a_hint_never_turns_a_decision(what: Letter, policy: RoutingPolicy) -> None:
    """With no ancestor on record the thread names the participants' deal, or one that they leave open."""
    hinted = answering(what, [one for one in what.envelope.parents if one in HINTED])
    bare = answering(what, ())
    alone = replace(bare, envelope=replace(bare.envelope, conversation=""))
    undecided = replace(policy, participants=ParticipantsPolicy(several_deals="review"))
    said = HISTORY.decide(alone, undecided)
    found = HISTORY.decide(hinted, undecided).target
    if said.target:
        assert found == said.target
    elif said.candidates:
        assert found is None or found.id in said.candidates


def test_an_answer_names_the_id_that_was_asked(desk: Desk) -> None:
    """The hint carries the unseen id and its source."""
    desk.arrives(letter(SERGEY, MASHA, answers=(UNSEEN,)))
    assert desk.knowledge.weak_message(UNSEEN) == KnownMessage(UNSEEN, deal(1), "weak")
