"""One value of the configuration: from what TOML or a variable holds to the type of its setting. Pure."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from imaprouter.config.settings import Size, Start

Limit = int | float | timedelta

#: The least and the greatest value of each setting that has them, by key.
LIMITS: dict[str, tuple[Limit, Limit]] = {
    "portal.requests_per_second": (0.1, 100.0),
    "portal.burst": (1, 1000),
    "portal.timeout": (timedelta(seconds=1), timedelta(minutes=10)),
    "mailboxes.port": (1, 65535),
    "cache.refresh_every": (timedelta(seconds=30), timedelta(days=1)),
    "cache.full_every": (timedelta(hours=1), timedelta(days=30)),
    "routing.loop.limit": (0, 10_000),
    "binding.wait": (timedelta(minutes=1), timedelta(days=30)),
    "binding.poll_every": (timedelta(seconds=1), timedelta(minutes=10)),
    "alerts.mailbox_after": (timedelta(minutes=1), timedelta(days=7)),
    "alerts.review_after": (timedelta(minutes=1), timedelta(days=30)),
    "alerts.index_after": (timedelta(minutes=10), timedelta(days=30)),
    "limits.header_bytes": (4_096, 64_000_000),
}

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES = {"b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
_DURATION = re.compile(r"(\d{1,9})\s*([smhd])")
_SIZE = re.compile(r"(\d{1,12})\s*([a-z]+)", re.IGNORECASE)


class FromEnvironment(str):
    """A value out of an environment variable, whose name is `variable`."""

    __slots__ = ("variable",)

    def __new__(cls, text: str, variable: str) -> FromEnvironment:
        value = super().__new__(cls, text)
        value.variable = variable
        return value

    variable: str


def convert(hint: Any, value: object, key: str) -> object:
    """Return `value` as the type `hint`, within the limits of `key`. ValueError says what was expected."""
    limits = LIMITS.get(key)
    if isinstance(value, FromEnvironment):
        value = _from_text(hint, value)
    try:
        result = _converted(hint, value)
    except ValueError:
        raise ValueError(f"expected {describe(hint, limits)}, not {_shown(value)}") from None
    if limits and not limits[0] <= result <= limits[1]:
        raise ValueError(f"expected {describe(hint, limits)}, not {_shown(value)}")
    return result


def _from_text(hint: Any, text: str) -> object:
    """Read what a variable holds: as it is where a text is wanted, as a TOML value where it is not."""
    if hint in (str, Path, timedelta, Start, Size) or _is_choice(hint):
        return str(text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return str(text)


def _converted(hint: Any, value: object) -> Any:
    if hint is timedelta:
        return parse_duration(value)
    if hint == Size:
        return parse_size(value)
    if hint == Start:
        return parse_start(value)
    if hint is Path:
        return parse_path(value)
    # Most of the time that reading a configuration takes is this import's.
    import msgspec

    return msgspec.convert(value, hint)


def parse_duration(value: object) -> timedelta:
    """Read `30s`, `5m`, `24h`, `2d`. ValueError on anything else."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError("no duration")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def parse_size(value: object) -> int:
    """Read a number of bytes: 65536, `500kB`, `1MB`, `1MiB`. ValueError on anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip() if isinstance(value, str) else ""
    if text.isdecimal():
        return int(text)
    found = _SIZE.fullmatch(text)
    if not found or found[2].lower() not in _BYTES:
        raise ValueError("no size")
    return int(found[1]) * _BYTES[found[2].lower()]


def parse_start(value: object) -> Start:
    """Read `new`, `all` or a date, TOML's own or as text. ValueError on anything else."""
    if value == "new":
        return "new"
    if value == "all":
        return "all"
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return date.fromisoformat(value.strip())
    raise ValueError("no start")


def parse_path(value: object) -> Path:
    """Read a path; `~` is the user's home. ValueError when it names nothing."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        # `~nobody`: the system knows no home for it.
        raise ValueError("no path") from None


def describe(hint: Any, limits: tuple[Limit, Limit] | None = None) -> str:
    """Say in words what a setting of this type may be."""
    span = f" from {_limit(hint, limits[0])} to {_limit(hint, limits[1])}" if limits else ""
    if hint is timedelta:
        return f"a duration{span} (30s, 5m, 24h, 2d)"
    if hint == Size:
        return f"a size{span} (500kB, 1MB)"
    if hint == Start:
        return '"new", "all" or a date (2026-01-31)'
    if _is_choice(hint):
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each {describe(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"a table, each value {describe(get_args(hint)[1])}"
    return {str: "a text", Path: "a path", bool: "true or false", int: "a whole number"}.get(
        hint, "a number"
    ) + span


def _is_choice(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _limit(hint: Any, value: Limit) -> str:
    if isinstance(value, timedelta):
        units: dict[str, float] = dict(_SECONDS)
        number: float = value.total_seconds()
    elif hint == Size:
        units, number = {"B": 1, "kB": 1000, "MB": 1000**2}, value
    else:
        return f"{value:g}"
    unit, size = next((unit, size) for unit, size in reversed(units.items()) if number % size == 0)
    return f"{number / size:g}{unit}"


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
