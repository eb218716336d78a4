"""The importer: a letter of a connected mailbox becomes an activity, or not (mail-internals 1.8, 2, 3)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.crm import Crm, letter_hash
from imaprouter.sandbox.fields import COMPANY, CONTACT, DEAL, ENTITY_NAMES, LEAD
from imaprouter.sandbox.mail_letter import Letter
from imaprouter.sandbox.mail_search import (
    Match,
    bindings_of,
    find,
    one_of_the_owners_type,
    open_deals,
    repeat_leads,
    type_order,
)
from imaprouter.sandbox.rows import EMAIL_TYPE_ID, end_of_work, title_of

#: The localised text of an empty subject.
DEFAULT_SUBJECT = "No subject"
_URN_IN_ID = re.compile(r"crm\.activity\.((\d+)-\w+)@", re.IGNORECASE)
_URN_IN_SUBJECT = re.compile(r"\[CRM:((\d+)-\w+)\]", re.IGNORECASE)
_URN_IN_BODY = re.compile(r"\[msg:((\d+)-\w+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MailboxConnection:
    """A mailbox that a user connected in the portal, with the options of its CRM page."""

    email: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    #: NAME; EMAIL_META.__email is this if it is an address, else the login (mail-internals 3.4).
    name: str = ""
    owner_user_id: int = 1
    #: Other users who may see its mail.
    shared_with: frozenset[int] = frozenset()
    #: The responsible queue; empty means the owner alone.
    queue: tuple[int, ...] = ()
    #: 'Anyone's mail goes to CRM': the queue does not limit what is found.
    public: bool = False
    #: Folders to sync; empty: those of the top level (mail-internals 1.3).
    folders: tuple[str, ...] = ("INBOX", "Sent")
    #: What an unknown sender becomes.
    create: Literal["lead", "contact", "deny"] = "lead"
    #: A client without an open deal gets a repeat lead: on by default in the portal (mail-internals 2.5).
    repeat_leads: bool = True
    #: Senders who always get a new lead.
    new_lead_for: frozenset[str] = frozenset()
    #: Letters with an older INTERNALDATE are not stored at all.
    sync_from: datetime | None = None
    #: Letters with an older Date do not go to the CRM.
    crm_sync_from: datetime | None = None
    #: The portal's own sender address, for its system mail.
    system_sender: str = ""

    @property
    def meta_email(self) -> str:
        """`__email` of the activities of this mailbox; not lower-cased."""
        name = self.name or self.email
        return name if "@" in name else self.username


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a letter: a new activity, or the reason why there is none."""

    letter: Letter
    activity_id: int | None
    reason: str = ""


@dataclass(slots=True)
class StoredLetter:
    """A letter that the portal's mail holds, whether or not the CRM took it."""

    letter: Letter
    importer: Importer
    #: The last activity that was made of it.
    activity_id: int | None = None


class Importer:
    """Imports the letters of one mailbox; the caller holds the CRM's lock."""

    def __init__(
        self, connection: MailboxConnection, crm: Crm, mailboxes: Sequence[MailboxConnection]
    ) -> None:
        self._box = connection
        self._crm = crm
        self._mailboxes = mailboxes
        self._stored: set[str] = set()
        self._turn = itertools.count()

    def take(self, letter: Letter) -> Imported:
        """Decide about one letter and carry it out."""
        outgoing = self._box.email.lower() in letter.senders
        box = self._box
        if box.sync_from and letter.internal_date < box.sync_from:
            return Imported(letter, None, "older than the mailbox")
        if letter.header_md5 in self._stored:
            return Imported(letter, None, "already stored")
        self._stored.add(letter.header_md5)
        stored = self._crm.mail[len(self._crm.mail) + 1] = StoredLetter(letter, self)
        reason = self._why_not(letter, outgoing)
        if reason:
            return Imported(letter, None, reason)
        parent = self._parent(letter)
        bindings, reason = self._bindings(letter, outgoing, parent)
        if not bindings:
            return Imported(letter, None, reason)
        stored.activity_id = self._add(letter, outgoing, bindings, parent)
        return Imported(letter, stored.activity_id)

    @property
    def mailbox(self) -> MailboxConnection:
        return self._box

    def force(self, stored: StoredLetter, user_id: int) -> int | None:
        """Somebody has a stored letter saved to the CRM: the same algorithm, "forced" (mail-internals 9).

        Not what an employee wrote, and without asking whether it has an activity. It begins with what the
        mail table holds: lines of 255 characters (mail-internals 3.2, 3.4).
        """
        cut = {name: getattr(stored.letter, name)[:255] for name in ("subject", "from_", "to", "cc")}
        letter = replace(stored.letter, **cut)
        outgoing = self._box.email.lower() in letter.senders
        if self._why_not(letter, outgoing, forced=True):
            return None
        parent = self._parent(letter)
        bindings, _ = self._bindings(letter, outgoing, parent, forced=True)
        if not bindings:
            return None
        stored.activity_id = self._add(letter, outgoing, bindings, parent, by=user_id)
        return stored.activity_id

    def _why_not(self, letter: Letter, outgoing: bool, *, forced: bool = False) -> str:
        """Points 7 to 13 of mail-internals 1.8, in its order; '' means: goes on."""
        box = self._box
        if not forced and box.crm_sync_from and letter.start_time < box.crm_sync_from:
            return "older than the CRM connection"
        if not forced and letter.aside:
            return "draft, trash or spam"
        if not forced and letter.event_name and box.system_sender.lower() in letter.senders:
            return "system mail"
        if outgoing and self._linked(letter):
            return "sent from the CRM"
        parties = letter.recipients if outgoing else letter.senders
        employees = [address for address in parties if self._is_employee(address)]
        if outgoing and parties and len(employees) == len(parties):
            return "only employees among the recipients"
        if not outgoing and employees:
            return "written by an employee"
        return "" if parties else "no address"

    def _linked(self, letter: Letter) -> bool:
        """The portal's own copy of a letter that was sent from the CRM only gets linked."""
        activity_id = self._by_urn(_URN_IN_ID.search(letter.message_id))
        if activity_id is None:
            return False
        self._crm.activities[activity_id]["UF_MAIL_MESSAGE"] = letter.header_md5
        return True

    def _is_employee(self, address: str) -> bool:
        """An address of an active user with a department or of a mailbox (mail-internals 1.8 point 11)."""
        if any(
            str(user.get("EMAIL") or "").lower() == address and user["ACTIVE"] and _has_department(user)
            for user in self._crm.users.values()
        ):
            return True
        return any(
            address in {box.email.lower(), box.name.lower(), box.username.lower()} for box in self._mailboxes
        )

    # Where it belongs

    def _parent(self, letter: Letter) -> int | None:
        """In-Reply-To as URN, then as a known Message-ID, then tags in subject and body (2.2)."""
        by_urn = self._by_urn(_URN_IN_ID.search(letter.in_reply_to))
        if by_urn is not None:
            return by_urn
        known = self._crm.letters.get(letter_hash(letter.in_reply_to)) if letter.in_reply_to else None
        if known in self._crm.activities:
            return known
        tags = (_URN_IN_SUBJECT.search(letter.subject), _URN_IN_BODY.search(letter.body))
        return next((found for tag in tags if (found := self._by_urn(tag)) is not None), None)

    def _by_urn(self, urn: re.Match[str] | None) -> int | None:
        if urn is None:
            return None
        activity = self._crm.activities.get(int(urn.group(2)))
        if activity is None or str(activity.get("URN") or "").lower() != urn.group(1).lower():
            return None
        return int(activity["ID"])

    @property
    def _queue(self) -> list[int]:
        """Active users only; none left: user 1 (mail-internals 2.1)."""
        wanted = self._box.queue or (self._box.owner_user_id,)
        active = [user for user in wanted if self._crm.users.get(user, {"ACTIVE": user == 1})["ACTIVE"]]
        return active or [1]

    def _bindings(
        self, letter: Letter, outgoing: bool, parent: int | None, *, forced: bool = False
    ) -> tuple[list[Pair], str]:
        match, address, excluded = self._search(letter, outgoing, parent, forced=forced)
        found = bindings_of(self._crm, match, self._crm.quirks.binding_order)
        if not outgoing:
            self._merge_addresses(letter, found, address)
        inherited = self._inherited(parent)
        if inherited is not None:
            return [inherited, *(pair for pair in found if pair[0] not in (DEAL, LEAD))], ""
        if excluded:
            return [], "on the exclusion list"
        created = self._created(letter, outgoing, found, parent, forced=forced)
        if created is not None:
            return one_of_the_owners_type(sorted([created, *found], key=type_order)), ""
        return found, "" if found else "nobody known, nothing created"

    def _search(
        self, letter: Letter, outgoing: bool, parent: int | None, *, forced: bool
    ) -> tuple[Match, str, bool]:
        """The first address that finds something wins; an excluded sender stops the search."""
        if parent is None and not outgoing and self._wants_lead(letter):
            return Match(), "", False
        parties = letter.recipients if outgoing else letter.senders
        queue = None if self._box.public else self._queue
        for address in parties:
            if self._is_employee(address):
                continue
            if parent is None and not outgoing and not forced and self._is_excluded(address):
                return Match(), address, True
            match = find(self._crm, address, queue)
            if match:
                return match, address, False
        return Match(), "", False

    def _is_excluded(self, address: str) -> bool:
        return bool(self._crm.exclusions & {address, address.rpartition("@")[2]})

    def _inherited(self, parent: int | None) -> Pair | None:
        """The parent's current owner: a deal or lead in progress, of the queue or a public mailbox (2.3)."""
        if parent is None:
            return None
        owner = self._crm.owner(parent)
        row = self._crm.entity(owner)
        meaning = {DEAL: "STAGE_SEMANTIC_ID", LEAD: "STATUS_SEMANTIC_ID"}.get(owner[0])
        if row is None or meaning is None or row[meaning] != "P":
            return None
        return owner if self._box.public or row["ASSIGNED_BY_ID"] in self._queue else None

    def _wants_lead(self, letter: Letter) -> bool:
        return bool(self._box.new_lead_for & set(letter.senders))

    def _created(
        self, letter: Letter, outgoing: bool, found: Sequence[Pair], parent: int | None, *, forced: bool
    ) -> Pair | None:
        """A new lead or contact for an unknown sender, a repeat lead for an idle client (2.5)."""
        if outgoing:
            return None
        if found:
            return self._repeat_lead(letter, found) if self._box.repeat_leads else None
        if self._box.create == "deny" and not forced:
            return None
        lead_wanted = parent is None and self._wants_lead(letter)
        type_id = CONTACT if self._box.create == "contact" and not lead_wanted else LEAD
        sender = letter.senders[0]
        name = re.sub(r"<[^>]*>", "", letter.from_).strip(' "') or sender
        row = {"EMAIL": [{"VALUE": sender}], "NAME": name, "SOURCE_ID": "EMAIL", **self._origin()}
        return type_id, self._crm.add(type_id, row | ({"TITLE": _subject(letter)} if type_id == LEAD else {}))

    def _repeat_lead(self, letter: Letter, found: Sequence[Pair]) -> Pair | None:
        clients = {kind: number for kind, number in found if kind in (COMPANY, CONTACT)}
        company, contact = clients.get(COMPANY), clients.get(CONTACT)
        busy = any(kind in (DEAL, LEAD) for kind, _ in found)
        if busy or open_deals(self._crm, company=company, contact=contact):
            return None
        if repeat_leads(self._crm, company=company, contact=contact):
            return None
        row = {"COMPANY_ID": company, "CONTACT_ID": contact, "IS_RETURN_CUSTOMER": "Y", "SOURCE_ID": "EMAIL"}
        return LEAD, self._crm.add(LEAD, row | {"TITLE": _subject(letter), **self._origin()})

    def _origin(self) -> dict[str, Any]:
        """Round-robin over the queue, and the marks of the importer."""
        queue = self._queue
        mailbox_id = next(number for number, box in enumerate(self._mailboxes, 1) if box is self._box)
        return {
            "ASSIGNED_BY_ID": queue[next(self._turn) % len(queue)],
            "ORIGINATOR_ID": "email-tracker",
            "ORIGIN_ID": str(mailbox_id),
        }

    def _merge_addresses(self, letter: Letter, found: Sequence[Pair], address: str) -> None:
        """Other addresses of the sender are added to the client who was found by one of them (2.5)."""
        for kind, number in found:
            row = self._crm.entities[kind][number]
            have = [each["VALUE"].lower() for each in row.get("EMAIL") or []]
            new = [
                sender for sender in letter.senders if sender not in have and not self._is_employee(sender)
            ]
            if kind in (CONTACT, COMPANY) and address in have and new:
                values = [*row["EMAIL"], *({"VALUE": sender} for sender in new)]
                self._crm.set(kind, number, EMAIL=values)

    # The activity

    def _responsible(self, bindings: Sequence[Pair]) -> int:
        """mail-internals 2.6, both rules."""
        if self._crm.quirks.responsible_rule == "queue" and not self._box.public:
            queue = self._queue
            ranked = sorted(bindings, key=lambda pair: [DEAL, LEAD, CONTACT, COMPANY].index(pair[0]))
            responsibles = [self._crm.responsible_of(pair) for pair in ranked]
            owners = self._crm.responsible_of(bindings[0])
            fallback = owners if self._crm.users.get(owners, {"ACTIVE": False})["ACTIVE"] else queue[0]
            return next((user for user in responsibles if user in queue), fallback)
        return self._crm.responsible_of(bindings[0])

    def _add(
        self, letter: Letter, outgoing: bool, bindings: list[Pair], parent: int | None, *, by: int = 0
    ) -> int:
        """`by`: the user who has it saved, and who is not told of it (mail-internals 6)."""
        responsible = self._responsible(bindings)
        completed = outgoing or letter.seen
        parties = letter.recipients if outgoing else letter.senders
        fields = {
            "TYPE_ID": EMAIL_TYPE_ID,
            "SUBJECT": _subject(letter),
            "START_TIME": letter.start_time,
            "END_TIME": end_of_work(self._crm.now()),
            "COMPLETED": "Y" if completed else "N",
            "RESPONSIBLE_ID": responsible,
            "EDITOR_ID": responsible,
            "AUTHOR_ID": self._box.owner_user_id,
            "DIRECTION": 2 if outgoing else 1,
            "IS_INCOMING_CHANNEL": "N" if outgoing else "Y",
            "DESCRIPTION": letter.body,
            "SETTINGS": {"EMAIL_META": self._meta(letter), "SANITIZE_ON_VIEW": 1},
            "COMMUNICATIONS": self._communications(bindings, parties),
            "PARENT_ID": parent,
            "UF_MAIL_MESSAGE": letter.header_md5,
        }
        number = self._crm.add_activity(fields, bindings)
        self._crm.activities[number]["URN"] = self._crm.new_urn(number)
        self._crm.remember_letter(letter.message_id, number)
        if not completed and responsible != by:
            self._crm.notify(responsible, self._announcement(letter, bindings[0]), "incoming_email")
        return number

    def _meta(self, letter: Letter) -> dict[str, str]:
        lines = {
            "from": letter.from_,
            "replyTo": letter.reply_to,
            "to": letter.to,
            "cc": letter.cc,
            "bcc": letter.bcc,
        }
        return {"__email": self._box.meta_email} | {name: _emoji_as_hex(line) for name, line in lines.items()}

    def _communications(self, bindings: Sequence[Pair], parties: Sequence[str]) -> list[dict[str, Any]]:
        """Addresses of bound clients that the letter names; may be empty (mail-internals 3.5)."""
        rows = [(pair, self._crm.entities[pair[0]][pair[1]]) for pair in bindings if pair[0] != DEAL]
        return [
            {"TYPE": "EMAIL", "VALUE": each["VALUE"], "ENTITY_TYPE_ID": kind, "ENTITY_ID": number}
            for (kind, number), row in rows
            for each in row.get("EMAIL") or []
            if each["VALUE"].lower() in parties
        ]

    def _announcement(self, letter: Letter, owner: Pair) -> str:
        name = ENTITY_NAMES[owner[0]]
        title = title_of(owner[0], self._crm.entities[owner[0]][owner[1]])
        return f"{_subject(letter)} [url=/crm/{name}/details/{owner[1]}/]{title}[/url]"


def _has_department(user: Mapping[str, Any]) -> bool:
    """Whether a user is of the intranet: extranet users, who may be clients, have no department."""
    return bool(user["USER_TYPE"] == "employee" and user.get("UF_DEPARTMENT", True))


def _subject(letter: Letter) -> str:
    return letter.subject.strip() or DEFAULT_SUBJECT


def _emoji_as_hex(text: str) -> str:
    """Names keep emoji as `:f09f9880:`; only subject and body are decoded on read (mail-internals 3.4)."""
    return "".join(f":{letter.encode().hex()}:" if ord(letter) > 0xFFFF else letter for letter in text)
