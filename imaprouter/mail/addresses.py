"""Address fields to `Address` values: a quick path for what nearly all mail has, mail-parser for the rest.

A display name is never promoted to an address, whatever it looks like (peers.md F22, imap.md 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mailparser.utils import get_addresses

from imaprouter.address import normalise
from imaprouter.mail.charset import Note
from imaprouter.mail.words import decode, shield
from imaprouter.model import Address
from imaprouter.text import clean

#: Addresses that are read from one field (imap.md 5).
MOST_ADDRESSES = 1000
#: RFC 5321 4.5.3.1: 64 octets of local part, '@', 255 octets of domain.
_LONGEST_ADDRESS = 320
_LONGEST_NAME = 300

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
# One list item: "name" <address>, name <address>, <address>, or address. The name has no specials.
_PLAIN = re.compile(
    rf"\s*+(?:(?:\"([^\"\\]*+)\"|([^\",:;<>()\[\]\\@]*+))\s*+<({_ADDRESS})>|({_ADDRESS}))\s*+(?:,|\Z)"
)
_QUOTED = re.compile(r"\"[^\"]*+\"")
_SEPARATOR = re.compile(r"[\s<>\"(),:;]+")
_QUOTED_OR_GROUP = re.compile(r"[\":]")
_DOMAIN = r"[^\s\"<>(),;@.](?:[^\s\"<>(),;@]*[^\s\"<>(),;@.])?"
_EMAIL = re.compile(rf"(?:\"[^\"]+\"|[^\s\"<>(),:;@]+)@{_DOMAIN}")


def addresses_in(text: str) -> tuple[Address, ...]:
    """Return the addresses of an address field that is already text, in order; for the portal's own lines."""
    return read([text], lambda what: None)[0]


def read(values: Iterable[str], note: Note) -> tuple[tuple[Address, ...], bool]:
    """Return the addresses of all occurrences of a field, and whether each can be read in one way only.

    `values` have their encoded words still in place: decoded first, a name could pose as an address.
    """
    found: list[Address] = []
    clear = True
    for value in values:
        if not value.strip():
            continue
        pairs = _quick(value)
        if pairs is None:
            pairs, unambiguous = _careful(value, note)
            clear = clear and unambiguous
            found.extend(_addresses(pairs, note))
        else:
            found.extend(_plain_addresses(pairs, note))
        if len(found) > MOST_ADDRESSES:
            note(f"more than {MOST_ADDRESSES} addresses")
            break
    return tuple(found[:MOST_ADDRESSES]), clear


def _quick(value: str) -> list[tuple[str, str]] | None:
    """Read a list of plain items; None when anything in it is out of the ordinary."""
    pairs: list[tuple[str, str]] = []
    position, end = 0, len(value)
    while position < end:
        item = _PLAIN.match(value, position)
        if item is None:
            return None
        quoted, name, bracketed, bare = item.groups()
        pairs.append((quoted or name or "", bracketed or bare))
        position = item.end()
        if len(pairs) > MOST_ADDRESSES:
            break
    return pairs


def _careful(value: str, note: Note) -> tuple[list[tuple[str, str]], bool]:
    """Read a list with mail-parser, then what it refuses to read the way a person would."""
    value = shield(value)
    if ";" in value and not _QUOTED_OR_GROUP.search(value):
        value = value.replace(";", ",")  # Outlook's separator
    doubts: list[dict[str, Any]] = []
    pairs = get_addresses(value, defects=doubts)
    clear = True
    for doubt in doubts:
        if doubt["recovered"] or not doubt["raw"].strip(" <>;"):
            continue
        rescued = list(_rescued(doubt["raw"]))
        pairs += rescued
        # A second From field, folded into the first one, looks like this (imap.md 5).
        clear = len({normalise(clean(email)) for _, email in pairs if "@" in email}) < 2
        note("an item that breaks the grammar" if rescued else "an item that is no address")
    return pairs, clear


def _rescued(item: str) -> Iterator[tuple[str, str]]:
    """Find names and addresses in an item that breaks the grammar.

    Where there is a bracket, only what it holds can be the address; what stands before it is a name.
    """
    name, bracket, rest = item.partition("<")
    if not bracket:
        yield from (("", email) for email in _bare(_QUOTED.sub(" ", item)))
        return
    for part in rest.split("<"):
        yield from ((name.strip(' "'), email) for email in _bare(part.partition(">")[0]))
        name = ""


def _bare(text: str) -> Iterator[str]:
    for token in _SEPARATOR.split(text):
        local, _, domain = token.partition("@")
        if local and domain and "@" not in domain:
            yield token


def _plain_addresses(pairs: Iterable[tuple[str, str]], note: Note) -> Iterator[Address]:
    """As `_addresses`, of what matched _ADDRESS: lower case is all that `normalise` would make of it."""
    for name, written in pairs:
        if len(written) > _LONGEST_ADDRESS:
            note("an address that is too long")
            continue
        email = written.lower()
        yield Address(email, _shown(name, email, note) if name else "")


def _addresses(pairs: Iterable[tuple[str, str]], note: Note) -> Iterator[Address]:
    for name, written in pairs:
        if len(written) > _LONGEST_ADDRESS:
            note("an address that is too long")
            continue
        email = clean(normalise(clean(written)))
        if _EMAIL.fullmatch(email):
            yield Address(email, _shown(name, email, note))


def _shown(name: str, email: str, note: Note) -> str:
    """The name as people see it; '' where it only repeats the address."""
    shown = clean(decode(name, note))[:_LONGEST_NAME]
    return "" if shown.lower() == email else shown
