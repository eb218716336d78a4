"""The schema of the index, as migrations. A change is a new function at the end, never an edit."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("index")


@migrations()
def first(db: Database) -> None:
    for statement in _FIRST.split(";\n"):
        if statement.strip():
            db.execute(statement)


# `generation` is the refresh that saw a row last: what an older one saw only is gone from the portal.
_FIRST = """
CREATE TABLE deals (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    category_id INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    semantic TEXT NOT NULL,
    recurring INTEGER NOT NULL,
    responsible_id INTEGER NOT NULL,
    company_id INTEGER,
    lead_id INTEGER,
    created_at TEXT,
    modified_at TEXT,
    last_activity_at TEXT,
    generation INTEGER NOT NULL
);
CREATE INDEX deals_by_company ON deals (company_id) WHERE company_id IS NOT NULL;
CREATE TABLE deal_contacts (
    deal_id INTEGER NOT NULL,
    contact_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (deal_id, contact_id)
) WITHOUT ROWID;
CREATE INDEX deal_contacts_by_contact ON deal_contacts (contact_id, deal_id);
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE TABLE contact_companies (
    contact_id INTEGER NOT NULL,
    company_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (contact_id, company_id)
) WITHOUT ROWID;
CREATE TABLE companies (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE TABLE leads (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    semantic TEXT NOT NULL,
    contact_id INTEGER,
    company_id INTEGER,
    generation INTEGER NOT NULL
);
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    active INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE INDEX users_by_email ON users (email);
-- kind: contact, company or lead
CREATE TABLE emails (
    email TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (email, kind, entity_id)
) WITHOUT ROWID;
CREATE INDEX emails_by_entity ON emails (kind, entity_id, email);
-- letters that Bitrix24 sent: canonical Message-ID and the owner of their activity
CREATE TABLE sent_letters (
    message_id TEXT PRIMARY KEY,
    activity_id INTEGER NOT NULL,
    type_id INTEGER NOT NULL,
    entity_id INTEGER NOT NULL
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@migrations()
def tenures_and_observers(db: Database) -> None:
    """Who was responsible for a deal before, and who observes it."""
    for statement in _TENURES_AND_OBSERVERS.split(";\n"):
        if statement.strip():
            db.execute(statement)


_TENURES_AND_OBSERVERS = """
CREATE TABLE deal_tenures (
    deal_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    -- when the index saw that somebody else was responsible
    until TEXT NOT NULL,
    PRIMARY KEY (deal_id, user_id)
) WITHOUT ROWID;
CREATE TABLE deal_observers (
    deal_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    PRIMARY KEY (deal_id, user_id)
) WITHOUT ROWID;
"""


@migrations()
def since_when(db: Database) -> None:
    """Since when somebody is or was responsible for a deal, and when its stage changed last."""
    for statement in _SINCE_WHEN:
        db.execute(statement)


_SINCE_WHEN = (
    "ALTER TABLE deals ADD COLUMN responsible_since TEXT",
    "ALTER TABLE deals ADD COLUMN moved_at TEXT",
    "ALTER TABLE deal_tenures ADD COLUMN since TEXT",
)


@migrations()
def names_of_contacts(db: Database) -> None:
    """NAME and LAST_NAME of a contact by themselves; '' until a full refresh has read them."""
    for column in ("first_name", "last_name"):
        db.execute(f"ALTER TABLE contacts ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
