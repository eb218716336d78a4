"""The command line: thin, one file a group; the only place where the rooms are put together.

Results go to standard output, everything else to standard error. Heavy imports happen inside commands, so
that `--help` and completion stay quick.
"""

from __future__ import annotations

from pathlib import Path

import click

from imaprouter.cli.app import App, ReportingGroup, hide_secrets_of_crashes
from imaprouter.cli.cache import cache
from imaprouter.cli.check import check
from imaprouter.cli.demo import demo, sandbox
from imaprouter.cli.export import export
from imaprouter.cli.journal import journal
from imaprouter.cli.marker import marker
from imaprouter.cli.messages import explain, queue
from imaprouter.cli.replay import replay
from imaprouter.cli.report import report
from imaprouter.cli.run import run
from imaprouter.cli.status import health, status
from imaprouter.cli.undo import undo
from imaprouter.language import LANGUAGES


@click.group(
    cls=ReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file; else $IMAPROUTER_CONFIG, ./imaprouter.toml, /etc/imaprouter/imaprouter.toml.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of the log.")
@click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    envvar="IMAPROUTER_LANG",
    help="Language of reasons and notices; else $IMAPROUTER_LANG, then the locale.",
)
@click.option("-v", "--verbose", count=True, help="Log more; an error also shows where it came from.")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
@click.version_option(package_name="imaprouter", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    context: click.Context,
    config: Path | None,
    log_format: str,
    lang: str | None,
    verbose: int,
    quiet: bool,
) -> None:
    """Binds the e-mail activities that Bitrix24 makes to the deal they belong to, and says why.

    \b
    Try it without any configuration:
        imaprouter demo
    """
    context.obj = App(config, log_format=log_format, verbosity=-1 if quiet else verbose, lang=lang)


def _speaking(command: click.Command) -> click.Command:
    """The command with --lang of its own, behind its name as well as before it; so its subcommands."""
    option = click.Option(
        ["--lang"],
        type=click.Choice(LANGUAGES),
        expose_value=False,
        callback=_speak,
        help="Language of reasons and notices.",
    )
    command.params.append(option)
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _speaking(each)
    return command


def _speak(context: click.Context, _option: click.Parameter, lang: str | None) -> None:
    app = context.find_object(App)
    if lang and app:
        app.speak(lang)


for command in (
    *(cache, check, demo, explain, export, health, journal, marker),
    *(queue, replay, report, run, sandbox, status, undo),
):
    cli.add_command(_speaking(command))


def main() -> None:
    """The console script."""
    hide_secrets_of_crashes()
    cli(prog_name="imaprouter")
