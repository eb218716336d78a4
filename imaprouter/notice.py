"""The one notification that the right responsible gets, in the language of the service. Pure.

A subject is a stranger's text, and so is the title of a deal that was made of a stranger's letter: BB codes
in it are made inert (the portal would render `[url=…]`, and break the line at `#BR#`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from gettext import NullTranslations

from imaprouter.model import Envelope
from imaprouter.text import clean

_LONGEST = 200
# Documented by Bitrix24 beside [BR]; a quotation or a foreign sentence could begin behind it.
_LINE_BREAK = re.compile(r"#(?=br#)", re.IGNORECASE)


def notice(envelope: Envelope, title: str, url: str, language: NullTranslations) -> str:
    """The text for im.notify, with the deal as a link."""
    sender = envelope.writers[0].email if envelope.writers else "?"
    template = language.gettext(
        "The e-mail “{subject}” from {sender} belongs to {link}. It lay elsewhere and has been moved."
    )
    return template.format(
        subject=inert(envelope.subject[:_LONGEST]) or language.gettext("(no subject)"),
        sender=inert(sender),
        link=link(title, url),
    )


def question(envelope: Envelope, place: str, candidates: Sequence[str], language: NullTranslations) -> str:
    """The text that asks a person to decide; `place` and `candidates` are links or names."""
    template = (
        language.gettext(
            "The e-mail “{subject}” from {sender} waits for a person to decide. It lies in {place} and may"
            " belong to {candidates}."
        )
        if candidates
        else language.gettext(
            "The e-mail “{subject}” from {sender} waits for a person to decide. It lies in {place}."
        )
    )
    sender = envelope.writers[0].email if envelope.writers else "?"
    return template.format(
        subject=inert(envelope.subject[:_LONGEST]) or language.gettext("(no subject)"),
        sender=inert(sender),
        place=place,
        candidates=", ".join(candidates),
    )


def reminder(subject: str, client: str, waiting: str, place: str, language: NullTranslations) -> str:
    """The text of `report --unanswered --notify`; `waiting` is a duration, `place` a link or ''."""
    template = (
        language.gettext(
            "The e-mail “{subject}” from {sender} has waited for an answer for {waiting}."
            " It belongs to {place}."
        )
        if place
        else language.gettext("The e-mail “{subject}” from {sender} has waited for an answer for {waiting}.")
    )
    return template.format(
        subject=inert(subject[:_LONGEST]) or language.gettext("(no subject)"),
        sender=inert(client) or "?",
        waiting=waiting,
        place=place,
    )


def link(title: str, url: str) -> str:
    """A stranger's title as a link."""
    return f"[url={url}]{inert(title) or url}[/url]"


def inert(text: str) -> str:
    """The text on one line, with its BB codes made ordinary characters."""
    return _LINE_BREAK.sub("# ", clean(text).replace("[", "(").replace("]", ")"))
