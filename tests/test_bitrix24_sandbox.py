"""The portal client over real HTTP against the portal simulator, in the ways in which portals differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stamina
from sandbox_company import snapshot

from imaprouter.bitrix24 import activities, clients, index, probes, writes
from imaprouter.bitrix24.commands import Command, value
from imaprouter.bitrix24.listing import Listing, walk
from imaprouter.bitrix24.portal import Portal
from imaprouter.errors import (
    PortalBusy,
    PortalDenied,
    PortalError,
    PortalOutcomeUnknown,
    PortalRefused,
    PortalUnreachable,
)
from imaprouter.model import Binding, Direction
from imaprouter.sandbox.limits import UNLIMITED, Limits
from imaprouter.sandbox.portal import Portal as Sandbox
from imaprouter.sandbox.quirks import Quirks

MOSCOW_MORNING = "2026-03-02T09:30:00+03:00"

PORTALS = {
    "as documented": Quirks(
        binding_key_case="camel", denied_status=403, findbycomm_text_as_code=True, empty_text_on_get=False
    ),
    "as seen": Quirks(
        binding_key_case="upper",
        empty_link="0",
        time_block="absent",
        localised_texts=True,
        item_company_ids=False,
        item_filter_contact_ids=True,
    ),
    "an old build": Quirks(
        old_move_errors="no_code", owner_rule="sticks_until_unbound", provider_type="EMAIL"
    ),
    "a middling build": Quirks(old_move_errors="no_suffix", time_block="no_operating"),
}


def email(number: int, **more: Any) -> dict[str, Any]:
    """A synced letter, bound to deal 1, company 10 and contact 20."""
    return {
        "ID": number,
        "TYPE_ID": 4,
        "PROVIDER_ID": "CRM_EMAIL",
        "DIRECTION": 1,
        "SUBJECT": f"letter {number}",
        "START_TIME": MOSCOW_MORNING,
        "CREATED": MOSCOW_MORNING,
        "LAST_UPDATED": MOSCOW_MORNING,
        "RESPONSIBLE_ID": 5,
        "OWNER_TYPE_ID": 2,
        "OWNER_ID": 1,
        "SETTINGS": {"EMAIL_META": {"__email": "Sales@company.ru", "from": "Сергей <sergey@horns.ru>"}},
        "BINDINGS": [
            {"OWNER_TYPE_ID": 2, "OWNER_ID": 1},
            {"OWNER_TYPE_ID": 4, "OWNER_ID": 10},
            {"OWNER_TYPE_ID": 3, "OWNER_ID": 20},
        ],
        **more,
    }


@contextmanager
def running(
    limits: Limits = UNLIMITED, quirks: Quirks | None = None, **options: Any
) -> Iterator[tuple[Sandbox, Portal]]:
    company = snapshot() | {"activities": [email(number) for number in (101, 102, 103)]}
    with Sandbox(options.pop("snapshot", company), limits=limits, quirks=quirks) as sandbox:
        given = {"requests_per_second": 1000.0, "burst": 1000, **options}
        with (
            closing(Portal(sandbox.webhook_url, **given)) as portal,
            stamina.set_testing(True, attempts=6, cap=True),
        ):
            yield sandbox, portal


@pytest.fixture(params=PORTALS)
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Sandbox, Portal]]:
    with running(quirks=PORTALS[request.param]) as pair:
        yield pair


def one(portal: Portal, command: Command) -> Any:
    """The value of a command sent as a batch of one."""
    return value(portal.batch([command])[0])


def test_the_whole_company_is_read(both: tuple[Sandbox, Portal]) -> None:
    _, portal = both
    (deals,), (contacts,) = index.deals(portal), index.contacts(portal)
    (companies,), (leads,) = index.companies(portal), index.leads(portal)
    assert [(d.id, d.company_id, d.contact_ids, d.responsible_id, d.active) for d in deals] == [
        (1, 10, (20,), 5, True),
        (2, 10, (20,), 6, True),
        (3, None, (21, 20), 6, True),
        (4, 10, (), 6, False),
    ]
    assert (deals[1].category_id, deals[1].stage_id) == (3, "C3:NEW")
    assert deals[0].modified_at == datetime(2026, 1, 12, 7, tzinfo=UTC)
    assert [(c.id, c.company_ids, c.emails) for c in contacts] == [
        (20, (10,), ("sergey@horns.ru",)),
        (21, (), ("anna@lutik.ru",)),
    ]
    assert [(c.id, c.title, c.emails) for c in companies] == [
        (10, "Рога и Копыта", ("info@horns.ru",)),
        (11, "Лютик", ()),
    ]
    assert [(lead.id, lead.active, lead.emails) for lead in leads] == [(9, True, ("new@lead.ru",))]
    assert [(u.id, u.email, u.active) for u in index.users(portal)] == [
        (1, "admin@company.ru", True),
        (5, "masha@company.ru", True),
        (6, "ilya@company.ru", True),
        (7, "gone@company.ru", False),
    ]


def test_only_what_was_changed_is_read_again(both: tuple[Sandbox, Portal]) -> None:
    _, portal = both
    since = datetime(2026, 1, 16, tzinfo=UTC)
    assert [deal.id for page in index.deals(portal, since) for deal in page] == [2, 4]
    future = datetime.now(UTC) + timedelta(days=1)
    assert list(index.contacts(portal, future)) == []
    assert list(index.companies(portal, future)) == []
    assert list(index.leads(portal, future)) == []
    assert list(index.outgoing_emails(portal, future)) == []


def test_all_companies_of_a_contact_are_read() -> None:
    company = snapshot()
    company["contacts"][0]["COMPANY_IDS"] = [10, 11]
    with running(snapshot=company) as (_, portal):
        assert clients.contacts_by_id(portal, [20])[20].company_ids == (10, 11)
    with running(snapshot=company, quirks=Quirks(item_company_ids=False)) as (_, portal):
        assert clients.contacts_by_id(portal, [20])[20].company_ids == (10,)


def test_clients_and_their_deals_are_looked_up(both: tuple[Sandbox, Portal]) -> None:
    sandbox, portal = both
    found = clients.find_by_email(portal, ["info@horns.ru", "sergey@horns.ru", "new@lead.ru", "who@knows.ru"])
    assert [client.company_ids for client in found.values()] == [(10,), (10,), (), ()]
    assert [client.contact_ids for client in found.values()] == [(), (20,), (), ()]
    assert [lead.id for lead in found["new@lead.ru"].leads] == [9]
    assert not found["who@knows.ru"]
    deals = {deal.id for deal in clients.deals_of_clients(portal, [20], [10])}
    assert deals == ({1, 2, 3, 4} if sandbox.quirks.item_filter_contact_ids else {1, 2, 4})
    assert list(clients.deals_by_id(portal, [3, 99])) == [3]


def test_leads_of_the_mail_sync_are_recognised(both: tuple[Sandbox, Portal]) -> None:
    sandbox, portal = both
    made = sandbox.crm.add(1, {"TITLE": "letter", "ORIGINATOR_ID": "email-tracker", "ORIGIN_ID": "3"})
    assert clients.automatic_leads(portal, [9, made]) == {made}


def test_activities_and_their_bindings(both: tuple[Sandbox, Portal]) -> None:
    _, portal = both
    polled = activities.email_activities_after(portal, 101)
    assert [activity.id for activity in polled] == [101, 102, 103]
    assert (polled[0].mailbox_email, polled[0].from_) == ("sales@company.ru", frozenset({"sergey@horns.ru"}))
    assert (polled[0].direction, polled[0].owner) == (Direction.INCOMING, Binding(2, 1))
    morning = datetime.fromisoformat(MOSCOW_MORNING)
    assert [a.id for a in activities.email_activities_starting(portal, [morning])] == [101, 102, 103]
    made = activities.email_activities(portal, created_since=morning, created_until=morning)
    assert [a.id for page in made for a in page] == [101, 102, 103]
    assert list(activities.activities_by_id(portal, [102, 999])) == [102]
    bound = activities.bindings(portal, [101, 999])
    assert bound[101] == (Binding(2, 1), Binding(4, 10), Binding(3, 20))
    assert isinstance(bound[999], PortalError)


def test_a_letter_moves_from_deal_to_deal_and_repeating_it_changes_nothing(
    both: tuple[Sandbox, Portal],
) -> None:
    sandbox, portal = both
    move = writes.move(101, Binding(2, 1), Binding(2, 2))
    assert one(portal, move) is True
    assert activities.bindings(portal, [101])[101] == (Binding(4, 10), Binding(3, 20), Binding(2, 2))
    again = portal.batch([move])[0]
    assert isinstance(again, PortalRefused)
    assert writes.already_so(move, again)
    assert sandbox.crm.owner(101) == (2, 2)


def test_refusals_of_binding_commands(both: tuple[Sandbox, Portal]) -> None:
    _, portal = both
    add, delete = writes.add(101, Binding(2, 1)), writes.delete(101, Binding(2, 2))
    self_move = writes.move(101, Binding(2, 1), Binding(2, 1))
    across = writes.move(101, Binding(2, 1), Binding(4, 11))
    for command in (add, delete, self_move):
        answer = portal.batch([command])[0]
        assert isinstance(answer, PortalRefused)
        assert writes.already_so(command, answer), command
    answer = portal.batch([across])[0]
    assert isinstance(answer, PortalRefused)
    assert not writes.already_so(across, answer)


def test_many_writes_are_one_request_and_fail_one_by_one(both: tuple[Sandbox, Portal]) -> None:
    sandbox, portal = both
    used = portal.requests_used
    answers = portal.batch(
        [
            writes.add(101, Binding(4, 11)),
            writes.delete(101, Binding(2, 1)),
            writes.set_responsible(101, 6),
            writes.stamp(101, "a+b/c=&d#e"),
            writes.notify(6, "Письмо [b]#101[/b] & «другие»"),
            writes.stamp(999, "x"),
        ]
    )
    assert answers[:4] == [True] * 4
    assert isinstance(answers[4], int)
    assert isinstance(answers[5], PortalRefused)
    assert portal.requests_used - used == 1
    activity = activities.activities_by_id(portal, [101])[101]
    assert (activity.responsible_id, activity.originator_id, activity.origin_id) == (
        6,
        "imaprouter",
        "a+b/c=&d#e",
    )
    assert activities.bindings(portal, [101])[101] == (Binding(4, 10), Binding(3, 20), Binding(4, 11))
    assert [note.message for note in sandbox.notifications] == ["Письмо [b]#101[/b] & «другие»"]


def test_probes(both: tuple[Sandbox, Portal]) -> None:
    _, portal = both
    assert probes.profile(portal).id == 1
    assert {"crm", "im", "user_basic"} <= probes.scopes(portal)
    assert abs(probes.server_time(portal) - datetime.now(UTC)) < timedelta(minutes=1)


def crowd(deals: int = 0, contacts: int = 0) -> dict[str, Any]:
    return {
        "deals": [{"ID": 2 * number, "TITLE": f"d{number}"} for number in range(1, deals + 1)],
        "contacts": [{"ID": 2 * number, "NAME": f"c{number}"} for number in range(1, contacts + 1)],
    }


@pytest.mark.parametrize("count", [0, 49, 50, 51, 400, 450, 1300])
def test_long_lists_of_both_families_are_read_once_in_few_requests(count: int) -> None:
    with running(snapshot=crowd(count, count)) as (_, portal):
        listings: list[Listing[Any]] = [index.deal_listing(), index.contact_listing()]
        found: dict[str, list[int]] = {"crm.item.list": [], "crm.contact.list": []}
        for listing, values in walk(portal, listings):
            found[listing.method] += [item.id for item in values]
        wanted = [2 * number for number in range(1, count + 1)]
        assert found == {"crm.item.list": wanted, "crm.contact.list": wanted}
        assert portal.requests_used <= 1 + -(-count // 1250)


NOTHING_DONE = ["limit_503", "operating_429", "rename_302"]
UNKNOWN = [
    "timeout_before",
    "timeout_after",
    "close_before",
    "close_after",
    "http_500_html",
    "http_502_html",
    "http_504_after",
    "truncated_json",
    "internal_500",
]


@pytest.mark.parametrize("kind", NOTHING_DONE)
def test_a_write_survives_what_proves_that_nothing_was_done(kind: Any) -> None:
    with running() as (sandbox, portal):
        sandbox.faults.add(kind)
        assert one(portal, writes.move(101, Binding(2, 1), Binding(2, 2))) is True
        assert sandbox.crm.bindings(101) == [(4, 10), (3, 20), (2, 2)]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_write_whose_outcome_is_unknown_is_not_repeated_and_a_read_is(kind: Any) -> None:
    with running(timeout=timedelta(seconds=0.4)) as (sandbox, portal):
        sandbox.faults.add(kind)
        answer = portal.batch([writes.notify(6, "once")])[0]
        assert isinstance(answer, PortalOutcomeUnknown)
        assert len(sandbox.requests) == 1
        assert len(sandbox.notifications) <= 1
        sandbox.faults.add(kind)
        assert len(activities.email_activities_after(portal, 0)) == 3


@pytest.mark.parametrize("kind", ["http_403_html", "overload_503"])
def test_what_needs_a_person_is_said_at_once(kind: Any) -> None:
    with running() as (sandbox, portal):
        sandbox.faults.add(kind, times=None)
        with pytest.raises(PortalDenied):
            probes.profile(portal)
        assert len(sandbox.requests) == 1


def test_a_wrong_code_and_a_missing_scope_are_denied(both: tuple[Sandbox, Portal]) -> None:
    sandbox, _ = both
    url = sandbox.webhook_url.replace("sandbox-code", "wrong-code")
    with closing(Portal(url)) as stranger, pytest.raises(PortalDenied) as caught:
        probes.profile(stranger)
    assert caught.value.code == "invalid_credentials"
    narrow = Sandbox(snapshot(), limits=UNLIMITED, quirks=sandbox.quirks, scopes=frozenset({"crm"}))
    with narrow, closing(Portal(narrow.webhook_url)) as portal:
        answer = portal.batch([writes.notify(5, "x")])[0]
        assert isinstance(answer, PortalDenied)
        assert "scope" in str(answer)


def test_nobody_listens() -> None:
    with running() as (sandbox, _):
        url = sandbox.webhook_url
    with stamina.set_testing(True, attempts=2, cap=True), pytest.raises(PortalUnreachable):
        probes.profile(Portal(url))


def test_the_plans_bucket_is_never_overrun() -> None:
    """More requests than the bucket holds, with the plan's own figures: none is refused."""
    plan = Limits(burst=5, per_second=10.0, operating_seconds=None)
    with running(limits=plan, requests_per_second=10.0, burst=5) as (sandbox, portal):
        for _ in range(12):
            probes.profile(portal)
        assert len(sandbox.requests) == 12 == portal.requests_used


def test_a_blocked_method_says_when_it_is_free_and_leaves_the_others_working() -> None:
    budget = Limits(burst=1000, operating_seconds=10.0, operating_cost={"crm.activity.list": 11.0})
    with running(limits=budget) as (_, portal):
        one(portal, Command("crm.activity.list", read=True))
        blocked, free = portal.batch([Command("crm.activity.list", read=True), Command("profile", read=True)])
        assert isinstance(blocked, PortalBusy)
        assert value(free)["ID"]
        with stamina.set_testing(False), pytest.raises(PortalBusy) as caught:
            portal.call("crm.activity.list", read=True)
        assert caught.value.retry_at is not None
        assert timedelta(minutes=8) < caught.value.retry_at - datetime.now(UTC) < timedelta(minutes=11)


def test_a_command_refused_in_the_middle_of_a_batch_stops_none_behind_it() -> None:
    with running() as (sandbox, portal):
        sandbox.faults.add("command_error", method="crm.activity.binding.add", code="ACCESS_DENIED")
        first, second = portal.batch([writes.add(101, Binding(2, 2)), writes.add(102, Binding(2, 2))])
        assert isinstance(first, PortalDenied)
        assert second is True


@pytest.mark.parametrize("result", [7, "yes", None, True])
def test_a_read_that_is_answered_with_no_list_is_not_answered(
    both: tuple[Sandbox, Portal], result: object
) -> None:
    """Not 'bound to nothing', and not 'there is no such deal'."""
    sandbox, portal = both
    sandbox.faults.add("wrong_result", method="crm.activity.binding.list", result=result)
    assert isinstance(activities.bindings(portal, [501])[501], PortalOutcomeUnknown)
    sandbox.faults.add("wrong_result", method="crm.item.list", result=result, times=None)
    with pytest.raises(PortalOutcomeUnknown):
        clients.deals_by_id(portal, [1])


@pytest.mark.parametrize("result", [{}, {"0": 7}, [7], [[]], [{"entityTypeId": 2}], {"entityTypeId": 2}])
def test_bindings_that_cannot_be_read_whole_are_not_read(
    both: tuple[Sandbox, Portal], result: object
) -> None:
    """In part they would look like a person's hand."""
    sandbox, portal = both
    sandbox.faults.add("wrong_result", method="crm.activity.binding.list", result=result)
    assert isinstance(activities.bindings(portal, [501])[501], PortalOutcomeUnknown)


def test_an_activity_is_never_bound_to_nothing(both: tuple[Sandbox, Portal]) -> None:
    """An empty list names what the webhook may read: that is a want of rights, no person's hand."""
    sandbox, portal = both
    sandbox.crm.hidden.update(sandbox.crm.bindings(101))
    bound = activities.bindings(portal, [101])[101]
    assert isinstance(bound, PortalDenied)
    assert "may see" in str(bound)
    sandbox.crm.hidden.clear()
    assert activities.bindings(portal, [101])[101] == (Binding(2, 1), Binding(4, 10), Binding(3, 20))


def test_bindings_with_gaps_are_a_map_with_numbers(both: tuple[Sandbox, Portal]) -> None:
    sandbox, portal = both
    rows = {"0": {"entityTypeId": 3, "entityId": 20}, "2": {"entityTypeId": 2, "entityId": 1}}
    sandbox.faults.add("wrong_result", method="crm.activity.binding.list", result=rows)
    assert activities.bindings(portal, [501])[501] == (Binding(3, 20), Binding(2, 1))


@pytest.mark.parametrize("result", [7, "yes", None, {}, [], ["true"]])
def test_a_write_that_is_answered_with_something_else_may_be_done_or_not(result: object) -> None:
    for command in (writes.set_responsible(1, 2), writes.add(1, Binding(2, 1)), writes.notify(5, "x")):
        error = writes.error_of(command, result)
        is_id = result == 7 and command.method == "im.notify.system.add"
        assert error is None if is_id else isinstance(error, PortalOutcomeUnknown)
        assert writes.error_of(command, True) is None


def test_a_list_of_items_without_items_is_no_empty_one(both: tuple[Sandbox, Portal]) -> None:
    sandbox, portal = both
    sandbox.faults.add("wrong_result", method="crm.item.list", result={}, times=None)
    with pytest.raises(PortalOutcomeUnknown):
        clients.deals_by_id(portal, [1])
