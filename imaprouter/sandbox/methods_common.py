"""What is no CRM data: users, notifications, reference lists, and what a webhook may ask about itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

from imaprouter.sandbox.fields import Kind
from imaprouter.sandbox.filters import legacy_conditions
from imaprouter.sandbox.listing import legacy_page, ordered, passing
from imaprouter.sandbox.replies import Call, Method, Refusal, Reply, legacy_array, legacy_param
from imaprouter.sandbox.rows import Row
from imaprouter.sandbox.values import iso, whole

ALL_SCOPES = ("crm", "im", "mail", "task", "user", "user_basic", "user_brief")
_USER_SCOPES = frozenset({"user", "user_basic", "user_brief"})
_USER_COLUMNS = {
    "ID": Kind.INT,
    "ACTIVE": Kind.TEXT,
    "EMAIL": Kind.TEXT,
    "NAME": Kind.TEXT,
    "LAST_NAME": Kind.TEXT,
    "SECOND_NAME": Kind.TEXT,
    "WORK_POSITION": Kind.TEXT,
    "USER_TYPE": Kind.TEXT,
}
_SHOWN_USERS = frozenset({"employee", "extranet"})
#: Entities of crm.status.list: (STATUS_ID, NAME, SEMANTICS).
_DEAL_STAGES = (
    ("NEW", "New", None),
    ("PREPARATION", "In work", None),
    ("WON", "Won", "S"),
    ("LOSE", "Lost", "F"),
)
_LEAD_STAGES = (("NEW", "New", None), ("CONVERTED", "Converted", "S"), ("JUNK", "Junk", "F"))


def user_get(call: Call) -> Reply:
    """user.get: ID a string, ACTIVE a boolean, EMAIL not in scope user_brief, no bots (rest.md 4.4)."""
    filter_ = dict(legacy_array(call.params, "filter"))
    for key in [key for key in filter_ if key.lstrip("=!") == "ACTIVE"]:
        filter_[key] = _flag(filter_[key])
    people = [user for _, user in sorted(call.crm.users.items()) if user["USER_TYPE"] in _SHOWN_USERS]
    rows: Iterable[Row] = passing(
        ({**user, "ACTIVE": _flag(user["ACTIVE"])} for user in people),
        legacy_conditions(filter_, _USER_COLUMNS, call.crm.zone),
    )
    sort = str(legacy_param(call.params, "sort") or "ID")
    direction = legacy_param(call.params, "order")
    rows = ordered(rows, {sort: direction if isinstance(direction, str) else "ASC"}, _USER_COLUMNS)
    page = legacy_page(rows, legacy_param(call.params, "start"))
    return Reply([_user(call, call.crm.users[row["ID"]]) for row in page.rows], page.total, page.next)


def user_current(call: Call) -> Reply:
    """user.current: the webhook's user."""
    return Reply(_user(call, _webhook_user(call)))


def _webhook_user(call: Call) -> Row:
    return call.crm.users.get(call.user_id) or {"ID": call.user_id, "NAME": "Webhook", "ACTIVE": True}


def _flag(value: Any) -> str:
    return "N" if str(value).strip().lower() in ("", "0", "n", "false", "none") else "Y"


def _user(call: Call, user: Row) -> Row:
    shown = {
        "ID": str(user["ID"]),
        "ACTIVE": _flag(user["ACTIVE"]) == "Y",
        "NAME": user.get("NAME") or "",
        "LAST_NAME": user.get("LAST_NAME") or "",
        "SECOND_NAME": user.get("SECOND_NAME") or "",
        "USER_TYPE": user.get("USER_TYPE") or "employee",
    }
    if call.scopes & {"user", "user_basic"}:
        shown["EMAIL"] = user.get("EMAIL") or ""
        shown["WORK_POSITION"] = user.get("WORK_POSITION") or ""
        shown["UF_DEPARTMENT"] = user.get("UF_DEPARTMENT", [1] if shown["USER_TYPE"] == "employee" else [])
    return shown


def notify(kind: Literal["personal", "system"], call: Call) -> Reply:
    """im.notify.*: a new id each time, TAG ignored as over any webhook (mail-internals 6)."""
    user_id = whole(legacy_param(call.params, "user_id"))
    if not user_id or user_id <= 0:
        raise Refusal("USER_ID_EMPTY", "User ID can't be empty")
    message = str(legacy_param(call.params, "message") or "").strip()
    if not message:
        raise Refusal("MESSAGE_EMPTY", "Message can't be empty")
    if user_id not in call.crm.users:
        return Reply(False)
    return Reply(call.crm.notify(user_id, message, kind, call.user_id))


def notify_any(call: Call) -> Reply:
    """im.notify: TYPE is USER (default) or SYSTEM."""
    system = str(legacy_param(call.params, "type") or "USER").upper() == "SYSTEM"
    return notify("system" if system else "personal", call)


def status_list(call: Call) -> Reply:
    """crm.status.list: stages of each pipeline and of leads; ENTITY_ID must be a plain text (rest.md 4.4)."""
    wanted = legacy_array(call.params, "filter").get("ENTITY_ID")
    stages = {"STATUS": _LEAD_STAGES} | {
        f"DEAL_STAGE_{number}" if number else "DEAL_STAGE": tuple(
            (f"C{number}:{id_}" if number else id_, name, meaning) for id_, name, meaning in _DEAL_STAGES
        )
        for number in call.crm.categories
    }
    rows = [
        _status(place, entity, *stage)
        for entity, entity_stages in stages.items()
        for place, stage in enumerate(entity_stages)
        if not isinstance(wanted, str) or entity == wanted
    ]
    return Reply([{"ID": str(number + 1), **row} for number, row in enumerate(rows)])


def _status(place: int, entity: str, status_id: str, name: str, semantics: str | None) -> Row:
    meanings: Mapping[str | None, str] = {None: "process", "S": "success", "F": "failure"}
    return {
        "ENTITY_ID": entity,
        "STATUS_ID": status_id,
        "NAME": name,
        "NAME_INIT": name,
        "SORT": str((place + 1) * 10),
        "SYSTEM": "Y",
        "CATEGORY_ID": entity.removeprefix("DEAL_STAGE_") if entity.startswith("DEAL_STAGE_") else None,
        "COLOR": "",
        "SEMANTICS": semantics,
        "EXTRA": {"SEMANTICS": meanings[semantics], "COLOR": ""},
    }


def profile(call: Call) -> Reply:
    """profile: who the webhook acts for."""
    user = _webhook_user(call)
    return Reply(
        {
            "ID": str(user["ID"]),
            "ADMIN": call.quirks.admin,
            "NAME": user.get("NAME") or "",
            "LAST_NAME": user.get("LAST_NAME") or "",
            "PERSONAL_GENDER": "",
            "TIME_ZONE": user.get("TIME_ZONE") or "",
        }
    )


def scope(call: Call) -> Reply:
    """scope: granted scopes, or with `full` all there are."""
    full = _flag(legacy_param(call.params, "full")) == "Y"
    return Reply(list(ALL_SCOPES) if full else sorted(call.scopes))


def server_time(call: Call) -> Reply:
    """server.time: the portal's time with its offset."""
    return Reply(iso(call.now, call.crm.zone))


METHODS = {
    "user.get": Method(user_get, _USER_SCOPES),
    "user.current": Method(user_current, _USER_SCOPES),
    "im.notify": Method(notify_any, frozenset({"im"}), writes=True),
    "im.notify.personal.add": Method(partial(notify, "personal"), frozenset({"im"}), writes=True),
    "im.notify.system.add": Method(partial(notify, "system"), frozenset({"im"}), writes=True),
    "crm.status.list": Method(status_list),
    "profile": Method(profile, frozenset()),
    "scope": Method(scope, frozenset()),
    "server.time": Method(server_time, frozenset()),
}
