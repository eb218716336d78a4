"""E-mail addresses, Message-IDs and ids of the portal in the one form in which they are compared. Pure."""

from __future__ import annotations

import contextlib
import re

import idna

# IDNA knows four full stops (RFC 3490 3.1).
_DOTS_AND_BLANKS = ".。．｡ \t"
_ID = re.compile(r"<\s*([^<>\s]+)\s*>")


def normalise(address: str) -> str:
    """Return an address as it is compared: trimmed, lower-cased, IDN domain in ASCII, no trailing dot.

    The portal compares lower(trim(address)) (mail-internals 8); plus-tags and dots therefore stay.
    A text without '@' gives ''. Never raises.
    """
    local, at, domain = address.strip().strip("<>").strip().rpartition("@")
    domain = _plain_domain(domain)
    if not at or not local or not domain:
        return ""
    if len(local) > 2 and local[0] == local[-1] == '"' and re.fullmatch(r"[\w.+-]+", local[1:-1]):
        local = local[1:-1]
    return f"{local.lower()}@{domain}"


def _plain_domain(domain: str) -> str:
    domain = domain.strip(_DOTS_AND_BLANKS).lower()
    if not domain.isascii():
        with contextlib.suppress(idna.IDNAError):
            domain = idna.encode(domain, uts46=True).decode("ascii").strip(_DOTS_AND_BLANKS)
    return domain


def domain_of(address: str) -> str:
    """Return the domain of a normalised address, '' when it has none."""
    return address.rpartition("@")[2]


def split_tag(address: str) -> tuple[str, str]:
    """Split `sales+d123@company.ru` into `sales@company.ru` and `d123`; without a tag the second is ''."""
    if "+" not in address:
        return address, ""
    local, _, domain = address.rpartition("@")
    base, plus, tag = local.partition("+")
    return (f"{base}@{domain}", tag) if plus and base else (address, "")


def portal_id(digits: str) -> int:
    """An id of the portal out of strangers' text; 0 for what is none, or is longer than any id."""
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else 0


def canonical_id(message_id: str) -> str:
    """Return a Message-ID as it is compared: lower case, no angle brackets, '' when it names nothing.

    Some gateways add a comment behind the brackets ('<a@b> (added by postmaster@…)'): what stands inside
    the first pair counts.
    """
    found = _ID.search(message_id) if "<" in message_id else None
    text = found.group(1) if found else message_id.strip().strip("<>").strip()
    return "" if len(text.split()) > 1 else text.lower()
