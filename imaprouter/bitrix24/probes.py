"""Who the webhook acts for, what it may do, and what time the portal has: for `check` and `init`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from imaprouter.bitrix24.commands import Command, value
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import flag, full_name, integer, mapping, moment, rows, text
from imaprouter.errors import PortalError, PortalUnreachable
from imaprouter.model import EntityType


@dataclass(frozen=True, slots=True)
class Profile:
    """The user whom a webhook acts for."""

    id: int
    name: str
    admin: bool


def profile(portal: Portal) -> Profile:
    """The webhook's creator."""
    row = mapping(portal.call("profile", read=True))
    name = full_name(row.get("NAME"), row.get("LAST_NAME"))
    return Profile(integer(row.get("ID")), name, flag(row.get("ADMIN")))


def scopes(portal: Portal) -> frozenset[str]:
    """The scopes that the webhook was given: crm, user_basic, im …"""
    found = mapping(portal.call("scope", read=True)).values()
    return frozenset(text(scope).lower() for scope in found)


def server_time(portal: Portal) -> datetime:
    """The portal's clock, with its offset."""
    now = moment(portal.call("server.time", read=True))
    if now is None:
        raise PortalUnreachable("server.time: the portal gave no time", method="server.time")
    return now


def unavailable(portal: Portal, methods: Sequence[str]) -> tuple[str, ...]:
    """Which of these methods the portal does not have, or not for this webhook. PortalError."""
    answers = portal.batch([Command("method.get", {"name": name.lower()}, read=True) for name in methods])
    found = [mapping(value(answer)) for answer in answers]
    return tuple(
        name
        for name, said in zip(methods, found, strict=True)
        if not (flag(said.get("isExisting")) and flag(said.get("isAvailable")))
    )


def visible(portal: Portal) -> dict[EntityType, int | PortalError]:
    """How many objects of each kind the first page of a list shows, or why there is none."""
    kinds = tuple(EntityType)
    answers = portal.batch(
        [
            Command("crm.item.list", {"entityTypeId": kind.type_id, "select": ["id"]}, read=True)
            for kind in kinds
        ]
    )
    return {
        kind: answer if isinstance(answer, PortalError) else len(rows(answer))
        for kind, answer in zip(kinds, answers, strict=True)
    }
