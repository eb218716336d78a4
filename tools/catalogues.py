"""./dev i18n: what imaprouter says to people, collected into the catalogues of imaprouter/locale; compiled.

Translations that exist are kept, what is no longer said is dropped, what is new comes in untranslated: write
its translation into the .po file and run it again. Nothing is guessed from similar sentences.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from imaprouter.language import LANGUAGES, catalogue
from imaprouter.model import Outcome, Result, State, Verdict
from imaprouter.reasons import SENTENCES

PACKAGE = Path(__file__).resolve().parents[1] / "imaprouter"
TRANSLATED = tuple(language for language in LANGUAGES if language != "en")

_KEYWORDS = {"N_": None, "_": None, "gettext": None, "ngettext": (1, 2)}


def template() -> Catalog:
    """Everything that has to be translated, with singular and plural of a reason as one message."""
    catalog = Catalog()
    # In the source, each of the two stands marked by itself.
    pairs: dict[str | tuple[str, ...], str | tuple[str, ...]]
    pairs = {one: (one, many) for one, many, _ in SENTENCES.values() if many}
    plurals = {many for _, many, _ in SENTENCES.values() if many}
    for file, _line, said, _comments, _context in extract_from_dir(PACKAGE, keywords=_KEYWORDS):
        if said not in plurals:
            catalog.add(pairs.get(said, said), locations=[(f"imaprouter/{file}", 1)])
    for value in chain(State, Result, Verdict, (Outcome.LEAVE, Outcome.IGNORE)):
        catalog.add(value.value, locations=[("imaprouter/model.py", 1)])
    return catalog


def read(language: str) -> Catalog:
    """The catalogue of a language as it lies in the package."""
    with catalogue(language, "po").open("rb") as file:
        # Without the locale, Babel takes two plural forms for granted.
        return read_po(file, locale=language)


def updated(language: str) -> Catalog:
    """The same with what is said now."""
    catalog = read(language)
    catalog.update(template(), no_fuzzy_matching=True, update_creation_date=False)
    catalog.obsolete.clear()
    return catalog


def source(catalog: Catalog) -> bytes:
    """The text of a .po file. Without line numbers: they would change with every edit of the code."""
    file = io.BytesIO()
    write_po(file, catalog, width=110, include_lineno=False)
    return file.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """The content of a .mo file."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def untranslated(catalog: Catalog) -> Iterator[Message]:
    """Messages without a translation, or with one in which a plural form is empty or that is 'fuzzy'."""
    for message in catalog:
        forms = message.string if isinstance(message.string, tuple | list) else (message.string,)
        if message.id and (message.fuzzy or not all(forms)):
            yield message


def main() -> int:
    missing = 0
    for language in TRANSLATED:
        catalog = updated(language)
        catalogue(language, "po").write_bytes(source(catalog))
        catalogue(language, "mo").write_bytes(compiled(catalog))
        for message in untranslated(catalog):
            missing += 1
            sys.stdout.write(f"{language}: not translated: {message.id!r}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
