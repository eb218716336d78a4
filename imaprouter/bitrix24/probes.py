"""Who the webhook acts for, what it may do, and what time the portal has: for `check` and `init`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import flag, full_name, integer, mapping, moment, text
from imaprouter.errors import PortalUnreachable


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
