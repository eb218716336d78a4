"""Strangers' text made fit for comparison, logs and terminals. Pure."""

from __future__ import annotations

import re

_BLANKS = re.compile(r"[\s\x1c-\x1f\x85]+")
# The categories Cc, Cf and Cs, and letters and marks that are drawn with no width.
_HIDDEN = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff"
    "\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# Letters, marks and signs of Latin, Greek, Cyrillic and Hebrew, which nothing above is one of.
_PLAIN = re.compile("[ -~\xa1-\xac\xae-\u034e\u0350-\u05ff\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2116]*")


def clean(text: str) -> str:
    """Return text fit for logs, terminals and comparison: runs of blanks are one, nothing is hidden.

    Control, bidi, zero-width and surrogate characters go; line ends, tabs and no-break spaces count as
    blanks, as in the comparison with the portal's subject (mail-internals 3.2).
    """
    # Two questions of strings first, which cost a third of the pattern.
    if not (text.isascii() and text.isprintable()) and not _PLAIN.fullmatch(text):
        text = _BLANKS.sub(" ", _HIDDEN.sub("", text))
    elif "  " in text:
        text = _BLANKS.sub(" ", text)
    return text.strip(" ")
