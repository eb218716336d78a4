"""The deal index: what the CRM held at the last refresh. Answers the questions of `model.DealIndex`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from sqlite_utils import Database

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
from imaprouter.store.database import open_database, open_readonly, reading, to_moment, translated
from imaprouter.store.faults import Faults
from imaprouter.store.index_schema import migrations
from imaprouter.store.index_writes import KINDS, Kind, Writes
from imaprouter.store.rows import Facts, load, marks

_Row = TypeVar("_Row")

# What hangs on a row comes with it: one query for each question. Observers and former responsibles, which few
# deals have, are only told to be there.
_DEAL_COLUMNS = (
    "id, title, category_id, stage_id, semantic, recurring, responsible_id, company_id, lead_id, "
    "created_at, modified_at, last_activity_at, responsible_since, moved_at, "
    "contact_id, position, "
    "EXISTS (SELECT 1 FROM deal_observers o WHERE o.deal_id = deals.id), "
    "EXISTS (SELECT 1 FROM deal_tenures t WHERE t.deal_id = deals.id)"
)
_CONTACT_COLUMNS = (
    "c.id, c.name, c.responsible_id, (SELECT group_concat(company_id) FROM"
    " (SELECT company_id FROM contact_companies WHERE contact_id = c.id ORDER BY position)), "
    "(SELECT json_group_array(email) FROM emails WHERE kind = 'contact' AND entity_id = c.id), "
    "c.first_name, c.last_name"
)
_CONTACT = f"SELECT {_CONTACT_COLUMNS} FROM contacts c WHERE c.id = ?"
# Nearly all clients are contacts: those come with their address at once.
_CLIENT = (
    f"SELECT e.kind, e.entity_id, {_CONTACT_COLUMNS} FROM emails e"
    " LEFT JOIN contacts c ON e.kind = 'contact' AND c.id = e.entity_id"
    " WHERE e.email = ? ORDER BY e.kind, e.entity_id"
)
_USER_COLUMNS = "id, name, email, active"
#: Users that a connection keeps in memory; a portal with more of them is asked for each.
_MOST_STAFF = 2_000
# SQLite's limit of values in one statement was 999 for long.
_MANY = 400


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
        self._staff = _Staff(self._db)
        self.facts = Facts(self._db)
        self.faults = Faults(self._db)

    def close(self) -> None:
        self._db.close()

    def reading(self) -> AbstractContextManager[None]:
        """As in `DealIndex`; inside, the employees are known without a question."""
        return _Reading(self._db, self._path, self._staff)

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
        rows = self._rows(_CLIENT, (email,))
        if not rows:
            return Client(email)
        others: dict[str, list[int]] = {"contact": [], "company": [], "lead": []}
        for kind, entity_id, *_ in rows:
            others[kind].append(entity_id)
        return Client(
            email,
            # An address may outlive its contact.
            contacts=tuple(_contact(row[2:]) for row in rows if row[2] is not None),
            companies=tuple(filter(None, map(self.company, others["company"]))),
            leads=tuple(filter(None, map(self.lead, others["lead"]))),
        )

    def contact(self, contact_id: int) -> Contact | None:
        row = self._row(_CONTACT, (contact_id,))
        return _contact(row) if row else None

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
        return next(iter(self.users((user_id,))), None)

    def users(self, user_ids: Sequence[int]) -> tuple[User, ...]:
        known = self._staff.by_id
        if known is None:
            return tuple(user for some in _few(user_ids) for user in self._users(some))
        return tuple(known[number] for number in sorted(user_ids) if number in known)

    def user_by_email(self, email: str) -> User | None:
        return self.users_by_email((email,)).get(email)

    def users_by_email(self, emails: Sequence[str]) -> dict[str, User]:
        known = self._staff.by_email
        if known is None:
            return {user.email: user for some in _few(emails) for user in self._employees(some)}
        return {email: known[email] for email in emails if email in known}

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

    def _users(self, user_ids: Sequence[int]) -> list[User]:
        query = f"SELECT {_USER_COLUMNS} FROM users WHERE id IN ({marks(user_ids)}) ORDER BY id"
        return [_user(row) for row in self._rows(query, user_ids)]

    def _employees(self, emails: Sequence[str]) -> list[User]:
        """The first of several with one address comes last."""
        query = (
            f"SELECT {_USER_COLUMNS} FROM users WHERE email IN ({marks(emails)}) AND email <> '' AND active"
            " ORDER BY id DESC"
        )
        return [_user(row) for row in self._rows(query, emails)]

    def _emails(self, kind: str, entity_id: int) -> tuple[str, ...]:
        rows = self._rows("SELECT email FROM emails WHERE kind = ? AND entity_id = ?", (kind, entity_id))
        return tuple(email for (email,) in rows)

    def _deals(self, where: str, values: Sequence[Any]) -> tuple[Deal, ...]:
        rows = self._rows(
            f"SELECT {_DEAL_COLUMNS} FROM deals LEFT JOIN deal_contacts c ON c.deal_id = deals.id"
            f" WHERE {where} ORDER BY deals.id",
            values,
        )
        deals: dict[int, list[Any]] = {}
        for row in rows:
            deals.setdefault(row[0], []).append(row)
        return tuple(self._deal(each) for each in deals.values())

    def _deal(self, rows: list[Any]) -> Deal:
        """A deal of its rows, one for each of its contacts."""
        row = rows[0]
        if len(rows) > 1:
            rows.sort(key=_position)
        observers: list[Any] = []
        former: list[Any] = []
        if row[16]:
            observers = self._rows(
                "SELECT user_id FROM deal_observers WHERE deal_id = ? ORDER BY user_id", (row[0],)
            )
        if row[17]:
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
            contact_ids=tuple(each[14] for each in rows) if row[14] is not None else (),
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


class _Staff:
    """All users, kept from one decision to the next as long as nobody has written to the index.

    Every letter asks who of its people is an employee, mostly to learn that nobody is. Read inside
    `Index.reading` alone: what another transaction of this connection has written may still be taken back.
    """

    def __init__(self, database: Database) -> None:
        self._connection = database.conn
        self._as_of: tuple[int, int] | None = None
        #: None: nobody looked, or there are too many to keep.
        self.by_id: dict[int, User] | None = None
        self.by_email: dict[str, User] | None = None
        self._kept: tuple[dict[int, User], dict[str, User]] | None = None

    def look(self) -> None:
        """Read them anew where anything was written since, by whomever."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        as_of = (version, self._connection.total_changes)
        if as_of != self._as_of:
            query = f"SELECT {_USER_COLUMNS} FROM users ORDER BY id DESC LIMIT {_MOST_STAFF + 1}"
            users = [_user(row) for row in self._connection.execute(query)]
            # The first of several with one address comes last, and stays.
            employees = {user.email: user for user in users if user.active and user.email}
            few = len(users) <= _MOST_STAFF
            self._kept = ({user.id: user for user in users}, employees) if few else None
            self._as_of = as_of
        self.by_id, self.by_email = self._kept or (None, None)

    def forget(self) -> None:
        self.by_id = self.by_email = None


class _Reading(reading):
    """A read transaction in which the staff is known."""

    __slots__ = ("_staff",)

    def __init__(self, database: Database, path: Path | str, staff: _Staff) -> None:
        super().__init__(database, path)
        self._staff = staff

    def __enter__(self) -> None:
        super().__enter__()
        if self.begun:
            try:
                with translated(self._path):
                    self._staff.look()
            except BaseException:
                super().__exit__(None, None, None)
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.begun:
            self._staff.forget()
        super().__exit__(kind, error, trace)


def _contact(row: Any) -> Contact:
    return Contact(
        id=row[0],
        name=row[1],
        responsible_id=row[2],
        company_ids=_numbers(row[3]),
        emails=tuple(load(row[4], list[str])),
        first_name=row[5],
        last_name=row[6],
    )


def _user(row: Any) -> User:
    return User(id=row[0], name=row[1], email=row[2], active=bool(row[3]))


def _position(row: Any) -> int:
    """Of a deal's row: the place of its contact."""
    return int(row[15])


def _few(values: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """As many values at a time as one query can ask for."""
    return (values[start : start + _MANY] for start in range(0, len(values), _MANY))


def _numbers(listed: str | None) -> tuple[int, ...]:
    """What group_concat makes of numbers."""
    return tuple(map(int, listed.split(","))) if listed else ()
