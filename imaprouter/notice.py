"""The one notification that the right responsible gets, in his portal's language. Pure.

A subject is a stranger's text: BB codes in it are made inert (the portal would render `[url=…]`).
"""

from __future__ import annotations

from typing import Literal

from imaprouter.model import Envelope

Language = Literal["en", "ru", "pl"]

_SENTENCES: dict[Language, str] = {
    "en": "The e-mail “{subject}” from {sender} belongs to {link}. It lay elsewhere and has been moved.",
    "ru": "Письмо «{subject}» от {sender} относится к {link}. Оно лежало в другом месте и перенесено.",
    "pl": "Wiadomość „{subject}” od {sender} należy do: {link}. Była gdzie indziej i została przeniesiona.",
}
_NO_SUBJECT: dict[Language, str] = {"en": "(no subject)", "ru": "(без темы)", "pl": "(bez tematu)"}
_LONGEST = 200


def language_of(locale: str) -> Language:
    """`ru_RU.UTF-8` gives 'ru', `pl_PL` gives 'pl', everything else 'en'."""
    word = locale[:2].lower()
    return "ru" if word == "ru" else "pl" if word == "pl" else "en"


def notice(envelope: Envelope, title: str, url: str, language: Language) -> str:
    """The text for im.notify, with the deal as a link."""
    sender = envelope.writers[0].email if envelope.writers else "?"
    return _SENTENCES[language].format(
        subject=_inert(envelope.subject[:_LONGEST]) or _NO_SUBJECT[language],
        sender=_inert(sender),
        link=f"[url={url}]{_inert(title) or url}[/url]",
    )


def _inert(text: str) -> str:
    return text.replace("[", "(").replace("]", ")")
