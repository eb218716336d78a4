"""Mail servers of well-known providers, guessed from an address. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from imaprouter.reasons import N_


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's mailboxes are read; `hint` says what has to be done before that works."""

    name: str
    host: str
    hint: str


_YANDEX = Provider(
    "Yandex",
    "imap.yandex.ru",
    N_(
        "Yandex: allow IMAP in the mailbox's settings (All settings, Email clients), and make an app "
        "password at id.yandex.ru; the password of the account itself is refused."
    ),
)
_MAIL_RU = Provider(
    "Mail.ru",
    "imap.mail.ru",
    N_(
        "Mail.ru: make a password for external applications in the mailbox's settings (Security); "
        "the password of the account itself is refused."
    ),
)
_GMAIL = Provider(
    "Gmail",
    "imap.gmail.com",
    N_(
        "Gmail: turn on 2-Step Verification and make an app password at myaccount.google.com/apppasswords; "
        "the password of the account itself is refused."
    ),
)
_OUTLOOK = Provider(
    "Outlook",
    "outlook.office365.com",
    N_(
        "Outlook and Microsoft 365 take no passwords over IMAP, only access tokens of "
        'OAuth: auth = "xoauth2" in config.example.toml.'
    ),
)

_BY_DOMAIN = {
    **dict.fromkeys(("yandex.ru", "yandex.com", "ya.ru", "yandex.by", "yandex.kz"), _YANDEX),
    **dict.fromkeys(("mail.ru", "bk.ru", "inbox.ru", "list.ru", "internet.ru"), _MAIL_RU),
    **dict.fromkeys(("gmail.com", "googlemail.com"), _GMAIL),
    **dict.fromkeys(("outlook.com", "hotmail.com", "live.com", "msn.com"), _OUTLOOK),
}
_BY_HOST = {each.host: each for each in _BY_DOMAIN.values()}


def provider_of(address: str) -> Provider | None:
    """Return the provider of an address; None for a domain of one's own, and for what is no address."""
    return _BY_DOMAIN.get(address.strip().rpartition("@")[2].lower())


def provider_at(host: str) -> Provider | None:
    """Return the provider whose server this is: a company's own domain may be kept there."""
    return _BY_HOST.get(host.strip().lower())
