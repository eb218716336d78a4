"""Lists of the simulated portal: legacy methods are strings and silence, crm.item.* is typed and strict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox_company import COMPANY, CONTACT, DEAL, Caller, running

from imaprouter.sandbox.quirks import Quirks


@pytest.fixture(scope="module")
def portal() -> Iterator[Caller]:
    """The sample company; no test of this module changes it."""
    with running() as caller:
        yield caller


@pytest.fixture(scope="module")
def crowd() -> Iterator[Caller]:
    """A portal with 120 contacts, numbered from 1."""
    contacts = [{"ID": number, "NAME": f"n{number}"} for number in range(1, 121)]
    with running(snapshot={"contacts": contacts}) as caller:
        yield caller


def _ids(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["ID"]) for row in rows]


# Pages, rest.md 1.5


@pytest.mark.parametrize(
    ("start", "first", "count", "following"),
    [(0, 1, 50, 50), (50, 51, 50, 100), (99, 51, 50, 100), (100, 101, 20, None), (150, 1, 50, 50)],
)
def test_legacy_pages(crowd: Caller, start: int, first: int, count: int, following: int | None) -> None:
    """`start` is floored to 50; beyond the end page 1 comes again."""
    body = crowd.body("crm.contact.list", start=start, order={"ID": "ASC"})
    assert (_ids(body["result"])[0], len(body["result"])) == (first, count)
    assert body.get("next") == following
    assert body["total"] == 120


@pytest.mark.parametrize(("start", "count", "following"), [(60, 50, 100), (100, 20, None), (150, 0, None)])
def test_item_pages(crowd: Caller, start: int, count: int, following: int | None) -> None:
    """crm.item.list is floored too, but empty beyond the end."""
    body = crowd.body("crm.item.list", entityTypeId=CONTACT, start=start)
    assert len(body["result"]["items"]) == count
    assert body.get("next") == following
    assert body["total"] == 120


def test_a_full_last_page_has_no_next() -> None:
    contacts = [{"ID": number} for number in range(1, 51)]
    with running(snapshot={"contacts": contacts}) as caller:
        assert "next" not in caller.body("crm.contact.list")
        assert "next" not in caller.body("crm.item.list", entityTypeId=CONTACT)


def test_uncounted_lists(crowd: Caller) -> None:
    """start=-1: legacy says total 0, items neither total nor next; other negatives only mean it in legacy."""
    legacy = crowd.body("crm.contact.list", start=-1)
    assert (len(legacy["result"]), legacy["total"], "next" in legacy) == (50, 0, False)
    items = crowd.body("crm.item.list", entityTypeId=CONTACT, start=-1)
    assert (len(items["result"]["items"]), "total" in items, "next" in items) == (50, False, False)
    assert crowd.body("crm.contact.list", start=-7)["total"] == 0
    assert crowd.body("crm.item.list", entityTypeId=CONTACT, start=-7)["total"] == 120


# Legacy rows, rest.md 4.1 and 4.3


def test_legacy_scalars_are_strings_and_unset_is_null(portal: Caller) -> None:
    deal = portal.ok("crm.deal.get", id=3)
    assert (deal["ID"], deal["ASSIGNED_BY_ID"], deal["CONTACT_ID"]) == ("3", "6", "21")
    assert (deal["COMPANY_ID"], deal["LEAD_ID"], deal["CLOSED"]) == (None, None, "N")
    assert deal["DATE_MODIFY"] == "2026-01-15T10:00:00+03:00"
    assert "CONTACT_IDS" not in deal
    assert all(value is None or isinstance(value, str) for value in deal.values())


def test_empty_links_may_be_zero() -> None:
    with running(quirks=Quirks(empty_link="0")) as caller:
        assert caller.ok("crm.deal.get", id=3)["COMPANY_ID"] == "0"
        assert caller.ok("crm.item.get", entityTypeId=DEAL, id=3)["item"]["companyId"] == 0


@pytest.mark.parametrize(
    ("filter_", "ids"),
    [
        ({"ID": 2}, [2]),
        ({"ID": ["1", 3]}, [1, 3]),
        ({"@ID": [1, 4]}, [1, 4]),
        ({"!@ID": [1, 4]}, [2, 3]),
        ({"!ID": 1}, [2, 3, 4]),
        ({"!=ID": 1}, [2, 3, 4]),
        ({">ID": 1, "<=ID": 3}, [2, 3]),
        ({">=ID": 3}, [3, 4]),
        ({"<ID": 2}, [1]),
        ({"=STAGE_SEMANTIC_ID": "F"}, [4]),
        ({"%TITLE": "делка 2"}, [2]),
        ({"=%TITLE": "Сдел%"}, [1, 2, 3, 4]),
        ({"%=TITLE": "%4"}, [4]),
        ({"!%TITLE": "2"}, [1, 3, 4]),
        ({"COMPANY_ID": ""}, [3]),
        ({">=DATE_MODIFY": "2026-01-20T07:00:00+00:00"}, [2, 4]),
        ({"DATE_MODIFY": "2026-01-20 10:00:00"}, [2]),
        ({"STAGE_ID": ["C3:NEW", "LOSE"]}, [2, 4]),
    ],
)
def test_filter_prefixes(portal: Caller, filter_: dict[str, Any], ids: list[int]) -> None:
    """rest.md 2.4; a date without an offset is in the server's zone (rest.md 2.9)."""
    assert _ids(portal.ok("crm.deal.list", filter=filter_, order={"ID": "ASC"})) == ids


def test_an_empty_number_is_zero_as_in_php(portal: Caller) -> None:
    """What a reference to nothing leaves of `>ID`: the list begins anew (rest.md 1.6)."""
    assert _ids(portal.ok("crm.deal.list", filter={">ID": ""}, order={"ID": "ASC"}, start=-1)) == [1, 2, 3, 4]
    items = portal.ok("crm.item.list", entityTypeId=DEAL, filter={">id": ""}, order={"id": "ASC"}, start=-1)
    assert [item["id"] for item in items["items"]] == [1, 2, 3, 4]


def test_unknown_legacy_filter_keys_vanish(portal: Caller) -> None:
    """A typo returns everything (rest.md 8 trap 6)."""
    for filter_ in ({"id": 1}, {"CONTACT_IDS": 20}, {"LOGIC": "OR"}, {"STAGE": "NEW"}):
        assert len(portal.ok("crm.deal.list", filter=filter_)) == 4


def test_filter_and_order_must_be_arrays(portal: Caller) -> None:
    assert portal.refused("crm.deal.list", filter="ID") == (400, "")
    assert portal.body("crm.deal.list", order="ID")["error_description"] == "Parameter 'order' must be array."


def test_get_of_bad_missing_and_hidden_entities() -> None:
    with running() as caller:
        caller.portal.crm.hidden.add((DEAL, 1))
        texts = [caller.body("crm.deal.get", id=number)["error_description"] for number in (0, 77, 1)]
        assert texts == ["ID is not defined or invalid.", "Not found", "Access denied."]
        assert _ids(caller.ok("crm.deal.list", order={"ID": "ASC"})) == [2, 3, 4]
        items = caller.ok("crm.item.list", entityTypeId=DEAL)["items"]
        assert [item["id"] for item in items] == [2, 3, 4]
        assert caller.refused("crm.item.get", entityTypeId=DEAL, id=1) == (400, "ACCESS_DENIED")


def test_multifields_come_by_name_only_and_are_absent_when_empty(portal: Caller) -> None:
    rows = portal.ok("crm.company.list", select=["ID", "EMAIL"], order={"ID": "ASC"})
    assert [set(row) for row in rows] == [{"ID", "EMAIL"}, {"ID"}]
    email = rows[0]["EMAIL"][0]
    assert (email["VALUE"], email["VALUE_TYPE"], email["TYPE_ID"]) == ("Info@Horns.ru", "WORK", "EMAIL")
    assert isinstance(email["ID"], str)
    assert "EMAIL" not in portal.ok("crm.company.list", select=["*"])[0]
    assert "EMAIL" not in portal.ok("crm.company.list")[0]


def test_email_filter_is_exact_without_regard_to_case(portal: Caller) -> None:
    assert _ids(portal.ok("crm.contact.list", filter={"EMAIL": "Sergey@HORNS.ru"})) == [20]
    assert portal.ok("crm.contact.list", filter={"EMAIL": "sergey"}) == []
    assert _ids(portal.ok("crm.company.list", filter={"HAS_EMAIL": "Y"})) == [10]


def test_user_fields_are_not_in_the_star() -> None:
    with running() as caller:
        caller.portal.crm.set(CONTACT, 20, UF_CRM_7="gold", UF_CRM_COLOR="red")
        row = caller.ok("crm.contact.list", select=["*"], filter={"ID": 20})[0]
        assert "UF_CRM_7" not in row
        assert caller.ok("crm.contact.list", select=["UF_*"], filter={"UF_CRM_7": "gold"}) == [
            {"UF_CRM_7": "gold", "UF_CRM_COLOR": "red"}
        ]
        item = caller.ok("crm.item.list", entityTypeId=CONTACT, filter={"ufCrm_7": "gold"})["items"][0]
        assert (item["ufCrm_7"], item["ufCrmColor"]) == ("gold", "red")


# crm.item.*, rest.md 4.2


def test_items_are_typed_and_camel_case(portal: Caller) -> None:
    item = portal.ok("crm.item.list", entityTypeId=DEAL, filter={"id": 3})["items"][0]
    assert (item["id"], item["assignedById"], item["contactId"], item["contactIds"]) == (3, 6, 21, [21, 20])
    assert (item["stageSemanticId"], item["closed"], item["companyId"]) == ("P", "N", None)
    assert item["updatedTime"] == "2026-01-15T10:00:00+03:00"
    assert "lastActivityTime" in item


def test_items_are_strict(portal: Caller) -> None:
    for params in (
        {"filter": {"ID": 1}},
        {"filter": {"stage": "NEW"}},
        {"filter": {"id": "one"}},
        {"filter": {">updatedTime": "yesterday"}},
        {"filter": {"contactIds": 20}},
        {"order": {"ID": "ASC"}},
    ):
        assert portal.refused("crm.item.list", entityTypeId=DEAL, **params) == (400, "INVALID_ARG_VALUE")
    assert portal.refused("crm.item.list", entityTypeId=99) == (400, "NOT_FOUND")
    assert portal.refused("crm.item.list") == (400, "100")
    assert portal.refused("crm.item.get", entityTypeId=DEAL, id=77) == (400, "NOT_FOUND")


def test_items_are_strict_even_where_there_is_nothing() -> None:
    with running(snapshot={"users": []}) as caller:
        assert caller.refused("crm.item.list", entityTypeId=DEAL, filter={"nonsense": 1})[0] == 400


def test_nested_logic(portal: Caller) -> None:
    either = {"logic": "OR", "0": {"id": 1}, "1": {"=stageSemanticId": "F"}}
    items = portal.ok("crm.item.list", entityTypeId=DEAL, filter=either, order={"id": "DESC"})["items"]
    assert [item["id"] for item in items] == [4, 1]
    nested = portal.ok("crm.item.list", entityTypeId=DEAL, filter={"0": either, "companyId": 10, "<id": 4})
    assert [item["id"] for item in nested["items"]] == [1]


def test_fm_comes_without_select_or_with_the_star(portal: Caller) -> None:
    for select in (None, ["*"]):
        item = portal.ok("crm.item.list", entityTypeId=CONTACT, select=select, filter={"id": 20})["items"][0]
        assert [(each["typeId"], each["value"]) for each in item["fm"]] == [("EMAIL", "sergey@horns.ru")]
    beside = portal.ok("crm.item.list", entityTypeId=CONTACT, select=["*", "companyIds"], filter={"id": 20})
    assert "fm" not in beside["items"][0]
    chosen = portal.ok("crm.item.list", entityTypeId=CONTACT, select=["id", "fm", "email"], filter={"id": 20})
    assert chosen["items"] == [{"id": 20, "email": "sergey@horns.ru"}]


def test_companies_of_contacts_in_items_are_a_switch(portal: Caller) -> None:
    item = portal.ok("crm.item.get", entityTypeId=CONTACT, id=20)["item"]
    assert (item["companyId"], item["companyIds"]) == (10, [10])
    with running(quirks=Quirks(item_company_ids=False, item_filter_contact_ids=True)) as caller:
        assert "companyIds" not in caller.ok("crm.item.get", entityTypeId=CONTACT, id=20)["item"]
        deals = caller.ok("crm.item.list", entityTypeId=DEAL, filter={"contactIds": 20})["items"]
        assert [deal["id"] for deal in deals] == [1, 2, 3]


# Relations, duplicates, reference data, rest.md 4.3 and 4.4


def test_relations_are_integers_with_the_primary_first(portal: Caller) -> None:
    contacts = portal.ok("crm.deal.contact.items.get", id=3)
    assert [(each["CONTACT_ID"], each["IS_PRIMARY"]) for each in contacts] == [(21, "Y"), (20, "N")]
    assert [each["COMPANY_ID"] for each in portal.ok("crm.contact.company.items.get", id=20)] == [10]
    assert [each["CONTACT_ID"] for each in portal.ok("crm.company.contact.items.get", id=10)] == [20]
    assert portal.refused("crm.deal.contact.items.get", id=0) == (400, "")


def test_relation_errors_may_come_with_status_200() -> None:
    with running(quirks=Quirks(relation_error_status=200)) as caller:
        assert caller.refused("crm.contact.company.items.get", id=77) == (200, "")
        assert caller.refused("crm.deal.contact.items.get", id=77) == (400, "")


def test_findbycomm(portal: Caller) -> None:
    call = "crm.duplicate.findbycomm"
    found = portal.ok(call, type="EMAIL", values=[" SERGEY@horns.ru", "info@horns.ru", "new@lead.ru"])
    assert found == {"LEAD": [9], "CONTACT": [20], "COMPANY": [10]}
    assert portal.ok(call, type="EMAIL", values=["nobody@x.ru"]) == []
    assert portal.ok(call, type="EMAIL", values=["info@horns.ru"], entity_type="CONTACT") == []
    many = [f"x{number}@x.ru" for number in range(20)]
    assert portal.ok(call, type="EMAIL", values=[*many, "info@horns.ru"]) == []
    assert portal.refused(call, values=["a"]) == (400, "")
    assert portal.refused(call, type="EMAIL", values=["a"], entity_type="DEAL") == (400, "")


def test_twenty_leads_hide_the_other_kinds() -> None:
    leads = [{"ID": number, "EMAIL": [{"VALUE": "a@b.ru"}]} for number in range(1, 22)]
    companies = [{"ID": 1, "EMAIL": [{"VALUE": "a@b.ru"}]}]
    with running(snapshot={"leads": leads, "companies": companies}) as caller:
        found = caller.ok("crm.duplicate.findbycomm", type="EMAIL", values=["a@b.ru"])
        assert {kind: len(ids) for kind, ids in found.items()} == {"LEAD": 20}


def test_findbycomm_finds_twenty_of_each_value() -> None:
    contacts = [{"ID": number, "EMAIL": [{"VALUE": f"{'ab'[number % 2]}@b.ru"}]} for number in range(1, 51)]
    with running(snapshot={"contacts": contacts}) as caller:
        found = caller.ok("crm.duplicate.findbycomm", type="EMAIL", values=["a@b.ru", "b@b.ru"])
        assert found == {"CONTACT": list(range(1, 41))}


def test_objects_are_found_by_their_present_addresses() -> None:
    with running() as caller:
        crm = caller.portal.crm
        crm.set(CONTACT, 20, EMAIL=[{"VALUE": "Sergey@new.ru"}])
        crm.delete(CONTACT, 21)
        assert [crm.with_email(CONTACT, address) for address in ("sergey@horns.ru", "anna@lutik.ru")] == [
            [],
            [],
        ]
        assert crm.with_email(CONTACT, " sergey@NEW.ru") == [20]


def test_findbycomm_may_put_its_text_into_the_code() -> None:
    with running(quirks=Quirks(findbycomm_text_as_code=True)) as caller:
        code = caller.refused("crm.duplicate.findbycomm", type="EMAIL")[1]
        assert code == "Communication values is not defined"


def test_users(portal: Caller) -> None:
    users = portal.ok("user.get", FILTER={"ACTIVE": True})
    assert [(user["ID"], user["ACTIVE"]) for user in users] == [("1", True), ("5", True), ("6", True)]
    assert portal.ok("user.get", FILTER={"EMAIL": "gone@company.ru"})[0]["ACTIVE"] is False
    assert [user["ID"] for user in portal.ok("user.get", sort="ID", order="DESC")] == ["7", "6", "5", "1"]


def test_users_of_mail_and_bots_are_not_shown_and_extranet_users_have_no_department() -> None:
    """rest.md 4.4."""
    users = [{"ID": number, "USER_TYPE": kind} for number, kind in enumerate(("email", "extranet", "bot"), 1)]
    with running(snapshot={"users": users}) as caller:
        shown = caller.ok("user.get")
        assert [(user["ID"], user["USER_TYPE"], user["UF_DEPARTMENT"]) for user in shown] == [
            ("2", "extranet", [])
        ]


def test_user_brief_has_no_addresses() -> None:
    with running(scopes=frozenset({"user_brief"})) as caller:
        assert "EMAIL" not in caller.ok("user.get")[0]


def test_categories_and_statuses(portal: Caller) -> None:
    body = portal.body("crm.category.list", entityTypeId=DEAL)
    categories = body["result"]["categories"]
    assert [(each["id"], each["isDefault"]) for each in categories] == [(0, "Y"), (3, "N")]
    assert body["total"] == 2
    assert portal.refused("crm.category.list", entityTypeId=COMPANY) == (400, "NOT_FOUND")
    stages = portal.ok("crm.status.list", filter={"ENTITY_ID": "DEAL_STAGE_3"})
    assert {stage["STATUS_ID"]: stage["SEMANTICS"] for stage in stages}["C3:WON"] == "S"
