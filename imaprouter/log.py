"""The log: named events with fields, on standard error, as text for people or as JSON Lines for programs.

Whatever is logged, by us or by a library, leaves without secrets and without what a terminal would obey.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, quote_plus

#: What stands in the place of a secret.
MASK = "***"

#: Too short to be told from ordinary text: masking every 'a' would only destroy the log.
_SHORTEST_SECRET = 4
# Slashes may be escaped (JSON as PHP writes it) or quoted (an address inside an address).
_SLASH = r"(?:\\*/|%2F)"
_WEBHOOK_CODE = re.compile(
    rf"({_SLASH}rest{_SLASH}(?:api{_SLASH})?\d+{_SLASH})[^/\s'\"?#\\%]+", re.IGNORECASE
)
_WORD = re.compile(r"[^\s\"'=\\]+")
_STANDARD_KEYS = frozenset({"time", "level", "event", "logger"})
_HANDLER = "imaprouter"

_LIBRARIES = {
    # One line per request, with the webhook's code in the address.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    # The whole conversation with the server: mail headers.
    "imapclient": logging.WARNING,
    # It logs what it cannot parse, header values included; the envelope's defects name that.
    "mailparser": logging.CRITICAL,
    # The error that made it wait, address included; the portal client says so itself.
    "stamina": logging.ERROR,
}

_secrets: list[str] = []


def setup(log_format: Literal["text", "json"], verbosity: int = 0) -> None:
    """Send the log to standard error, instead of where an earlier call sent it.

    `verbosity` 0 shows INFO and above, 1 also DEBUG, -1 from WARNING on, -2 only ERROR.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(_json_formatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(min(max(logging.INFO - 10 * verbosity, logging.DEBUG), logging.ERROR))
    for name, level in _LIBRARIES.items():
        logging.getLogger(name).setLevel(level)


def event(logger: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Log that something happened: a stable dotted name ("message.decided") and what is known of it."""
    if logger.isEnabledFor(level):
        # Not through `log`: it looks for the line of the caller, which nobody reads, once a letter.
        logger.handle(logger.makeRecord(logger.name, level, "", 0, name, (), None, extra={"fields": fields}))


def register_secret(value: str) -> None:
    """Mask this text in every line from now on, also quoted, escaped or in base64.

    Texts of less than four characters are not masked.
    """
    for form in _forms(value) if len(value) >= _SHORTEST_SECRET else ():
        if len(form) >= _SHORTEST_SECRET and form not in _secrets:
            _secrets.append(form)
    # The longer of two is masked whole.
    _secrets.sort(key=len, reverse=True)


def _forms(value: str) -> Iterator[str]:
    """What becomes of a text in addresses, JSON, Python's repr and SASL."""
    yield from (
        value,
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value).replace("/", "\\/")[1:-1],
    )
    raw = value.encode("utf-8", "surrogatepass")
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    # In the middle of something else its base64 depends on what stands before it, modulo three bytes;
    # the characters at both ends hold bits of the neighbours.
    for before in range(3):
        code = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        inner = code[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def mask(text: str) -> str:
    """Return the text without registered secrets and without the code of any webhook address."""
    if not _suspicious(text):
        return text
    for secret in _secrets:
        text = text.replace(secret, MASK)
    return _WEBHOOK_CODE.sub(rf"\1{MASK}", text)


def _suspicious(text: str) -> bool:
    """Whether there may be something to mask."""
    return any(secret in text for secret in _secrets) or "rest" in text.casefold()


def _inert(text: str) -> str:
    """Write control, bidi and other invisible characters, and lone surrogates, as JSON escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


class _TextFormatter(logging.Formatter):
    """`2026-11-24T12:00:00+03:00 INFO    message.decided id=7 subject="Re: offer"`, tracebacks below it."""

    def format(self, record: logging.LogRecord) -> str:
        time = _local_time(int(record.created))
        fields: dict[str, object] | None = getattr(record, "fields", None)
        what = record.getMessage() if fields is not None else f"{record.name}: {record.getMessage()}"
        texts = {key: str(value) for key, value in (fields or {}).items()}
        if _suspicious("\n".join((what, *texts.values()))):
            what, texts = mask(what), {key: mask(text) for key, text in texts.items()}
        words = [time, f"{record.levelname:<7}", _inert(what)]
        words += [f"{key}={_shown(text)}" for key, text in texts.items()]
        lines = [" ".join(words)]
        if record.exc_info:
            trace = mask(self.formatException(record.exc_info))
            lines += [f"    {_inert(line)}" for line in trace.splitlines()]
        return "\n".join(lines)


@lru_cache(maxsize=1)
def _local_time(second: int) -> str:
    """Most lines come in bursts within one second."""
    return datetime.fromtimestamp(second, UTC).astimezone().isoformat(timespec="seconds")


def _shown(text: str) -> str:
    if _WORD.fullmatch(text) and text.isprintable():
        return text
    return _inert(json.dumps(text, ensure_ascii=False))


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        ["levelname", "message", "name"],
        rename_fields={"levelname": "level", "message": "event", "name": "logger"},
        timestamp="time",
        json_serializer=_json_line,
    )


def _json_line(data: dict[str, object], **_: object) -> str:
    """One flat object: the standard keys, then the fields; a field of such a name gets an underscore."""
    fields = data.pop("fields", None)
    if isinstance(fields, dict):
        data |= {f"{key}_" if key in _STANDARD_KEYS else key: value for key, value in fields.items()}
    line = {"time": data.pop("time"), **data}
    return _inert(json.dumps(_plain(line), ensure_ascii=False))


def _plain(value: object) -> object:
    """What JSON can hold, texts masked."""
    match value:
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.isoformat(timespec="milliseconds")
        case timedelta():
            return value.total_seconds()
        case dict():
            return {mask(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return mask(str(value))
