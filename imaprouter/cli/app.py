"""What every command shares: the configuration, the log, and errors with advice instead of a traceback."""

from __future__ import annotations

import os
import traceback
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from imaprouter.errors import ConfigError, ImaprouterError
from imaprouter.language import language

if TYPE_CHECKING:
    from imaprouter.config import Draft, Settings


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
    def settings(self) -> Settings:
        """The whole configuration. Raises ConfigError with every mistake in it."""
        if self._settings is None:
            from imaprouter.config import find_config, load

            self._settings = load(find_config(self._config, os.environ), os.environ)
            _mask_secrets(self._settings)
        return self._settings

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


class ReportingGroup(click.Group):
    """Turns our errors into a message, advice and the contract's exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImaprouterError as error:
            if isinstance(ctx.obj, App) and ctx.obj.verbosity > 0:
                traceback.print_exc()
            click.echo(_report(error), err=True)
            raise click.exceptions.Exit(error.exit_code) from error


def _report(error: ImaprouterError) -> str:
    lines = [f"imaprouter: {error.message}"]
    if isinstance(error, ConfigError):
        lines += [f"  - {problem}" for problem in error.problems]
    if error.advice:
        lines.append(f"  {error.advice}")
    return "\n".join(lines)
