"""The simulator's mail.message.* of REST 3: envelopes, rights, and what saving does (rest.md 1.9, 5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sandbox_company import snapshot
from sandbox_office import letter

from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.mail_import import Importer, MailboxConnection
from imaprouter.sandbox.portal import DEFAULT_SCOPES, Portal

V3 = "BITRIX_REST_V3_EXCEPTION_"
LIST, SAVE = "mail.message.list", "mail.message.createcrmactivity"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal(snapshot(), limits=UNLIMITED, scopes=DEFAULT_SCOPES | {"mail"}) as opened:
        yield opened


def importer(portal: Portal, **options: Any) -> Importer:
    given = {"email": "sales@company.ru", "username": "sales", "public": True, "owner_user_id": 1, **options}
    box = MailboxConnection(host="127.0.0.1", port=1, password="x", **given)
    return Importer(box, portal.crm, [box])


def ask(portal: Portal, method: str, params: Any, *, v3: bool = True, key: str = "") -> httpx.Response:
    url = portal.webhook_url.replace("/rest/", "/rest/api/") if v3 else portal.webhook_url
    return httpx.post(url + method, json=params, headers={"Idempotency-Key": key} if key else {})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"].removeprefix(V3)


def test_a_skipped_letter_is_listed_and_saved(portal: Portal) -> None:
    """Spam is in the mail and not in the CRM; saved, it is bound as any other, and says so."""
    box = importer(portal)
    assert box.take(letter("sergey@horns.ru", aside=True)).activity_id is None
    [item] = ask(portal, LIST, {}).json()["result"]["items"]
    assert (item["id"], item["mailboxEmail"], item["bindings"]) == (1, "sales@company.ru", [])
    assert item["date"] == "2026-03-02 12:00:05", "INTERNALDATE on the portal's clock"
    before = set(portal.crm.activities)
    assert ask(portal, SAVE, {"messageId": 1}).json()["result"] is True
    [made] = set(portal.crm.activities) - before
    [item] = ask(portal, LIST, {}).json()["result"]["items"]
    assert item["bindings"] == [
        {"type": "crm", "entityTypeId": pair[0], "entityId": pair[1]}
        for pair in portal.crm.bindings(made)[:1]
    ]
    ask(portal, SAVE, {"messageId": 1})
    assert len(set(portal.crm.activities) - before) == 2, "it is not idempotent"


def test_a_key_makes_it_so(portal: Portal) -> None:
    """And belongs to one body."""
    box = importer(portal)
    box.take(letter("sergey@horns.ru", aside=True))
    before = len(portal.crm.activities)
    for _ in range(2):
        assert ask(portal, SAVE, {"messageId": 1}, key="k").json()["result"] is True
    assert len(portal.crm.activities) == before + 1
    assert code(ask(portal, SAVE, {"messageId": 2}, key="k")) == (422, "IDEMPOTENCYKEYREUSEDEXCEPTION")


def test_an_employees_letter_is_refused_all_the_same(portal: Portal) -> None:
    employee = next(str(user["EMAIL"]) for user in portal.crm.users.values() if user.get("EMAIL"))
    importer(portal).take(letter(employee))
    before = len(portal.crm.activities)
    assert ask(portal, SAVE, {"messageId": 1}).json()["result"] is True
    assert len(portal.crm.activities) == before


def test_deny_flags_and_the_exclusion_list_do_not_bar_it(portal: Portal) -> None:
    portal.crm.exclusions.add("new@nowhere.ru")
    importer(portal, create="deny").take(letter("new@nowhere.ru"))
    before = len(portal.crm.activities)
    ask(portal, SAVE, {"messageId": 1})
    assert len(portal.crm.activities) == before + 1


def test_only_own_and_shared_mailboxes_are_seen(portal: Portal) -> None:
    importer(portal, owner_user_id=4).take(letter("sergey@horns.ru", aside=True))
    assert ask(portal, LIST, {}).json()["result"]["items"] == []
    assert code(ask(portal, SAVE, {"messageId": 1})) == (403, "ACCESSDENIEDEXCEPTION")
    importer(portal, owner_user_id=4, shared_with=frozenset({1})).take(letter("a@b.ru", aside=True))
    assert [item["id"] for item in ask(portal, LIST, {}).json()["result"]["items"]] == [2]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"searchQuery": "SERGEY@horns"}, 1),
        ({"searchQuery": "nothing like that"}, 0),
        ({"dateFrom": "2026-03-02T09:00:05+00:00"}, 1),
        ({"dateFrom": "2026-03-02T09:00:06+00:00"}, 0),
        ({"dateTo": "2026-03-02T09:00:04+00:00"}, 0),
        ({"mailboxId": 2}, 0),
        ({"pagination": {"limit": 200, "offset": 1}}, 0),
        ({"pagination": {"page": 1}}, 1),
    ],
)
def test_what_is_asked_for(portal: Portal, params: dict[str, Any], found: int) -> None:
    importer(portal).take(letter("sergey@horns.ru", aside=True))
    assert len(ask(portal, LIST, params).json()["result"]["items"]) == found


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        (SAVE, {}, (400, "VALIDATION_REQUESTVALIDATIONEXCEPTION")),
        (LIST, {"dateFrom": "soon"}, (400, "VALIDATION_REQUESTVALIDATIONEXCEPTION")),
        (LIST, {"pagination": {"limit": 201}}, (400, "INVALIDPAGINATIONEXCEPTION")),
        ("crm.deal.list", {}, (404, "ERROR_METHOD_NOT_FOUND")),
    ],
)
def test_mistakes_have_codes(
    portal: Portal, method: str, params: dict[str, Any], told: tuple[int, str]
) -> None:
    assert code(ask(portal, method, params)) == told


def test_it_is_no_method_of_classic_rest(portal: Portal) -> None:
    answer = ask(portal, LIST, {}, v3=False)
    assert (answer.status_code, answer.json()["error"]) == (404, "ERROR_METHOD_NOT_FOUND")


def test_without_the_scope_or_the_code() -> None:
    with Portal(snapshot(), limits=UNLIMITED) as portal:
        assert code(ask(portal, LIST, {})) == (403, "INSUFFICIENTSCOPEEXCEPTION")
        wrong = portal.webhook_url.replace("/rest/", "/rest/api/").replace("sandbox-code", "wrong")
        assert code(httpx.post(wrong + LIST, json={})) == (401, "ACCESSDENIEDEXCEPTION")
