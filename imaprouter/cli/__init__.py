"""The command line: thin, one file a group; the only place where the rooms are put together.

Results go to standard output, everything else to standard error. Heavy imports happen inside commands, so
that `--help` and completion stay quick.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from imaprouter.cli.app import App, ReportingGroup, hide_secrets_of_crashes
from imaprouter.language import LANGUAGES

#: Each command's module, and what `--help` says of it: the first sentence of its own help. A command is
#: imported when it is called.
COMMANDS = {
    "backfill": (
        "past",
        "Route mail that came before the service, and bind its activities. Not while a service runs.",
    ),
    "cache": ("cache", "The local copy of deals, contacts, companies, leads and users."),
    "check": ("check", "Look at all that the service needs, and say what to do; changes nothing anywhere."),
    "demo": (
        "demo",
        "Show the whole job on a sample company: twelve letters arrive, land wrongly, and are moved.",
    ),
    "evaluate": (
        "past",
        "What would have been done with past mail, against where its activities are now. Writes nothing.",
    ),
    "explain": (
        "messages",
        "Why a message went where it did: REF is its journal id or its Message-ID.",
    ),
    "export": (
        "export",
        "Contacts, companies and deals of the index, activities and decisions of the journal, as a table.",
    ),
    "health": (
        "status",
        "One line for each part of the service; exit code 0 when all are well, 1 when not.",
    ),
    "init": (
        "init",
        "Ask for what is needed, test it, and write a first configuration with mode 0600.",
    ),
    "journal": ("journal", "The file that holds what happened."),
    "marker": (
        "marker",
        "The subject marker of a deal, plain or signed; or written into a user field of the deals.",
    ),
    "queue": ("messages", "Messages that wait for a person, oldest first; and a person's answer."),
    "replay": (
        "replay",
        "Decide for .eml files, folders of them, mbox files, Maildirs or `-`, and say why.",
    ),
    "report": (
        "report",
        "Count messages, how they ended, and how long clients wait; from journal and index alone.",
    ),
    "run": ("run", "Watch all mailboxes and correct the portal's bindings, until SIGTERM or Ctrl-C."),
    "sandbox": (
        "demo",
        "Serve a simulated portal and an embedded mailbox, to rehearse a configuration against.",
    ),
    "status": ("status", "Mailboxes, waiting messages, last refresh and last errors; asks no server."),
    "support-bundle": (
        "support",
        "Put what a helper needs to know into one archive (zip), and list what is in it.",
    ),
    "transfer": (
        "transfer",
        "Move activities between timelines: e-mails, calls and all others, of all time or of a period.",
    ),
    "undo": ("undo", "Put activities back where they were before imaprouter changed them."),
}


class Commands(ReportingGroup):
    """The commands of COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in COMMANDS:
            module = import_module(f"imaprouter.cli.{COMMANDS[cmd_name][0]}")
            self.add_command(_speaking(getattr(module, cmd_name.replace("-", "_"))))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, without importing the commands."""
        room = formatter.width - 6 - max(map(len, COMMANDS))
        summaries = {name: click.Command(name, help=said) for name, (_, said) in COMMANDS.items()}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(room)) for name, command in sorted(summaries.items())]
            )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


def main() -> None:
    """The console script."""
    hide_secrets_of_crashes()
    cli(prog_name="imaprouter")
