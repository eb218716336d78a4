"""Rows of the simulated database: from a snapshot's own field names to typed columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.fields import (
    ACTIVITY,
    COLUMNS,
    COMPANY,
    CONTACT,
    DEAL,
    ENTITY_NAMES,
    LEAD,
    LINKS,
    MULTIFIELDS,
)
from imaprouter.sandbox.values import stored, whole

Row = dict[str, Any]
EMAIL_TYPE_ID = 4
_URN_IN_ID = re.compile(r"crm\.activity\.((\d+)-\w+)@", re.IGNORECASE)
_FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
_WORK_ENDS_AT = 19

_DEFAULTS: Mapping[int, Row] = {
    DEAL: {"OPENED": "Y", "CATEGORY_ID": 0, "STAGE_ID": "NEW", "IS_RECURRING": "N", "CURRENCY_ID": "RUB"},
    LEAD: {"OPENED": "Y", "STATUS_ID": "NEW", "IS_RETURN_CUSTOMER": "N"},
    CONTACT: {"OPENED": "Y"},
    COMPANY: {"OPENED": "Y"},
}
#: The column that names the stage, its meaning, and the stages that are not 'in progress'.
_STAGES: Mapping[int, tuple[str, str, Mapping[str, str]]] = {
    DEAL: ("STAGE_ID", "STAGE_SEMANTIC_ID", {"WON": "S", "LOSE": "F", "APOLOGY": "F"}),
    LEAD: ("STATUS_ID", "STATUS_SEMANTIC_ID", {"CONVERTED": "S", "JUNK": "F"}),
}


def load_snapshot(path: Path | str) -> dict[str, Any]:
    """Read a CRM snapshot (contract section 5) from a JSON file."""
    loaded: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return loaded


def entity_row(
    type_id: int, raw: Mapping[str, Any], *, zone: tzinfo, now: datetime, ids: Iterator[int]
) -> Row:
    """Return the full row of a deal, lead, contact or company; `ids` numbers its multifield values."""
    row: Row = dict.fromkeys(COLUMNS[type_id])
    row |= _DEFAULTS[type_id] | {"DATE_CREATE": now, "ASSIGNED_BY_ID": 1}
    if type_id in LINKS:
        row[LINKS[type_id]] = []
    changed(type_id, row, raw, zone=zone, ids=ids)
    row["DATE_MODIFY"] = row["DATE_MODIFY"] or row["DATE_CREATE"]
    row["LAST_ACTIVITY_TIME"] = row["LAST_ACTIVITY_TIME"] or row["DATE_CREATE"]
    return row


def changed(type_id: int, row: Row, raw: Mapping[str, Any], *, zone: tzinfo, ids: Iterator[int]) -> None:
    """Write `raw` into the row, and what follows from it: stage meaning, primary links, HAS_EMAIL."""
    columns = COLUMNS[type_id]
    for name, value in raw.items():
        if name in MULTIFIELDS:
            row[name] = _multifield(name, value, ids)
        elif name in LINKS.values():
            row[name] = [number for number in map(whole, value or []) if number]
        else:
            row[name] = stored(value, columns[name], zone) if name in columns else value
    _derive_links(type_id, row, raw)
    _derive_stage(type_id, row, raw)
    for name in MULTIFIELDS:
        if f"HAS_{name}" in columns:
            row[f"HAS_{name}"] = "Y" if row.get(name) else "N"


def _multifield(name: str, values: Any, ids: Iterator[int]) -> list[Row]:
    plain = [{"VALUE": value} if isinstance(value, str) else value for value in values or []]
    return [
        {
            "ID": str(value.get("ID") or next(ids)),
            "VALUE_TYPE": value.get("VALUE_TYPE") or "WORK",
            "VALUE": str(value["VALUE"]).strip(),
            "TYPE_ID": name,
        }
        for value in plain
    ]


def _derive_links(type_id: int, row: Row, raw: Mapping[str, Any]) -> None:
    """The primary link is the first of all: CONTACT_ID of CONTACT_IDS, COMPANY_ID of COMPANY_IDS."""
    links = LINKS.get(type_id)
    if links is None:
        return
    primary = links.removesuffix("S")
    if primary in raw and links not in raw:
        row[links] = [row[primary]] if row[primary] else []
    row[primary] = row[links][0] if row[links] else None


def _derive_stage(type_id: int, row: Row, raw: Mapping[str, Any]) -> None:
    if type_id not in _STAGES:
        return
    stage, meaning, final = _STAGES[type_id]
    if meaning not in raw and (stage in raw or row[meaning] is None):
        row[meaning] = final.get(str(row[stage]).rpartition(":")[2], "P")
    if type_id == DEAL:
        row["CLOSED"] = "N" if row[meaning] == "P" else "Y"


def activity_row(raw: Mapping[str, Any], *, zone: tzinfo, now: datetime) -> Row:
    """Return the full row of an e-mail activity with the importer's defaults (mail-internals 3.1).

    Fields that REST never shows (URN, PARENT_ID, UF_MAIL_MESSAGE) are kept beside the columns. The URN of a
    letter that the CRM sent is in its Message-ID too, from where a snapshot's activities have it.
    """
    row: Row = dict.fromkeys(ACTIVITY)
    row |= {
        "TYPE_ID": EMAIL_TYPE_ID,
        "PROVIDER_ID": "CRM_EMAIL",
        "ASSOCIATED_ENTITY_ID": 0,
        "CREATED": now,
        "LAST_UPDATED": now,
        "START_TIME": now,
        "END_TIME": end_of_work(now.astimezone(zone)),
        "DEADLINE": _FOREVER.replace(tzinfo=zone),
        "COMPLETED": "N",
        "PRIORITY": 2,
        "NOTIFY_TYPE": 0,
        "DESCRIPTION_TYPE": 3,
        "DIRECTION": 1,
        "LOCATION": "",
        "SETTINGS": {},
        "PROVIDER_PARAMS": {},
        "RESULT_MARK": 0,
        "RESULT_STATUS": 0,
        "RESULT_STREAM": 0,
        "AUTOCOMPLETE_RULE": 0,
        "IS_INCOMING_CHANNEL": "Y",
        "COMMUNICATIONS": [],
        "FILES": [],
    }
    for name, value in raw.items():
        if name != "BINDINGS":
            row[name] = stored(value, ACTIVITY[name], zone) if name in ACTIVITY else value
    row["URN"] = row.get("URN") or _urn(row)
    row["STATUS"] = status_of(row["COMPLETED"])
    row["EDITOR_ID"] = row["EDITOR_ID"] or row["RESPONSIBLE_ID"]
    return row


def _urn(row: Row) -> str:
    """The URN in `<crm.activity.<URN>@<host>>`, '' if the Message-ID is another's (mail-internals 4)."""
    headers = row["SETTINGS"].get("MESSAGE_HEADERS") if isinstance(row["SETTINGS"], dict) else None
    message_id = headers.get("Message-Id") if isinstance(headers, dict) else None
    found = _URN_IN_ID.search(str(message_id or ""))
    return found.group(1) if found and found.group(2) == str(row["ID"]) else ""


def status_of(completed: str) -> int:
    """STATUS follows COMPLETED: N is 1, Y is 2 (rest.md 2.2)."""
    return 2 if completed == "Y" else 1


def end_of_work(now: datetime) -> datetime:
    """The end of the working day today if it is still ahead, else tomorrow's (mail-internals 3.1)."""
    end = now.replace(hour=_WORK_ENDS_AT, minute=0, second=0, microsecond=0)
    return end if end > now else end + timedelta(days=1)


def bindings_of(raw: Mapping[str, Any]) -> list[Pair]:
    """The bindings of a snapshot's activity: its own BINDINGS, else its owner alone."""
    given = raw.get("BINDINGS") or [raw]
    pairs = [(whole(each.get("OWNER_TYPE_ID")), whole(each.get("OWNER_ID"))) for each in given]
    return [(type_id, entity_id) for type_id, entity_id in pairs if type_id and entity_id]


def title_of(type_id: int, row: Row) -> str:
    """What people call an object."""
    name = " ".join(str(row[part]) for part in ("NAME", "LAST_NAME") if row.get(part))
    return str(row.get("TITLE") or name or f"{ENTITY_NAMES[type_id]} {row['ID']}")
