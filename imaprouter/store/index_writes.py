"""What is written into the deal index: rows of the portal or of a snapshot, and what they replace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from imaprouter.model import Activity, Company, Contact, Deal, Lead, User
from imaprouter.store.database import to_text, transaction
from imaprouter.store.rows import Tables, dump, marks

Kind = Literal["deals", "contacts", "companies", "leads", "users"]
KINDS: tuple[Kind, ...] = ("deals", "contacts", "companies", "leads", "users")

# Before the new row is put: whoever it no longer names as the responsible was so until the deal was changed.
# A row older than the one that is kept (two readers, one late) tells nothing of the kind.
_NOTE_HANDOVER = """
INSERT OR REPLACE INTO deal_tenures (deal_id, user_id, since, until)
SELECT id, responsible_id, responsible_since, :modified_at FROM deals
WHERE id = :id AND responsible_id NOT IN (0, :responsible_id) AND coalesce(modified_at, '') <= :modified_at
"""
_NOTE_SINCE = """
UPDATE deals SET responsible_since = :modified_at
WHERE id = :id AND responsible_id <> :responsible_id AND coalesce(modified_at, '') <= :modified_at
"""
_DEAL_COLUMNS = (
    "id",
    "title",
    "category_id",
    "stage_id",
    "semantic",
    "recurring",
    "responsible_id",
    "company_id",
    "lead_id",
    "created_at",
    "modified_at",
    "moved_at",
    "last_activity_at",
    "generation",
)
_LEAD_COLUMNS = ("id", "title", "responsible_id", "semantic", "contact_id", "company_id", "generation")


class Writes(Tables):
    """The writing half of the index; everything is put inside `writing()`."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """All puts inside become visible together, or not at all."""
        with transaction(self._db):
            yield

    def put_deals(self, deals: Sequence[Deal], generation: int) -> None:
        """Put deals; a change of responsible becomes a tenure, dated by the deal's own last change.

        `Deal.former` is what the index saw itself: the portal does not tell it, and it is not read here.
        """
        rows = [
            (
                deal.id,
                deal.title,
                deal.category_id,
                deal.stage_id,
                deal.semantic,
                int(deal.recurring),
                deal.responsible_id,
                deal.company_id,
                deal.lead_id,
                to_text(deal.created_at),
                to_text(deal.modified_at),
                to_text(deal.moved_at),
                to_text(deal.last_activity_at),
                generation,
            )
            for deal in deals
        ]
        self._note_handovers(deals)
        self._put("deals", _DEAL_COLUMNS, rows)
        self._link("deal_contacts", "deal_id", "contact_id", {deal.id: deal.contact_ids for deal in deals})
        self._replace(
            "deal_observers",
            ("deal_id", "user_id"),
            {deal.id: [(user_id,) for user_id in deal.observer_ids] for deal in deals},
        )

    def _note_handovers(self, deals: Sequence[Deal]) -> None:
        """Note for which deals somebody else is responsible than before."""
        before = dict(
            self._rows(
                "SELECT id, responsible_id FROM deals WHERE id IN (SELECT value FROM json_each(?))",
                (_listed(deal.id for deal in deals),),
            )
        )
        handed_over = [
            {"id": deal.id, "responsible_id": deal.responsible_id, "modified_at": to_text(deal.modified_at)}
            for deal in deals
            if deal.modified_at and before.get(deal.id, deal.responsible_id) != deal.responsible_id
        ]
        self._db.conn.executemany(_NOTE_HANDOVER, handed_over)
        self._db.conn.executemany(_NOTE_SINCE, handed_over)

    def set_tenures(self, deals: Iterable[Deal]) -> None:
        """Replace what is known of who was responsible for these deals, and since when somebody is."""
        deals = list(deals)
        self._replace(
            "deal_tenures",
            ("deal_id", "user_id", "since", "until"),
            {
                deal.id: [(each.user_id, to_text(each.since), to_text(each.until)) for each in deal.former]
                for deal in deals
            },
        )
        self._db.conn.executemany(
            "UPDATE deals SET responsible_since = ? WHERE id = ?",
            ((to_text(deal.responsible_since), deal.id) for deal in deals),
        )

    def put_contacts(self, contacts: Sequence[Contact], generation: int) -> None:
        rows = ((c.id, c.name, c.responsible_id, c.first_name, c.last_name, generation) for c in contacts)
        columns = ("id", "name", "responsible_id", "first_name", "last_name", "generation")
        self._put("contacts", columns, rows)
        links = {contact.id: contact.company_ids for contact in contacts}
        self._link("contact_companies", "contact_id", "company_id", links)
        self._put_emails("contact", {contact.id: contact.emails for contact in contacts})

    def put_companies(self, companies: Sequence[Company], generation: int) -> None:
        rows = ((c.id, c.title, c.responsible_id, generation) for c in companies)
        self._put("companies", ("id", "title", "responsible_id", "generation"), rows)
        self._put_emails("company", {company.id: company.emails for company in companies})

    def put_leads(self, leads: Sequence[Lead], generation: int) -> None:
        rows = (
            (
                lead.id,
                lead.title,
                lead.responsible_id,
                lead.semantic,
                lead.contact_id,
                lead.company_id,
                generation,
            )
            for lead in leads
        )
        self._put("leads", _LEAD_COLUMNS, rows)
        self._put_emails("lead", {lead.id: lead.emails for lead in leads})

    def put_users(self, users: Sequence[User], generation: int) -> None:
        rows = ((user.id, user.name, user.email, int(user.active), generation) for user in users)
        self._put("users", ("id", "name", "email", "active", "generation"), rows)

    def put_sent_letters(self, activities: Iterable[Activity]) -> None:
        """Remember the Message-IDs of letters that Bitrix24 sent; activities without one are passed over."""
        self._db.table("sent_letters").upsert_all(
            (
                {
                    "message_id": activity.message_id,
                    "activity_id": activity.id,
                    "type_id": activity.owner.type_id,
                    "entity_id": activity.owner.entity_id,
                }
                for activity in activities
                if activity.message_id and activity.owner
            ),
            pk="message_id",
        )

    def clear_sent_letters(self) -> None:
        self._execute("DELETE FROM sent_letters")

    def count_stale(self, kind: Kind, generation: int) -> int:
        """Rows that the refresh `generation` has not seen."""
        row = self._row(f"SELECT count(*) FROM {kind} WHERE generation < ?", (generation,))
        return int(row[0]) if row else 0

    def drop_stale(self, kind: Kind, generation: int) -> None:
        """Delete the rows that the refresh `generation` has not seen, with what hangs on them."""
        stale = f"SELECT id FROM {kind} WHERE generation < ?"
        if kind == "deals":
            for table in ("deal_contacts", "deal_observers", "deal_tenures"):
                self._execute(f"DELETE FROM {table} WHERE deal_id IN ({stale})", (generation,))
        if kind == "contacts":
            self._execute(f"DELETE FROM contact_companies WHERE contact_id IN ({stale})", (generation,))
        singular = {"contacts": "contact", "companies": "company", "leads": "lead"}.get(kind)
        if singular:
            self._execute(
                f"DELETE FROM emails WHERE kind = ? AND entity_id IN ({stale})", (singular, generation)
            )
        self._execute(f"DELETE FROM {kind} WHERE generation < ?", (generation,))

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows, or write over those with the same id; columns that are not named keep their values."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "id")
        self._db.conn.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(columns)})"
            f" ON CONFLICT (id) DO UPDATE SET {updates}",
            rows,
        )

    def _link(self, table: str, key: str, other: str, links: Mapping[int, tuple[int, ...]]) -> None:
        """Links in their order: the first is the primary one."""
        self._replace(
            table,
            (key, other, "position"),
            {number: [(one, place) for place, one in enumerate(linked)] for number, linked in links.items()},
        )

    def _replace(
        self, table: str, columns: tuple[str, ...], linked: Mapping[int, Sequence[tuple[Any, ...]]]
    ) -> None:
        """Put what hangs on some objects in the place of what hung there; the first column is their id."""
        connection = self._db.conn
        connection.execute(
            f"DELETE FROM {table} WHERE {columns[0]} IN (SELECT value FROM json_each(?))", (_listed(linked),)
        )
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks(columns)})",
            ((number, *values) for number, rows in linked.items() for values in rows),
        )

    def _put_emails(self, kind: str, emails: dict[int, tuple[str, ...]]) -> None:
        connection = self._db.conn
        connection.execute(
            "DELETE FROM emails WHERE kind = ? AND entity_id IN (SELECT value FROM json_each(?))",
            (kind, _listed(emails)),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO emails (email, kind, entity_id) VALUES (?, ?, ?)",
            ((email, kind, number) for number, listed in emails.items() for email in listed if email),
        )


def _listed(ids: Iterable[int]) -> str:
    """Ids as one value of a statement, which would hold too few of them one by one."""
    return dump(list(ids))
