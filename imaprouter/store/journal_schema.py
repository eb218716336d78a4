"""The schema of the journal, as migrations. A change is a new function at the end, never an edit."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlite_utils import Database, Migrations

migrations = Migrations("journal")


@migrations()
def first(db: Database) -> None:
    for statement in _FIRST.split(";\n"):
        if statement.strip():
            db.execute(statement)


_FIRST = """
-- a watched folder; `epoch` grows whenever the server's UIDs lose their meaning
CREATE TABLE folders (
    id INTEGER PRIMARY KEY,
    mailbox TEXT NOT NULL,
    name TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- every UID up to here is on record
    cursor INTEGER NOT NULL,
    -- mail older than this is not ours to handle
    watch_since TEXT,
    UNIQUE (mailbox, name)
);
-- marks of the last messages: a server restored from a backup keeps UIDVALIDITY and reuses UIDs
CREATE TABLE anchors (
    folder_id INTEGER NOT NULL REFERENCES folders (id),
    uid INTEGER NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (folder_id, uid)
) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    folder_id INTEGER NOT NULL REFERENCES folders (id),
    epoch INTEGER NOT NULL,
    uidvalidity INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    mailbox TEXT NOT NULL,
    message_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    direction TEXT NOT NULL,
    internal_date TEXT NOT NULL,
    internal_second INTEGER NOT NULL,
    date_second INTEGER,
    size INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    decision TEXT NOT NULL,
    -- the decision's target when later letters may inherit it; a person's choice outranks it
    target_type TEXT,
    target_id INTEGER,
    person_type TEXT,
    person_id INTEGER,
    -- 1 while the portal may know what the index did not
    open_questions INTEGER NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    note TEXT NOT NULL DEFAULT '',
    same_as INTEGER REFERENCES messages (id),
    recorded_at TEXT NOT NULL,
    settled_at TEXT,
    UNIQUE (folder_id, epoch, uid)
);
CREATE INDEX messages_by_message_id ON messages (message_id) WHERE message_id <> '';
CREATE INDEX messages_by_fingerprint ON messages (mailbox, fingerprint);
CREATE INDEX messages_by_state ON messages (state, recorded_at);
CREATE INDEX messages_by_internal_second ON messages (internal_second);
CREATE INDEX messages_by_date_second ON messages (date_second);
CREATE INDEX messages_with_questions ON messages (id) WHERE open_questions;
-- e-mail activities that the portal showed; unpaired ones are kept while a message may still match
CREATE TABLE activities (
    id INTEGER PRIMARY KEY,
    activity TEXT NOT NULL,
    message_id INTEGER REFERENCES messages (id),
    first_seen_at TEXT NOT NULL,
    -- the bindings before anything was changed; NULL until they were read
    first_bindings TEXT,
    unwanted_leads TEXT NOT NULL DEFAULT '[]',
    last_bindings TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT,
    settled_at TEXT
);
CREATE INDEX activities_by_message ON activities (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX activities_unpaired ON activities (first_seen_at) WHERE message_id IS NULL;
CREATE INDEX activities_due ON activities (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
-- at most one notification per message and person; written before it is sent
CREATE TABLE notices (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    user_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID;
-- every call that changed, or may have changed, the portal
CREATE TABLE writes (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    activity_id INTEGER NOT NULL,
    step TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX writes_by_message ON writes (message_id);
CREATE INDEX writes_by_activity ON writes (activity_id);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@migrations()
def threads_people_and_copies(db: Database) -> None:
    """What threads inherit beyond direct ancestors, what people answered, one mail in two mailboxes."""
    for statement in _THREADS_PEOPLE_AND_COPIES.split(";\n"):
        if statement.strip():
            db.execute(statement)


_THREADS_PEOPLE_AND_COPIES = """
-- ancestors that a decided letter names and that were never seen themselves
CREATE TABLE weak_ids (
    ancestor TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (ancestor, message_id)
) WITHOUT ROWID;
-- further ids of a message: what a gateway left of the original one
CREATE TABLE other_ids (
    other_id TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (other_id, message_id)
) WITHOUT ROWID;
-- Outlook's conversation, '' for none
ALTER TABLE messages ADD COLUMN conversation TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_by_conversation ON messages (conversation) WHERE conversation <> '';
-- From, Date and Subject as one hash: the same in every mailbox, even where a relay rewrote the Message-ID
ALTER TABLE messages ADD COLUMN letter_key TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_by_letter_key ON messages (letter_key) WHERE letter_key <> '';
-- the two parties of a letter, for recognising loops
ALTER TABLE messages ADD COLUMN pair_key TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_by_pair_key ON messages (pair_key, internal_second) WHERE pair_key <> '';
-- a person's answer from the command line, until the binder has taken it up
CREATE TABLE assignments (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id),
    -- NULL: leave it as it is
    target_type TEXT,
    target_id INTEGER,
    at TEXT NOT NULL
);
"""


@migrations()
def reasons_as_codes(db: Database) -> None:
    """Decisions held sentences; they hold reasons. What was said stays, as the text of `earlier`."""
    db.conn.create_function("with_reasons", 1, with_reasons, deterministic=True)
    db.execute("UPDATE messages SET decision = with_reasons(decision)")
    db.conn.create_function("with_reasons", 1, None)


def with_reasons(text: str) -> str:
    """A decision's JSON in the shape of `reasons_as_codes`; what has it, or is no decision, as it is."""
    try:
        decision = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    if not isinstance(decision, dict):
        return text
    trail = decision.get("trail")
    findings = [finding for finding in trail if isinstance(finding, dict)] if isinstance(trail, list) else []
    changed = [_coded(decision, "reason"), *(_coded(finding, "detail", "review") for finding in findings)]
    return msgspec.json.encode(decision).decode("utf-8") if any(changed) else text


def _coded(said: dict[str, Any], sentence: str, *gone: str) -> bool:
    """Put `reasons` in the place of code and sentence, drop what is gone; False when they are there."""
    if "reasons" in said:
        return False
    code, words = said.pop("code", ""), said.pop(sentence, "")
    said["reasons"] = [{"code": "earlier", "values": {"text": str(words or code)}}]
    for name in gone:
        said.pop(name, None)
    return True


@migrations()
def parts_and_incidents(db: Database) -> None:
    """How each part of the service fares, what people have to know, and whom it was told."""
    for statement in _PARTS_AND_INCIDENTS.split(";\n"):
        if statement.strip():
            db.execute(statement)


_PARTS_AND_INCIDENTS = """
-- a watched folder, the refresh of the index, the binder; mailbox and folder are '' for what is no folder
CREATE TABLE parts (
    kind TEXT NOT NULL,
    mailbox TEXT NOT NULL,
    folder TEXT NOT NULL,
    -- when it was at work last, whether or not it had a question for its server
    worked_at TEXT,
    -- when its server was heard last
    heard_at TEXT,
    -- since when it fails without a break; NULL while it works
    failing_since TEXT,
    -- the last error, kept after it is over
    error TEXT NOT NULL DEFAULT '',
    error_type TEXT NOT NULL DEFAULT '',
    error_at TEXT,
    PRIMARY KEY (kind, mailbox, folder)
) WITHOUT ROWID;
-- what alerts.users are told of, from its beginning to its end; `subject` is the mailbox or the day
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    since TEXT NOT NULL,
    count INTEGER NOT NULL,
    detail TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    ended_at TEXT
);
-- one open incident of a kind and subject
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE ended_at IS NULL;
CREATE INDEX incidents_by_end ON incidents (ended_at) WHERE ended_at IS NOT NULL;
-- at most one notification per incident, person and occasion; written before it is sent
CREATE TABLE alerts (
    incident_id INTEGER NOT NULL REFERENCES incidents (id),
    user_id INTEGER NOT NULL,
    -- begin or end
    occasion TEXT NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (incident_id, user_id, occasion)
) WITHOUT ROWID;
"""


@migrations()
def corrections_that_begin_anew(db: Database) -> None:
    """The last write of an earlier correction of this activity: it says nothing of the present one."""
    db.execute("ALTER TABLE activities ADD COLUMN writes_before INTEGER NOT NULL DEFAULT 0")


@migrations()
def letters_of_the_past(db: Database) -> None:
    """Letters that came before the watch: nobody is ever told of them."""
    for statement in _LETTERS_OF_THE_PAST.split(";\n"):
        if statement.strip():
            db.execute(statement)


_LETTERS_OF_THE_PAST = """
-- 0: the service met it when it came; 1: its activity is still to be looked for; 2: that was done
ALTER TABLE messages ADD COLUMN past INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_of_the_past ON messages (past, internal_second) WHERE past > 0;
"""


@migrations()
def an_audit_that_can_be_undone(db: Database) -> None:
    """What each write found, was to leave and was sent for; what is taken back; who was asked to decide."""
    for statement in _AN_AUDIT_THAT_CAN_BE_UNDONE.split(";\n"):
        if statement.strip():
            db.execute(statement)


_AN_AUDIT_THAT_CAN_BE_UNDONE = """
-- bindings, responsible, stamp or notice
ALTER TABLE writes ADD COLUMN kind TEXT NOT NULL DEFAULT 'bindings';
-- what was read before the request, and what this step alone makes of it; NULL of notices and earlier writes
ALTER TABLE writes ADD COLUMN before TEXT;
ALTER TABLE writes ADD COLUMN after TEXT;
-- the rule of the decision, 'person' for an answer, 'undo'
ALTER TABLE writes ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE writes ADD COLUMN why TEXT NOT NULL DEFAULT '';
-- method and parameters, without the webhook's address
ALTER TABLE writes ADD COLUMN request TEXT;
UPDATE writes SET kind = CASE
        WHEN step = 'stamp' THEN 'stamp'
        WHEN step LIKE 'responsible %' THEN 'responsible'
        WHEN step LIKE 'notify %' THEN 'notice'
        ELSE 'bindings' END,
    rule = coalesce((SELECT CASE WHEN m.person_type IS NULL THEN json_extract(m.decision, '$.rule')
        ELSE 'person' END FROM messages m WHERE m.id = writes.message_id), '');
-- activities of which our changes are taken back; at most one unfinished of each
CREATE TABLE undos (
    id INTEGER PRIMARY KEY,
    activity_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    -- what to go back to, and from where
    reversal TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE UNIQUE INDEX undos_unfinished ON undos (activity_id) WHERE finished_at IS NULL;
-- people asked to decide about a message that waits; written before it is sent
CREATE TABLE questions (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    -- 0: there was nobody to ask
    user_id INTEGER NOT NULL,
    -- sending, sent, refused, unknown, nobody, or again: nothing was sent, another time may do
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID;
"""


@migrations()
def letters_that_the_portal_skipped(db: Database) -> None:
    """Of missing messages: whether the portal's mail has them, and whether their activity was asked for."""
    for statement in _LETTERS_THAT_THE_PORTAL_SKIPPED.split(";\n"):
        if statement.strip():
            db.execute(statement)


_LETTERS_THAT_THE_PORTAL_SKIPPED = """
CREATE TABLE savings (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id),
    -- looked: not found, or not to be asked for now; seen: found, and left alone for a while; asking: written
    -- before the call; asked, unknown: what the call came to; refused, vain, settled: nothing more is done
    state TEXT NOT NULL,
    -- in the portal's mail; NULL while it was not found there
    mail_id INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    at TEXT NOT NULL,
    -- when to look again; NULL: never
    next_at TEXT
);
"""


@migrations()
def reminders_of_unanswered_letters(db: Database) -> None:
    """Who was reminded of a letter that waits for an answer."""
    db.execute(_REMINDERS)


_REMINDERS = """
-- at most one for each message and person; written before it is sent
CREATE TABLE reminders (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    user_id INTEGER NOT NULL,
    -- sending, sent, refused, unknown, or again: nothing was sent, another time may do
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID
"""


@migrations()
def letters_that_nobody_has_opened(db: Database) -> None:
    """Found quickly, among all those that somebody has."""
    db.execute("CREATE INDEX messages_unopened ON messages (folder_id, epoch, uid) WHERE NOT seen")


@migrations()
def letters_that_the_portal_sent(db: Database) -> None:
    """What the portal shows as sent, for good: letters written in Bitrix24 may lie in no Sent folder."""
    for statement in _LETTERS_THAT_THE_PORTAL_SENT.split(";\n"):
        if statement.strip():
            db.execute(statement)


_LETTERS_THAT_THE_PORTAL_SENT = """
CREATE TABLE portal_letters (
    activity_id INTEGER PRIMARY KEY,
    second INTEGER NOT NULL,
    -- canonical, '' where the portal does not show it
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- recipients, as a JSON list
    people TEXT NOT NULL
);
CREATE INDEX portal_letters_by_second ON portal_letters (second);
INSERT INTO portal_letters
SELECT id, CAST(strftime('%s', coalesce(json_extract(activity, '$.start_time'),
        json_extract(activity, '$.created_at'))) AS INTEGER),
    coalesce(json_extract(activity, '$.message_id'), ''), coalesce(json_extract(activity, '$.subject'), ''),
    (SELECT json_group_array(value) FROM (
        SELECT value FROM json_each(coalesce(json_extract(activity, '$.to'), '[]'))
        UNION SELECT value FROM json_each(coalesce(json_extract(activity, '$.cc'), '[]'))))
FROM activities
WHERE json_extract(activity, '$.direction') = 'outgoing' AND json_extract(activity, '$.completed')
    AND coalesce(json_extract(activity, '$.start_time'), json_extract(activity, '$.created_at')) IS NOT NULL;
"""


@migrations()
def transfers_between_timelines(db: Database) -> None:
    """Writes to activities that are no message's, transfers that were broken off, and what a rule watches."""
    for statement in _TRANSFERS_BETWEEN_TIMELINES.split(";\n"):
        if statement.strip():
            db.execute(statement)


# SQLite takes no NOT NULL from a column: the tables are made anew.
_TRANSFERS_BETWEEN_TIMELINES = """
CREATE TABLE new_writes (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    -- NULL: the activity is no message's, a call or a letter that was never read
    message_id INTEGER REFERENCES messages (id),
    activity_id INTEGER NOT NULL,
    step TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- bindings, responsible, stamp or notice
    kind TEXT NOT NULL DEFAULT 'bindings',
    -- what was read before the request, and what this step alone makes of it; NULL of notices and old writes
    before TEXT,
    after TEXT,
    -- the rule of the decision, 'person' for an answer, 'transfer', 'undo'
    rule TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT '',
    -- method and parameters, without the webhook's address
    request TEXT
);
INSERT INTO new_writes
    SELECT id, at, message_id, activity_id, step, outcome, kind, before, after, rule, why, request
    FROM writes;
DROP TABLE writes;
ALTER TABLE new_writes RENAME TO writes;
CREATE INDEX writes_by_message ON writes (message_id);
CREATE INDEX writes_by_activity ON writes (activity_id);
CREATE TABLE new_undos (
    id INTEGER PRIMARY KEY,
    activity_id INTEGER NOT NULL,
    message_id INTEGER REFERENCES messages (id),
    -- what to go back to, and from where
    reversal TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    finished_at TEXT
);
INSERT INTO new_undos (id, activity_id, message_id, reversal, begun_at, finished_at)
    SELECT id, activity_id, message_id, reversal, begun_at, finished_at FROM undos;
DROP TABLE undos;
ALTER TABLE new_undos RENAME TO undos;
CREATE UNIQUE INDEX undos_unfinished ON undos (activity_id) WHERE finished_at IS NULL;
-- transfers that were begun and are not complete: what was asked for, and how far each has come
CREATE TABLE transfers (
    request TEXT PRIMARY KEY,
    begun_at TEXT NOT NULL,
    -- every source up to this id is done
    position INTEGER NOT NULL,
    -- how many activities ended how, until there
    counts TEXT NOT NULL
) WITHOUT ROWID;
-- new activities that the standing rules look at: NULL until they have
CREATE TABLE transfer_news (
    id INTEGER PRIMARY KEY,
    news TEXT NOT NULL,
    looked_at TEXT
);
CREATE INDEX transfer_news_open ON transfer_news (id) WHERE looked_at IS NULL
"""
