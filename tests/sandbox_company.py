"""The company that the tests of the portal simulator share, and a plain way to call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.portal import Portal

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4


def snapshot() -> dict[str, Any]:
    """Maria's deal 1 and Ilya's deal 2 with company 10, deal 3 of another client, and a lost one."""
    return {
        "users": [
            {"ID": 1, "EMAIL": "admin@company.ru", "NAME": "Админ", "ACTIVE": True},
            {"ID": 5, "EMAIL": "masha@company.ru", "NAME": "Мария", "LAST_NAME": "Петрова", "ACTIVE": True},
            {"ID": 6, "EMAIL": "ilya@company.ru", "NAME": "Илья", "LAST_NAME": "Седов", "ACTIVE": True},
            {"ID": 7, "EMAIL": "gone@company.ru", "NAME": "Олег", "ACTIVE": False},
        ],
        "companies": [
            {"ID": 10, "TITLE": "Рога и Копыта", "ASSIGNED_BY_ID": 5, "EMAIL": [{"VALUE": "Info@Horns.ru "}]},
            {"ID": 11, "TITLE": "Лютик", "ASSIGNED_BY_ID": 6},
        ],
        "contacts": [
            {
                "ID": 20,
                "NAME": "Сергей",
                "ASSIGNED_BY_ID": 5,
                "COMPANY_IDS": [10],
                "EMAIL": [{"VALUE": "sergey@horns.ru"}],
            },
            {"ID": 21, "NAME": "Анна", "ASSIGNED_BY_ID": 6, "EMAIL": [{"VALUE": "anna@lutik.ru"}]},
        ],
        "deals": [
            _deal(1, 5, "2026-01-12", COMPANY_ID=10, CONTACT_IDS=[20]),
            _deal(2, 6, "2026-01-20", COMPANY_ID=10, CONTACT_IDS=[20], CATEGORY_ID=3, STAGE_ID="C3:NEW"),
            _deal(3, 6, "2026-01-15", CONTACT_IDS=[21, 20]),
            _deal(4, 6, "2026-02-01", COMPANY_ID=10, STAGE_ID="LOSE"),
        ],
        "leads": [{"ID": 9, "TITLE": "Заявка", "ASSIGNED_BY_ID": 5, "EMAIL": [{"VALUE": "new@lead.ru"}]}],
    }


def _deal(number: int, responsible: int, modified: str, **fields: Any) -> dict[str, Any]:
    return {
        "ID": number,
        "TITLE": f"Сделка {number}",
        "ASSIGNED_BY_ID": responsible,
        "DATE_CREATE": "2026-01-10T10:00:00+03:00",
        "DATE_MODIFY": f"{modified}T10:00:00+03:00",
        **fields,
    }


class Clock:
    """A portal's clock that a test moves on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Caller:
    """A client without any cleverness."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.http = httpx.Client(base_url=portal.webhook_url, trust_env=False, timeout=5)

    def raw(self, method: str, /, **params: Any) -> httpx.Response:
        """The whole answer to a call with a JSON body."""
        return self.http.post(method, json=params)

    def body(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The decoded body of an answer, whatever it says."""
        decoded: dict[str, Any] = self.raw(method, **params).json()
        return decoded

    def ok(self, method: str, /, **params: Any) -> Any:
        """The `result` of a call that must succeed."""
        answer = self.raw(method, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def refused(self, method: str, /, **params: Any) -> tuple[int, Any]:
        """(HTTP status, error) of a call that must fail."""
        answer = self.raw(method, **params)
        return answer.status_code, answer.json()["error"]

    def batch(self, cmd: Any, **params: Any) -> dict[str, Any]:
        """The `result` of a batch."""
        result: dict[str, Any] = self.ok("batch", cmd=cmd, **params)
        return result


@contextmanager
def running(**options: Any) -> Iterator[Caller]:
    """A running portal with the sample company and no limits, unless told otherwise."""
    given = {"limits": UNLIMITED, **options}
    with Portal(given.pop("snapshot", None) or snapshot(), **given) as portal:
        caller = Caller(portal)
        with caller.http:
            yield caller
