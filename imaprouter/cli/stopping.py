"""Commands that take long: stopped in order, and what they tell beside their results."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from imaprouter.errors import Interrupted, MailboxError, PortalError

_GO_ON = "what was done is kept; the same command goes on where it stopped"


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM stop in order; then Interrupted says how to go on."""
    from imaprouter.service import on_signals

    stop = threading.Event()
    with on_signals(stop.set):
        try:
            yield stop
        except (MailboxError, PortalError):
            if not stop.is_set():
                raise
    if stop.is_set():
        raise Interrupted("stopped", advice=_GO_ON)


def tell(text: str) -> None:
    """Say something beside the results."""
    click.echo(text, err=True)
