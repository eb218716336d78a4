"""Which domains belong to one organisation, and which belong to nobody in particular. No rule itself."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList

# Anybody can have an address there: sharing such a domain says nothing about a company.
FREE_MAIL = frozenset(
    {
        *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com"),
        *("icloud.com", "me.com", "aol.com", "gmx.com", "gmx.net", "gmx.de", "web.de", "mail.com"),
        *("zoho.com", "proton.me", "protonmail.com", "fastmail.com"),
        *("yandex.ru", "yandex.com", "yandex.by", "yandex.kz", "ya.ru", "mail.ru", "inbox.ru", "list.ru"),
        *("bk.ru", "internet.ru", "rambler.ru", "lenta.ru", "autorambler.ru", "myrambler.ru", "ro.ru"),
        *("ukr.net", "i.ua", "meta.ua", "tut.by"),
        *("wp.pl", "o2.pl", "onet.pl", "onet.eu", "op.pl", "interia.pl", "interia.eu", "poczta.fm"),
        *("gazeta.pl", "tlen.pl", "vp.pl"),
    }
)


def organisation(domain: str) -> str:
    """Return the domain that was registered: `horns.ru` of `mail.horns.ru`; '' for a bare public suffix."""
    registered: str | None = _suffixes().privatesuffix(domain) if domain else None
    return registered or ""


def corporate(domain: str) -> str:
    """Return the organisation of a domain, '' when anybody can have an address there."""
    found = organisation(domain)
    return "" if found in FREE_MAIL else found


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
