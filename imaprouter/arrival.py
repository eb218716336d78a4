"""A fetched message becomes a journal entry: its envelope, its decision, where it stands. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

from imaprouter.copies import together
from imaprouter.decide import decide, is_colleagues
from imaprouter.model import (
    DealIndex,
    Decision,
    Direction,
    Envelope,
    FetchedMessage,
    Finding,
    Letter,
    Outcome,
    Result,
    State,
    Verdict,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import why
from imaprouter.standing import Part, PartKind
from imaprouter.store.messages import NewMessage


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """What a watcher has to know of its folder; from the configuration."""

    mailbox: str
    name: str
    kind: Literal["incoming", "sent"]
    own_addresses: frozenset[str]
    house_addresses: frozenset[str]
    start: Literal["new", "all"] | date
    policy: RoutingPolicy
    #: Ask the portal when the index does not know a deal or a sender (cache.live_lookup).
    live_lookup: bool

    def __str__(self) -> str:
        return f"{self.mailbox}/{self.name}"

    @property
    def part(self) -> Part:
        """The part of the service that watches it."""
        return Part(PartKind.FOLDER, self.mailbox, self.name)

    def letter(self, envelope: Envelope, received: datetime | None = None, *, recent: int = 0) -> Letter:
        return Letter(
            envelope,
            self.own_addresses,
            self.house_addresses,
            self._we_wrote(envelope),
            filed=self.kind == "sent",
            received=received,
            recent=recent,
        )

    def direction(self, envelope: Envelope) -> Direction:
        """As Bitrix24 sees it: by the addresses alone, whatever the folder (mail-internals 1.3)."""
        ours = any(address.email in self.own_addresses for address in envelope.writers)
        return Direction.OUTGOING if ours else Direction.INCOMING

    def is_colleagues(self, envelope: Envelope, index: DealIndex) -> bool:
        """Whether an employee wrote this letter to us."""
        return is_colleagues(self.letter(envelope), index, self.policy)

    def pair_key(self, envelope: Envelope) -> str:
        """The mailbox's address and the other side's, the same in both directions; '' when one is missing."""
        own = min(self.own_addresses, default="")
        if self._we_wrote(envelope):
            written_to = envelope.recipients
        else:
            written_to = tuple(address.email for address in envelope.writers)
        other = next((email for email in written_to if email not in self.own_addresses), "")
        return " ".join(sorted((own, other))) if own and other else ""

    def _we_wrote(self, envelope: Envelope) -> bool:
        return self.kind == "sent" or self.direction(envelope) is Direction.OUTGOING


def decided(
    watched: WatchedFolder,
    index: DealIndex,
    message: FetchedMessage,
    envelope: Envelope,
    arrived: datetime,
    *,
    pair_key: str | None = None,
    recent: int = 0,
    copies: Iterable[Envelope] = (),
) -> NewMessage:
    """Decide, and say where the message stands after that.

    `pair_key`, where it is known already, is the folder's for this envelope; `recent` as in `Letter`;
    `copies` are the same mail in other mailboxes.
    """
    letter = together(watched.letter(envelope, arrived, recent=recent), copies)
    decision = decide(letter, index, watched.policy)
    direction = watched.direction(envelope)
    becomes_activity = watched.kind == "incoming" or direction is Direction.OUTGOING
    state, result, open_questions, note = _standing(decision, becomes_activity, watched.live_lookup)
    return NewMessage(
        uid=message.uid,
        direction=direction,
        envelope=envelope,
        decision=decision,
        internal_date=arrived,
        size=message.size,
        seen=message.seen,
        state=state,
        result=result,
        note=note,
        open_questions=open_questions,
        pair_key=watched.pair_key(envelope) if pair_key is None else pair_key,
    )


def standing(new: NewMessage, *, becomes_activity: bool, ask_portal: bool) -> NewMessage:
    """Where a message stands right after its decision."""
    state, result, open_questions, note = _standing(new.decision, becomes_activity, ask_portal)
    changed = replace(new, state=state, open_questions=open_questions)
    return changed if result is None else replace(changed, result=result, note=note or new.note)


def _standing(
    decision: Decision, becomes_activity: bool, ask_portal: bool
) -> tuple[State, Result | None, bool, str]:
    """State, result, whether the portal is to be asked, and a note."""
    open_questions = ask_portal and bool(decision.unknown)
    if decision.review:
        return State.REVIEW, None, open_questions, ""
    if open_questions:
        return State.WAITING, None, True, ""
    if decision.outcome is Outcome.IGNORE:
        return State.SETTLED, Result.IGNORED, False, ""
    if decision.target is None:
        return State.SETTLED, Result.LEFT, False, ""
    if not becomes_activity:
        # A copy in Sent whose From is another address of ours counts as a colleague's (mail-internals 1.8).
        note = "Bitrix24 makes no activity of it: From is not the mailbox's address"
        return State.SETTLED, Result.LEFT, False, note
    return State.WAITING, None, False, ""


def defective(
    watched: WatchedFolder, message: FetchedMessage, envelope: Envelope, arrived: datetime
) -> NewMessage:
    """The entry of a letter that we failed to decide: a person does."""
    finding = Finding("fallback", Verdict.AMBIGUOUS, (why("defect"),))
    return NewMessage(
        uid=message.uid,
        direction=watched.direction(envelope),
        envelope=envelope,
        decision=Decision(Outcome.LEAVE, "fallback", finding.reasons, (finding,), review=True),
        internal_date=arrived,
        size=message.size,
        seen=message.seen,
        state=State.REVIEW,
    )


def unreadable(uid: int, now: datetime) -> NewMessage:
    finding = Finding("fallback", Verdict.NO_MATCH, (why("unreadable"),))
    return NewMessage(
        uid=uid,
        direction=Direction.INCOMING,
        envelope=Envelope(defects=("unreadable on the server",)),
        decision=Decision(Outcome.LEAVE, "fallback", finding.reasons, (finding,)),
        internal_date=now,
        size=0,
        seen=False,
        state=State.UNREADABLE,
        note=finding.detail,
    )
