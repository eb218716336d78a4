"""One mailbox: line and certificate, login, capabilities, folders, clock. Opens folders read-only."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from imaprouter.config import MailboxSettings
from imaprouter.doctor.findings import Check, failed, ok, span, warning
from imaprouter.errors import MailboxError
from imaprouter.mailbox import Session, Timeouts
from imaprouter.service import account_of

TIMEOUTS = Timeouts(connect=5.0, command=6.0)
CERTIFICATE_ENDS = timedelta(days=14)
SKEW = timedelta(minutes=2)
_TRY_AGAIN = "try again; if it stays so, the mail server's own log says more"


def checks(mailbox: MailboxSettings) -> Iterator[Check]:
    """Step by step; what cannot be known after a step that failed is not guessed."""
    session = Session(account_of(mailbox), ("Message-ID",), timeouts=TIMEOUTS)
    name = mailbox.name
    try:
        try:
            session.reach()
        except MailboxError as error:
            advice = error.advice or "check host, port and tls"
            yield failed("mailbox.connection", error.message, advice, subject=name)
            return
        yield _connection(mailbox, session.certificate_ends)
        try:
            session.log_in()
        except MailboxError as error:
            yield failed("mailbox.login", error.message, error.advice or _TRY_AGAIN, subject=name)
            return
        yield ok("mailbox.login", f"as {mailbox.username}", name)
        yield from _capabilities(name, session.capabilities)
        try:
            listed, special = session.folders(), session.special_folders()
        except MailboxError as error:
            yield failed("mailbox.folders", error.message, error.advice or _TRY_AGAIN, subject=name)
            return
        for folder in mailbox.folders + mailbox.sent_folders:
            substitute = special.get("sent", "") if folder in mailbox.sent_folders else ""
            yield from _folder(session, name, folder, listed, substitute)
    finally:
        session.close()


def special_folders(mailbox: MailboxSettings) -> dict[str, str]:
    """The folders for 'sent', 'junk', 'drafts' and 'trash', as far as there are any. Raises MailboxError."""
    session = Session(account_of(mailbox), ("Message-ID",), timeouts=TIMEOUTS)
    try:
        session.connect()
        return session.special_folders()
    finally:
        session.close()


def _connection(mailbox: MailboxSettings, ends: datetime | None) -> Check:
    where = f"{mailbox.host}:{mailbox.port}"
    if ends is None:
        return ok("mailbox.connection", f"{where} answers, without encryption", mailbox.name)
    left = ends - datetime.now(UTC)
    found = f"{where} answers; its certificate is valid until {ends.date().isoformat()}"
    if left < CERTIFICATE_ENDS:
        return warning(
            "mailbox.connection",
            f"{found}, for {span(left)}",
            "renew it on the mail server",
            subject=mailbox.name,
        )
    return ok("mailbox.connection", found, mailbox.name)


def _capabilities(name: str, capabilities: tuple[str, ...]) -> Iterator[Check]:
    had = {word.upper() for word in capabilities}
    shown = (
        ", ".join(word for word in ("IDLE", "UIDPLUS", "SPECIAL-USE") if word in had)
        or "none of those that help"
    )
    if "IDLE" not in had:
        every = f"new mail is asked for every {Timeouts().poll:.0f} s instead"
        yield warning("mailbox.capabilities", f"no IDLE ({shown}): {every}", subject=name)
    else:
        yield ok("mailbox.capabilities", shown, name)


def _folder(
    session: Session, mailbox: str, folder: str, listed: list[str], substitute: str
) -> Iterator[Check]:
    subject, opened = f"{mailbox}/{folder}", folder
    there = folder in listed or folder.upper() == "INBOX"
    if not there and substitute:
        opened = substitute
    elif not there:
        yield failed("mailbox.folder", "there is no such folder", _nearest(folder, listed), subject=subject)
        return
    try:
        status = session.open(opened)
        arrived = session.last_arrival()
    except MailboxError as error:
        yield failed("mailbox.folder", error.message, error.advice or _TRY_AGAIN, subject=subject)
        # The session has ended with that; the folders behind this one are looked at all the same.
        with contextlib.suppress(MailboxError):
            session.connect()
        return
    found = f"{status.exists} messages"
    if opened != folder:
        found = f"is called {opened!r} there (SPECIAL-USE), {found}"
    yield ok("mailbox.folder", found, subject)
    ahead = arrived - datetime.now(UTC) if arrived else timedelta()
    if ahead > SKEW:
        # IMAP tells no time; only a message of the future gives a clock away.
        yield warning(
            "mailbox.clock",
            f"the last message arrives in {span(ahead)}",
            "the server's clock or ours is wrong, unless that message was copied there by hand",
            subject=subject,
        )


def _nearest(folder: str, listed: list[str]) -> str:
    """The names that are meant, or all there are."""
    by_folded = {name.casefold(): name for name in listed}
    near = [by_folded[name] for name in difflib.get_close_matches(folder.casefold(), by_folded, n=3)]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(map(repr, listed[:12])) + (" …" if len(listed) > 12 else "")
    return f"there are {shown}" if listed else "the mailbox has no folders"
