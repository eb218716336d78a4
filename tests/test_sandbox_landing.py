"""Where the simulated importer binds letters: ranking, leads, replies, responsible (mail-internals 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sandbox_company import COMPANY, CONTACT, DEAL, LEAD, Clock
from sandbox_office import ARRIVED, Office

from imaprouter.sandbox.crm import SERVER_ZONE, Crm
from imaprouter.sandbox.mail_import import Importer, MailboxConnection
from imaprouter.sandbox.mail_letter import read_letter
from imaprouter.sandbox.quirks import Quirks

FIXTURES = Path(__file__).parent.parent / "fixtures"

# Where it lands, mail-internals 2.4


def test_the_last_modified_open_deal_wins() -> None:
    """The lost deal 4 is newer and does not count; the exact wrong binding of the two funnels."""
    office = Office()
    assert office.landed() == [(DEAL, 2), (CONTACT, 20)]
    office.crm.set_deal(1)
    assert office.landed(message_id="<2@x>") == [(DEAL, 1), (CONTACT, 20)]


def test_of_a_matched_company_the_deals_count_before_the_contacts() -> None:
    office = Office()
    assert office.landed("info@horns.ru") == [(DEAL, 2), (COMPANY, 10)]
    office.crm.set(CONTACT, 20, EMAIL=[{"VALUE": "info@horns.ru"}])
    assert office.landed("INFO@horns.ru", subject="2") == [(DEAL, 2), (CONTACT, 20), (COMPANY, 10)]


def test_a_contact_of_another_company_is_not_added() -> None:
    office = Office()
    office.crm.set(CONTACT, 21, EMAIL=[{"VALUE": "info@horns.ru"}])
    assert office.landed("info@horns.ru") == [(DEAL, 2), (COMPANY, 10)]


def test_any_contact_of_a_deal_counts() -> None:
    office = Office()
    office.crm.set_deal(3)
    assert office.landed() == [(DEAL, 3), (CONTACT, 20)]


def test_bindings_as_they_were_found() -> None:
    """The other order of rest.md 2.8: company before contact."""
    office = Office(quirks=Quirks(binding_order="found"))
    office.crm.set(CONTACT, 20, EMAIL=[{"VALUE": "info@horns.ru"}])
    assert office.landed("info@horns.ru") == [(DEAL, 2), (COMPANY, 10), (CONTACT, 20)]


def test_recurring_deals_are_not_open() -> None:
    office = Office()
    office.crm.set_deal(2, IS_RECURRING="Y")
    assert office.landed() == [(DEAL, 3), (CONTACT, 20)]


def test_a_client_without_open_deals() -> None:
    office = Office()
    for number in (1, 2, 3):
        office.crm.set_deal(number, STAGE_ID="WON")
    assert office.landed() == [(CONTACT, 20)]


def test_a_repeat_lead_where_the_portal_makes_them() -> None:
    """On by default (mail-internals 2.5); the second letter finds the lead of the first."""
    office = Office(repeat_leads=True)
    assert office.landed() == [(DEAL, 2), (CONTACT, 20)]
    for number in (1, 2, 3):
        office.crm.set_deal(number, STAGE_ID="WON")
    assert office.landed(subject="2") == [(LEAD, 10), (CONTACT, 20)]
    assert office.crm.entities[LEAD][10]["IS_RETURN_CUSTOMER"] == "Y"
    assert office.landed(subject="3") == [(LEAD, 10), (CONTACT, 20)]


def test_without_deals_the_client_with_a_repeat_lead_counts() -> None:
    """mail-internals 2.4: deals, then repeat leads in progress, then the first of the list."""
    office = Office()
    office.crm.set(CONTACT, 21, EMAIL=[{"VALUE": "sergey@horns.ru"}])
    for number in (1, 2, 3):
        office.crm.set_deal(number, STAGE_ID="WON")
    assert office.landed() == [(CONTACT, 20)]
    lead = office.crm.add(LEAD, {"CONTACT_ID": 21, "IS_RETURN_CUSTOMER": "Y"})
    assert office.landed(subject="2") == [(LEAD, lead), (CONTACT, 21)]
    office.crm.set_deal(2, STAGE_ID="C3:NEW")
    assert office.landed(subject="3") == [(DEAL, 2), (CONTACT, 20)]


def test_leads_count_only_where_nobody_else_matches() -> None:
    office = Office()
    assert office.landed("new@lead.ru") == [(LEAD, 9)]
    office.crm.set(CONTACT, 21, EMAIL=[{"VALUE": "new@lead.ru"}])
    assert office.landed("new@lead.ru", subject="2") == [(DEAL, 3), (CONTACT, 21)]


def test_reply_to_before_from() -> None:
    office = Office()
    assert office.landed("robot@site.ru", reply_to="anna@lutik.ru") == [(DEAL, 3), (CONTACT, 21)]
    assert office.landed("sergey@horns.ru", reply_to="unknown@x.ru") == [(DEAL, 2), (CONTACT, 20)]


def test_further_addresses_of_a_sender_are_merged_into_the_client() -> None:
    office = Office()
    office.receive("robot@site.ru", reply_to="anna@lutik.ru")
    assert office.crm.with_email(CONTACT, "robot@site.ru") == [21]
    _, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    office.receive("sergey@home.ru", reply_to="sergey@horns.ru", in_reply_to=message_id)
    assert office.crm.with_email(CONTACT, "sergey@home.ru") == [20]


def test_the_queue_hides_clients_of_others_but_not_deals() -> None:
    """mail-internals 2.4: deals are not filtered by responsible."""
    office = Office(queue=(5,), create="deny")
    assert office.landed() == [(DEAL, 2), (CONTACT, 20)]
    assert office.receive("anna@lutik.ru").activity_id is None
    public = Office(queue=(5,), public=True)
    assert public.landed("anna@lutik.ru") == [(DEAL, 3), (CONTACT, 21)]


def test_an_unknown_sender_becomes_a_lead() -> None:
    office = Office()
    assert office.landed("Пётр <petr@new.ru>") == [(LEAD, 10)]
    lead = office.crm.entities[LEAD][10]
    assert (lead["TITLE"], lead["ORIGINATOR_ID"], lead["ORIGIN_ID"]) == ("KP", "email-tracker", "1")
    assert (lead["SOURCE_ID"], lead["ASSIGNED_BY_ID"], lead["NAME"]) == ("EMAIL", 5, "Пётр")
    assert office.landed("petr@new.ru", subject="2") == [(LEAD, 10)]
    assert office.landed("other@new.ru") == [(LEAD, 11)]
    assert office.crm.entities[LEAD][11]["ASSIGNED_BY_ID"] == 6


def test_an_unknown_sender_becomes_a_contact_or_nothing() -> None:
    assert Office(create="contact").landed("petr@new.ru") == [(CONTACT, 22)]
    assert Office(create="deny").receive("petr@new.ru").reason == "nobody known, nothing created"


def test_some_senders_always_get_a_new_lead() -> None:
    office = Office(new_lead_for=frozenset({"sergey@horns.ru"}))
    assert office.landed() == [(LEAD, 10)]
    office = Office(new_lead_for=frozenset({"petr@new.ru"}), create="contact")
    assert office.landed("petr@new.ru") == [(LEAD, 10)], "a lead, whatever others become"


# Replies, mail-internals 2.2 and 2.3


def test_a_reply_to_a_letter_from_the_crm_inherits_its_deal() -> None:
    office = Office()
    _, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    assert office.landed(in_reply_to=message_id) == [(DEAL, 1), (CONTACT, 20)]
    wrong = message_id.replace("-", "-X", 1)
    assert office.landed(in_reply_to=wrong, subject="2") == [(DEAL, 2), (CONTACT, 20)]


@pytest.mark.parametrize(
    ("message_id", "lands"),
    [
        ("<crm.activity.501-ABC123@portal.example>", (DEAL, 1)),
        ("<CRM.activity.501-abc123@other.example>", (DEAL, 1)),
        ("<crm.activity.501-ZZZ999@portal.example>", (DEAL, 2)),
        ("<crm.activity.502-DEF456@portal.example>", (DEAL, 2)),
    ],
)
def test_the_urn_of_a_sent_letter_in_a_snapshot_is_that_of_its_message_id(
    message_id: str, lands: tuple[int, int]
) -> None:
    """The number alone proves nothing, nor does a Message-ID that holds another activity's number."""
    headers = {
        501: "<crm.activity.501-ABC123@portal.example>",
        502: "<crm.activity.777-DEF456@portal.example>",
    }
    sent = [
        {
            "ID": str(number),
            "OWNER_TYPE_ID": "2",
            "OWNER_ID": "1",
            "DIRECTION": "2",
            "SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": header}},
        }
        for number, header in headers.items()
    ]
    office = Office()
    for raw in sent:
        office.crm.add_activity(raw, [(DEAL, 1)])
    assert office.landed(in_reply_to=message_id) == [lands, (CONTACT, 20)]


def test_a_reply_to_a_stored_letter_inherits_its_present_owner() -> None:
    """A corrected activity steers the thread (mail-internals 0 fact 9)."""
    office = Office()
    office.receive(message_id="<First@horns.ru>")
    office.crm.move_by_hand(1, (DEAL, 2), (DEAL, 1))
    assert office.landed(in_reply_to="<first@horns.ru>", subject="Re") == [(DEAL, 1), (CONTACT, 20)]
    assert office.crm.activity(2)["PARENT_ID"] == 1


@pytest.mark.parametrize("how", ["closed", "not in the queue"])
def test_no_inheritance_of(how: str) -> None:
    office = Office(queue=(6, 5) if how == "closed" else (6,), public=False)
    _, message_id = office.crm.send_email(1, "anna@lutik.ru", "KP")
    if how == "closed":
        office.crm.set_deal(1, STAGE_ID="WON")
    assert office.landed("anna@lutik.ru", in_reply_to=message_id) == [(DEAL, 3), (CONTACT, 21)]


def test_tags_in_subject_and_body_name_the_parent() -> None:
    office = Office()
    number, _ = office.crm.send_email(1, "sergey@horns.ru", "KP")
    urn = office.crm.activity(number)["URN"]
    assert office.landed(subject=f"Re: KP [CRM:{urn}]") == [(DEAL, 1), (CONTACT, 20)]
    assert office.landed(subject="b", body=f"x [msg:{urn.lower()}]") == [(DEAL, 1), (CONTACT, 20)]


def test_references_are_not_read() -> None:
    office = Office()
    _, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    assert office.landed(references=message_id) == [(DEAL, 2), (CONTACT, 20)]


# Responsible, mail-internals 2.6


@pytest.mark.parametrize(("rule", "responsible"), [("owner", 6), ("queue", 5)])
def test_responsible(rule: Any, responsible: int) -> None:
    """By the newer rule the activity's responsible may differ from its deal's."""
    office = Office(quirks=Quirks(responsible_rule=rule), queue=(5,))
    office.receive()
    assert office.crm.owner(1) == (DEAL, 2)
    assert office.crm.activity(1)["RESPONSIBLE_ID"] == responsible


# The sample company


class _Sample:
    """Bitrix24 with the sample company and the mailbox of the demonstration."""

    def __init__(self) -> None:
        self.plan = json.loads((FIXTURES / "demo.json").read_bytes())
        self.crm = Crm(json.loads((FIXTURES / "crm.json").read_bytes()), clock=Clock())
        box = MailboxConnection("sales@company.ru", "127.0.0.1", 1, "sales", "x", **self.plan["bitrix24"])
        self.importer = Importer(box, self.crm, [box])

    def landed(self, file: str) -> tuple[int, int]:
        raw = (FIXTURES / "mail" / file).read_bytes()
        letter = read_letter(
            raw, folder="INBOX", uid=1, internal_date=ARRIVED, seen=False, aside=False, zone=SERVER_ZONE
        )
        imported = self.importer.take(letter)
        assert imported.activity_id is not None, imported.reason
        return self.crm.owner(imported.activity_id)


def test_the_letters_of_the_demonstration_land_where_it_says() -> None:
    """`lands` of demo.json, letter by letter in their order."""
    sample = _Sample()
    types = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company"}
    for row in sample.plan["letters"]:
        type_id, entity_id = sample.landed(row["file"])
        said = {"type": types[type_id], "id": entity_id}
        assert {name: said[name] for name in row["lands"]} == row["lands"], row["file"]


@pytest.mark.parametrize(
    ("name", "deal"),
    [("thread-in-reply-to", 1), ("thread-forged-code", 2), ("thread-of-won-deal", 2), ("thread-commas", 2)],
)
def test_replies_to_the_sample_companys_sent_letters(name: str, deal: int) -> None:
    """In-Reply-To with the right code, while the deal is open; never References (mail-internals 2.2, 2.3)."""
    assert _Sample().landed(f"{name}.eml") == (DEAL, deal)
