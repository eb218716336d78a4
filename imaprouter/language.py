"""In which language people are told things: the choice of it, and the catalogue of its sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from imaprouter.reasons import ENGLISH

LANGUAGES = ("en", "ru", "pl")
#: Holds LANGUAGE/LC_MESSAGES/imaprouter.{po,mo}; `./dev i18n` makes them. English is in the source.
LOCALE = Path(__file__).parent / "locale"


def language(name: str | None, environ: Mapping[str, str]) -> NullTranslations:
    """The sentences of `name`, or else of the environment's locale; English where that is another one.

    LC_ALL goes before LC_MESSAGES, and that before LANG; an empty variable counts as absent (POSIX.1-2017,
    XBD 8.2).
    """
    variables = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = name or next((environ[variable] for variable in variables if environ.get(variable)), "")
    word = re.split(r"[_.@-]", locale)[0].lower()
    if word == "en" or word not in LANGUAGES:
        return ENGLISH
    with catalogue(word, "mo").open("rb") as file:
        return GNUTranslations(file)


def catalogue(word: str, kind: str) -> Path:
    """Where the catalogue of a language lies: `kind` is 'po' or 'mo'."""
    return LOCALE / word / "LC_MESSAGES" / f"imaprouter.{kind}"
