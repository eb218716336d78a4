"""Where the simulated importer binds letters: ranking, leads, replies, responsible (mail-internals 2)."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_company import COMPANY, CONTACT, DEAL, LEAD
from sandbox_office import Office

from imaprouter.sandbox.quirks import Quirks

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


# Replies, mail-internals 2.2 and 2.3


def test_a_reply_to_a_letter_from_the_crm_inherits_its_deal() -> None:
    office = Office()
    _, message_id = office.crm.send_email(1, "sergey@horns.ru", "KP")
    assert office.landed(in_reply_to=message_id) == [(DEAL, 1), (CONTACT, 20)]
    wrong = message_id.replace("-", "-X", 1)
    assert office.landed(in_reply_to=wrong, subject="2") == [(DEAL, 2), (CONTACT, 20)]


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
