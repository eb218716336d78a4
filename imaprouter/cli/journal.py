"""`journal`: is the file sound?"""

from __future__ import annotations

import sys

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line


@click.group()
def journal() -> None:
    """The file that holds what happened.

    \b
    Example:
        imaprouter journal check
    """


@journal.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def journal_check(app: App, as_json: bool) -> None:
    """Integrity of the journal, with advice; exit 1 when something is wrong. Changes nothing.

    \b
    Example:
        imaprouter journal check --json
    """
    from imaprouter.store.soundness import examine

    checks = examine(app.settings.store.path)
    for check in checks:
        if as_json:
            values = {"check": check.name, "ok": check.ok, "detail": check.detail, "advice": check.advice}
            click.echo(as_line(values))
        else:
            click.echo(f"{'ok' if check.ok else 'WRONG':<6}{check.name:<12}{check.detail}")
            if check.advice:
                click.echo(f"{'':<18}{check.advice}")
    if not all(check.ok for check in checks):
        sys.exit(1)
