"""How far a long command is: a bar on a terminal, a line for each tenth elsewhere; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def counted(total: int, of_what: str) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more were done. A handful shows nothing."""
    if total < _FEW:
        yield lambda more: None
    elif sys.stderr.isatty():
        with _bar(total, of_what) as count:
            yield count
    else:
        done = 0

        def line(more: int) -> None:
            nonlocal done
            before, done = done * 10 // total, done + more
            if done * 10 // total > before:
                click.echo(f"{done} of {total} {of_what}", err=True)

        yield line


_FEW = 20


@contextmanager
def _bar(total: int, of_what: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(of_what, total=total)
        yield lambda more: bars.advance(task, more)
