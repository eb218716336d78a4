"""`run`: the service."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, pass_app

if TYPE_CHECKING:
    from imaprouter.config import Settings

logger = logging.getLogger(__name__)


@click.command()
@click.option("--once", is_flag=True, help="Catch up, bind what can be bound now, and exit.")
@click.option(
    "--insecure-permissions",
    "insecure",
    is_flag=True,
    help="Run even when every user of this machine can read the secrets.",
)
@pass_app
def run(app: App, once: bool, insecure: bool) -> None:
    """Watch all mailboxes and correct the portal's bindings, until SIGTERM or Ctrl-C.

    SIGHUP takes up a changed configuration; one with mistakes is refused, and the log names them.

    \b
    Example:
        imaprouter --config /etc/imaprouter/imaprouter.toml run
        imaprouter run --once
    """
    from imaprouter.log import event
    from imaprouter.service import Service

    def settings(*, anew: bool = False) -> Settings:
        found = app.guarded_settings(insecure=insecure, anew=anew)
        for warning in found.warnings:
            event(logger, logging.WARNING, "config.warning", warning=warning)
        return found

    app.start_log()
    service = Service(settings(), language=app.language, read_again=lambda: settings(anew=True))
    if once:
        recorded = service.run_once()
        text = app.language.ngettext("{count} new message", "{count} new messages", recorded)
        click.echo(text.format(count=recorded))
    else:
        service.run()
