"""The simulated importer: which letters become activities, and where they land (mail-internals 1.8, 2, 3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sandbox_company import CONTACT, DEAL
from sandbox_office import ARRIVED, Office, letter

from imaprouter.sandbox.mail_import import Importer, MailboxConnection
from imaprouter.sandbox.mail_letter import Letter, read_letter

# The row, mail-internals 3.1


def test_the_activity_of_an_incoming_letter() -> None:
    office = Office()
    imported = office.receive(
        '"Сергей 😀" <Sergey@horns.ru>', subject="=?utf-8?B?0JrQnw==?=", cc="masha@company.ru", reply_to=""
    )
    assert imported.activity_id is not None
    row = office.crm.activity(imported.activity_id)
    assert (row["SUBJECT"], row["DIRECTION"], row["COMPLETED"], row["STATUS"]) == ("КП", 1, "N", 1)
    assert row["START_TIME"] == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert row["CREATED"] == ARRIVED.replace(second=5) + timedelta(minutes=1)
    assert row["END_TIME"].isoformat() == "2026-03-02T19:00:00+03:00"
    assert (row["AUTHOR_ID"], row["RESPONSIBLE_ID"], row["EDITOR_ID"]) == (1, 6, 6)
    assert (row["ORIGINATOR_ID"], row["ORIGIN_ID"], row["PROVIDER_TYPE_ID"]) == (
        None,
        None,
        "EMAIL_COMPRESSED",
    )
    assert row["DESCRIPTION"] == "<div>Здравствуйте</div>"
    meta = row["SETTINGS"]["EMAIL_META"]
    assert meta["__email"] == "sales@company.ru"
    assert meta["from"] == '"Сергей :f09f9880:" <Sergey@horns.ru>'
    assert (meta["to"], meta["cc"], meta["replyTo"]) == ("sales@company.ru", "masha@company.ru", "")
    assert "MESSAGE_HEADERS" not in row["SETTINGS"]
    assert [(each["ENTITY_TYPE_ID"], each["VALUE"]) for each in row["COMMUNICATIONS"]] == [
        (CONTACT, "sergey@horns.ru")
    ]


def test_the_mailbox_is_named_by_its_login_when_its_name_is_no_address() -> None:
    office = Office(name="Sales department", username="sales@login.ru")
    office.receive()
    assert office.crm.activity(1)["SETTINGS"]["EMAIL_META"]["__email"] == "sales@login.ru"


def test_seen_letters_are_born_completed_and_announced_to_nobody() -> None:
    """mail-internals 1.6."""
    office = Office()
    office.receive(seen=True)
    assert (office.crm.activity(1)["COMPLETED"], office.crm.activity(1)["STATUS"]) == ("Y", 2)
    assert office.crm.notifications == []


def test_unseen_letters_are_announced_to_the_responsible() -> None:
    """The link leads to the wrong deal's card (mail-internals 6)."""
    office = Office()
    office.receive()
    (notification,) = office.crm.notifications
    assert (notification.user_id, notification.kind) == (6, "incoming_email")
    assert "/crm/deal/details/2/" in notification.message


def test_an_empty_subject_gets_a_default_text_and_a_missing_date_the_internal_one() -> None:
    office = Office()
    office.receive(subject="", date="never")
    assert office.crm.activity(1)["SUBJECT"] == "No subject"
    assert office.crm.activity(1)["START_TIME"] == ARRIVED


# Skipped, mail-internals 1.8


def test_the_same_message_is_stored_once_and_a_redelivery_twice() -> None:
    office = Office()
    office.receive(message_id="<1@x>")
    assert office.receive(message_id="<1@x>").reason == "already stored"
    assert office.receive(message_id="<1@x>", received="by other").activity_id == 2


def test_letters_of_employees_never_become_activities() -> None:
    office = Office()
    assert office.receive("Masha@company.ru").reason == "written by an employee"
    assert office.receive("sergey@horns.ru", reply_to="ilya@company.ru").reason == "written by an employee"
    office.crm.users[6]["EMAIL"] = ""
    other = MailboxConnection("ilya@company.ru", "127.0.0.1", 1, "login@box.ru", "x", name="shop@company.ru")
    with_two = Importer(office.box, office.crm, [office.box, other])
    for sender in ("ilya@company.ru", "shop@company.ru", "login@box.ru"):
        assert with_two.take(letter(sender)).reason == "written by an employee"
    assert office.receive("gone@company.ru").activity_id is not None


def test_extranet_users_are_no_employees() -> None:
    """An employee has a department (mail-internals 1.8 point 11); a client may be an extranet user."""
    office = Office()
    office.crm.users[6] |= {"USER_TYPE": "extranet", "UF_DEPARTMENT": []}
    assert office.receive("ilya@company.ru").activity_id is not None
    assert office.receive("masha@company.ru").reason == "written by an employee"


def test_age_folder_system_mail_and_exclusions() -> None:
    office = Office(
        sync_from=ARRIVED - timedelta(days=9),
        crm_sync_from=ARRIVED - timedelta(days=7),
        system_sender="robot@portal.ru",
    )
    office.crm.exclusions |= {"spam@x.ru", "horns.ru"}
    reasons = [
        office.receive(internal_date=ARRIVED - timedelta(days=10)).reason,
        office.receive(date="Mon, 16 Feb 2026 12:00:00 +0300").reason,
        office.receive(aside=True, subject="draft").reason,
        office.importer.take(_with_event_name("robot@portal.ru")).reason,
        office.receive("spam@x.ru").reason,
        office.receive("sergey@horns.ru").reason,
        office.receive("Undisclosed").reason,
    ]
    assert reasons == [
        "older than the mailbox",
        "older than the CRM connection",
        "draft, trash or spam",
        "system mail",
        "on the exclusion list",
        "on the exclusion list",
        "no address",
    ]


def _with_event_name(sender: str) -> Letter:
    return read_letter(
        f"From: {sender}\r\nX-EVENT_NAME: USER_INFO\r\nSubject: event\r\n\r\n".encode(),
        folder="INBOX",
        uid=2,
        internal_date=ARRIVED,
        seen=False,
        aside=False,
        zone=UTC,
    )


def test_the_exclusion_list_does_not_stop_replies() -> None:
    office = Office()
    office.crm.exclusions.add("sergey@horns.ru")
    _, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    assert office.landed(in_reply_to=message_id) == [(DEAL, 1), (CONTACT, 20)]


# Outgoing, mail-internals 1.3, 1.8 and 4


def test_direction_is_decided_by_address() -> None:
    office = Office()
    imported = office.receive("Sales <SALES@company.ru>", to="Сергей <sergey@horns.ru>")
    assert imported.activity_id == 1
    row = office.crm.activity(1)
    assert (row["DIRECTION"], row["COMPLETED"], office.crm.owner(1)) == (2, "Y", (DEAL, 2))
    assert office.crm.notifications == []


def test_outgoing_letters_to_colleagues_or_strangers() -> None:
    office = Office()
    inside = office.receive("sales@company.ru", to="masha@company.ru, ilya@company.ru")
    assert inside.reason == "only employees among the recipients"
    assert office.receive("sales@company.ru", to="x@unknown.ru").reason == "nobody known, nothing created"


def test_the_copy_of_a_letter_sent_from_the_crm_is_only_linked() -> None:
    office = Office()
    number, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    imported = office.receive("sales@company.ru", to="sergey@horns.ru", message_id=message_id)
    assert (imported.activity_id, imported.reason) == (None, "sent from the CRM")
    assert office.crm.activity(number)["UF_MAIL_MESSAGE"] == imported.letter.header_md5
