"""Settings from environment variables, laid over what the file says: IMAPROUTER_SECTION__KEY. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from imaprouter.config.values import FromEnvironment

PREFIX = "IMAPROUTER_"
_MOST_MAILBOXES = 1000


def overlay(document: dict[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Write each variable into `document`, which is changed; yield what is wrong with a variable's name."""
    for name in sorted(environ):
        # Without a double underscore it is an option of a command: IMAPROUTER_CONFIG.
        if name.startswith(PREFIX) and "__" in name:
            path = name.removeprefix(PREFIX).lower().split("__")
            try:
                _place(document, path, FromEnvironment(environ[name], name))
            except ValueError as error:
                yield f"{name}: {error}"


def _place(document: dict[str, Any], path: list[str], value: FromEnvironment) -> None:
    node: Any = document
    for part, following in pairwise(path):
        node = _step(node, part, [] if following.isdecimal() else {})
    if not isinstance(node, dict) or not path[-1]:
        raise ValueError("names no key")
    # The environment decides: x of the file gives way to x_env of the environment and so on.
    stem = path[-1].removesuffix("_file").removesuffix("_env")
    for form in (stem, f"{stem}_file", f"{stem}_env"):
        if form in node and not isinstance(node[form], FromEnvironment):
            del node[form]
    node[path[-1]] = value


def _step(node: Any, part: str, empty: Any) -> Any:
    if isinstance(node, dict):
        return node.setdefault(part, empty)
    if isinstance(node, list) and part.isdecimal() and int(part) < _MOST_MAILBOXES:
        node += [{} for _ in range(int(part) + 1 - len(node))]
        return node[int(part)]
    raise ValueError("names no key")
