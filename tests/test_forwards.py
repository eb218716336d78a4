"""Letters that a colleague passes on: attached ones are looked into, redirected ones say who had them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from company import index_of
from dovecot import Dovecot
from hypothesis import given
from hypothesis import strategies as st
from office import Office, sample_letter

from imaprouter import mail
from imaprouter.decide import decide
from imaprouter.model import Decision, Letter, Nature, Outcome, Result, Standing, deal
from imaprouter.policy import RoutingPolicy

OWN = frozenset({"sales@company.ru"})
INDEX = index_of()


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as at_work:
        yield at_work


def plain(sender: str, to: str, subject: str, **fields: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = "Mon, 12 Jan 2026 10:00:00 +0300"
    message["Message-ID"] = f"<{abs(hash((sender, subject)))}@x.ru>"
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hello")
    return message


def forward(inner: EmailMessage, sender: str = "masha@company.ru") -> EmailMessage:
    """`inner` as an attachment of a letter to the shared mailbox."""
    outer = plain(sender, "sales@company.ru", f"Fwd: {inner['Subject']}")
    outer.add_attachment(inner)
    return outer


CLIENTS = plain("Сергей <sergey@horns.ru>", "ilya@company.ru", "КП")


def routed(message: EmailMessage | bytes) -> Decision:
    raw = message if isinstance(message, bytes) else message.as_bytes()
    envelope = mail.with_attached(mail.parse(raw), raw)
    return decide(Letter(envelope, OWN, OWN), INDEX, RoutingPolicy())


@pytest.mark.parametrize(
    "message",
    [forward(CLIENTS), forward(forward(CLIENTS)), forward(forward(forward(CLIENTS), "ilya@company.ru"))],
    ids=["once", "twice", "three times"],
)
def test_a_colleagues_forward_is_ignored_and_says_whose_letter_it_carries(message: EmailMessage) -> None:
    """Bitrix24 makes no activity of it; the trail shows where the client's letter belongs (peers.md F13)."""
    decision = routed(message)
    assert (decision.outcome, decision.target, decision.review) == (Outcome.IGNORE, None, False)
    assert decision.reason == (
        "masha@company.ru is an employee: Bitrix24 makes no activity of a colleague's letter; "
        "it forwards a letter of sergey@horns.ru; that letter belongs to deal 2"
    )
    assert [finding.rule for finding in decision.trail][-2:] == ["participants", "fallback"]
    assert decision.unknown == ()
    standing = {one.target: one.standing for one in decision.considered}
    assert standing[deal(1)] is standing[deal(2)] is Standing.LOST
    reasons = {one.target: [reason.code for _, reason in one.reasons] for one in decision.considered}
    assert reasons[deal(2)] == ["responsible_addressed", "employee_wrote"]


def test_of_several_attached_letters_the_known_clients_counts() -> None:
    message = forward(plain("x@nowhere.ru", "masha@company.ru", "Hello"))
    message.add_attachment(CLIENTS)
    assert "it forwards a letter of sergey@horns.ru" in routed(message).reason


def test_a_forward_to_a_client_of_nobody_names_him_alone() -> None:
    decision = routed(forward(plain("x@nowhere.ru", "masha@company.ru", "Hello")))
    assert decision.reason.endswith("; it forwards a letter of x@nowhere.ru")


def test_a_client_may_attach_what_he_likes() -> None:
    """His own letter is the one that is decided."""
    attached = plain("anna@romashka.ru", "ilya@company.ru", "#3")
    message = plain("sergey@horns.ru", "masha@company.ru", "КП")
    message.add_attachment(attached)
    assert routed(message).target == deal(1)


def test_forwarded_text_in_a_body_names_nobody() -> None:
    """Addresses in a body are no evidence, however many there are."""
    decision = routed(sample_letter("employee-forward"))
    assert (decision.outcome, decision.code) == (Outcome.IGNORE, "employee_wrote")
    assert [reason.code for reason in decision.reasons] == ["employee_wrote"]


@pytest.mark.parametrize("field", ["Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc"])
def test_whoever_passed_a_letter_on_had_got_it(field: str) -> None:
    """A redirected letter keeps the client's From, so Bitrix24 takes it; Resent- fields name the manager."""
    message = plain(
        "sergey@horns.ru", "sales@company.ru", "КП", **{field.replace("-", "_"): "ilya@company.ru"}
    )
    decision = routed(message)
    assert (decision.target, decision.rule) == (deal(2), "participants")


def test_notifications_of_bitrix24_to_employees_are_ignored() -> None:
    """Our own notification, which Bitrix24 also mails, quotes the subject with its marker."""
    for event, nature in (("IM_NEW_NOTIFY", Nature.NOTIFICATION), ("SALE_NEW_ORDER", Nature.SYSTEM)):
        message = plain("noreply@portal.ru", "sales@company.ru", "КП #1")
        message["X-EVENT_NAME"] = event
        decision = routed(message)
        assert mail.parse(message.as_bytes()).nature is nature
        ignored = nature is Nature.NOTIFICATION
        assert (decision.code == "own_notification") is ignored
        assert (decision.outcome is Outcome.IGNORE) is ignored


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_body_raises(junk: bytes, cut: int) -> None:
    raw = forward(forward(CLIENTS)).as_bytes()
    for damaged in (raw[:cut] + junk + raw[cut:], raw[:cut] + junk, junk):
        envelope = mail.with_attached(mail.parse(damaged), damaged)
        assert len(envelope.forwarded) <= 5


def test_a_thousand_nested_letters_are_read_to_a_depth() -> None:
    """The parser of the standard library recurses; what it cannot read costs nothing but itself."""
    raw = b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(1000)) + b"From: a@b.ru\r\n\r\n"
    assert len(mail.with_attached(mail.parse(raw), raw).forwarded) <= 5


@pytest.mark.parametrize("reads", [True, False])
def test_the_service_looks_into_a_forward_when_it_may(office: Office, reads: bool) -> None:
    """routing.forwards.read_attached: the header of the attached letter is fetched, and nothing changed."""
    office.options["routing.forwards.read_attached"] = "true" if reads else "false"
    office.deliver(forward(plain("sergey@horns.ru", "ilya@company.ru", "KP")).as_bytes())
    office.run_once()
    (message,) = office.messages()
    assert (message.decision.outcome, message.result) == (Outcome.IGNORE, Result.IGNORED)
    assert [reason.code for reason in message.decision.reasons] == (
        ["employee_wrote", "forwards", "forwarded_belongs"] if reads else ["employee_wrote"]
    )
    assert len(message.envelope.forwarded) == reads
    assert replace(message.envelope, forwarded=()) == mail.parse(
        forward(plain("sergey@horns.ru", "ilya@company.ru", "KP")).as_bytes()
    )
