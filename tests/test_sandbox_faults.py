"""Faults of the simulated portal: what a client sees, and whether the call was carried out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from sandbox_company import COMPANY, DEAL, Caller, running

from imaprouter.sandbox.faults import Kind

ADD = "crm.activity.binding.add"


@pytest.fixture
def portal() -> Iterator[Caller]:
    with running() as caller:
        caller.portal.crm.add_activity({"SUBJECT": "КП"}, [(DEAL, 1)])
        yield caller


def _add(portal: Caller, timeout: float = 5) -> httpx.Response:
    params = {"activityId": 1, "entityTypeId": COMPANY, "entityId": 10}
    return portal.http.post(ADD, json=params, timeout=timeout)


def _done(portal: Caller) -> bool:
    return (COMPANY, 10) in portal.portal.crm.bindings(1)


@pytest.mark.parametrize(("kind", "done"), [("timeout_before", False), ("timeout_after", True)])
def test_silence(portal: Caller, kind: Any, done: bool) -> None:
    portal.portal.faults.add(kind, method=ADD)
    with pytest.raises(httpx.ReadTimeout):
        _add(portal, timeout=0.2)
    assert _done(portal) is done


@pytest.mark.parametrize(("kind", "done"), [("close_before", False), ("close_after", True)])
def test_broken_connection(portal: Caller, kind: Any, done: bool) -> None:
    portal.portal.faults.add(kind, method=ADD)
    with pytest.raises(httpx.TransportError):
        _add(portal)
    assert _done(portal) is done
    assert portal.ok("profile")["ID"] == "1"


@pytest.mark.parametrize(
    ("kind", "status", "done"),
    [
        ("http_500_html", 500, False),
        ("http_502_html", 502, False),
        ("http_403_html", 403, False),
        ("http_504_after", 504, True),
        ("truncated_json", 200, True),
    ],
)
def test_answers_that_are_no_json(portal: Caller, kind: Any, status: int, done: bool) -> None:
    portal.portal.faults.add(kind, method=ADD)
    answer = _add(portal)
    assert answer.status_code == status
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()
    assert _done(portal) is done


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("internal_500", 500, "INTERNAL_SERVER_ERROR"),
        ("limit_503", 503, "QUERY_LIMIT_EXCEEDED"),
        ("operating_429", 429, "OPERATION_TIME_LIMIT"),
        ("overload_503", 503, "OVERLOAD_LIMIT"),
    ],
)
def test_errors_of_the_portal_itself(portal: Caller, kind: Any, status: int, code: str) -> None:
    portal.portal.faults.add(kind)
    assert portal.refused("profile") == (status, code)
    assert portal.ok("profile")["ID"] == "1"


def test_an_error_body_under_status_200(portal: Caller) -> None:
    """rest.md 1.7 rule 1."""
    portal.portal.faults.add("error", method=ADD, status=200, code="expired_token", text="x")
    answer = _add(portal)
    assert (answer.status_code, answer.json()["error"], _done(portal)) == (200, "expired_token", False)


def test_a_renamed_portal_answers_302_until_the_new_name_is_used(portal: Caller) -> None:
    """rest.md 1.1: method and body must be sent again to the new address."""
    with running() as other:
        portal.portal.faults.add("rename_302", times=None, location=other.portal.url)
        answer = portal.raw("profile")
        assert answer.status_code == 302
        assert answer.headers["location"] == other.portal.webhook_url + "profile"
        again = httpx.post(answer.headers["location"], json={}, trust_env=False)
        assert again.json()["result"]["ID"] == "1"
        assert portal.portal.requests == []


def test_a_renamed_portal_is_by_default_the_same_under_another_name(portal: Caller) -> None:
    portal.portal.faults.add("rename_302", times=None)
    location = portal.raw("profile").headers["location"]
    assert location.startswith("http://localhost:")
    with httpx.Client(trust_env=False) as http:
        assert http.post(location, json={}).json()["result"]["ID"] == "1"


def test_a_fault_reaches_batches_that_contain_the_method(portal: Caller) -> None:
    portal.portal.faults.add("limit_503", method=ADD)
    assert portal.raw("batch", cmd={"p": "profile"}).status_code == 200
    assert portal.raw("batch", cmd={"p": "profile", "a": f"{ADD}?activityId=1"}).status_code == 503


def test_one_command_of_a_batch_is_refused(portal: Caller) -> None:
    portal.portal.faults.add("command_error", method="crm.deal.get", code="ACCESS_DENIED", skip=1)
    result = portal.batch({"a": "crm.deal.get?id=1", "b": "crm.deal.get?id=2", "c": "crm.deal.get?id=3"})
    assert set(result["result"]) == {"a", "c"}
    assert result["result_error"]["b"]["error"] == "ACCESS_DENIED"


def test_somebody_does_something_meanwhile(portal: Caller) -> None:
    """A person moves the card between our read and our write (mail-internals 11)."""
    crm = portal.portal.crm
    move = {"sourceEntityTypeId": 2, "sourceEntityId": 1, "targetEntityTypeId": 2, "targetEntityId": 2}
    portal.portal.faults.add(
        "meanwhile",
        method="crm.activity.binding.move",
        action=lambda: crm.move_by_hand(1, (DEAL, 1), (DEAL, 3)),
    )
    answer = portal.refused("crm.activity.binding.move", activityId=1, **move)
    assert answer == (400, "BINDING_NOT_FOUND")
    assert crm.bindings(1) == [(DEAL, 3)]


def test_rules_count_and_can_be_forgotten(portal: Caller) -> None:
    faults = portal.portal.faults
    faults.add("limit_503", times=2, skip=1)
    assert [portal.raw("profile").status_code for _ in range(4)] == [200, 503, 503, 200]
    faults.add("limit_503", times=None)
    faults.clear()
    assert portal.raw("profile").status_code == 200
    with pytest.raises(ValueError, match="unknown fault"):
        faults.add(cast("Kind", "no_such_kind"))


def test_stopping_lets_hanging_requests_go() -> None:
    """The portal stops although a client still waits."""
    with running() as caller:
        caller.portal.faults.add("timeout_before")
        waiting = threading.Thread(target=lambda: caller.raw("profile"))
        waiting.start()
        while not caller.portal.requests:
            waiting.join(0.01)
        caller.portal.stop()
        waiting.join(5)
        assert not waiting.is_alive()
