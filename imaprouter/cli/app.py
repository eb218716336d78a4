"""What every command shares: the configuration, the log, and errors with advice instead of a traceback."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from gettext import NullTranslations
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from imaprouter.errors import ConfigError, ImaprouterError, StoreError
from imaprouter.language import language

if TYPE_CHECKING:
    from imaprouter.config import Draft, Settings
    from imaprouter.store.journal import Journal


class App:
    """The global options; loads the configuration when a command asks for it."""

    def __init__(
        self, config: Path | None, *, log_format: str, verbosity: int, lang: str | None = None
    ) -> None:
        self._config = config
        self._log_format = cast(Literal["text", "json"], log_format)
        self.verbosity = verbosity
        #: What people are told about letters; errors, logs and --help are English.
        self.language: NullTranslations = language(lang, os.environ)
        self._settings: Settings | None = None

    def speak(self, lang: str) -> None:
        """What people are told is said in this language from now on."""
        self.language = language(lang, os.environ)

    @property
    def chosen_config(self) -> Path | None:
        """The file that --config names, whether there is one or not."""
        return self._config

    @property
    def settings(self) -> Settings:
        """The whole configuration. Raises ConfigError with every mistake in it."""
        if self._settings is None:
            self._settings = self._load()
        return self._settings

    def guarded_settings(self, *, insecure: bool, anew: bool = False) -> Settings:
        """The configuration for a service that runs for years: ConfigError when it gives its secrets away.

        `insecure` accepts that. `anew` reads the same file once more; the secrets of both stay masked.
        """
        if self._settings is None or anew:
            settings = self._load()
            if settings.exposed and not insecure:
                raise ConfigError(
                    "the secrets of this service are open to every user of this machine",
                    problems=settings.exposed,
                    advice="change the modes, or accept that with 'imaprouter run --insecure-permissions'",
                )
            self._settings = settings
        return self._settings

    def _load(self) -> Settings:
        from imaprouter.config import find_config, load

        known = self._settings
        settings = load(known.source if known else find_config(self._config, os.environ), os.environ)
        _mask_secrets(settings)
        return settings

    def draft(self) -> Draft:
        """The configuration with its mistakes. Raises ConfigError for a file that cannot be read."""
        from imaprouter.config import draft, find_config

        found = draft(find_config(self._config, os.environ), os.environ)
        _mask_secrets(found.settings)
        return found

    def start_log(self, *, default: int = 0) -> None:
        """Log to standard error; `default` shifts the level of a command that is quieter by nature."""
        from imaprouter.log import setup

        setup(self._log_format, self.verbosity + default)


def _mask_secrets(settings: Settings) -> None:
    """No line of the log may carry them, whoever writes it."""
    from imaprouter.log import register_secret

    for secret in settings.secrets:
        register_secret(secret)


pass_app = click.make_pass_decorator(App)


@contextmanager
def opened_journal(app: App, *, readonly: bool = False) -> Iterator[Journal]:
    """The journal of the configuration, until the end of the block. Raises StoreError when there is none."""
    from imaprouter.store.journal import Journal

    path = app.settings.store.path
    if not path.exists():
        raise StoreError(
            f"there is no journal at {path}", advice="'imaprouter run' makes it; check store.path"
        )
    journal = Journal(path, readonly=readonly)
    try:
        yield journal
    finally:
        journal.close()


class ReportingGroup(click.Group):
    """Turns our errors into a message, advice and the contract's exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImaprouterError as error:
            from imaprouter.log import mask

            if isinstance(ctx.obj, App) and ctx.obj.verbosity > 0:
                click.echo(mask(traceback.format_exc()), err=True, nl=False)
            click.echo(mask(_report(error)), err=True)
            raise click.exceptions.Exit(error.exit_code) from error


def hide_secrets_of_crashes() -> None:
    """What nobody foresaw is shown with its traceback, but without secrets."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        from imaprouter.log import mask

        click.echo(mask("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)

    sys.excepthook = show
    threading.excepthook = lambda args: show(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _report(error: ImaprouterError) -> str:
    lines = [f"imaprouter: {error.message}"]
    if isinstance(error, ConfigError):
        lines += [f"  - {problem}" for problem in error.problems]
    if error.advice:
        lines.append(f"  {error.advice}")
    return "\n".join(lines)
