PRAGMA application_id = 1230140530;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'journal','first','2026-11-24 14:05:16.419883+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'journal','threads_people_and_copies','2026-11-24 14:05:16.420638+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'journal','reasons_as_codes','2026-11-24 16:33:55.402094+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'journal','parts_and_incidents','2026-11-24 18:33:45.258959+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'journal','corrections_that_begin_anew','2026-11-24 20:14:23.506581+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'journal','letters_of_the_past','2026-11-24 21:27:08.416127+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'journal','an_audit_that_can_be_undone','2026-11-24 23:11:15.933652+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'journal','letters_that_the_portal_skipped','2026-11-24 23:35:40.979014+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'journal','reminders_of_unanswered_letters','2026-11-24 23:51:51.079962+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'journal','letters_that_nobody_has_opened','2026-11-24 23:53:47.544774+00:00');
INSERT INTO "_sqlite_migrations" VALUES(11,'journal','letters_that_the_portal_sent','2026-11-24 20:00:00.000000+00:00');
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
, writes_before INTEGER NOT NULL DEFAULT 0);
INSERT INTO "activities" VALUES(100,'{"id":100,"mailbox_email":"sales@company.ru","direction":"incoming","subject":"КП","start_time":"2026-11-02T10:00:00Z","created_at":"2026-11-02T10:00:00Z","updated_at":"2026-11-02T10:00:00Z","owner":{"type_id":1,"entity_id":30},"responsible_id":5,"completed":false,"from_":["sergey@horns.ru"],"reply_to":[],"to":["sales@company.ru"],"cc":[],"originator_id":"","origin_id":"","message_id":""}',1,'2026-11-02T10:00:00.000000+00:00','[{"type_id":1,"entity_id":30},{"type_id":3,"entity_id":20}]','[30]',NULL,0,'2026-11-02T10:00:00.000000+00:00',NULL,0);
INSERT INTO "activities" VALUES(101,'{"id":101,"mailbox_email":"sales@company.ru","direction":"incoming","subject":"КП","start_time":"2026-11-02T10:00:00Z","created_at":"2026-11-02T10:00:00Z","updated_at":"2026-11-02T10:00:00Z","owner":{"type_id":2,"entity_id":1},"responsible_id":5,"completed":false,"from_":["sergey@horns.ru"],"reply_to":[],"to":["sales@company.ru"],"cc":[],"originator_id":"","origin_id":"","message_id":""}',3,'2026-11-02T10:00:00.000000+00:00',NULL,'[]','[{"type_id":2,"entity_id":1}]',0,NULL,'2026-11-02T10:00:00.000000+00:00',0);
INSERT INTO "activities" VALUES(102,'{"id":102,"mailbox_email":"sales@company.ru","direction":"incoming","subject":"КП","start_time":"2026-11-02T10:00:00Z","created_at":"2026-11-02T10:00:00Z","updated_at":"2026-11-02T10:00:00Z","owner":null,"responsible_id":5,"completed":false,"from_":["sergey@horns.ru"],"reply_to":[],"to":["sales@company.ru"],"cc":[],"originator_id":"","origin_id":"","message_id":""}',NULL,'2026-11-02T10:00:00.000000+00:00',NULL,'[]',NULL,0,NULL,NULL,0);
CREATE TABLE alerts (
    incident_id INTEGER NOT NULL REFERENCES incidents (id),
    user_id INTEGER NOT NULL,
    -- begin or end
    occasion TEXT NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (incident_id, user_id, occasion)
) WITHOUT ROWID;
CREATE TABLE anchors (
    folder_id INTEGER NOT NULL REFERENCES folders (id),
    uid INTEGER NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (folder_id, uid)
) WITHOUT ROWID;
INSERT INTO "anchors" VALUES(1,1,'mark-1');
INSERT INTO "anchors" VALUES(1,2,'mark-2');
INSERT INTO "anchors" VALUES(1,3,'mark-3');
INSERT INTO "anchors" VALUES(1,4,'mark-4');
INSERT INTO "anchors" VALUES(1,5,'mark-5');
INSERT INTO "anchors" VALUES(1,6,'mark-6');
CREATE TABLE assignments (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id),
    -- NULL: leave it as it is
    target_type TEXT,
    target_id INTEGER,
    at TEXT NOT NULL
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "facts" VALUES('activities_seen','2026-11-02T10:00:00+00:00');
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
INSERT INTO "folders" VALUES(1,'sales','INBOX',7,1,6,NULL);
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
    settled_at TEXT, conversation TEXT NOT NULL DEFAULT '', letter_key TEXT NOT NULL DEFAULT '', pair_key TEXT NOT NULL DEFAULT '', past INTEGER NOT NULL DEFAULT 0,
    UNIQUE (folder_id, epoch, uid)
);
INSERT INTO "messages" VALUES(1,1,1,7,1,'sales','letter-1@horns.ru','print-1','incoming','2026-11-02T10:00:02.000000+00:00',1793613602,1793613601,1001,0,'{"subject":"КП #1","from_":[{"email":"sergey@horns.ru","name":"Сергей"}],"from_is_clear":true,"reply_to":[],"sender":[],"to":[{"email":"masha@company.ru","name":""}],"cc":[],"delivered_to":[],"message_id":"letter-1@horns.ru","parents":[],"date":"2026-11-02T10:00:01Z","nature":"client","other_ids":[],"conversation":"","authentication":[],"defects":[],"fingerprint":"print-1"}','{"outcome":"deal","rule":"marker","reasons":[{"code":"marker","values":{"deal":"1"}}],"trail":[{"rule":"marker","verdict":"match","reasons":[{"code":"marker","values":{"deal":"1"}}],"candidates":[1],"target":{"type":"deal","id":1},"unknown":[]},{"rule":"thread","verdict":"no_match","reasons":[{"code":"no_parents","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"address","verdict":"no_match","reasons":[{"code":"no_tag","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"participants","verdict":"match","reasons":[{"code":"client_of","values":{"client":"sergey@horns.ru","deals":["1","2"]}},{"code":"responsible_addressed","values":{"people":"masha@company.ru","deals":["1"]}},{"code":"other_responsible","values":{"deals":["2"],"people":"ilya@company.ru"}}],"candidates":[1,2],"target":{"type":"deal","id":1},"unknown":[]}],"target":{"type":"deal","id":1},"review":false,"candidates":[1]}','deal',1,NULL,NULL,0,'paired',NULL,'',NULL,'2026-11-02T10:00:00.000000+00:00',NULL,'','eac709909a91ae78646634630facf30f53a12eaeae964a3f81f54e38ede930ae','',0);
INSERT INTO "messages" VALUES(2,1,1,7,2,'sales','letter-2@horns.ru','print-2','incoming','2026-11-02T10:00:03.000000+00:00',1793613603,1793613602,1002,0,'{"subject":"Вопрос","from_":[{"email":"sergey@horns.ru","name":"Сергей"}],"from_is_clear":true,"reply_to":[],"sender":[],"to":[{"email":"sales@company.ru","name":""}],"cc":[],"delivered_to":[],"message_id":"letter-2@horns.ru","parents":[],"date":"2026-11-02T10:00:02Z","nature":"client","other_ids":[],"conversation":"","authentication":[],"defects":[],"fingerprint":"print-2"}','{"outcome":"leave","rule":"participants","reasons":[{"code":"client_of","values":{"client":"sergey@horns.ru","deals":["1","2"]}},{"code":"several_deals","values":{"deals":["1","2"]}}],"trail":[{"rule":"marker","verdict":"no_match","reasons":[{"code":"no_marker","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"thread","verdict":"no_match","reasons":[{"code":"no_parents","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"address","verdict":"no_match","reasons":[{"code":"no_tag","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"participants","verdict":"ambiguous","reasons":[{"code":"client_of","values":{"client":"sergey@horns.ru","deals":["1","2"]}},{"code":"several_deals","values":{"deals":["1","2"]}}],"candidates":[1,2],"target":null,"unknown":[]}],"target":null,"review":true,"candidates":[1,2]}',NULL,NULL,NULL,NULL,0,'review',NULL,'',NULL,'2026-11-02T10:00:00.000000+00:00',NULL,'','30841b34a6de12ffb628ddffeda81281e75534502f70c647d484ce88be671101','',0);
INSERT INTO "messages" VALUES(3,1,1,7,3,'sales','letter-3@horns.ru','print-3','incoming','2026-11-02T10:00:04.000000+00:00',1793613604,1793613603,1003,0,'{"subject":"Re: КП","from_":[{"email":"sergey@horns.ru","name":"Сергей"}],"from_is_clear":true,"reply_to":[],"sender":[],"to":[{"email":"masha@company.ru","name":""}],"cc":[],"delivered_to":[],"message_id":"letter-3@horns.ru","parents":["letter-1@horns.ru"],"date":"2026-11-02T10:00:03Z","nature":"client","other_ids":[],"conversation":"","authentication":[],"defects":[],"fingerprint":"print-3"}','{"outcome":"deal","rule":"participants","reasons":[{"code":"client_of","values":{"client":"sergey@horns.ru","deals":["1","2"]}},{"code":"responsible_addressed","values":{"people":"masha@company.ru","deals":["1"]}}],"trail":[{"rule":"marker","verdict":"no_match","reasons":[{"code":"no_marker","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"thread","verdict":"no_match","reasons":[{"code":"unknown_parents","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"address","verdict":"no_match","reasons":[{"code":"no_tag","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"participants","verdict":"match","reasons":[{"code":"client_of","values":{"client":"sergey@horns.ru","deals":["1","2"]}},{"code":"responsible_addressed","values":{"people":"masha@company.ru","deals":["1"]}},{"code":"other_responsible","values":{"deals":["2"],"people":"ilya@company.ru"}}],"candidates":[1,2],"target":{"type":"deal","id":1},"unknown":[]}],"target":{"type":"deal","id":1},"review":false,"candidates":[1,2]}','deal',1,NULL,NULL,0,'settled','moved','',NULL,'2026-11-02T10:00:00.000000+00:00','2026-11-02T10:00:00.000000+00:00','','eac5bcfa78cd960338e8bfc6b41f1644ffea93a21472b87075ac159fc9cb06ea','',0);
INSERT INTO "messages" VALUES(4,1,1,7,4,'sales','letter-4@horns.ru','print-4','incoming','2026-11-02T10:00:05.000000+00:00',1793613605,1793613604,1004,0,'{"subject":"#999","from_":[{"email":"stranger@mail.ru","name":"Сергей"}],"from_is_clear":true,"reply_to":[],"sender":[],"to":[{"email":"masha@company.ru","name":""}],"cc":[],"delivered_to":[],"message_id":"letter-4@horns.ru","parents":[],"date":"2026-11-02T10:00:04Z","nature":"client","other_ids":[],"conversation":"","authentication":[],"defects":[],"fingerprint":"print-4"}','{"outcome":"leave","rule":"fallback","reasons":[{"code":"nothing_known","values":{}}],"trail":[{"rule":"marker","verdict":"no_match","reasons":[{"code":"no_such_deal","values":{"deal":"999"}}],"candidates":[],"target":null,"unknown":[{"about":"deal","key":"999"}]},{"rule":"thread","verdict":"no_match","reasons":[{"code":"no_parents","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"address","verdict":"no_match","reasons":[{"code":"no_tag","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"participants","verdict":"no_match","reasons":[{"code":"unknown_client","values":{"clients":["stranger@mail.ru"]}}],"candidates":[],"target":null,"unknown":[{"about":"client","key":"stranger@mail.ru"}]},{"rule":"fallback","verdict":"match","reasons":[{"code":"nothing_known","values":{}}],"candidates":[],"target":null,"unknown":[]}],"target":null,"review":false,"candidates":[]}',NULL,NULL,NULL,NULL,1,'waiting',NULL,'',NULL,'2026-11-02T10:00:00.000000+00:00',NULL,'','046e2fd3a9f83cb43bd8f8e64e0b75671e17bcf2399b5b865b85e49c5bc5077a','',0);
INSERT INTO "messages" VALUES(5,1,1,7,5,'sales','letter-5@horns.ru','print-5','incoming','2026-11-02T10:00:06.000000+00:00',1793613606,1793613605,1005,0,'{"subject":"Автоответ","from_":[{"email":"robot@mail.ru","name":"Сергей"}],"from_is_clear":true,"reply_to":[],"sender":[],"to":[{"email":"masha@company.ru","name":""}],"cc":[],"delivered_to":[],"message_id":"letter-5@horns.ru","parents":[],"date":"2026-11-02T10:00:05Z","nature":"auto_reply","other_ids":[],"conversation":"","authentication":[],"defects":[],"fingerprint":"print-5"}','{"outcome":"ignore","rule":"fallback","reasons":[{"code":"auto_reply_names_nothing","values":{}}],"trail":[{"rule":"marker","verdict":"no_match","reasons":[{"code":"no_marker","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"thread","verdict":"no_match","reasons":[{"code":"no_parents","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"address","verdict":"no_match","reasons":[{"code":"no_tag","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"participants","verdict":"no_match","reasons":[{"code":"not_a_letter","values":{}}],"candidates":[],"target":null,"unknown":[]},{"rule":"fallback","verdict":"match","reasons":[{"code":"auto_reply_names_nothing","values":{}}],"candidates":[],"target":null,"unknown":[]}],"target":null,"review":false,"candidates":[]}',NULL,NULL,'deal',3,0,'settled','person','',NULL,'2026-11-02T10:00:00.000000+00:00','2026-11-02T10:00:00.000000+00:00','','a8797c5a3db1622f18af8c7f6a0407c8f07211575b544a83cb9b68e84cebaee6','',0);
INSERT INTO "messages" VALUES(6,1,1,7,6,'sales','','','incoming','2026-11-02T10:00:00.000000+00:00',1793613600,NULL,0,0,'{"subject":"","from_":[],"from_is_clear":true,"reply_to":[],"sender":[],"to":[],"cc":[],"delivered_to":[],"message_id":"","parents":[],"date":null,"nature":"client","other_ids":[],"conversation":"","authentication":[],"defects":["unreadable on the server"],"fingerprint":""}','{"outcome":"leave","rule":"fallback","reasons":[{"code":"unreadable","values":{}}],"trail":[{"rule":"fallback","verdict":"no_match","reasons":[{"code":"unreadable","values":{}}],"candidates":[],"target":null,"unknown":[]}],"target":null,"review":false,"candidates":[]}',NULL,NULL,NULL,NULL,0,'unreadable',NULL,'the server cannot hand over this message; it is asked again at every connection',NULL,'2026-11-02T10:00:00.000000+00:00',NULL,'','','',0);
CREATE TABLE notices (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    user_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID;
INSERT INTO "notices" VALUES(1,5,'sent','2026-11-02T10:00:00.000000+00:00');
CREATE TABLE other_ids (
    other_id TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (other_id, message_id)
) WITHOUT ROWID;
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
CREATE TABLE portal_letters (
    activity_id INTEGER PRIMARY KEY,
    second INTEGER NOT NULL,
    -- canonical, '' where the portal does not show it
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- recipients, as a JSON list
    people TEXT NOT NULL
);
CREATE TABLE questions (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    -- 0: there was nobody to ask
    user_id INTEGER NOT NULL,
    -- sending, sent, refused, unknown, nobody, or again: nothing was sent, another time may do
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID;
CREATE TABLE reminders (
    message_id INTEGER NOT NULL REFERENCES messages (id),
    user_id INTEGER NOT NULL,
    -- sending, sent, refused, unknown, or again: nothing was sent, another time may do
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (message_id, user_id)
) WITHOUT ROWID
;
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
CREATE TABLE undos (
    id INTEGER PRIMARY KEY,
    activity_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    -- what to go back to, and from where
    reversal TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE TABLE weak_ids (
    ancestor TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (ancestor, message_id)
) WITHOUT ROWID;
CREATE TABLE writes (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    activity_id INTEGER NOT NULL,
    step TEXT NOT NULL,
    outcome TEXT NOT NULL
, kind TEXT NOT NULL DEFAULT 'bindings', before TEXT, after TEXT, rule TEXT NOT NULL DEFAULT '', why TEXT NOT NULL DEFAULT '', request TEXT);
INSERT INTO "writes" VALUES(1,'2026-11-02T10:00:00.000000+00:00',3,101,'bind deal 1','done','bindings',NULL,NULL,'participants','',NULL);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX messages_by_message_id ON messages (message_id) WHERE message_id <> '';
CREATE INDEX messages_by_fingerprint ON messages (mailbox, fingerprint);
CREATE INDEX messages_by_state ON messages (state, recorded_at);
CREATE INDEX messages_by_internal_second ON messages (internal_second);
CREATE INDEX messages_by_date_second ON messages (date_second);
CREATE INDEX messages_with_questions ON messages (id) WHERE open_questions;
CREATE INDEX activities_by_message ON activities (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX activities_unpaired ON activities (first_seen_at) WHERE message_id IS NULL;
CREATE INDEX activities_due ON activities (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX writes_by_message ON writes (message_id);
CREATE INDEX writes_by_activity ON writes (activity_id);
CREATE INDEX messages_by_conversation ON messages (conversation) WHERE conversation <> '';
CREATE INDEX messages_by_letter_key ON messages (letter_key) WHERE letter_key <> '';
CREATE INDEX messages_by_pair_key ON messages (pair_key, internal_second) WHERE pair_key <> '';
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE ended_at IS NULL;
CREATE INDEX incidents_by_end ON incidents (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX messages_of_the_past ON messages (past, internal_second) WHERE past > 0;
CREATE UNIQUE INDEX undos_unfinished ON undos (activity_id) WHERE finished_at IS NULL;
CREATE INDEX messages_unopened ON messages (folder_id, epoch, uid) WHERE NOT seen;
CREATE INDEX portal_letters_by_second ON portal_letters (second);
COMMIT;
