"""Bitrix24: does it answer, is the webhook valid, may it do its work, is its clock right. Reads only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from imaprouter.bitrix24.index import users as employees
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.probes import (
    Profile,
    profile,
    scopes,
    server_time,
    unavailable,
    visible,
)
from imaprouter.config import PortalSettings, Settings
from imaprouter.doctor.findings import Check, failed, ok, span, warning
from imaprouter.errors import PortalDenied, PortalError, StoreError
from imaprouter.model import EntityType
from imaprouter.store.journal import Journal

TIMEOUT = timedelta(seconds=8)
SKEW = timedelta(minutes=2)
#: Refusals that are younger speak of rights that are still missing.
LATELY = timedelta(days=7)

WRITES = (
    "crm.activity.binding.add",
    "crm.activity.binding.delete",
    "crm.activity.binding.move",
    "crm.activity.update",
)
_USERS = frozenset({"user", "user_basic"})


def checks(chosen: PortalSettings, settings: Settings) -> Iterator[Check]:
    """Each question by itself, once the webhook is known to be valid."""
    portal = Portal(
        chosen.webhook_url,
        requests_per_second=chosen.requests_per_second,
        burst=chosen.burst,
        timeout=min(chosen.timeout, TIMEOUT),
        ca_file=chosen.ca_file,
        # One attempt: a person waits for the answer.
        patience=timedelta(),
    )
    with contextlib.closing(portal):
        began = datetime.now(UTC)
        try:
            who = profile(portal)
        except PortalDenied as error:
            yield ok("portal.connection", f"{portal.base_url_masked} answers")
            yield failed("portal.webhook", error.message, error.advice or "look at the webhook in Bitrix24")
            return
        except PortalError as error:
            advice = error.advice or "check portal.webhook_url, the network, and the portal in a browser"
            yield failed("portal.connection", error.message, advice)
            return
        took = datetime.now(UTC) - began
        yield ok("portal.connection", f"{portal.base_url_masked} answers in {took.total_seconds():.1f} s")
        yield ok("portal.webhook", f"acts for {who.name or 'user'} (user {who.id})")
        for check in (_scopes, _methods, _reading, _users, _clock):
            try:
                yield from check(portal, settings)
            except PortalError as error:
                name = f"portal{check.__name__.replace('_', '.')}"
                yield failed(
                    name, error.message, error.advice or "try again; if it stays so, ask its support"
                )
        yield _editing(who, settings)


def _scopes(portal: Portal, settings: Settings) -> Iterator[Check]:
    granted = scopes(portal)
    writes = settings.binding.mode == "act"
    missing = [] if "crm" in granted else ["crm"]
    missing += [] if granted & _USERS else ["user_basic"]
    needs_im = bool(settings.binding.notify or settings.review.notify or settings.alerts.users)
    missing += ["im"] if needs_im and writes and "im" not in granted else []
    missing += ["mail"] if settings.binding.create_missing and writes and "mail" not in granted else []
    found = ", ".join(sorted(granted)) or "none"
    advice = "add it to the webhook in Bitrix24: Developer resources, Integrations"
    if missing:
        yield failed("portal.scopes", f"{', '.join(missing)} is missing (granted: {found})", advice)
    elif needs_im and "im" not in granted:
        yield warning("portal.scopes", f'im is missing for binding.mode = "act" (granted: {found})', advice)
    else:
        yield ok("portal.scopes", found)


def _methods(portal: Portal, settings: Settings) -> Iterator[Check]:
    missing = unavailable(portal, WRITES)
    if missing:
        advice = "the scope crm, or an update of the portal, brings them"
        yield failed("portal.methods", f"not available: {', '.join(missing)}", advice)
    else:
        yield ok("portal.methods", "bindings can be changed")


def _reading(portal: Portal, settings: Settings) -> Iterator[Check]:
    found = visible(portal)
    advice = "give the webhook's creator the right to read all deals, contacts, companies and leads"
    for kind, answer in found.items():
        if isinstance(answer, PortalError):
            yield failed("portal.reading", answer.message, answer.advice or advice, subject=kind.value)
    read = [kind.value for kind, answer in found.items() if not isinstance(answer, PortalError) and answer]
    if found[EntityType.DEAL] == 0:
        yield warning("portal.reading", "no deal is to be seen", advice)
    elif read:
        yield ok("portal.reading", f"sees objects of the kinds {', '.join(read)}")


def _users(portal: Portal, settings: Settings) -> Iterator[Check]:
    """Those who are to be told; the portal takes a notification to nobody without a complaint."""
    users = settings.alerts.users
    if not users:
        return
    active = {user.id for user in employees(portal) if user.active}
    unknown = ", ".join(str(number) for number in users if number not in active)
    if unknown:
        yield warning("portal.users", f"alerts.users: no such employee: {unknown}", "correct the numbers")
    else:
        yield ok("portal.users", f"alerts.users: all {len(users)} exist")


def _clock(portal: Portal, settings: Settings) -> Iterator[Check]:
    before = datetime.now(UTC)
    told = server_time(portal)
    ours = before + (datetime.now(UTC) - before) / 2
    skew = told - ours
    if abs(skew) > SKEW:
        whose = "ahead of" if skew > timedelta() else "behind"
        yield warning(
            "portal.clock",
            f"the portal's clock is {span(skew)} {whose} ours",
            "set this machine's clock by NTP; a portal of your own, too",
        )
    else:
        yield ok("portal.clock", f"within {span(SKEW)} of ours")


def _editing(who: Profile, settings: Settings) -> Check:
    """No call tells whether an object may be edited, but a write; those that were refused are on record."""
    refused = 0
    with contextlib.suppress(StoreError):
        if settings.store.path.exists():
            journal = Journal(settings.store.path, readonly=True)
            with contextlib.closing(journal):
                refused = journal.figures.refused(datetime.now(UTC) - LATELY)
    if refused:
        return warning(
            "portal.editing",
            f"{refused} writes were refused within {span(LATELY)} for want of a right",
            "give the webhook's creator the right to edit all deals, contacts, companies and leads",
        )
    if who.admin:
        return ok("portal.editing", "the webhook's creator is an administrator")
    return ok(
        "portal.editing",
        "the webhook's creator is no administrator; no write was refused lately, and only a write tells more",
    )
