"""`run`: the service."""

from __future__ import annotations

import logging

import click

from imaprouter.cli.app import App, pass_app

logger = logging.getLogger(__name__)


@click.command()
@click.option("--once", is_flag=True, help="Catch up, bind what can be bound now, and exit.")
@pass_app
def run(app: App, once: bool) -> None:
    """Watch all mailboxes and correct the portal's bindings, until SIGTERM or Ctrl-C.

    \b
    Example:
        imaprouter --config /etc/imaprouter/imaprouter.toml run
        imaprouter run --once
    """
    from imaprouter.log import event
    from imaprouter.service import Service

    app.start_log()
    for warning in app.settings.warnings:
        event(logger, logging.WARNING, "config.warning", warning=warning)
    service = Service(app.settings, language=app.language)
    if once:
        recorded = service.run_once()
        text = app.language.ngettext("{count} new message", "{count} new messages", recorded)
        click.echo(text.format(count=recorded))
    else:
        service.run()
