"""The `batch` method: fifty commands, their references to each other, five result maps (rest.md 1.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from imaprouter.sandbox.php_query import parse_query, to_wire
from imaprouter.sandbox.replies import Params, Refusal, legacy_param
from imaprouter.sandbox.rest import Rest

MAX_COMMANDS = 50
_REFERENCE = re.compile(r"\$result((?:\[[^\[\]]+\])+)")
_KEY = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of `cmd`: key, method in lower case, parameters with their references still in them."""

    key: str
    method: str
    params: Params


def commands(params: Params) -> list[Command]:
    """Read `cmd`. What is no string is skipped in silence; a raw `#` cuts off the rest (rest.md 1.6)."""
    cmd = legacy_param(params, "cmd")
    items = (
        list(cmd.items())
        if isinstance(cmd, Mapping)
        else list(enumerate(cmd))
        if isinstance(cmd, list)
        else []
    )
    return [_command(str(key), text) for key, text in items if isinstance(text, str)]


def _command(key: str, text: str) -> Command:
    url = urlsplit(text)
    return Command(key, method_name(url.path), parse_query(url.query))


def method_name(path: str) -> str:
    """The method that a path names: lower case, without `.json` (rest.md 1.1)."""
    return path.strip("/").lower().removesuffix(".json")


def run_batch(rest: Rest, params: Params) -> dict[str, Any]:
    """Run all commands and return the `result` of the batch; it succeeds even when every command fails."""
    halt = str(legacy_param(params, "halt") or "0").lower() not in ("0", "false", "n")
    results: dict[str, Any] = {}
    maps: dict[str, dict[str, Any]] = {
        "result": results,
        "result_error": {},
        "result_total": {},
        "result_next": {},
        "result_time": {},
    }
    for place, command in enumerate(commands(params)):
        failed = _refused(place, command)
        if failed is None:
            executed = rest.execute(command.method, _filled(command.params, results))
            maps["result_time"] |= {command.key: executed.time} if executed.time else {}
            failed = executed.outcome if isinstance(executed.outcome, Refusal) else None
            if not isinstance(executed.outcome, Refusal):
                results[command.key] = executed.outcome.result
                for name in ("total", "next"):
                    value = getattr(executed.outcome, name)
                    maps[f"result_{name}"] |= {command.key: value} if value is not None else {}
        if failed is not None:
            maps["result_error"][command.key] = rest.error(failed)
            if halt:
                break
    return {name: to_wire(items) for name, items in maps.items()}


def _refused(place: int, command: Command) -> Refusal | None:
    if place >= MAX_COMMANDS:
        return Refusal("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
    if command.method == "batch":
        return Refusal("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage", 405)
    return None


def _filled(value: Any, results: Mapping[str, Any]) -> Any:
    """Replace `$result[key][0][ID]`; what refers to nothing becomes empty."""
    if isinstance(value, Mapping):
        return {key: _filled(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, results) for item in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _resolved(whole.group(1), results)
    return _REFERENCE.sub(lambda match: _as_text(_resolved(match.group(1), results)), value)


def _resolved(path: str, results: Mapping[str, Any]) -> Any:
    found: Any = results
    for key in _KEY.findall(path):
        if isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, Mapping) and key in found:
            found = found[key]
        else:
            return ""
    return found


def _as_text(value: Any) -> str:
    return "" if value is None or isinstance(value, (Mapping, list)) else str(value)
