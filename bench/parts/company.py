"""A company of any size for the sandbox portal, always the same one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

TODAY = datetime(2026, 11, 24, 9, tzinfo=UTC)
USERS = 200
_STAGES = ("NEW", "PREPARATION", "EXECUTING", "WON", "LOSE")


def company(deals: int, contacts: int, companies: int, users: int = USERS) -> dict[str, Any]:
    """A snapshot in the portal's own field names.

    Every client has an address, one contact of ten a second one; four of five contacts belong to a company,
    one of twenty to two; a deal has a company and one or two contacts of it.
    """
    draw = random.Random(24)
    return {
        "users": [
            {"ID": n, "EMAIL": f"user{n}@company.ru", "NAME": "Мария", "LAST_NAME": f"Петрова {n}"}
            for n in range(1, users + 1)
        ],
        "companies": [
            {
                "ID": n,
                "TITLE": f"ООО «Рога и копыта {n}»",
                "ASSIGNED_BY_ID": draw.randint(1, users),
                "EMAIL": [{"VALUE": f"info@client{n}.ru"}],
                "DATE_MODIFY": _moment(draw),
            }
            for n in range(1, companies + 1)
        ],
        "contacts": [_contact(n, companies, users, draw) for n in range(1, contacts + 1)],
        "deals": [_deal(n, contacts, companies, users, draw) for n in range(1, deals + 1)],
    }


def _contact(number: int, companies: int, users: int, draw: random.Random) -> dict[str, Any]:
    home = number % companies + 1
    further = [draw.randint(1, companies)] if draw.random() < 0.05 else []
    addresses = [f"person{number}@client{home}.ru"]
    addresses += [f"person{number}@mail.example"] if draw.random() < 0.1 else []
    return {
        "ID": number,
        "NAME": "Сергей",
        "LAST_NAME": f"Иванов {number}",
        "ASSIGNED_BY_ID": draw.randint(1, users),
        "COMPANY_IDS": [home, *further] if draw.random() < 0.8 else [],
        "EMAIL": [{"VALUE": address} for address in addresses],
        "DATE_MODIFY": _moment(draw),
    }


def _deal(number: int, contacts: int, companies: int, users: int, draw: random.Random) -> dict[str, Any]:
    home = number % companies + 1
    people = [(home - 1 + companies * draw.randrange(4)) % contacts or 1 for _ in range(draw.randint(1, 2))]
    return {
        "ID": number,
        "TITLE": f"Поставка копыт {number}",
        "ASSIGNED_BY_ID": draw.randint(1, users),
        "STAGE_ID": draw.choice(_STAGES),
        "COMPANY_ID": home,
        "CONTACT_IDS": list(dict.fromkeys(people)),
        "DATE_CREATE": _moment(draw),
        "DATE_MODIFY": _moment(draw),
    }


def _moment(draw: random.Random) -> str:
    return (TODAY - timedelta(seconds=draw.randrange(3 * 365 * 86_400))).isoformat()
