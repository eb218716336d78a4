"""The deal index: what the CRM held at the last refresh. Answers the questions of `model.DealIndex`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from imaprouter.model import (
    Binding,
    Client,
    Company,
    Contact,
    Deal,
    EntityType,
    KnownMessage,
    Lead,
    Target,
    Tenure,
    User,
)
from imaprouter.store.database import open_database, open_readonly, to_moment
from imaprouter.store.faults import Faults
from imaprouter.store.index_schema import migrations
from imaprouter.store.index_writes import KINDS, Kind, Writes
from imaprouter.store.rows import Facts, marks

_Row = TypeVar("_Row")

_DEAL_COLUMNS = (
    "id, title, category_id, stage_id, semantic, recurring, responsible_id, company_id, lead_id, "
    "created_at, modified_at, last_activity_at, responsible_since, moved_at"
)


def index_path(journal: Path) -> Path:
    """The index file that lies beside a journal: imaprouter.db has imaprouter-index.db."""
    return journal.with_name(f"{journal.stem}-index.db")


def is_filled(journal: Path) -> bool:
    """Whether the index beside a journal was ever refreshed or imported; makes no file."""
    path = index_path(journal)
    if not path.exists():
        return False
    index = Index(path)
    try:
        return index.generation() > 0
    finally:
        index.close()


class Index(Writes):
    """One connection to the index; belongs to one thread."""

    def __init__(self, path: Path | Literal[":memory:"], *, readonly: bool = False) -> None:
        """`readonly` changes nothing on the disk; StoreOutdated then for a file of an earlier version."""
        if readonly and isinstance(path, Path):
            super().__init__(open_readonly(path, migrations))
        else:
            # A refresh can make it again, so a power cut may cost the last transaction: NORMAL.
            super().__init__(open_database(path, migrations, synchronous="NORMAL"))
        self.facts = Facts(self._db)
        self.faults = Faults(self._db)

    def close(self) -> None:
        self._db.close()

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def deal(self, deal_id: int) -> Deal | None:
        found = self._deals("id = ?", (deal_id,))
        return found[0] if found else None

    def deals_of(self, contact_ids: Sequence[int], company_ids: Sequence[int]) -> tuple[Deal, ...]:
        contacts, companies = marks(contact_ids), marks(company_ids)
        return self._deals(
            f"id IN (SELECT deal_id FROM deal_contacts WHERE contact_id IN ({contacts})"
            f" UNION SELECT id FROM deals WHERE company_id IN ({companies}))",
            (*contact_ids, *company_ids),
        )

    def client(self, email: str) -> Client:
        found: dict[str, list[int]] = {"contact": [], "company": [], "lead": []}
        for kind, entity_id in self._rows(
            "SELECT kind, entity_id FROM emails WHERE email = ? ORDER BY kind, entity_id", (email,)
        ):
            found[kind].append(entity_id)
        return Client(
            email,
            contacts=tuple(filter(None, map(self.contact, found["contact"]))),
            companies=tuple(filter(None, map(self.company, found["company"]))),
            leads=tuple(filter(None, map(self.lead, found["lead"]))),
        )

    def contact(self, contact_id: int) -> Contact | None:
        row = self._row(
            "SELECT id, name, responsible_id, first_name, last_name FROM contacts WHERE id = ?", (contact_id,)
        )
        if row is None:
            return None
        companies = self._rows(
            "SELECT company_id FROM contact_companies WHERE contact_id = ? ORDER BY position", (contact_id,)
        )
        return Contact(
            id=row[0],
            name=row[1],
            responsible_id=row[2],
            company_ids=tuple(number for (number,) in companies),
            emails=self._emails("contact", contact_id),
            first_name=row[3],
            last_name=row[4],
        )

    def company(self, company_id: int) -> Company | None:
        row = self._row("SELECT id, title, responsible_id FROM companies WHERE id = ?", (company_id,))
        if row is None:
            return None
        return Company(
            id=row[0], title=row[1], responsible_id=row[2], emails=self._emails("company", company_id)
        )

    def lead(self, lead_id: int) -> Lead | None:
        row = self._row(
            "SELECT id, title, responsible_id, semantic, contact_id, company_id FROM leads WHERE id = ?",
            (lead_id,),
        )
        if row is None:
            return None
        return Lead(
            id=row[0],
            title=row[1],
            responsible_id=row[2],
            semantic=row[3],
            contact_id=row[4],
            company_id=row[5],
            emails=self._emails("lead", lead_id),
        )

    def user(self, user_id: int) -> User | None:
        row = self._row("SELECT id, name, email, active FROM users WHERE id = ?", (user_id,))
        return _user(row) if row else None

    def user_by_email(self, email: str) -> User | None:
        row = self._row(
            "SELECT id, name, email, active FROM users WHERE email = ? AND active ORDER BY id LIMIT 1",
            (email,),
        )
        return _user(row) if row and email else None

    def known_message(self, message_id: str) -> KnownMessage | None:
        row = self._row("SELECT type_id, entity_id FROM sent_letters WHERE message_id = ?", (message_id,))
        kind = EntityType.from_type_id(row[0]) if row else None
        return KnownMessage(message_id, Target(kind, row[1]), "portal") if row and kind else None

    def weak_message(self, message_id: str) -> KnownMessage | None:
        """The CRM knows of no letters that it has not seen; the journal may."""
        return None

    def known_conversation(self, conversation: str) -> KnownMessage | None:
        """As `weak_message`."""
        return None

    def sent_letter(self, activity_id: int) -> KnownMessage | None:
        row = self._row(
            "SELECT message_id, type_id, entity_id FROM sent_letters WHERE activity_id = ?", (activity_id,)
        )
        kind = EntityType.from_type_id(row[1]) if row else None
        return KnownMessage(row[0], Target(kind, row[2]), "portal") if row and kind else None

    # ── everything, for export ────────────────────────────────────────────────────────────────────────

    def all_deals(self) -> Iterator[Deal]:
        yield from self._each("deals", self.deal)

    def all_contacts(self) -> Iterator[Contact]:
        yield from self._each("contacts", self.contact)

    def all_companies(self) -> Iterator[Company]:
        yield from self._each("companies", self.company)

    def all_leads(self) -> Iterator[Lead]:
        yield from self._each("leads", self.lead)

    def all_users(self) -> Iterator[User]:
        yield from self._each("users", self.user)

    def all_sent_letters(self) -> Iterator[tuple[str, int, Binding]]:
        """(message id, activity id, owner) of every letter that Bitrix24 is known to have sent."""
        query = "SELECT message_id, activity_id, type_id, entity_id FROM sent_letters ORDER BY activity_id"
        for message_id, activity_id, type_id, entity_id in self._rows(query):
            yield message_id, activity_id, Binding(type_id, entity_id)

    # ── figures ───────────────────────────────────────────────────────────────────────────────────────

    def counts(self) -> dict[str, int]:
        """Rows per kind, with the e-mail addresses and the letters that Bitrix24 sent."""
        tables = (*KINDS, "emails", "sent_letters")
        return {table: int(self._rows(f"SELECT count(*) FROM {table}")[0][0]) for table in tables}

    def moment(self, name: str) -> datetime | None:
        """A fact that is a time."""
        return to_moment(self.facts.get(name))

    def generation(self) -> int:
        return int(self.facts.get("generation") or 0)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _emails(self, kind: str, entity_id: int) -> tuple[str, ...]:
        rows = self._rows("SELECT email FROM emails WHERE kind = ? AND entity_id = ?", (kind, entity_id))
        return tuple(email for (email,) in rows)

    def _deals(self, where: str, values: Sequence[Any]) -> tuple[Deal, ...]:
        rows = self._rows(f"SELECT {_DEAL_COLUMNS} FROM deals WHERE {where} ORDER BY id", values)
        return tuple(self._deal(row) for row in rows)

    def _deal(self, row: Any) -> Deal:
        contacts = self._rows(
            "SELECT contact_id FROM deal_contacts WHERE deal_id = ? ORDER BY position", (row[0],)
        )
        observers = self._rows(
            "SELECT user_id FROM deal_observers WHERE deal_id = ? ORDER BY user_id", (row[0],)
        )
        former = self._rows(
            "SELECT user_id, until, since FROM deal_tenures WHERE deal_id = ? AND user_id <> ?"
            " ORDER BY until DESC, user_id",
            (row[0], row[6]),
        )
        return Deal(
            id=row[0],
            title=row[1],
            category_id=row[2],
            stage_id=row[3],
            semantic=row[4],
            recurring=bool(row[5]),
            responsible_id=row[6],
            company_id=row[7],
            contact_ids=tuple(number for (number,) in contacts),
            lead_id=row[8],
            responsible_since=to_moment(row[12]),
            former=tuple(
                Tenure(user_id, datetime.fromisoformat(until), to_moment(since))
                for user_id, until, since in former
            ),
            observer_ids=tuple(number for (number,) in observers),
            created_at=to_moment(row[9]),
            modified_at=to_moment(row[10]),
            moved_at=to_moment(row[13]),
            last_activity_at=to_moment(row[11]),
        )

    def _each(self, kind: Kind, get: Callable[[int], _Row | None]) -> Iterator[_Row]:
        for (entity_id,) in self._rows(f"SELECT id FROM {kind} ORDER BY id"):
            found = get(entity_id)
            if found is not None:
                yield found


def _user(row: Any) -> User:
    return User(id=row[0], name=row[1], email=row[2], active=bool(row[3]))
