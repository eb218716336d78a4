"""Which domains belong to one organisation, and which belong to nobody in particular. No rule itself."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList

# Anybody can have an address there: sharing such a domain says nothing about a company.
FREE_MAIL = frozenset(
    {
        *("me.com", "mac.com", "mail.com", "email.com", "usa.net", "hey.com", "hushmail.com", "inbox.com"),
        *("proton.me", "pm.me", "mailfence.com", "posteo.de", "mailbox.org", "tutamail.com", "tuta.io"),
        *("comcast.net", "verizon.net", "att.net", "sbcglobal.net", "bellsouth.net", "cox.net"),
        *("btinternet.com", "sky.com", "talktalk.net", "virginmedia.com", "ntlworld.com", "shaw.ca"),
        *("ya.ru", "mail.ru", "inbox.ru", "list.ru", "bk.ru", "internet.ru", "vk.com", "xmail.ru"),
        *("mail.ua", "mail.kz", "mail.by", "rambler.ru", "rambler.ua", "lenta.ru", "autorambler.ru"),
        *("myrambler.ru", "ro.ru", "r0.ru", "pochta.ru", "nm.ru", "hotbox.ru", "narod.ru", "e1.ru", "ngs.ru"),
        *("ukr.net", "i.ua", "meta.ua", "bigmir.net", "online.ua", "email.ua", "tut.by", "inbox.lv"),
        *("wp.pl", "o2.pl", "onet.pl", "onet.eu", "op.pl", "interia.pl", "interia.eu", "poczta.fm"),
        *("gazeta.pl", "tlen.pl", "vp.pl", "go2.pl", "poczta.onet.pl", "autograf.pl", "buziaczek.pl"),
        *(
            "neostrada.pl",
            "interia.com",
            "onet.com.pl",
            "spoko.pl",
            "amorki.pl",
            "wp.eu",
            "post.pl",
            "plusnet.pl",
        ),
        *(
            "mail.com.ua",
            "mail.uz",
            "mail.md",
            "mail.am",
            "mail.az",
            "mail.ge",
            "post.ru",
            "pisem.net",
            "land.ru",
        ),
        *("sibmail.com", "yandex.com", "km.ru", "front.ru", "hotmail.ru", "box.az", "email.su", "inbox.lt"),
        *("web.de", "t-online.de", "freenet.de", "arcor.de", "online.de", "email.de", "1und1.de"),
        *("free.fr", "orange.fr", "wanadoo.fr", "laposte.net", "sfr.fr", "neuf.fr", "bbox.fr"),
        *("libero.it", "virgilio.it", "alice.it", "tiscali.it", "tin.it", "telefonica.net", "terra.es"),
        *("seznam.cz", "email.cz", "centrum.cz", "volny.cz", "post.cz", "centrum.sk", "azet.sk", "zoznam.sk"),
        *("abv.bg", "mail.bg", "freemail.hu", "citromail.hu", "bluewin.ch", "telenet.be", "skynet.be"),
        *("ziggo.nl", "kpnmail.nl", "planet.nl", "uol.com.br", "bol.com.br", "terra.com.br"),
        *("qq.com", "163.com", "126.com", "139.com", "sina.com", "sina.cn", "sohu.com", "aliyun.com"),
        *("foxmail.com", "yeah.net", "naver.com", "daum.net", "hanmail.net", "rediffmail.com"),
    }
)
# Providers with a domain in every country: `yahoo.co.uk`.
_FREE_EVERYWHERE = frozenset(
    {
        *("gmail", "googlemail", "yahoo", "ymail", "rocketmail", "hotmail", "outlook", "live", "msn"),
        *("icloud", "aol", "gmx", "zoho", "zohomail", "protonmail", "fastmail", "tutanota", "yandex"),
    }
)


def organisation(domain: str) -> str:
    """Return the domain that was registered: `horns.ru` of `mail.horns.ru`; '' for a bare public suffix."""
    registered: str | None = _suffixes().privatesuffix(domain) if domain else None
    return registered or ""


def corporate(domain: str) -> str:
    """Return the organisation of a domain, '' when anybody can have an address there."""
    found = organisation(domain)
    return "" if found in FREE_MAIL or found.partition(".")[0] in _FREE_EVERYWHERE else found


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
