PRAGMA application_id = 1230140530;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'index','first','2026-11-24 16:11:28.203709+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'index','tenures_and_observers','2026-11-24 16:11:28.204000+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'index','since_when','2026-11-24 20:41:50.503899+00:00');
CREATE TABLE companies (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
INSERT INTO "companies" VALUES(10,'Рога и Копыта',5,1);
INSERT INTO "companies" VALUES(11,'Ромашка',6,1);
CREATE TABLE contact_companies (
    contact_id INTEGER NOT NULL,
    company_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (contact_id, company_id)
) WITHOUT ROWID;
INSERT INTO "contact_companies" VALUES(20,10,0);
INSERT INTO "contact_companies" VALUES(21,11,0);
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
INSERT INTO "contacts" VALUES(20,'Сергей',0,1);
INSERT INTO "contacts" VALUES(21,'Анна',0,1);
INSERT INTO "contacts" VALUES(22,'Одна',0,1);
CREATE TABLE deal_contacts (
    deal_id INTEGER NOT NULL,
    contact_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (deal_id, contact_id)
) WITHOUT ROWID;
INSERT INTO "deal_contacts" VALUES(1,20,0);
INSERT INTO "deal_contacts" VALUES(2,20,0);
INSERT INTO "deal_contacts" VALUES(3,21,0);
INSERT INTO "deal_contacts" VALUES(4,20,0);
CREATE TABLE deal_observers (
    deal_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    PRIMARY KEY (deal_id, user_id)
) WITHOUT ROWID;
INSERT INTO "deal_observers" VALUES(2,5);
CREATE TABLE deal_tenures (
    deal_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    -- when the index saw that somebody else was responsible
    until TEXT NOT NULL, since TEXT,
    PRIMARY KEY (deal_id, user_id)
) WITHOUT ROWID;
INSERT INTO "deal_tenures" VALUES(2,5,'2026-01-11T07:00:00.000000+00:00',NULL);
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
, responsible_since TEXT, moved_at TEXT);
INSERT INTO "deals" VALUES(1,'Сделка 1',0,'NEW','P',0,5,10,NULL,'2026-01-10T07:00:00.000000+00:00','2026-01-11T07:00:00.000000+00:00',NULL,1,NULL,NULL);
INSERT INTO "deals" VALUES(2,'Сделка 2',1,'C1:NEW','P',0,6,10,NULL,'2026-01-10T07:00:00.000000+00:00','2026-01-12T07:00:00.000000+00:00',NULL,1,NULL,NULL);
INSERT INTO "deals" VALUES(3,'Сделка 3',0,'NEW','P',0,6,11,NULL,'2026-01-10T07:00:00.000000+00:00','2026-01-13T07:00:00.000000+00:00',NULL,1,NULL,NULL);
INSERT INTO "deals" VALUES(4,'Сделка 4',0,'NEW','S',0,5,10,NULL,'2026-01-10T07:00:00.000000+00:00','2026-01-14T07:00:00.000000+00:00',NULL,1,NULL,NULL);
CREATE TABLE emails (
    email TEXT NOT NULL,
    kind TEXT NOT NULL,
    entity_id INTEGER NOT NULL,
    PRIMARY KEY (email, kind, entity_id)
) WITHOUT ROWID;
INSERT INTO "emails" VALUES('info@horns.ru','company',10);
INSERT INTO "emails" VALUES('sergey@horns.ru','contact',20);
INSERT INTO "emails" VALUES('anna@romashka.ru','contact',21);
INSERT INTO "emails" VALUES('alone@mail.ru','contact',22);
INSERT INTO "emails" VALUES('new@mail.ru','lead',30);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "facts" VALUES('generation','1');
CREATE TABLE leads (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    responsible_id INTEGER NOT NULL,
    semantic TEXT NOT NULL,
    contact_id INTEGER,
    company_id INTEGER,
    generation INTEGER NOT NULL
);
INSERT INTO "leads" VALUES(30,'Новый',5,'P',NULL,NULL,1);
CREATE TABLE sent_letters (
    message_id TEXT PRIMARY KEY,
    activity_id INTEGER NOT NULL,
    type_id INTEGER NOT NULL,
    entity_id INTEGER NOT NULL
);
INSERT INTO "sent_letters" VALUES('crm.activity.501-abc123@company.bitrix24.ru',501,2,1);
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    active INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
INSERT INTO "users" VALUES(5,'Мария Петрова','masha@company.ru',1,1);
INSERT INTO "users" VALUES(6,'Илья Смирнов','ilya@company.ru',1,1);
INSERT INTO "users" VALUES(7,'Пётр Уволенный','gone@company.ru',0,1);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX deals_by_company ON deals (company_id) WHERE company_id IS NOT NULL;
CREATE INDEX deal_contacts_by_contact ON deal_contacts (contact_id, deal_id);
CREATE INDEX users_by_email ON users (email);
CREATE INDEX emails_by_entity ON emails (kind, entity_id, email);
COMMIT;
