"""The typed calls: long lists, look-ups and polls, against a table that answers batches as Bitrix24 does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import stamina

from imaprouter.bitrix24 import activities, clients, index
from imaprouter.bitrix24.listing import Listing, walk
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import PortalBusy, PortalDenied, PortalError, PortalOutcomeUnknown, PortalRefused
from imaprouter.model import Binding, Client, Company, Contact, Deal, Lead

Row = dict[str, Any]

_LISTS = {
    "crm.item.list 2": "deals",
    "crm.item.list 3": "contacts",
    "crm.contact.list": "contacts",
    "crm.company.list": "companies",
    "crm.lead.list": "leads",
    "crm.activity.list": "activities",
    "user.get": "users",
}


class Tables:
    """Rows by table; batches with references, pages of fifty, empty conditions as PHP takes them.

    Conditions by id, equality and IN are obeyed, others dropped, as the portal does with unknown keys.
    """

    def __init__(self, **tables: list[Row]) -> None:
        self.tables = tables
        self.requests: list[dict[str, str]] = []
        #: Asked first for every command: a value, or an error's code.
        self.override: Callable[[str, Row], Any] = lambda method, params: None
        #: Asked first for every request.
        self.refuse: Callable[[int], httpx.Response | None] = lambda number: None

    def portal(self, **options: Any) -> Portal:
        url = "https://company.bitrix24.ru/rest/1/c0de/"
        return Portal(url, transport=httpx.MockTransport(self._handle), **options)

    @property
    def commands(self) -> list[str]:
        return [command for request in self.requests for command in request.values()]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(json.loads(request.content)["cmd"])
        refused = self.refuse(len(self.requests))
        if refused is not None:
            return refused
        results: Row = {}
        errors: Row = {}
        for key, command in self.requests[-1].items():
            method, _, query = command.partition("?")
            value = self._answer(method, _nested(query, results))
            if method == "server.time" and value is None:
                results[key] = "2026-11-24T12:00:00+03:00"
            elif isinstance(value, str):
                errors[key] = {"error": value, "error_description": value}
            else:
                results[key] = value
        return httpx.Response(200, json={"result": {"result": results, "result_error": errors or []}})

    def _answer(self, method: str, params: Row) -> Any:
        value = self.override(method, params)
        if value is not None or method == "server.time":
            return value
        table = _LISTS[f"{method} {params['entityTypeId']}" if method == "crm.item.list" else method]
        found = [row for row in self.tables.get(table, []) if _fits(row, params.get("filter", {}))]
        found.sort(key=lambda row: int(row.get("id") or row["ID"]))
        start = max(0, int(params.get("start", 0)))
        page = found[start : start + 50] if start < len(found) else found[:50]
        return {"items": page} if method == "crm.item.list" else page


def _nested(query: str, results: Row) -> Row:
    """Parameters as PHP sees them, references filled in; what a reference does not find is empty."""
    params: Row = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if value.startswith("$result"):
            value = _resolve(results, re.findall(r"\[([^]]*)\]", value))
        keys = [name.partition("[")[0], *re.findall(r"\[([^]]*)\]", name)]
        place = params
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
    return params


def _resolve(results: Any, path: list[str]) -> str:
    for step in path:
        try:
            results = results[int(step) if isinstance(results, list) else step]
        except (KeyError, IndexError):
            return ""
    return str(results)


def _fits(row: Row, condition: Row) -> bool:
    for key, wanted in condition.items():
        field = key.lstrip("<>=@!%")
        operator = key.removesuffix(field)
        value = row.get(field)
        if field in {"ID", "id"} and operator in {">", ">=", "<="}:
            number, bound = int(row[field]), int(wanted or 0)
            if not {">": number > bound, ">=": number >= bound, "<=": number <= bound}[operator]:
                return False
        elif operator == "@":
            values = set(map(str, value if isinstance(value, list) else [value]))
            if not values & set(wanted.values()):
                return False
        elif operator == "" and value is not None and str(value) != wanted:
            return False
    return True


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def deal_rows(count: int) -> list[Row]:
    return [
        {"id": 3 * number, "title": f"deal {number}", "contactIds": [number]}
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 400, 401, 2900, 2901])
def test_a_list_of_any_length_is_read_once_and_in_order(count: int) -> None:
    tables = Tables(deals=deal_rows(count))
    found = [deal for portion in index.deals(tables.portal()) for deal in portion]
    assert [deal.id for deal in found] == [3 * number for number in range(1, count + 1)]


def test_a_long_list_costs_one_request_for_each_2500_rows_and_counts_nothing() -> None:
    tables = Tables(deals=deal_rows(5300))
    portions = list(index.deals(tables.portal()))
    assert len(tables.requests) == 1 + 2
    assert max(map(len, portions)) <= 2500
    assert all("start=-1" in command and "order%5Bid%5D=ASC" in command for command in tables.commands)


def test_several_lists_share_their_requests() -> None:
    tables = Tables(
        deals=deal_rows(300),
        contacts=[{"ID": str(n)} for n in range(1, 20)],
        companies=[{"ID": "7"}],
        leads=[],
    )
    listings: list[Listing[Any]] = [
        index.deal_listing(),
        index.contact_listing(),
        index.company_listing(),
        index.lead_listing(),
    ]
    found: dict[str, int] = {}
    for listing, values in walk(tables.portal(), listings):
        found[listing.method] = found.get(listing.method, 0) + len(values)
    assert found == {"crm.item.list": 300, "crm.contact.list": 19, "crm.company.list": 1}
    assert len(tables.requests) == 1


def test_a_page_that_fails_in_the_middle_is_asked_for_again() -> None:
    tables = Tables(deals=deal_rows(500))
    failed: list[str] = []

    def fail_once(method: str, params: Row) -> Any:
        if params["filter"][">id"] == "450" and not failed:
            failed.append("450")
            return "INTERNAL_SERVER_ERROR"
        return None

    tables.override = fail_once
    found = [deal.id for portion in index.deals(tables.portal()) for deal in portion]
    assert found == [3 * number for number in range(1, 501)]
    assert failed


def test_a_list_that_cannot_be_read_raises_its_error() -> None:
    tables = Tables()
    tables.override = lambda method, params: "ACCESS_DENIED"
    with pytest.raises(PortalDenied):
        list(index.companies(tables.portal()))


def test_a_portal_that_ignores_the_filter_by_id_does_not_keep_us_for_ever() -> None:
    tables = Tables()
    tables.override = lambda method, params: [{"ID": str(number)} for number in range(1, 51)]
    with pytest.raises(PortalRefused, match="ignores the filter"):
        list(index.companies(tables.portal()))


def test_a_list_waits_for_the_limit_of_its_method() -> None:
    tables = Tables(companies=[{"ID": "7"}])
    calls: list[str] = []

    def busy_at_first(method: str, params: Row) -> Any:
        calls.append(method)
        return "OPERATION_TIME_LIMIT" if len(tables.requests) == 1 else None

    tables.override = busy_at_first
    assert [len(portion) for portion in index.companies(tables.portal())] == [1]
    assert len(tables.requests) == 2


def test_a_batch_too_long_for_the_portal_is_asked_for_in_smaller_ones() -> None:
    tables = Tables(deals=deal_rows(120))
    tables.refuse = lambda number: (
        httpx.Response(504, html="gateway") if len(tables.requests[-1]) > 2 else None
    )
    found = [deal.id for portion in index.deals(tables.portal()) for deal in portion]
    assert found == [3 * number for number in range(1, 121)]


def test_incremental_lists_ask_by_time_with_the_offset_of_the_time() -> None:
    tables = Tables()
    since = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    portal = tables.portal()
    for pages in (index.deals, index.contacts, index.companies, index.leads, index.outgoing_emails):
        list(pages(portal, since))
    keys = [
        re.search(r"filter%5B%3E%3D(\w+)%5D=2026-11-24T12%3A00%3A00%2B00%3A00", c) for c in tables.commands
    ]
    assert {found.group(1) for found in keys if found} == {"updatedTime", "DATE_MODIFY", "LAST_UPDATED"}
    assert all(keys)


def contact_row(number: int, *addresses: str, **more: Any) -> Row:
    """A contact as crm.item.list shows it with `*`."""
    fm = [{"id": 1, "typeId": "EMAIL", "valueType": "WORK", "value": address} for address in addresses]
    phone = {"id": 2, "typeId": "PHONE", "valueType": "WORK", "value": "+7 495 1@2"}
    return {"id": number, "hasEmail": "Y" if addresses else "N", "fm": [*fm, phone], **more}


def test_contacts_come_with_all_their_companies_and_addresses_in_one_list() -> None:
    tables = Tables(
        contacts=[
            contact_row(1, "A@horns.ru", "b@horns.ru", name="A", lastName="B", assignedById=5)
            | {"companyId": 10, "companyIds": [11, 10]},
            contact_row(2, name="B", companyId=0, companyIds=[]),
        ]
    )
    portions = list(index.contacts(tables.portal()))
    first = Contact(1, "A B", 5, (10, 11), ("a@horns.ru", "b@horns.ru"), "A", "B")
    assert portions == [[first, Contact(2, "B", first_name="B")]]
    assert len(tables.requests) == 1
    assert all(
        "select%5B0%5D=%2A" in command and "select%5B1%5D" not in command for command in tables.commands
    )


def test_a_portal_that_refuses_the_wide_list_of_contacts_is_read_by_the_narrow_one() -> None:
    rows = [
        {"ID": str(n), "NAME": f"c{n}", "COMPANY_ID": "10", "EMAIL": [{"VALUE": f"{n}@x.ru"}]}
        for n in range(1, 501)
    ]
    tables = Tables(contacts=rows)
    tables.override = lambda method, params: "INVALID_ARG_VALUE" if method == "crm.item.list" else None
    found = [contact for portion in index.contacts(tables.portal()) for contact in portion]
    assert found == [
        Contact(n, f"c{n}", company_ids=(10,), emails=(f"{n}@x.ru",), first_name=f"c{n}")
        for n in range(1, 501)
    ]


def test_addresses_that_the_wide_list_holds_back_are_asked_for() -> None:
    held_back = {"id": 1, "ID": "1", "hasEmail": "Y", "EMAIL": [{"VALUE": "a@horns.ru"}], "companyIds": [10]}
    assert "fm" not in held_back
    tables = Tables(contacts=[held_back, contact_row(2, "b@horns.ru", ID="2"), contact_row(3, ID="3")])
    found = [contact for portion in index.contacts(tables.portal()) for contact in portion]
    assert [contact.emails for contact in found] == [("a@horns.ru",), ("b@horns.ru",), ()]
    assert found[0].company_ids == (10,)
    (asked,) = [command for command in tables.commands if command.startswith("crm.contact.list")]
    assert "filter%5B%40ID%5D%5B0%5D=1" in asked
    assert "%5B1%5D=2" not in asked.partition("filter")[2]


def test_a_row_without_addresses_or_companies_is_asked_for_both() -> None:
    """Whatever it says of itself: an index without addresses would route nothing."""
    bare = {"id": 1, "ID": "1", "companyId": 10, "EMAIL": [{"VALUE": "a@horns.ru"}]}
    tables = Tables(contacts=[bare])
    (found,) = [contact for portion in index.contacts(tables.portal()) for contact in portion]
    assert (found.emails, found.company_ids) == (("a@horns.ru",), (10,))
    methods = [command.partition("?")[0] for command in tables.commands]
    assert methods.count("crm.contact.list") == 1
    assert methods.count("crm.item.list") > 1


def test_contacts_by_id_keep_the_primary_company_where_the_portal_tells_no_other() -> None:
    tables = Tables(contacts=[{"ID": "1", "COMPANY_ID": "10"}])
    tables.override = lambda method, params: "INVALID_ARG_VALUE" if method == "crm.item.list" else None
    assert clients.contacts_by_id(tables.portal(), [1]) == {1: Contact(1, company_ids=(10,))}


def test_everything_is_read_side_by_side_and_the_time_comes_first() -> None:
    tables = Tables(
        users=[{"ID": str(n), "ACTIVE": True} for n in range(1, 121)],
        companies=[{"ID": str(n)} for n in range(1, 601)],
        contacts=[contact_row(n) for n in range(1, 2001)],
        leads=[{"ID": "9"}],
        deals=deal_rows(3000),
        activities=[email(7, DIRECTION="2")],
    )
    first, *portions = index.everything(tables.portal(), None, datetime(2026, 11, 1, tzinfo=UTC))
    assert first == datetime(2026, 11, 24, 9, tzinfo=UTC)
    found: dict[str, list[int]] = {}
    for portion in portions:
        assert isinstance(portion, index.Portion)
        for kind in ("users", "companies", "contacts", "leads", "deals", "sent_letters"):
            found.setdefault(kind, []).extend(item.id for item in getattr(portion, kind))
    assert {kind: len(ids) for kind, ids in found.items()} == {
        "users": 120,
        "companies": 600,
        "contacts": 2000,
        "leads": 1,
        "deals": 3000,
        "sent_letters": 1,
    }
    assert all(ids == sorted(set(ids)) for ids in found.values())
    # 116 pages; what is asked for behind the end of a list is lost.
    assert len(tables.requests) <= 4


def test_a_time_that_is_none_is_not_believed() -> None:
    tables = Tables()
    tables.override = lambda method, params: {"time": 1} if method == "server.time" else None
    with pytest.raises(PortalOutcomeUnknown):
        list(index.everything(tables.portal(), None, datetime(2026, 11, 1, tzinfo=UTC)))


@pytest.mark.parametrize("count", [0, 1, 50, 100, 499, 500, 501, 1030])
def test_users_of_any_number_are_read_once(count: int) -> None:
    tables = Tables(users=[{"ID": str(number), "ACTIVE": True} for number in range(1, count + 1)])
    assert [user.id for user in index.users(tables.portal())] == list(range(1, count + 1))


def email(number: int, **more: Any) -> Row:
    return {
        "ID": str(number),
        "TYPE_ID": "4",
        "PROVIDER_ID": "CRM_EMAIL",
        "DIRECTION": "1",
        "START_TIME": "2026-11-24T10:00:00+03:00",
        "CREATED": "2026-11-24T10:00:05+03:00",
        "SETTINGS": [],
        **more,
    }


def test_a_poll_is_one_request_and_looks_back_a_hundred_ids() -> None:
    tables = Tables(activities=[email(number) for number in (1, 899, 900, 901, 950, 951, 1000, 1001, 1003)])
    found = activities.email_activities_after(tables.portal(), 1000)
    assert [activity.id for activity in found] == [901, 950, 951, 1000, 1001, 1003]
    assert len(tables.requests) == 1
    assert len(tables.commands) == 3


@pytest.mark.parametrize("last", [0, 1, 50, 51, 99])
def test_a_poll_near_the_first_id(last: int) -> None:
    tables = Tables(activities=[email(number) for number in range(1, 130)])
    found = activities.email_activities_after(tables.portal(), last)
    assert [activity.id for activity in found] == list(range(1, 130))


def test_a_poll_after_a_long_pause_reads_all_that_is_new() -> None:
    tables = Tables(activities=[email(number) for number in range(1, 3001)])
    found = activities.email_activities_after(tables.portal(), 200)
    assert [activity.id for activity in found] == list(range(101, 3001))
    assert len(tables.requests) <= 4


def test_rows_that_are_no_email_are_dropped_though_the_portal_sent_them() -> None:
    """The portal ignores filter keys that it does not know, and then sends everything."""
    tables = Tables(activities=[email(1), email(2, PROVIDER_ID="CRM_CALL"), email(3, TYPE_ID="2")])
    tables.override = lambda method, params: tables.tables["activities"]
    assert [a.id for a in activities.email_activities_after(tables.portal(), 0)] == [1]
    assert list(activities.activities_by_id(tables.portal(), [1, 2, 3])) == [1]


def test_emails_of_a_time_are_checked_against_it() -> None:
    rows = [
        email(1, CREATED="2026-11-23T10:00:00+03:00"),
        email(2),
        email(3, CREATED="2026-11-25T10:00:00+03:00"),
    ]
    day = datetime(2026, 11, 24, tzinfo=UTC)
    found = activities.email_activities(
        Tables(activities=rows).portal(), created_since=day, created_until=day + timedelta(days=1)
    )
    assert [activity.id for portion in found for activity in portion] == [2]


def test_single_letters_are_found_by_their_date() -> None:
    moment = datetime(2026, 11, 24, 7, 0, 0, 123, tzinfo=UTC)
    tables = Tables(activities=[email(1), email(2, START_TIME="2026-11-24T10:00:01+03:00")])
    tables.override = lambda method, params: tables.tables["activities"]
    assert [a.id for a in activities.email_activities_starting(tables.portal(), [moment])] == [1]


def test_sent_letters_are_only_sent_ones() -> None:
    tables = Tables(activities=[email(1), email(2, DIRECTION="2")])
    tables.override = lambda method, params: tables.tables["activities"]
    assert [[a.id for a in portion] for portion in index.outgoing_emails(tables.portal())] == [[2]]


def test_bindings_of_many_activities_are_one_request_and_fail_one_by_one() -> None:
    tables = Tables()

    def answer(method: str, params: Row) -> Any:
        if params["activityId"] == "3":
            return "NOT_FOUND"
        return [{"entityTypeId": 2, "entityId": int(params["activityId"]) * 10}]

    tables.override = answer
    found = activities.bindings(tables.portal(), [1, 3, 2, 1])
    assert found[1] == (Binding(2, 10),)
    assert found[2] == (Binding(2, 20),)
    assert isinstance(found[3], PortalError)
    assert len(tables.commands) == 3


def test_objects_by_id_leave_out_what_is_gone() -> None:
    tables = Tables(deals=deal_rows(200), companies=[{"ID": "7", "TITLE": "Horns"}], leads=[{"ID": "4"}])
    portal = tables.portal()
    assert list(clients.deals_by_id(portal, [3, 600, 5, 601, *range(30, 300, 3)]))[-1] == 600
    assert clients.companies_by_id(portal, [7, 8]) == {7: Company(7, "Horns")}
    assert clients.leads_by_id(portal, [4]) == {4: Lead(4)}
    assert clients.contacts_by_id(portal, []) == {}


def test_leads_that_the_mail_sync_made_are_told_from_others() -> None:
    tables = Tables(leads=[{"ID": "1", "ORIGINATOR_ID": "email-tracker"}, {"ID": "2", "ORIGINATOR_ID": None}])
    assert clients.automatic_leads(tables.portal(), [1, 2, 3]) == {1}


def test_a_reply_with_other_ids_than_asked_for_is_not_believed() -> None:
    tables = Tables()
    tables.override = lambda method, params: {"items": deal_rows(5)}
    assert list(clients.deals_by_id(tables.portal(), [6])) == [6]


def test_clients_are_found_by_their_address() -> None:
    address = [{"VALUE": "Sergey@horns.ru"}]
    tables = Tables(
        contacts=[{"ID": "20", "id": 20, "COMPANY_ID": "10", "companyIds": [10, 12], "EMAIL": address}],
        companies=[{"ID": "10", "EMAIL": address}],
    )

    def duplicates(method: str, params: Row) -> Any:
        if method != "crm.duplicate.findbycomm":
            return None
        known = {"CONTACT": [20], "COMPANY": [10]} if params["values"]["0"] == "sergey@horns.ru" else {}
        return {kind: found for kind, found in known.items() if kind == params["entity_type"]} or []

    tables.override = duplicates
    found = clients.find_by_email(tables.portal(), ["sergey@horns.ru", "stranger@a.ru"])
    assert found == {
        "sergey@horns.ru": Client(
            "sergey@horns.ru",
            contacts=(Contact(20, company_ids=(10, 12), emails=("sergey@horns.ru",)),),
            companies=(Company(10, emails=("sergey@horns.ru",)),),
        ),
        "stranger@a.ru": Client("stranger@a.ru"),
    }


DEALS = [
    {"id": 1, "companyId": 10, "contactId": 0, "contactIds": []},
    {"id": 2, "companyId": 0, "contactId": 20, "contactIds": [20]},
    {"id": 3, "companyId": 0, "contactId": 21, "contactIds": [21, 20]},
    {"id": 4, "companyId": 11, "contactId": 22, "contactIds": [22]},
]


def test_deals_of_clients_by_company_and_by_any_contact() -> None:
    found = clients.deals_of_clients(Tables(deals=DEALS).portal(), [20], [10])
    assert [deal.id for deal in found] == [1, 2, 3]


def test_deals_of_clients_on_a_portal_that_filters_by_the_primary_contact_only() -> None:
    tables = Tables(deals=DEALS)
    tables.override = lambda _, params: "INVALID_ARG_VALUE" if "@contactIds" in params["filter"] else None
    assert clients.deals_of_clients(tables.portal(), [20], [10]) == (
        Deal(1, company_id=10),
        Deal(2, contact_ids=(20,)),
    )


def test_deals_of_clients_do_not_hide_other_refusals() -> None:
    tables = Tables(deals=DEALS)
    tables.override = lambda _, params: "INVALID_ARG_VALUE"
    with pytest.raises(PortalRefused):
        clients.deals_of_clients(tables.portal(), [20], [10])


def test_look_ups_pass_the_errors_of_the_line_on() -> None:
    tables = Tables()
    tables.refuse = lambda number: httpx.Response(503, json={"error": "QUERY_LIMIT_EXCEEDED"})
    with pytest.raises(PortalBusy):
        clients.find_by_email(tables.portal(), ["a@b.ru"])
    tables.refuse = lambda number: httpx.Response(502)
    with pytest.raises(PortalOutcomeUnknown):
        activities.email_activities_after(tables.portal(), 5)
