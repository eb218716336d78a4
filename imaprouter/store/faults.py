"""What `cache doctor` asks the index: whole tables, each read once, by the indexes that are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imaprouter.store.database import translated
from imaprouter.store.rows import Tables

_ACTIVE = "d.semantic = 'P' AND NOT d.recurring"
# None of the sets depends on the deal: each is made once.
_REACHABLE = "SELECT entity_id FROM emails WHERE kind = 'contact'"
_WITHOUT_ADDRESS = f"""
SELECT d.id, d.title FROM deals d WHERE {_ACTIVE}
    AND (d.company_id IS NULL OR d.company_id NOT IN (
        SELECT entity_id FROM emails WHERE kind = 'company'
        UNION SELECT company_id FROM contact_companies WHERE contact_id IN ({_REACHABLE})))
    AND d.id NOT IN (SELECT deal_id FROM deal_contacts WHERE contact_id IN ({_REACHABLE}))
ORDER BY d.id
"""


class Faults(Tables):
    """Rows for `crm_faults`, one after the other."""

    def shared_addresses(self) -> Iterator[tuple[str, str, str]]:
        """(address, kind, ids by comma) of addresses of several contacts, or of several companies."""
        return self._each(
            "SELECT email, kind, group_concat(entity_id) FROM emails WHERE kind IN ('contact', 'company')"
            " GROUP BY email, kind HAVING count(*) > 1"
        )

    def deals_without_address(self) -> Iterator[tuple[int, str]]:
        """(deal, title) of active deals whose company and contacts have none, nor the company's contacts."""
        return self._each(_WITHOUT_ADDRESS)

    def responsibles(self) -> Iterator[tuple[int, str, int, str | None, int | None, str | None]]:
        """(deal, title, user, name, active, e-mail) of active deals whose responsible nobody can write to."""
        return self._each(
            "SELECT d.id, d.title, d.responsible_id, u.name, u.active, u.email FROM deals d"
            f" LEFT JOIN users u ON u.id = d.responsible_id WHERE {_ACTIVE}"
            " AND (u.id IS NULL OR NOT u.active OR u.email = '') ORDER BY d.id"
        )

    def contact_names(self) -> Iterator[tuple[int, str, str, str]]:
        """(contact, whole name, NAME, LAST_NAME) of every contact."""
        return self._each("SELECT id, name, first_name, last_name FROM contacts ORDER BY id")

    def company_titles(self) -> Iterator[tuple[int, str, int]]:
        """(company, title, 0) of every company."""
        return self._each("SELECT id, title, 0 FROM companies ORDER BY id")

    def names_in_companies(self) -> Iterator[tuple[int, str, int]]:
        """(contact, name, company), once for each of his companies."""
        return self._each(
            "SELECT c.id, c.name, l.company_id FROM contact_companies l"
            " JOIN contacts c ON c.id = l.contact_id ORDER BY c.id, l.company_id"
        )

    def _each(self, query: str) -> Iterator[Any]:
        with translated(self._path):
            yield from self._db.conn.execute(query)
