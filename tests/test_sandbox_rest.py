"""The simulated portal's calling conventions, over real HTTP: rest.md 1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from sandbox_company import COMPANY, Caller, Clock, running

from imaprouter.sandbox.limits import Limits
from imaprouter.sandbox.quirks import Quirks


@pytest.fixture(scope="module")
def portal() -> Iterator[Caller]:
    """A portal that no test of this module changes."""
    with running() as caller:
        yield caller


def test_success_is_wrapped_with_total_and_time(portal: Caller) -> None:
    """rest.md 1.4."""
    body = portal.body("crm.deal.list")
    assert body["total"] == 4
    assert "next" not in body
    assert {"start", "finish", "duration", "processing", "date_start", "date_finish"} <= set(body["time"])


def test_json_is_written_as_php_writes_it() -> None:
    """Slashes are escaped and nothing beyond ASCII is sent (rest.md 1.4)."""
    with running() as caller:
        caller.portal.crm.set(COMPANY, 10, TITLE="Рога/Копыта")
        raw = caller.raw("crm.company.get", id=10).content
    assert raw.isascii()
    assert b"\\/" in raw


@pytest.mark.parametrize("method", ["CRM.Deal.LIST", "crm.deal.list.json", "crm.deal.list"])
def test_method_names_ignore_case_and_the_json_suffix(portal: Caller, method: str) -> None:
    """rest.md 1.1."""
    assert len(portal.ok(method)) == 4


def test_json_form_and_query_are_equivalent(portal: Caller) -> None:
    """rest.md 1.3."""
    pairs = {"filter[>ID]": "1", "filter[@ID][]": "2", "select[0]": "ID", "order[ID]": "DESC"}
    as_json = portal.ok("crm.deal.list", filter={">ID": 1, "@ID": [2]}, select=["ID"], order={"ID": "DESC"})
    as_form = portal.http.post("crm.deal.list", data=pairs).json()["result"]
    as_query = portal.http.get("crm.deal.list", params=pairs).json()["result"]
    assert as_json == as_form == as_query == [{"ID": "2"}]


def test_legacy_methods_take_any_spelling_of_their_parameters(portal: Caller) -> None:
    """`filter`, `FILTER` and `arFilter` (rest.md 1.1)."""
    for name in ("filter", "FILTER", "arFilter"):
        assert [deal["ID"] for deal in portal.ok("crm.deal.list", **{name: {"ID": 3}})] == ["3"]


def test_controllers_take_the_documented_spelling_only(portal: Caller) -> None:
    """rest.md 1.1: not so for module controllers."""
    assert portal.refused("crm.item.list", ENTITYTYPEID=2) == (400, "100")
    assert portal.refused("crm.activity.binding.list", activityid=1) == (400, "100")


def test_unknown_method(portal: Caller) -> None:
    assert portal.refused("crm.nothing.list") == (404, "ERROR_METHOD_NOT_FOUND")


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_webhook_code(status: Any) -> None:
    """Status 401 live, 403 documented (rest.md 1.7)."""
    with running(quirks=Quirks(denied_status=status)) as caller:
        for address in ("/rest/1/wrong/profile", "/rest/2/sandbox-code/profile"):
            answer = httpx.post(caller.portal.url + address, trust_env=False)
            assert (answer.status_code, answer.json()["error"]) == (status, "INVALID_CREDENTIALS")


def test_no_webhook_in_the_address(portal: Caller) -> None:
    answer = httpx.post(portal.portal.url + "/rest/profile", trust_env=False)
    assert (answer.status_code, answer.json()["error"]) == (401, "NO_AUTH_FOUND")


def test_scope_is_checked_and_told() -> None:
    """rest.md 6, and per command inside a batch (rest.md 1.6)."""
    with running(scopes=frozenset({"crm"})) as caller:
        assert caller.ok("scope") == ["crm"]
        assert caller.refused("user.get") == (401, "insufficient_scope")
        result = caller.batch({"n": "im.notify.personal.add?USER_ID=5&MESSAGE=x", "d": "crm.deal.get?id=1"})
        assert result["result_error"]["n"]["error"] == "insufficient_scope"
        assert result["result"]["d"]["ID"] == "1"
        get = caller.ok
        assert get("method.get", name="user.get") == {"isExisting": True, "isAvailable": False}
        assert get("method.get", name="crm.deal.list") == {"isExisting": True, "isAvailable": True}
        assert get("method.get", name="crm.nothing") == {"isExisting": False, "isAvailable": False}


def test_who_and_when(portal: Caller) -> None:
    assert portal.ok("profile")["ADMIN"] is True
    assert portal.ok("user.current")["EMAIL"] == "admin@company.ru"
    assert portal.ok("server.time").endswith("+03:00")


def test_texts_of_errors_may_be_in_another_language() -> None:
    """rest.md 1.7 rule 4."""
    with running(quirks=Quirks(localised_texts=True)) as caller:
        body = caller.body("crm.activity.binding.list", activityId=77)
        assert body["error"] == "NOT_FOUND"
        assert not body["error_description"].isascii()
        assert "<br>" in body["error_description"]


@pytest.mark.parametrize(
    ("block", "keys"), [("absent", set()), ("no_operating", {"start"}), ("full", {"operating"})]
)
def test_time_block_varies(block: Any, keys: set[str]) -> None:
    """All keys of `time` are optional (rest.md 1.4)."""
    with running(quirks=Quirks(time_block=block), limits=Limits()) as caller:
        time = caller.body("crm.deal.list").get("time", {})
        assert keys <= set(time)
        assert ("operating" in time) is (block == "full")


def test_errors_may_carry_the_time_of_the_call() -> None:
    """'Sometimes' (rest.md 1.7): of a blocked method it says when that is free."""
    limits = Limits(operating_seconds=10, operating_cost={"crm.deal.list": 11})
    with running(quirks=Quirks(time_in_errors=True), limits=limits, clock=Clock()) as caller:
        free_at = caller.body("crm.deal.list")["time"]["operating_reset_at"]
        blocked = caller.body("crm.deal.list")
        assert (blocked["error"], blocked["time"]["operating_reset_at"]) == ("OPERATION_TIME_LIMIT", free_at)
        assert "start" in caller.body("crm.deal.get", id=0)["time"]
    with running() as caller:
        assert "time" not in caller.body("crm.deal.get", id=0)


# Batch, rest.md 1.6


def test_batch_fills_references_and_reports_per_command(portal: Caller) -> None:
    result = portal.batch(
        {
            "deals": "crm.deal.list?" + urlencode({"order[ID]": "ASC", "select[]": "COMPANY_ID"}),
            "company": "crm.company.get?id=$result[deals][0][COMPANY_ID]",
            "items": "crm.item.list?entityTypeId=4&select[]=id",
            "again": "crm.company.get?" + urlencode({"id": "$result[items][items][0][id]"}),
            "lost": "crm.deal.get?id=$result[nothing][ID]",
        }
    )
    assert result["result"]["company"]["ID"] == result["result"]["again"]["ID"] == "10"
    assert result["result_error"] == {
        "lost": {"error": "", "error_description": "ID is not defined or invalid."}
    }
    assert result["result_total"] == {"deals": 4, "items": 2}
    assert set(result["result_time"]) == {"deals", "company", "items", "again", "lost"}


def test_empty_batch_maps_are_lists(portal: Caller) -> None:
    result = portal.batch({"a": "profile"})
    assert result["result_error"] == result["result_next"] == result["result_total"] == []


def test_numbered_commands_come_back_as_lists_until_one_fails(portal: Caller) -> None:
    assert isinstance(portal.batch(["profile", "scope"])["result"], list)
    broken = portal.batch(["profile", "nothing", "scope"])
    assert set(broken["result"]) == {"0", "2"}
    assert set(broken["result_error"]) == {"1"}


def test_batch_counts_fifty_commands(portal: Caller) -> None:
    result = portal.batch({f"k{number}": "profile" for number in range(52)})
    assert len(result["result"]) == 50
    assert {key: error["error"] for key, error in result["result_error"].items()} == {
        "k50": "ERROR_BATCH_LENGTH_EXCEEDED",
        "k51": "ERROR_BATCH_LENGTH_EXCEEDED",
    }


def test_halt_stops_at_the_first_failure(portal: Caller) -> None:
    result = portal.batch({"a": "profile", "b": "nothing", "c": "profile"}, halt=1)
    assert set(result["result"]) == {"a"}
    assert set(result["result_error"]) == {"b"}
    assert set(portal.batch({"b": "nothing", "c": "profile"}, halt=0)["result"]) == {"c"}


def test_batch_inside_batch_is_refused(portal: Caller) -> None:
    result = portal.batch({"a": "batch?cmd[x]=profile"})
    assert result["result_error"]["a"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"


def test_commands_that_are_no_text_are_skipped_and_a_raw_hash_cuts(portal: Caller) -> None:
    result = portal.batch(
        {"a": {"method": "profile"}, "b": "crm.deal.list?filter[TITLE]=Сделка#&select[]=ID"}
    )
    assert set(result["result"]) == {"b"}
    assert result["result_error"] == []
    assert result["result"]["b"] == []


def test_batch_as_a_form(portal: Caller) -> None:
    body = portal.http.post("batch", data={"cmd[d]": "crm.deal.get?id=1", "halt": "0"}).json()
    assert body["result"]["result"]["d"]["ID"] == "1"


def test_requests_are_told_with_their_commands() -> None:
    with running() as caller:
        caller.batch({"a": "crm.deal.get?id=1"})
        caller.ok("crm.deal.list", start=-1)
        first, second = caller.portal.requests
        assert first.method == "batch"
        assert first.calls == [("crm.deal.get", {"id": "1"})]
        assert second.calls == [("crm.deal.list", {"start": -1})]


# Limits, rest.md 1.8


def test_bucket_of_fifty_leaks_two_a_second_and_counts_a_batch_once() -> None:
    clock = Clock()
    with running(limits=Limits(), clock=clock) as caller:
        statuses = [caller.raw("batch", cmd={"a": "profile", "b": "scope"}).status_code for _ in range(51)]
        assert statuses == [200] * 50 + [503]
        assert caller.refused("profile") == (503, "QUERY_LIMIT_EXCEEDED")
        clock.tick(1)
        assert [caller.raw("profile").status_code for _ in range(3)] == [200, 200, 503]


def test_operating_budget_blocks_one_method_until_its_basket_falls_out() -> None:
    clock = Clock()
    limits = Limits(operating_seconds=10, operating_cost={"crm.deal.list": 6})
    with running(limits=limits, clock=clock) as caller:
        assert caller.body("crm.deal.list")["time"]["operating"] == 6
        time = caller.body("crm.deal.list")["time"]
        assert time["operating"] == 12
        assert caller.refused("crm.deal.list") == (429, "OPERATION_TIME_LIMIT")
        blocked = caller.batch({"d": "crm.deal.list", "c": "crm.company.list"})
        assert blocked["result_error"]["d"]["error"] == "OPERATION_TIME_LIMIT"
        assert len(blocked["result"]["c"]) == 2
        clock.tick(time["operating_reset_at"] - clock.now.timestamp())
        assert caller.raw("crm.deal.list").status_code == 200


def test_unreadable_json_is_no_parameters(portal: Caller) -> None:
    headers = {"content-type": "application/json"}
    assert portal.http.post("crm.deal.get", content=b"{", headers=headers).status_code == 400
    listed = portal.http.post("crm.deal.list", content=json.dumps([1]).encode(), headers=headers).json()
    assert listed["total"] == 4
