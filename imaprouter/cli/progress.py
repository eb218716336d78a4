"""How far something long has come: a bar on a terminal, a line for every tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gettext import NullTranslations
from typing import Any

import click

#: Told what is done, how much of it, and of how much.
Show = Callable[[str, int, int], None]


@contextmanager
def progress(language: NullTranslations) -> Iterator[Show]:
    """On standard error. The names of what is done are translated."""
    if sys.stderr.isatty():
        with _bars(language) as show:
            yield show
    else:
        yield _Lines(language)


@contextmanager
def counted(total: int, of_what: str, language: NullTranslations) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more of one thing are done. A handful shows nothing."""
    if total < _FEW:
        yield lambda more: None
        return
    with progress(language) as show:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            show(of_what, done, total)

        yield count


_FEW = 20


class _Lines:
    def __init__(self, language: NullTranslations) -> None:
        self._language = language
        self._said: dict[str, int] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if self._said.get(what, 0) < tenth and total:
            self._said[what] = tenth
            name = self._language.gettext(what)
            click.echo(f"{name}: {10 * tenth} % ({done}/{total})", err=True)


@contextmanager
def _bars(language: NullTranslations) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(language.gettext(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
