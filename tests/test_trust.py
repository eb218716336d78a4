"""Spoofed and proven senders under each `routing.trust.authentication`; what no peer does (peers.md 4.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from company import index_of
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.decide import decide
from imaprouter.mail import parse
from imaprouter.model import Address, Decision, Finding, Letter, Outcome, Verdict, deal
from imaprouter.policy import MarkerPolicy, RoutingPolicy, RuleName, TrustPolicy
from imaprouter.store.index import Index

OURS = "mx.company.ru"
OWN = frozenset({"sales@company.ru"})

SENT = "<crm.activity.501-ABC123@company.bitrix24.ru>"
SENT_FROM_DEAL_1 = {
    "ID": 501,
    "DIRECTION": "2",
    "OWNER_TYPE_ID": "2",
    "OWNER_ID": "1",
    "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": SENT}},
}

PASS = f"{OURS}; dmarc=pass header.from=horns.ru"
FAIL = f"{OURS}; dmarc=fail header.from=horns.ru"
SILENT = f"{OURS}; none"
BOTH_FAIL = f"{OURS}; spf=softfail smtp.mailfrom=evil.ru; dkim=fail header.d=horns.ru"
ALIGNED_DKIM = f"{OURS}; spf=fail smtp.mailfrom=evil.ru; dkim=pass header.d=mail.horns.ru; dmarc=none"
ALIGNED_SPF = f"{OURS}; dkim=none; spf=pass smtp.mailfrom=bounce@mail.horns.ru"
FOREIGN_PASS = f"{OURS}; dkim=pass header.d=evil.ru; spf=pass smtp.mailfrom=x@evil.ru"
OTHER_FROM = f"{OURS}; dmarc=pass header.from=evil.ru"
SWALLOWED = f"{OURS}; spf=pass (domain of a(b@evil.ru) smtp.mailfrom=a@evil.ru; dmarc=fail"
MICROSOFT_PASS = (
    "spf=pass (x) smtp.mailfrom=horns.ru; dmarc=pass action=none header.from=horns.ru;compauth=pass"
)
MICROSOFT_FAIL = "spf=fail (x) smtp.mailfrom=evil.ru; dmarc=fail action=oreject header.from=horns.ru"
STRANGERS_PASS = "mx.evil.ru; dmarc=pass header.from=horns.ru"


def policy(
    authentication: Literal["off", "prefer", "require"],
    *ids: str,
    check: Literal["related", "strict"] = "related",
) -> RoutingPolicy:
    return RoutingPolicy(
        trust=TrustPolicy(authentication, ids or (OURS,)), marker=MarkerPolicy(sender_check=check)
    )


def received(
    *authentication: str,
    sender: str = "Sergey <sergey@horns.ru>",
    to: str = "masha@company.ru",
    subject: str = "KP",
    more: str = "",
    outgoing: bool = False,
    filed: bool = False,
) -> Letter:
    """Sergey's letter to Masha, as a header says it, with what servers said of it on top."""
    results = "".join(f"Authentication-Results: {said}\r\n" for said in authentication)
    header = f"{results}From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{more}\r\n"
    return Letter(parse(header.encode()), OWN, OWN, outgoing, filed)


def routed(letter: Letter, policy: RoutingPolicy, index: Index | None = None) -> Decision:
    return decide(letter, index or index_of(), policy)


def said_by(decision: Decision, rule: RuleName | Literal["fallback"]) -> Finding:
    (found,) = [finding for finding in decision.trail if finding.rule == rule]
    return found


USED, DROPPED, REVIEW = "used", "dropped", "review"


def what_became_of(decision: Decision) -> str:
    """How From was used: to find Masha's deal, not at all, or shown to a person."""
    if decision.target == deal(1) and not decision.review:
        return USED
    return REVIEW if decision.review else DROPPED


@pytest.mark.parametrize(
    ("said", "prefer", "require"),
    [
        ((PASS,), USED, USED),
        ((FAIL,), REVIEW, REVIEW),
        ((), USED, REVIEW),
        ((SILENT,), USED, REVIEW),
        ((BOTH_FAIL,), REVIEW, REVIEW),
        ((ALIGNED_DKIM,), USED, USED),
        ((ALIGNED_SPF,), USED, USED),
        ((FOREIGN_PASS,), USED, REVIEW),
        ((OTHER_FROM,), USED, REVIEW),
        ((SWALLOWED,), REVIEW, REVIEW),
        ((STRANGERS_PASS,), USED, REVIEW),
        ((STRANGERS_PASS, PASS), USED, USED),
        ((FAIL, PASS), REVIEW, REVIEW),
        ((PASS, FAIL), REVIEW, REVIEW),
        ((SILENT, PASS), USED, REVIEW),
        ((MICROSOFT_PASS,), USED, REVIEW),
        ((MICROSOFT_FAIL,), USED, REVIEW),
        ((f"{OURS}; dmarc=temperror; dkim=pass header.d=horns.ru",), USED, USED),
        ((f"{OURS}; dmarc=pass",), USED, USED),
        ((f"{OURS}; dmarc=fail; dkim=pass header.d=horns.ru",), REVIEW, REVIEW),
        ((f"{OURS}; dkim=pass header.d=ru",), USED, REVIEW),
        ((f"{OURS}; spf=pass smtp.helo=horns.ru",), USED, REVIEW),
    ],
)
def test_what_a_servers_word_does(said: tuple[str, ...], prefer: str, require: str) -> None:
    """Off looks at nothing, prefer believes unless refuted, require believes only what is proven.

    Whom it does not believe is shown to a person: Bitrix24 has believed him.
    """
    letter = received(*said)
    assert what_became_of(routed(letter, policy("off"))) == USED
    assert what_became_of(routed(letter, policy("prefer"))) == prefer
    assert what_became_of(routed(letter, policy("require"))) == require


@pytest.mark.parametrize(
    ("ids", "said", "expected"),
    [
        (("microsoft",), MICROSOFT_PASS, USED),
        (("microsoft",), MICROSOFT_FAIL, REVIEW),
        (("microsoft",), "microsoft; dmarc=pass header.from=horns.ru", REVIEW),
        (("*.yandex.net",), "iva-60.yp-c.yandex.net; spf=none; dkim=pass header.i=@horns.ru", USED),
        (("*.yandex.net",), "evilyandex.net; dkim=pass header.i=@horns.ru", REVIEW),
        (("*.yandex.net",), "yandex.net; dkim=pass header.i=@horns.ru", REVIEW),
        (("other.ru", "MX.Company.RU"), PASS, USED),
    ],
)
def test_the_names_of_our_servers(ids: tuple[str, ...], said: str, expected: str) -> None:
    """Microsoft's form has none, Yandex has one for each machine."""
    assert what_became_of(routed(received(said), policy("require", *ids))) == expected


def test_a_refuted_sender_is_shown_to_a_person_with_the_server_and_the_deals() -> None:
    """The reason names the server, the sender and the results; the deal of the marker is offered."""
    decision = routed(received(FAIL, subject="KP #2"), policy("require"))
    assert (decision.outcome, decision.target, decision.review) == (Outcome.LEAVE, None, True)
    assert (decision.rule, decision.code) == ("fallback", "from_not_authentic")
    assert decision.reason == "mx.company.ru says that sergey@horns.ru did not send it: dmarc=fail (horns.ru)"
    assert decision.candidates == (2,)
    assert said_by(decision, "fallback").verdict is Verdict.AMBIGUOUS


@pytest.mark.parametrize(
    ("mode", "said", "code", "sentence"),
    [
        (
            "prefer",
            BOTH_FAIL,
            "from_not_authentic",
            "mx.company.ru says that sergey@horns.ru did not send it: "
            "dkim=fail (horns.ru) and spf=softfail (evil.ru)",
        ),
        (
            "require",
            FOREIGN_PASS,
            "from_not_proven",
            "mx.company.ru has no proof that sergey@horns.ru sent it: "
            "dkim=pass (evil.ru) and spf=pass (evil.ru)",
        ),
        (
            "require",
            STRANGERS_PASS,
            "from_not_checked",
            "no mail server of ours says whether sergey@horns.ru sent it",
        ),
    ],
)
def test_participants_and_the_decision_say_why_nobody_looked_at_from(
    mode: Literal["prefer", "require"], said: str, code: str, sentence: str
) -> None:
    decision = routed(received(said), policy(mode))
    finding = said_by(decision, "participants")
    assert (finding.verdict, finding.code, finding.detail) == (Verdict.NO_MATCH, code, sentence)
    assert finding.unknown == ()
    assert (decision.review, decision.candidates) == (True, (1, 2))
    assert (decision.code, decision.reason) == (code, sentence)


def test_a_doubted_stranger_is_left_as_he_is() -> None:
    """In nobody's name there is nothing that a person could decide."""
    decision = routed(received(sender="x@nowhere.ru"), policy("require"))
    assert (decision.outcome, decision.review, decision.code) == (Outcome.LEAVE, False, "nothing_known")
    assert decision.reason.endswith("; no mail server of ours says whether x@nowhere.ru sent it")


def test_microsofts_server_has_a_name_in_the_sentence() -> None:
    assert routed(received(MICROSOFT_FAIL), policy("require", "microsoft")).reason.startswith(
        "microsoft says"
    )


def test_a_spoofed_client_cannot_name_a_deal_under_strict() -> None:
    """The sender check sees nobody known: neither the client's marker rights nor somebody else's."""
    letter = received(FAIL, subject="KP #1")
    assert routed(letter, policy("off", check="strict")).rule == "marker"
    finding = said_by(routed(letter, policy("prefer", check="strict")), "marker")
    assert (finding.verdict, finding.code) == (Verdict.REJECTED, "not_the_clients_deal")


@pytest.mark.parametrize(
    ("rule", "more"),
    [
        ("marker", {"subject": "KP #1"}),
        ("thread", {"more": f"In-Reply-To: {SENT}\r\n"}),
        ("address", {"to": "sales+d1@company.ru"}),
    ],
)
@pytest.mark.parametrize(
    ("sender", "reply_to", "mode"),
    [
        ("anna@romashka.ru", "", "off"),
        ("anna@romashka.ru", "", "require"),
        ("x@evil.ru", "anna@romashka.ru", "off"),
        ("x@evil.ru", "anna@romashka.ru", "require"),
        ("<anna@romashka.ru>:<sergey@horns.ru>", "", "off"),
        ("<sergey@horns.ru>:<anna@romashka.ru>", "", "off"),
        ("anna@romashka.ru\r\nFrom: sergey@horns.ru", "", "off"),
    ],
)
def test_doubt_never_gives_more_rights(
    rule: RuleName,
    more: dict[str, str],
    sender: str,
    reply_to: str,
    mode: Literal["off", "require"],
) -> None:
    """Anna is somebody else's client, believed or not."""
    index = index_of(activities=[SENT_FROM_DEAL_1])
    extra = (f"Reply-To: {reply_to}\r\n" if reply_to else "") + more.get("more", "")
    letter = received(
        sender=sender,
        to=more.get("to", "sales@company.ru"),
        subject=more.get("subject", "KP"),
        more=extra,
    )
    decision = routed(letter, policy(mode), index)
    assert said_by(decision, rule).verdict is Verdict.REJECTED
    assert decision.target != deal(1)


def test_an_unproven_stranger_is_a_stranger() -> None:
    """He may name a deal as any stranger may, and no more."""
    letter = received(sender="x@nowhere.ru", subject="KP #1")
    assert routed(letter, policy("require")).target == routed(letter, policy("off")).target == deal(1)
    letter = received(subject="KP #1")
    found = said_by(routed(letter, policy("require", check="strict")), "marker")
    assert (found.verdict, found.code) == (Verdict.REJECTED, "not_the_clients_deal")


def test_a_refuted_letter_of_another_client_does_not_inherit_the_thread() -> None:
    index = index_of(activities=[SENT_FROM_DEAL_1])
    letter = received(FAIL, sender="anna@romashka.ru", more=f"In-Reply-To: {SENT}\r\n")
    for mode in ("off", "prefer"):
        assert said_by(routed(letter, policy(mode), index), "thread").verdict is Verdict.REJECTED


def test_reply_to_falls_with_from() -> None:
    """Reply-To is looked at first, and would let the spoof in by the back door."""
    letter = received(
        f"{OURS}; dmarc=fail header.from=evil.ru", sender="x@evil.ru", more="Reply-To: sergey@horns.ru\r\n"
    )
    assert what_became_of(routed(letter, policy("off"))) == USED
    assert what_became_of(routed(letter, policy("prefer"))) == REVIEW
    assert what_became_of(routed(letter, policy("require"))) == REVIEW


@pytest.mark.parametrize(
    ("sender", "reply_to", "expected"),
    [
        ("x@evil.ru", "sergey@horns.ru", REVIEW),
        ("robot@mail.horns.ru", "sergey@horns.ru", USED),
        ("noreply@company.ru", "sergey@horns.ru", USED),
        ("sergey@horns.ru", "x@elsewhere.ru", USED),
        ("somebody@mail.ru", "alone@mail.ru", REVIEW),
    ],
)
def test_a_proof_of_from_covers_only_its_own_reply_to(sender: str, reply_to: str, expected: str) -> None:
    """Whoever owns a domain can prove it and still name a client in Reply-To; our own web forms may."""
    domain = sender.partition("@")[2]
    letter = received(
        f"{OURS}; dmarc=pass header.from={domain}", sender=sender, more=f"Reply-To: {reply_to}\r\n"
    )
    assert what_became_of(routed(letter, policy("require"))) == expected


def test_our_own_letter_needs_no_proof() -> None:
    """No server judges what lies in the Sent folder."""
    letter = received(sender="masha@company.ru", to="sergey@horns.ru", outgoing=True, filed=True)
    assert routed(letter, policy("require")).target == deal(1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [((), REVIEW), ((f"{OURS}; dmarc=pass header.from=company.ru",), USED), ((STRANGERS_PASS,), REVIEW)],
)
def test_a_letter_that_came_in_with_our_address_needs_a_proof(said: tuple[str, ...], expected: str) -> None:
    """Its sender would choose the deal by whom he writes to."""
    letter = received(*said, sender="sales@company.ru", to="sergey@horns.ru, masha@company.ru", outgoing=True)
    letter = replace(letter, envelope=replace(letter.envelope, sender=(Address("masha@company.ru"),)))
    assert what_became_of(routed(letter, policy("require"))) == expected


def test_a_letter_from_outside_with_our_address_is_not_ours() -> None:
    """From: sales@company.ru on a letter that our server refutes does not move what a client gets."""
    letter = received(
        f"{OURS}; dmarc=fail header.from=company.ru",
        sender="masha@company.ru",
        to="sergey@horns.ru",
        outgoing=True,
    )
    assert what_became_of(routed(letter, policy("off"))) == USED
    assert what_became_of(routed(letter, policy("prefer"))) == REVIEW
    assert what_became_of(routed(letter, policy("require"))) == REVIEW


@pytest.mark.parametrize("mode", ["off", "prefer", "require"])
def test_a_from_that_reads_two_ways_is_never_trusted(mode: Literal["off", "prefer", "require"]) -> None:
    """No pass helps: which of the two the server judged is unknown."""
    letter = received(PASS, sender="<sergey@horns.ru>:<x@evil.ru>")
    assert not letter.envelope.from_is_clear
    finding = said_by(routed(letter, policy(mode)), "participants")
    assert (finding.verdict, finding.code) == (Verdict.NO_MATCH, "from_unclear")
    assert what_became_of(routed(letter, policy(mode))) == REVIEW


def test_two_authors_are_proven_only_together() -> None:
    """DMARC speaks of one domain; the other author is a claim."""
    letter = received(PASS, sender="sergey@horns.ru, x@evil.ru")
    assert what_became_of(routed(letter, policy("require"))) == REVIEW


def test_a_message_without_from_is_never_proven() -> None:
    letter = received(f"{OURS}; dmarc=pass", sender="", more="Reply-To: sergey@horns.ru\r\n")
    assert what_became_of(routed(letter, policy("require"))) == REVIEW


def test_a_spoofed_employee_is_shown_to_a_person() -> None:
    """Bitrix24 makes no activity of such a letter, spoofed or not; but whoever forges a colleague is news."""
    letter = received(f"{OURS}; dmarc=fail", sender="masha@company.ru", to="sales@company.ru")
    assert routed(letter, policy("off")).outcome is Outcome.IGNORE
    assert routed(letter, policy("prefer")).outcome is Outcome.IGNORE
    decision = routed(letter, policy("require"))
    assert (decision.review, decision.code) == (True, "from_not_authentic")


WORDS = st.sampled_from(
    [PASS, FAIL, SILENT, BOTH_FAIL, ALIGNED_DKIM, ALIGNED_SPF, FOREIGN_PASS, OTHER_FROM, SWALLOWED]
)
MODES = st.sampled_from(["off", "prefer", "require"])
INDEX = index_of()


@given(
    st.lists(WORDS, max_size=3),
    st.lists(st.sampled_from([STRANGERS_PASS, MICROSOFT_PASS]), max_size=2),
    MODES,
)
def test_strangers_words_change_nothing(
    ours: list[str], strangers: list[str], mode: Literal["off", "prefer", "require"]
) -> None:
    """Headers of other servers, above or below, never change a decision."""
    expected = routed(received(*ours), policy(mode), INDEX)
    assert routed(received(*strangers, *ours), policy(mode), INDEX) == expected
    assert routed(received(*ours, *strangers), policy(mode), INDEX) == expected


@given(WORDS, st.lists(WORDS, max_size=3), MODES)
def test_what_stands_below_our_word_proves_nothing(
    top: str, below: list[str], mode: Literal["off", "prefer", "require"]
) -> None:
    """A sender can write our server's name below ours: he can only refute himself."""
    alone, with_it = (routed(received(*said), policy(mode), INDEX) for said in ([top], [top, *below]))
    assert what_became_of(with_it) in (what_became_of(alone), REVIEW)
    if not any(_refutes(word) for word in below):
        assert with_it == alone


def _refutes(word: str) -> bool:
    return what_became_of(routed(received(word), policy("prefer"), INDEX)) == REVIEW


@given(st.lists(WORDS, max_size=2), MODES)
def test_a_stricter_choice_never_believes_more(
    said: list[str], mode: Literal["off", "prefer", "require"]
) -> None:
    """What require uses, prefer uses, and what prefer uses, off uses."""
    letter = received(*said)
    used = {
        each: what_became_of(routed(letter, policy(each), INDEX)) == USED
        for each in ("off", "prefer", "require")
    }
    assert used["off"] >= used["prefer"] >= used["require"]
