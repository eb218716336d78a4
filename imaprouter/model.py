"""The words of imaprouter, as frozen values: what a message says, what the CRM holds, what was concluded.

Nothing here does I/O or knows the time. Every datetime is timezone-aware. Ids are the portal's integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from imaprouter.reasons import Reason, sentence, why


class Nature(StrEnum):
    """What kind of sender wrote a message; only `client` and `list` are letters of a person."""

    CLIENT = "client"
    BOUNCE = "bounce"
    AUTO_REPLY = "auto_reply"
    LIST = "list"
    SYSTEM = "system"
    #: Bitrix24 tells an employee something by mail, notifications of ours among it.
    NOTIFICATION = "notification"


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox of an address header. `email` is normalised (`address.normalise`); `name` is for people."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Authentication:
    """One Authentication-Results header (RFC 8601). Anybody can write one: `server` has to be trusted."""

    #: authserv-id, lower case; '' in Microsoft's form without one.
    server: str
    #: Method to result, lower case: {"dmarc": "pass", "spf": "fail"}; of repeated methods the worst.
    results: dict[str, str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the header of one message says, decoded and safe: no control, bidi or surrogate characters."""

    subject: str = ""
    from_: tuple[Address, ...] = ()
    #: False when From can be read in two ways (several From headers, `<a@x>:<b@y>`).
    from_is_clear: bool = True
    reply_to: tuple[Address, ...] = ()
    sender: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    #: Delivered-To, X-Original-To, Envelope-To and their like: normalised e-mail addresses.
    delivered_to: tuple[str, ...] = ()
    #: Everybody in Resent-From, -Sender, -To and -Cc (RFC 5322 3.6.6): it was passed on as it was.
    resent: tuple[Address, ...] = ()
    #: As written, without the angle brackets; '' when there is none. Compare by `address.canonical_id`.
    message_id: str = ""
    #: Canonical ids of the messages that this one answers, nearest first.
    parents: tuple[str, ...] = ()
    #: The Date header as an instant; None when there is none that can be understood.
    date: datetime | None = None
    nature: Nature = Nature.CLIENT
    #: Further canonical ids of this very message: X-Google-Original-Message-ID and the like.
    other_ids: tuple[str, ...] = ()
    #: Outlook's conversation, the first 22 bytes of Thread-Index in hex; '' when there is none. A hint only.
    conversation: str = ""
    #: What mail servers said of the sender's authenticity, topmost header first.
    authentication: tuple[Authentication, ...] = ()
    #: The letters that it carries as attachments, a letter before the one attached to it. Empty where nobody
    #: looked: only an employee's forward is opened.
    forwarded: tuple[Envelope, ...] = ()
    #: What could not be read, for people: "subject: unknown charset x-foo".
    defects: tuple[str, ...] = ()
    #: SHA-256 (hex) over Message-ID, Date, From, To and Subject: the same mail has the same one everywhere.
    fingerprint: str = ""

    @property
    def writers(self) -> tuple[Address, ...]:
        """Reply-To before From, as Bitrix24 looks for the client (mail-internals 2.4)."""
        return tuple(dict.fromkeys(self.reply_to + self.from_))

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address that the message was sent, passed on or delivered to, in that order, without repeats.

        Whoever passes a letter on, had got it.
        """
        written = (address.email for address in self.to + self.cc + self.resent)
        return tuple(dict.fromkeys((*written, *self.delivered_to)))


class EntityType(StrEnum):
    """The kinds of CRM objects an e-mail is routed to."""

    LEAD = "lead"
    DEAL = "deal"
    CONTACT = "contact"
    COMPANY = "company"

    @property
    def type_id(self) -> int:
        """The portal's numeric entity type (rest.md 2.1)."""
        return _TYPE_IDS[self]

    @classmethod
    def from_type_id(cls, type_id: int) -> EntityType | None:
        """The kind with this numeric type, or None for quotes, smart processes and the like."""
        return _TYPES_BY_ID.get(type_id)


_TYPE_IDS = {EntityType.LEAD: 1, EntityType.DEAL: 2, EntityType.CONTACT: 3, EntityType.COMPANY: 4}
_TYPES_BY_ID = {number: kind for kind, number in _TYPE_IDS.items()}


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """The link of an activity to one CRM object, by the portal's numeric type: smart processes included."""

    type_id: int
    entity_id: int

    @property
    def is_deal(self) -> bool:
        return self.type_id == _TYPE_IDS[EntityType.DEAL]

    @property
    def is_lead(self) -> bool:
        return self.type_id == _TYPE_IDS[EntityType.LEAD]

    @property
    def is_client(self) -> bool:
        """Whether it is a contact or a company."""
        return self.type_id in (_TYPE_IDS[EntityType.CONTACT], _TYPE_IDS[EntityType.COMPANY])

    def __str__(self) -> str:
        kind = EntityType.from_type_id(self.type_id)
        return f"{kind or f'type {self.type_id}'} {self.entity_id}"


@dataclass(frozen=True, slots=True)
class Target:
    """The CRM object that a message belongs to."""

    type: EntityType
    id: int

    @property
    def binding(self) -> Binding:
        return Binding(self.type.type_id, self.id)

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


def deal(deal_id: int) -> Target:
    """The target 'deal `deal_id`'."""
    return Target(EntityType.DEAL, deal_id)


@dataclass(frozen=True, slots=True)
class User:
    """An employee of the portal. `email` is normalised."""

    id: int
    name: str = ""
    email: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True)
class Company:
    id: int
    title: str = ""
    responsible_id: int = 0
    emails: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contact:
    id: int
    name: str = ""
    responsible_id: int = 0
    company_ids: tuple[int, ...] = ()
    emails: tuple[str, ...] = ()
    #: NAME and LAST_NAME by themselves; both '' where an earlier version read the contact.
    first_name: str = ""
    last_name: str = ""


@dataclass(frozen=True, slots=True)
class Lead:
    id: int
    title: str = ""
    responsible_id: int = 0
    #: STATUS_SEMANTIC_ID: P in progress, S converted, F junk.
    semantic: str = "P"
    contact_id: int | None = None
    company_id: int | None = None
    emails: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return self.semantic == "P"


@dataclass(frozen=True, slots=True)
class Tenure:
    """A user's time as the responsible of a deal, as the index saw it."""

    user_id: int
    until: datetime
    #: None: since before the index first saw the deal.
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deal:
    id: int
    title: str = ""
    category_id: int = 0
    stage_id: str = ""
    #: STAGE_SEMANTIC_ID: P in progress, S won, F lost.
    semantic: str = "P"
    recurring: bool = False
    responsible_id: int = 0
    company_id: int | None = None
    contact_ids: tuple[int, ...] = ()
    lead_id: int | None = None
    #: None: since before the index first saw the deal.
    responsible_since: datetime | None = None
    #: Who was responsible before, and until when; the latest first.
    former: tuple[Tenure, ...] = ()
    observer_ids: tuple[int, ...] = ()
    created_at: datetime | None = None
    modified_at: datetime | None = None
    #: When its stage changed last: of a closed deal, when it was closed.
    moved_at: datetime | None = None
    last_activity_at: datetime | None = None

    @property
    def active(self) -> bool:
        """As the portal counts open deals: in progress, no template of recurring ones (mail-internals 8)."""
        return self.semantic == "P" and not self.recurring


@dataclass(frozen=True, slots=True)
class Client:
    """Everybody and everything that the CRM knows under one e-mail address."""

    email: str
    contacts: tuple[Contact, ...] = ()
    companies: tuple[Company, ...] = ()
    leads: tuple[Lead, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.contacts or self.companies or self.leads)

    @property
    def company_ids(self) -> tuple[int, ...]:
        """Companies with this address, then the companies of the contacts with this address."""
        own = [company.id for company in self.companies]
        through = [company_id for contact in self.contacts for company_id in contact.company_ids]
        return tuple(dict.fromkeys(own + through))

    @property
    def contact_ids(self) -> tuple[int, ...]:
        return tuple(contact.id for contact in self.contacts)


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """A Message-ID whose deal, company, contact or lead is known."""

    message_id: str
    target: Target
    #: 'decision', 'person' (re-bound by hand), 'portal' (a letter that Bitrix24 sent) or 'weak' (never seen
    #: itself; decided letters answer it).
    source: str
    #: Of a person's choice: the addresses in that letter, for whom it holds whoever they are in the CRM.
    parties: frozenset[str] = frozenset()


class DealIndex(Protocol):
    """The questions that a rule may ask. Answers are values; None or an empty one means 'not known here'."""

    def reading(self) -> AbstractContextManager[None]:
        """All that is asked inside is answered from one state of the CRM."""
        ...

    def deal(self, deal_id: int, /) -> Deal | None: ...

    def client(self, email: str, /) -> Client: ...

    def deals_of(self, contact_ids: Sequence[int], company_ids: Sequence[int]) -> tuple[Deal, ...]:
        """Deals, active and closed, of any of these contacts or companies, by ascending id."""
        ...

    def company(self, company_id: int, /) -> Company | None: ...

    def contact(self, contact_id: int, /) -> Contact | None: ...

    def lead(self, lead_id: int, /) -> Lead | None: ...

    def user(self, user_id: int, /) -> User | None: ...

    def users(self, user_ids: Sequence[int]) -> tuple[User, ...]:
        """Those of these users who are known, by ascending id."""
        ...

    def user_by_email(self, email: str, /) -> User | None:
        """The active employee with this address."""
        ...

    def users_by_email(self, emails: Sequence[str]) -> dict[str, User]:
        """The active employees with these addresses, by address."""
        ...

    def known_message(self, message_id: str, /) -> KnownMessage | None:
        """What is known of a canonical Message-ID; a person's choice before everything else."""
        ...

    def weak_message(self, message_id: str, /) -> KnownMessage | None:
        """The one target of all decided letters that answer this message, which itself was never seen."""
        ...

    def known_conversation(self, conversation: str, /) -> KnownMessage | None:
        """The one target of all decided letters of an Outlook conversation."""
        ...

    def sent_letter(self, activity_id: int, /) -> KnownMessage | None:
        """The letter that Bitrix24 sent as this activity, with its whole Message-ID."""
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """An envelope as one mailbox got or sent it: what the rules decide about."""

    envelope: Envelope
    #: Addresses that deliver to this mailbox, normalised; empty when no mailbox is configured (replay).
    own_addresses: frozenset[str] = frozenset()
    #: The addresses of all connected mailboxes: Bitrix24 takes their letters for an employee's.
    house_addresses: frozenset[str] = frozenset()
    #: Written by us: From or Reply-To is an own address, or the message lies in a Sent folder.
    outgoing: bool = False
    #: It lies in a Sent folder.
    filed: bool = False
    #: INTERNALDATE: when the mail server got it; None when nobody knows (replay of a file).
    received: datetime | None = None
    #: Letters between the same two addresses within the hour up to this one, itself included; 0: unknown.
    recent: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """Something that the index did not know when a rule asked: ('deal', '17'), ('client', 'a@b.ru')."""

    about: Literal["deal", "client", "activity"]
    key: str


class Verdict(StrEnum):
    MATCH = "match"
    NO_MATCH = "no_match"
    #: Matched, but failed a check.
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"


class Standing(StrEnum):
    CHOSEN = "chosen"
    #: It fits as well as others do: a person decides.
    OPEN = "open"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Considered:
    """An object that one rule looked at, what became of it there, and why."""

    target: Target
    standing: Standing
    reason: Reason


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object that a letter might belong to: what became of it, and what each rule said of it."""

    target: Target
    standing: Standing
    #: (rule, reason), in the order in which the rules were asked.
    reasons: tuple[tuple[str, Reason], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one letter."""

    rule: str
    verdict: Verdict
    #: Why, the main reason first.
    reasons: tuple[Reason, ...]
    #: Deals that were considered, ascending.
    candidates: tuple[int, ...] = ()
    #: On a match: where the letter belongs; None means 'leave it as Bitrix24 made it'.
    target: Target | None = None
    #: What the index could not answer for and the portal may: deals, clients, letters that Bitrix24 sent.
    unknown: tuple[Question, ...] = ()
    #: Everything that the rule looked at, also what does not exist or is closed.
    considered: tuple[Considered, ...] = ()

    @property
    def code(self) -> str:
        """A stable word for programs: 'no_marker', 'not_the_senders_deal'."""
        return self.reasons[0].code

    @property
    def detail(self) -> str:
        """A sentence in English."""
        return sentence(self.reasons)


class Outcome(StrEnum):
    DEAL = "deal"
    COMPANY = "company"
    CONTACT = "contact"
    LEAD = "lead"
    #: The bindings stay as Bitrix24 made them.
    LEAVE = "leave"
    #: The message can have no client activity.
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was concluded about one letter, with everything that was asked on the way."""

    outcome: Outcome
    rule: str
    reasons: tuple[Reason, ...]
    trail: tuple[Finding, ...]
    target: Target | None = None
    review: bool = False
    candidates: tuple[int, ...] = ()

    @property
    def code(self) -> str:
        return self.reasons[0].code

    @property
    def reason(self) -> str:
        """A sentence in English."""
        return sentence(self.reasons)

    @property
    def unknown(self) -> tuple[Question, ...]:
        """What the portal might add to this decision, without repeats."""
        return tuple(dict.fromkeys(question for finding in self.trail for question in finding.unknown))

    @property
    def considered(self) -> tuple[Candidate, ...]:
        """Every object that a rule looked at, in the order in which they came up."""
        said: dict[Target, list[tuple[str, Considered]]] = {}
        for finding in self.trail:
            for one in finding.considered:
                said.setdefault(one.target, []).append((finding.rule, one))
        return tuple(self._candidate(target, found) for target, found in said.items())

    @property
    def open_targets(self) -> tuple[Target, ...]:
        """What a person may choose from; nothing where nothing is asked."""
        return tuple(one.target for one in self.considered if one.standing is Standing.OPEN)

    def _candidate(self, target: Target, said: Sequence[tuple[str, Considered]]) -> Candidate:
        reasons = [(rule, one.reason) for rule, one in said]
        if target == self.target:
            return Candidate(target, Standing.CHOSEN, tuple(reasons))
        liked = any(one.standing is not Standing.LOST for _, one in said)
        asked = target.type is EntityType.DEAL and target.id in self.candidates
        if self.review and (liked or asked):
            return Candidate(target, Standing.OPEN, tuple(reasons))
        if liked:
            reasons.append((self.rule, why("outranked", rule=self.rule) if self.target else self.reasons[0]))
        return Candidate(target, Standing.LOST, tuple(reasons))


class Direction(StrEnum):
    INCOMING = "incoming"
    OUTGOING = "outgoing"


@dataclass(frozen=True, slots=True)
class Activity:
    """An e-mail activity as crm.activity.list shows it (mail-internals 3)."""

    id: int
    #: SETTINGS.EMAIL_META.__email, normalised: the connected mailbox's address, or its bare login.
    mailbox_email: str
    direction: Direction
    subject: str
    start_time: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    owner: Binding | None
    responsible_id: int
    completed: bool
    from_: frozenset[str] = frozenset()
    reply_to: frozenset[str] = frozenset()
    to: frozenset[str] = frozenset()
    cc: frozenset[str] = frozenset()
    originator_id: str = ""
    origin_id: str = ""
    #: SETTINGS.MESSAGE_HEADERS['Message-Id'], canonical; only on letters that the CRM sent.
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A letter as the portal's mail shows it, over REST 3 (mail-internals 9)."""

    id: int
    mailbox_email: str
    subject: str
    from_: frozenset[str]
    #: INTERNALDATE in a zone that is not told; None when it cannot be read.
    date: datetime | None
    #: It belongs to something in the CRM already.
    bound: bool


class State(StrEnum):
    """Where a message stands on its way from seen to settled."""

    #: Decided; its activity has not appeared in the portal yet.
    WAITING = "waiting"
    #: Its activity is known; the correction is not confirmed yet.
    PAIRED = "paired"
    #: A person decides.
    REVIEW = "review"
    SETTLED = "settled"
    #: No activity appeared within binding.wait.
    MISSING = "missing"
    #: The portal refuses the correction for good; a person must look.
    FAILED = "failed"
    #: The IMAP server could not hand it over.
    UNREADABLE = "unreadable"


#: The note of a message of which a person said that nothing is to be done.
LEFT_BY_PERSON = "a person left it as it is"


class Result(StrEnum):
    """How a settled message ended."""

    MOVED = "moved"
    ALREADY_RIGHT = "already_right"
    #: Decided to leave it as Bitrix24 made it.
    LEFT = "left"
    IGNORED = "ignored"
    #: Somebody re-bound the activity by hand: his choice stays.
    PERSON = "person"
    #: mode = "observe": what would have been done is on record.
    OBSERVED = "observed"
    #: A person took our change back (`undo`): nothing is done for it any more.
    UNDONE = "undone"
    #: The same mail, moved to another folder or met again under another UID.
    SAME_MAIL = "same_mail"


def sorted_ids(numbers: Iterable[int]) -> tuple[int, ...]:
    """Distinct numbers, ascending."""
    return tuple(sorted(set(numbers)))


@dataclass(frozen=True, slots=True)
class FetchedMessage:
    """One message as the IMAP server handed it over."""

    uid: int
    #: The asked header fields as raw bytes; None when the server could not read the message.
    header: bytes | None
    #: Aware; None when the server gave none.
    internal_date: datetime | None
    size: int
    flags: frozenset[str] = field(default_factory=frozenset)
    #: `header` is as long as was asked for: the server may have more.
    cut: bool = False

    @property
    def seen(self) -> bool:
        return "\\Seen" in self.flags
