"""`check`: the doctor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from imaprouter.cli.app import App, pass_app
from imaprouter.cli.decisions import as_line
from imaprouter.errors import ConfigError

if TYPE_CHECKING:
    from imaprouter.config import Draft
    from imaprouter.doctor import Check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@pass_app
def check(app: App, as_json: bool) -> None:
    """Look at all that the service needs, and say what to do; changes nothing anywhere.

    Exit code 1 if anything failed, 2 if the configuration cannot be used.

    \b
    Example:
        imaprouter check
        imaprouter check --json
    """
    from imaprouter.doctor import State

    app.start_log(default=-2)
    usable, failures = True, 0
    for found in all_checks(app):
        click.echo(as_line(as_values(found)) if as_json else as_text(found))
        failures += found.state is State.FAILED
        usable = usable and not (found.name == "configuration" and found.state is State.FAILED)
    if not usable:
        sys.exit(ConfigError.exit_code)
    sys.exit(1 if failures else 0)


def all_checks(app: App) -> Iterator[Check]:
    """The configuration first; then everything that it names, as far as it is right."""
    from imaprouter.doctor import examine
    from imaprouter.doctor.findings import failed

    try:
        draft = app.draft()
    except ConfigError as error:
        yield failed("configuration", error.message, error.advice)
        return
    yield from _of_configuration(draft)
    settings = draft.settings
    yield from examine(
        settings,
        portal_settings=settings.portal if draft.is_sound("portal") else None,
        mailbox_settings=[
            mailbox
            for number, mailbox in enumerate(settings.mailboxes)
            if draft.is_sound("mailboxes", number)
        ],
    )


def _of_configuration(draft: Draft) -> Iterator[Check]:
    from imaprouter.doctor.findings import failed, ok, warning

    settings = draft.settings
    source = str(settings.source or "")
    problems = list(draft.problems)
    for require in (settings.require_portal, settings.require_mailboxes):
        try:
            require()
        except ConfigError as error:
            key = error.problems[0].partition(".")[0].partition(":")[0]
            # A table that is there and wrong is no missing one.
            if draft.is_sound(key):
                problems += error.problems
    for problem in problems:
        yield failed("configuration", problem, subject=source)
    # Files have checks of their own.
    for said in settings.warnings:
        if said not in settings.exposed:
            yield warning("configuration", said, subject=source)
    if not problems:
        number = len(settings.mailboxes)
        yield ok("configuration", f"1 portal, {number} mailbox{'es' * (number > 1)}", source)


def as_values(found: Check) -> dict[str, str]:
    from imaprouter.log import mask

    values = {"check": found.name, "subject": found.subject, "state": found.state.value}
    return {**values, "found": mask(found.found), "advice": mask(found.advice)}


def as_text(found: Check) -> str:
    """One line, whatever a server has said."""
    from imaprouter.log import mask
    from imaprouter.text import clean

    title = f"{found.name} {found.subject}".strip()
    advice = f"; {found.advice}" if found.advice else ""
    return f"{found.state.value:<8}{clean(mask(f'{title}: {found.found}{advice}'))}"
