"""E-mail activities and their bindings, as the binder asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from imaprouter.bitrix24 import rows
from imaprouter.bitrix24.commands import Answer, Command, value
from imaprouter.bitrix24.listing import PAGE, Listing, Walk, by_ids, pages
from imaprouter.bitrix24.portal import Portal
from imaprouter.bitrix24.values import Row, chunks, integer, moment
from imaprouter.bitrix24.values import rows as table
from imaprouter.errors import PortalDenied, PortalError, PortalOutcomeUnknown
from imaprouter.model import Activity, Binding

#: Ids are given in the order of insertion, not of commit: a long transaction of the mail sync may show an id
#: after a higher one was read (mail-internals 3.7).
OVERLAP = 100
#: Pages of news in one request. What is asked for behind the last one is read from the beginning (`listing`).
_MOST_NEWS = 10

_EMAILS = Listing(
    "crm.activity.list",
    {"select": rows.ACTIVITY_FIELDS},
    rows.activity,
    {"TYPE_ID": 4, "PROVIDER_ID": "CRM_EMAIL"},
    rows.is_email,
)


def email_activities_after(portal: Portal, last_id: int, expected: int = 0) -> list[Activity]:
    """E-mail activities above `last_id`, and again those just below it that may have come late, by id.

    One request while fewer are new than are `expected`, or than fifty. PortalError when the list could not be
    read.
    """
    news = Walk(_EMAILS, after=last_id)
    count = min(_MOST_NEWS, 1 + expected // PAGE)
    below = range(max(0, last_id - OVERLAP), last_id, PAGE)
    again = [_EMAILS.command({">ID": above, "<=ID": min(above + PAGE, last_id)}) for above in below]
    answers = portal.batch([*news.commands(0, count), *again])
    found = [row for answer in answers[count:] for row in table(value(answer))]
    wanted = {integer(row.get("ID")): row for row in found if integer(row.get("ID")) > last_id - OVERLAP}
    activities = {activity.id: activity for activity in _EMAILS.values(list(wanted.values()))}
    activities.update((activity.id, activity) for activity in news.take(answers[:count]))
    if not news.done:
        for portion in pages(portal, _EMAILS, after=news.last):
            activities.update((activity.id, activity) for activity in portion)
    return [activities[number] for number in sorted(activities)]


def email_activities(
    portal: Portal, *, created_since: datetime, created_until: datetime | None = None
) -> Iterator[list[Activity]]:
    """E-mail activities that the portal made in this time, both ends included, at most 2,500 at a time."""
    condition = {**_EMAILS.filter, ">=CREATED": created_since}
    if created_until is not None:
        condition["<=CREATED"] = created_until

    def accept(row: Row) -> bool:
        made = moment(row.get("CREATED"))
        if made is None or made < created_since.replace(microsecond=0):
            return False
        return rows.is_email(row) and (created_until is None or made <= created_until)

    return pages(portal, Listing(_EMAILS.method, _EMAILS.params, _EMAILS.parse, condition, accept))


def email_activities_of(portal: Portal, since: datetime, until: datetime) -> Iterator[list[Activity]]:
    """E-mail activities whose letter was written in this time, both ends included, at most 2,500 at a time.

    For the past: a mailbox that is connected late has CREATED of that day for all of its mail.
    """
    low, high = since.replace(microsecond=0), until.replace(microsecond=0)

    def accept(row: Row) -> bool:
        written = moment(row.get("START_TIME"))
        return rows.is_email(row) and written is not None and low <= written <= high

    condition = {**_EMAILS.filter, ">=START_TIME": low, "<=START_TIME": high}
    return pages(portal, Listing(_EMAILS.method, _EMAILS.params, _EMAILS.parse, condition, accept))


def email_activities_updated(portal: Portal, since: datetime) -> Iterator[list[Activity]]:
    """E-mail activities that anything touched at that time or later, at most 2,500 at a time.

    Every change of a binding stamps LAST_UPDATED (rest.md 2.7), and so do many others.
    """

    def accept(row: Row) -> bool:
        touched = moment(row.get("LAST_UPDATED"))
        return rows.is_email(row) and touched is not None and touched >= since.replace(microsecond=0)

    condition = {**_EMAILS.filter, ">=LAST_UPDATED": since}
    return pages(portal, Listing(_EMAILS.method, _EMAILS.params, _EMAILS.parse, condition, accept))


def email_activities_starting(portal: Portal, moments: Sequence[datetime]) -> list[Activity]:
    """E-mail activities whose START_TIME is one of these, to the second: looks for single letters.

    At most fifty for each moment.
    """
    wanted = {moment.replace(microsecond=0) for moment in moments}
    answers = portal.batch([_EMAILS.command({"START_TIME": when}) for when in sorted(wanted)])
    found = {activity.id: activity for answer in answers for activity in _EMAILS.values(table(value(answer)))}
    return [found[number] for number in sorted(found) if found[number].start_time in wanted]


def activities_by_id(portal: Portal, ids: Sequence[int]) -> dict[int, Activity]:
    """The e-mail activities with these ids, without those that are gone or cannot be read."""
    return {activity.id: activity for activity in by_ids(portal, _EMAILS, ids)}


def activity_lists(activity_ids: Sequence[int]) -> list[Command]:
    """The commands behind `activities_by_id`, for a batch of one's own; `listed_activities` reads them."""
    groups = chunks(sorted(set(activity_ids)), PAGE)
    return [_EMAILS.command({"@ID": list(group)}) for group in groups]


def listed_activities(answers: Iterable[Answer], activity_ids: Sequence[int]) -> dict[int, Activity]:
    """Those of these activities that the answers show; an error shows none."""
    found = [row for answer in answers if not isinstance(answer, PortalError) for row in table(answer)]
    wanted = set(activity_ids)
    return {activity.id: activity for activity in _EMAILS.values(found) if activity.id in wanted}


def bindings(portal: Portal, activity_ids: Sequence[int]) -> dict[int, tuple[Binding, ...] | PortalError]:
    """What each activity is bound to, in the portal's order, or why that cannot be read.

    Only objects that the webhook may read are named (rest.md 2.7), and no activity is without any: an empty
    list is PortalDenied. PHP writes a list without some of its rows as a map with numbers, and never an empty
    one as `{}`: that, or a row that is no binding, tells nothing.
    """
    return bindings_beside(portal, activity_ids, ())[0]


def bindings_beside(
    portal: Portal, activity_ids: Sequence[int], others: Sequence[Command]
) -> tuple[dict[int, tuple[Binding, ...] | PortalError], list[Answer]]:
    """The same, and the answers of other commands in the same batches."""
    wanted = list(dict.fromkeys(activity_ids))
    answers = portal.batch([*(binding_list(number) for number in wanted), *others])
    found = {
        number: _bindings(number, answer)
        for number, answer in zip(wanted, answers[: len(wanted)], strict=True)
    }
    return found, answers[len(wanted) :]


def _bindings(activity_id: int, answer: Answer) -> tuple[Binding, ...] | PortalError:
    if isinstance(answer, PortalError):
        return answer
    found, method = rows.bindings(answer), "crm.activity.binding.list"
    # What is read in part, or as nothing bound, would look like a person's hand.
    if (isinstance(answer, dict) and not answer) or len(found) != len(answer):
        return PortalOutcomeUnknown(f"{method}: answered with {str(answer)[:40]!r}", method=method)
    if not found:
        return PortalDenied(
            f"activity {activity_id} is bound to nothing that the webhook may see",
            code="access_denied",
            method=method,
            advice="give the webhook's user the right to read all deals, leads, contacts and companies",
        )
    return found


def binding_list(activity_id: int) -> Command:
    """The command behind `bindings`, for a batch of one's own; `rows.bindings` reads its answer."""
    return Command("crm.activity.binding.list", {"activityId": activity_id}, read=True)
