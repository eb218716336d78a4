"""Tables into dataclasses, collecting every problem instead of stopping at the first."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

from imaprouter.config.values import FromEnvironment, convert

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: What can stand behind the name of a secret.
FORMS = ("", "_file", "_env")

_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_INDEX = re.compile(r"\[\d+\]")


class Reader:
    """Reads the tables of one configuration; `problems` and `warnings` are sentences that begin by a key."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        #: Sentences about files that give the secrets away to every user of the machine.
        self.exposed: list[str] = []
        #: Files that secrets were read from.
        self.secret_files: list[Path] = []
        #: Keys whose secret stands in the file itself.
        self.inline_secrets: list[str] = []
        self.folder = folder
        self._environ = environ

    def problem(self, key: str, what: str) -> None:
        self.problems.append(f"{key}: {what}")

    def table(self, cls: type[T], raw: object, where: str) -> T:
        """Read a table as `cls`. What is left out or wrong gets its default; the wrong is a problem, too."""
        if not isinstance(raw, dict):
            self.problem(where, "expected a table")
            return cls()
        self._unknown_keys(cls, raw, where)
        hints = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = key_of(item)
            key = f"{where}.{name}"
            if item.metadata.get("required") and not _is_given(item, raw):
                self.problem(key, "is missing")
            elif item.metadata.get("secret"):
                values[item.name] = self._secret(raw, item.name, where)
            elif name not in raw:
                continue
            elif is_dataclass(hints[item.name]):
                values[item.name] = self.table(hints[item.name], raw[name], key)
            else:
                try:
                    values[item.name] = convert(hints[item.name], raw[name], _INDEX.sub("", key))
                except ValueError as error:
                    self.problem(_origin(raw[name], key), str(error))
        return cls(**values)

    def authorities(self, path: str, key: str) -> str:
        """Return the absolute path of a file of certificates that a key names, '' for ''.

        One that cannot be read, or holds no certificate, is a problem.
        """
        if not path:
            return ""
        import ssl  # 10 ms that most configurations save

        absolute = self._absolute(path)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=absolute)
        except ssl.SSLError:
            self.problem(key, f"{absolute} holds no PEM certificates")
        except OSError as error:
            self.problem(key, f"cannot read {absolute}: {error.strerror}")
        return str(absolute)

    def _unknown_keys(self, cls: type, raw: Mapping[str, Any], where: str) -> None:
        names = {key_of(item): bool(item.metadata.get("secret")) for item in fields(cls)}
        known = [
            *names,
            *(f"{name}{form}" for name, secret in names.items() if secret for form in FORMS if form),
        ]
        for key in raw:
            if key not in known:
                self.unknown(f"{where}.{key}", key, known)

    def unknown(self, key: str, name: str, known: list[str]) -> None:
        """Report a key that nobody knows, with the nearest one that somebody does."""
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
        self.problem(key, f"unknown key; {hint}")

    def _secret(self, raw: Mapping[str, Any], name: str, where: str) -> str:
        given = [f"{name}{form}" for form in FORMS if raw.get(f"{name}{form}", "") != ""]
        if len(given) > 1:
            self.problem(f"{where}.{name}", f"given twice, as {' and '.join(given)}; keep one")
        if not given:
            return ""
        value = raw[given[0]]
        key = _origin(value, f"{where}.{given[0]}")
        if not isinstance(value, str):
            self.problem(key, "expected a text")
            return ""
        if given[0] == name:
            if not isinstance(value, FromEnvironment):
                self.inline_secrets.append(key)
            return str(value)
        found = self._from_file(value, key) if given[0].endswith("_file") else self._from_variable(value, key)
        if found == "":
            self.problem(key, "what it names is empty")
        return found or ""

    def _from_variable(self, name: str, key: str) -> str | None:
        value = self._environ.get(name)
        if value is None:
            # Whoever mistakes x_env for x has written the secret here.
            shown = name if _VARIABLE.fullmatch(name) else "that it names"
            self.problem(key, f"the environment variable {shown} is not set")
        return value

    def _from_file(self, name: str, key: str) -> str | None:
        path = self._absolute(name)
        try:
            text = path.read_text(encoding="utf-8")
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            # As above: what does not look like a path may be the secret itself, and keys hold slashes.
            is_path = re.match(r"[/\\.~$]|\w:", name) or (re.search(r"[/\\]", name) and _exists(path.parent))
            shown = str(path) if is_path else f"the file that it names in {self.folder}"
            self.problem(key, f"cannot read {shown}: {reason}")
            return None
        self.secret_files.append(path)
        if means := open_to_all(path, mode):
            self.exposed.append(f"{key}: every user of this machine can {means} {path}: chmod 600 {path}")
        return text.rstrip("\r\n")

    def _absolute(self, name: str) -> Path:
        # $CREDENTIALS_DIRECTORY is where systemd puts what LoadCredential= names.
        return self.folder / Template(name).safe_substitute(self._environ)


def _exists(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):
        return False


def open_to_all(path: Path, mode: int) -> Literal["", "read", "change"]:
    """Say what every user of the machine can do with a file of this mode; on Windows the mode does not say.

    Nothing, where a folder above it lets nobody else through.
    """
    if os.name != "posix" or not mode & 0o006:
        return ""
    if not all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents):
        return ""
    return "read" if mode & 0o004 else "change"


def key_of(item: Field[Any]) -> str:
    """What the file calls a field: some names are words of Python's."""
    return str(item.metadata.get("key", item.name))


def _is_given(item: Field[Any], raw: Mapping[str, Any]) -> bool:
    forms = FORMS if item.metadata.get("secret") else ("",)
    return any(raw.get(f"{key_of(item)}{form}", "") != "" for form in forms)


def _origin(value: object, key: str) -> str:
    """Where to mend a value: its variable when the environment gave it, else its key."""
    return value.variable if isinstance(value, FromEnvironment) else key
