"""The one notification that the right responsible gets, in the language of the service. Pure.

A subject is a stranger's text: BB codes in it are made inert (the portal would render `[url=…]`).
"""

from __future__ import annotations

from gettext import NullTranslations

from imaprouter.model import Envelope

_LONGEST = 200


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
    """The text with its BB codes made ordinary characters."""
    return text.replace("[", "(").replace("]", ")")
