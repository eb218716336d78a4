"""The portal's state in memory: objects, e-mail activities, bindings, notifications. No HTTP, no mail.

Every public method takes the lock, so the REST server, the mail sync and a test may use it at once. What is
named `..._by_hand` does what a person does in the portal's pages.
"""

from __future__ import annotations

import itertools
import random
import string
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from hashlib import md5
from typing import TYPE_CHECKING, Any, Literal

from imaprouter.sandbox.bindings import Pair, owner_after
from imaprouter.sandbox.fields import COMPANY, CONTACT, DEAL, LEAD
from imaprouter.sandbox.quirks import Quirks
from imaprouter.sandbox.rows import (
    Row,
    activity_row,
    bindings_of,
    changed,
    entity_row,
    status_of,
    title_of,
)
from imaprouter.sandbox.tables import Duplicates, Table

if TYPE_CHECKING:
    from imaprouter.sandbox.mail_import import StoredLetter

SERVER_ZONE = timezone(timedelta(hours=3))
#: Further bindings are trimmed in silence (mail-internals 5.1).
MAX_BINDINGS = 100
_SECTIONS = {"companies": COMPANY, "contacts": CONTACT, "leads": LEAD, "deals": DEAL}


@dataclass(frozen=True, slots=True)
class Notification:
    """A message in a user's bell: by the importer (`incoming_email`) or over REST (`personal`, `system`)."""

    id: int
    user_id: int
    message: str
    kind: Literal["incoming_email", "personal", "system"]
    from_user_id: int = 0


class Crm:
    """What the portal knows. `snapshot` is in the shape of contract section 5 and is not kept."""

    def __init__(
        self,
        snapshot: Mapping[str, Any] | None = None,
        *,
        quirks: Quirks | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(SERVER_ZONE),
        zone: tzinfo = SERVER_ZONE,
    ) -> None:
        self.lock = threading.RLock()
        self.quirks = quirks or Quirks()
        self.zone = zone
        self._clock = clock
        self._multifield_ids = itertools.count(1001)
        self._notification_ids = itertools.count(1)
        self._codes = random.Random(24)  # reproducible, guards nothing
        self.entities = {kind: Table() for kind in (LEAD, DEAL, CONTACT, COMPANY)}
        self.activities = Table()
        #: Names of user fields that some object of a kind has.
        self.user_fields: dict[int, set[str]] = {kind: set() for kind in self.entities}
        self._duplicates = Duplicates()
        self._bindings: dict[int, list[Pair]] = {}
        self.users: dict[int, Row] = {}
        self.categories: dict[int, str] = {0: "General"}
        self.notifications: list[Notification] = []
        #: Objects that the webhook's user may not read, and such that he may not edit.
        self.hidden: set[Pair] = set()
        self.read_only: set[Pair] = set()
        #: Addresses and domains of the CRM exclusion list, lower case.
        self.exclusions: set[str] = set()
        #: md5(lower(Message-ID)) of stored letters, to their activities (mail-internals 3.8).
        self.letters: dict[str, int] = {}
        #: What the portal's mail holds, by its id there.
        self.mail: dict[int, StoredLetter] = {}
        self._load(snapshot or {})

    def _load(self, snapshot: Mapping[str, Any]) -> None:
        for user in snapshot.get("users", ()):
            self.users[int(user["ID"])] = {
                "ACTIVE": True,
                "USER_TYPE": "employee",
                **user,
                "ID": int(user["ID"]),
            }
        for category in snapshot.get("categories", ()):
            self.categories[int(category["ID"])] = str(category.get("NAME", ""))
        for section, type_id in _SECTIONS.items():
            for raw in snapshot.get(section, ()):
                self.add(type_id, raw)
        for raw in snapshot.get("activities", ()):
            self.add_activity(raw, bindings_of(raw))

    def now(self) -> datetime:
        """The portal's time in its zone, to the second."""
        return self._clock().astimezone(self.zone).replace(microsecond=0)

    # Objects

    def add(self, type_id: int, raw: Mapping[str, Any]) -> int:
        """Create a lead, deal, contact or company from the portal's field names; return its id."""
        with self.lock:
            rows = self.entities[type_id]
            number = int(raw.get("ID") or rows.next_id)
            given = {**raw, "ID": number}
            rows[number] = entity_row(
                type_id, given, zone=self.zone, now=self.now(), ids=self._multifield_ids
            )
            self._index(type_id, rows[number])
            if type_id == DEAL:
                self.categories.setdefault(
                    rows[number]["CATEGORY_ID"], f"Pipeline {rows[number]['CATEGORY_ID']}"
                )
            return number

    def set(self, type_id: int, entity_id: int, **fields: Any) -> None:
        """Change an object as an edit in its card does: DATE_MODIFY becomes now unless it is given."""
        with self.lock:
            given = {"DATE_MODIFY": self.now(), **fields}
            row = self.entities[type_id][entity_id]
            self._duplicates.remove(type_id, row)
            changed(type_id, row, given, zone=self.zone, ids=self._multifield_ids)
            self._index(type_id, row)

    def set_deal(self, deal_id: int, **fields: Any) -> None:
        """Change a deal: `set_deal(1, STAGE_ID="WON")` also closes it."""
        self.set(DEAL, deal_id, **fields)

    def delete(self, type_id: int, entity_id: int) -> None:
        """Delete an object.

        A lead is unbound from its activities, and those that are bound nowhere else go with it (rest.md 2.7).
        What becomes of bindings to others is not known (rest.md 8.1): they stay.
        """
        with self.lock:
            self._duplicates.remove(type_id, self.entities[type_id].pop(entity_id))
            if type_id == LEAD:
                self._unbind_everywhere((type_id, entity_id))

    def _unbind_everywhere(self, gone: Pair) -> None:
        for number in [number for number, bound in self._bindings.items() if gone in bound]:
            kept = [pair for pair in self._bindings[number] if pair != gone]
            if kept:
                self.set_bindings(number, kept)
            else:
                self.delete_activity(number)

    def _index(self, type_id: int, row: Row) -> None:
        self.user_fields[type_id] |= {name for name in row if name.startswith("UF_")}
        self._duplicates.add(type_id, row)

    def entity(self, pair: Pair) -> Row | None:
        """The row of an object, or None."""
        table = self.entities.get(pair[0])
        return table.get(pair[1]) if table is not None else None

    def with_email(self, type_id: int, address: str) -> list[int]:
        """Ids of objects with this address, in ascending order."""
        return self.with_communication(type_id, "EMAIL", address)

    def with_communication(self, type_id: int, kind: str, value: str) -> list[int]:
        """Ids of objects with this EMAIL or PHONE, both sides trimmed and lower-cased (mail-internals 8)."""
        with self.lock:
            return self._duplicates.find(type_id, kind, value)

    # Rights of the webhook's user

    def may_read(self, pair: Pair) -> bool:
        """Whether the webhook's user may read this object."""
        return pair not in self.hidden

    def may_edit(self, pair: Pair) -> bool:
        """Whether he may edit it; existence is not asked here."""
        return pair not in self.hidden and pair not in self.read_only

    def sees(self, activity: Row, user_id: int) -> bool:
        """Activities are seen through their owner, or by their responsible (mail-internals 7.1)."""
        return self.may_read(owner_of(activity)) or activity["RESPONSIBLE_ID"] == user_id

    # Activities

    def activity(self, activity_id: int) -> Row:
        """A copy of an activity's row, hidden fields included. KeyError when there is none."""
        with self.lock:
            return dict(self.activities[activity_id])

    def bindings(self, activity_id: int) -> list[Pair]:
        """The bindings in their order, as (entity type, entity id)."""
        with self.lock:
            return list(self._bindings[activity_id])

    def owner(self, activity_id: int) -> Pair:
        """(OWNER_TYPE_ID, OWNER_ID) of an activity."""
        with self.lock:
            return owner_of(self.activities[activity_id])

    def add_activity(self, fields: Mapping[str, Any], bindings: Sequence[Pair]) -> int:
        """Create an e-mail activity and return its id.

        Its owner is the one in `fields` if that is bound, as it may be after a change of bindings, else the
        first binding (mail-internals 3.1).
        """
        with self.lock:
            number = int(fields.get("ID") or self.activities.next_id)
            given = {"PROVIDER_TYPE_ID": self.quirks.provider_type, **fields, "ID": number}
            row = activity_row(given, zone=self.zone, now=self.now())
            if owner_of(row) not in bindings:
                row["OWNER_TYPE_ID"], row["OWNER_ID"] = bindings[0]
            if row["RESPONSIBLE_ID"] is None:
                row["RESPONSIBLE_ID"] = row["EDITOR_ID"] = self.responsible_of(owner_of(row))
            self.activities[number] = row
            self._bindings[number] = list(dict.fromkeys(bindings))
            return number

    def responsible_of(self, pair: Pair) -> int:
        """ASSIGNED_BY_ID of an object, user 1 when it does not exist."""
        row = self.entity(pair)
        return int(row["ASSIGNED_BY_ID"] or 1) if row else 1

    def update_activity(self, activity_id: int, fields: Mapping[str, Any]) -> None:
        """Write columns and stamp LAST_UPDATED; EDITOR_ID stays for e-mail (rest.md 2.6)."""
        with self.lock:
            row = self.activities[activity_id]
            row.update(fields)
            row["STATUS"] = status_of(row["COMPLETED"])
            row["LAST_UPDATED"] = self.now()

    def set_bindings(self, activity_id: int, bindings: Iterable[Pair]) -> None:
        """Replace the ordered list of bindings with all that follows: owner, LAST_UPDATED, last activity."""
        with self.lock:
            row, before = self.activities[activity_id], self._bindings[activity_id]
            kept = list(dict.fromkeys(bindings))[:MAX_BINDINGS]
            owner = owner_after(kept, owner_of(row), self.quirks.owner_rule)
            row["OWNER_TYPE_ID"], row["OWNER_ID"] = owner or (0, 0)
            row["LAST_UPDATED"] = self.now()
            self._bindings[activity_id] = kept
            for pair in set(kept) ^ set(before):
                self._touch(pair)

    def _touch(self, pair: Pair) -> None:
        row = self.entity(pair)
        if row is not None:
            row["LAST_ACTIVITY_TIME"] = self.now()
            if self.quirks.binding_bumps_date_modify:
                row["DATE_MODIFY"] = self.now()

    def delete_activity(self, activity_id: int) -> None:
        """Delete an activity; its letter stays in the mailbox."""
        with self.lock:
            del self.activities[activity_id], self._bindings[activity_id]

    def move_by_hand(self, activity_id: int, source: Pair, target: Pair) -> None:
        """A person chooses 'Move to' in the timeline: source leaves, target comes last."""
        with self.lock:
            kept = [pair for pair in self._bindings[activity_id] if pair != source]
            self.set_bindings(activity_id, [*kept, target])

    def bind_by_hand(self, activity_id: int, *bindings: Pair) -> None:
        """A person sets the bindings to exactly these."""
        self.set_bindings(activity_id, bindings)

    # Letters and notifications

    def notify(
        self,
        user_id: int,
        message: str,
        kind: Literal["incoming_email", "personal", "system"],
        from_user_id: int = 0,
    ) -> int:
        """Put a message into a user's bell; every one gets an id of its own (mail-internals 6)."""
        with self.lock:
            notification = Notification(next(self._notification_ids), user_id, message, kind, from_user_id)
            self.notifications.append(notification)
            return notification.id

    def new_urn(self, activity_id: int) -> str:
        """`<activity id>-` and six characters of A-Z0-9 (mail-internals 4)."""
        code = "".join(self._codes.choices(string.ascii_uppercase + string.digits, k=6))
        return f"{activity_id}-{code}"

    def remember_letter(self, message_id: str, activity_id: int) -> None:
        """Keep md5(lower(Message-ID)), by which a reply finds its parent (mail-internals 2.2)."""
        if message_id:
            self.letters[letter_hash(message_id)] = activity_id

    def send_email(
        self, deal_id: int, to: str, subject: str, *, mailbox: str = "", host: str = "portal.example"
    ) -> tuple[int, str]:
        """An employee writes to a client from a deal's card (mail-internals 4).

        Returns the id of the outgoing activity and the Message-ID with its angle brackets.
        """
        with self.lock:
            number = self.activities.next_id
            urn = self.new_urn(number)
            message_id = f"<crm.activity.{urn}@{host}>"
            meta = {"__email": mailbox, "from": mailbox, "replyTo": "", "to": to, "cc": "", "bcc": ""}
            headers = {"Message-Id": message_id, "Reply-To": mailbox}
            fields = {
                "ID": number,
                "URN": urn,
                "SUBJECT": subject,
                "DIRECTION": 2,
                "COMPLETED": "Y",
                "AUTHOR_ID": self.responsible_of((DEAL, deal_id)),
                "IS_INCOMING_CHANNEL": "N",
                "SETTINGS": {"MESSAGE_HEADERS": headers, "EMAIL_META": meta},
            }
            clients = [(kind, found) for kind in (CONTACT, COMPANY) for found in self.with_email(kind, to)]
            self.add_activity(fields, [(DEAL, deal_id), *clients])
            self.remember_letter(message_id, number)
            return number, message_id

    def title(self, pair: Pair) -> str:
        """What people call this object; its type and number when it does not exist."""
        row = self.entity(pair)
        return title_of(pair[0], row) if row else f"{pair[0]}:{pair[1]}"


def owner_of(activity: Row) -> Pair:
    """(OWNER_TYPE_ID, OWNER_ID) of an activity's row."""
    return activity["OWNER_TYPE_ID"], activity["OWNER_ID"]


def letter_hash(message_id: str) -> str:
    """md5 of the lower-cased Message-ID without angle brackets, as the portal keeps it."""
    return md5(message_id.strip().strip("<>").lower().encode(), usedforsecurity=False).hexdigest()
