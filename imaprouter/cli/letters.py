"""Letters from files: .eml, folders of them, mbox, Maildir, standard input. Reads only."""

from __future__ import annotations

import mailbox
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from imaprouter.text import clean

# Enough for any header; bodies are not read.
_LARGEST = 4 * 1024 * 1024


def letters_in(paths: Iterable[str]) -> Iterator[tuple[str, bytes | str]]:
    """(source, raw message) for every letter; (source, problem) where something cannot be read.

    A folder is searched for .eml files in its whole depth, in the order of their names.
    """
    for name in paths:
        if name == "-":
            yield "-", sys.stdin.buffer.read(_LARGEST)
            continue
        path = Path(name)
        if not path.exists():
            yield _shown(name), "no such file or folder"
        elif path.is_dir() and (path / "cur").is_dir():
            yield from _maildir(path)
        elif path.is_dir():
            for found in sorted(path.rglob("*.eml")):
                yield from _file(found)
        elif _is_mbox(path):
            yield from _mbox(path)
        else:
            yield from _file(path)


def _file(path: Path) -> Iterator[tuple[str, bytes | str]]:
    try:
        with path.open("rb") as file:
            yield _shown(path), file.read(_LARGEST)
    except OSError as error:
        yield _shown(path), error.strerror or str(error)


def _maildir(path: Path) -> Iterator[tuple[str, bytes | str]]:
    for folder in ("cur", "new"):
        if (path / folder).is_dir():
            for found in sorted((path / folder).iterdir()):
                if found.is_file():
                    yield from _file(found)


def _is_mbox(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return path.suffix != ".eml" and file.read(5) == b"From "
    except OSError:
        return False


def _mbox(path: Path) -> Iterator[tuple[str, bytes | str]]:
    box = mailbox.mbox(path, create=False)
    try:
        for number, key in enumerate(box.iterkeys(), start=1):
            yield f"{_shown(path)}#{number}", box.get_bytes(key)
    finally:
        box.close()


def _shown(path: str | Path) -> str:
    """A path fit for a terminal: mail servers name files, and not all names are text."""
    return clean(os.fsencode(path).decode("utf-8", "replace"))
