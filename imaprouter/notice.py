"""The one notification that the right responsible gets, in the language of the service. Pure.

A subject is a stranger's text, and so is the title of a deal that was made of a stranger's letter: BB codes
in it are made inert (the portal would render `[url=…]`, and break the line at `#BR#`).
"""

from __future__ import annotations

import re
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
        link=f"[url={url}]{inert(title) or url}[/url]",
    )


def inert(text: str) -> str:
    """The text on one line, with its BB codes made ordinary characters."""
    return _LINE_BREAK.sub("# ", clean(text).replace("[", "(").replace("]", ")"))
