"""Every error that imaprouter raises on purpose, and whether trying again can help.

    ImaprouterError                 exit 1   says what happened, to which object, and what to do
    ├── ConfigError                 exit 2   the configuration file or a command's words; all problems at once
    ├── Interrupted                 exit 130 Ctrl-C or SIGTERM ended something that can go on where it stopped
    ├── StoreError                  exit 1   the journal or the index file
    │   ├── StoreBusy               exit 75  another service runs on this journal
    │   ├── StoreDamaged            exit 1   not what was written, or the disk fails
    │   ├── StoreTooNew             exit 1   written by a later version
    │   └── StoreOutdated           exit 1   written by an earlier version, and opened for reading only
    ├── MailboxError                exit 69  an IMAP server: unreachable, dropped the line, answered nonsense
    │   ├── MailboxLoginRefused     exit 77
    │   └── FolderMissing           exit 1
    └── PortalError                 exit 69  Bitrix24's REST API
        ├── PortalUnreachable       exit 69  nothing was executed
        ├── PortalBusy              exit 75  a limit; nothing was executed; may know when to come back
        ├── PortalOutcomeUnknown    exit 75  the line broke after the request was sent
        ├── PortalDenied            exit 77  webhook code, scope, plan or right
        └── PortalRefused           exit 1   this one call is wrong, for good

An error whose `temporary` is true may be tried again unchanged.
"""

from __future__ import annotations

from datetime import datetime


class ImaprouterError(Exception):
    """Something went wrong that a user can understand and act upon."""

    exit_code = 1
    temporary = False

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} ({self.advice})" if self.advice else self.message


class ConfigError(ImaprouterError):
    """The configuration or the command line is wrong; `problems` lists every mistake that was found."""

    exit_code = 2

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.problems = problems


class Interrupted(ImaprouterError):
    """A person stopped it; what was done is kept, and the next start goes on."""

    exit_code = 130
    temporary = True


class StoreError(ImaprouterError):
    """The journal or the index could not be read or written."""


class StoreBusy(StoreError):
    """Another service runs on this journal."""

    exit_code = 75
    temporary = True


class StoreDamaged(StoreError):
    """The file is not what was written to it, or the disk does not keep what is written."""


class StoreTooNew(StoreError):
    """The file was written by a later version of imaprouter."""


class StoreOutdated(StoreError):
    """The file was written by an earlier version of imaprouter, and may not be changed now."""


class MailboxError(ImaprouterError):
    """The IMAP server cannot be reached, dropped the line or answered with nonsense."""

    exit_code = 69
    temporary = True


class MailboxLoginRefused(MailboxError):
    """The server refused user name, password or token."""

    exit_code = 77
    temporary = False


class FolderMissing(MailboxError):
    """The folder does not exist on the server, or cannot be opened."""

    exit_code = 1


class PortalError(ImaprouterError):
    """Bitrix24 answered with an error. `code` is the portal's own code, lower-cased, perhaps empty."""

    exit_code = 69

    def __init__(self, message: str, *, code: str = "", method: str = "", advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.code = code.lower()
        self.method = method


class PortalUnreachable(PortalError):
    """No connection, or an answer that proves that nothing was executed."""

    temporary = True


class PortalBusy(PortalError):
    """A limit of the portal; nothing was executed. `retry_at` is aware, when the portal said so."""

    exit_code = 75
    temporary = True

    def __init__(
        self, message: str, *, code: str = "", method: str = "", retry_at: datetime | None = None
    ) -> None:
        super().__init__(message, code=code, method=method)
        self.retry_at = retry_at


class PortalOutcomeUnknown(PortalError):
    """The request was sent and no usable answer came: it may have been executed. Read before repeating."""

    exit_code = 75
    temporary = True


class PortalDenied(PortalError):
    """The webhook, its scope, the plan or a right does not allow the call.

    `everything`: it is the webhook or the plan, so no other call is allowed either until a person has acted.
    """

    exit_code = 77

    def __init__(
        self, message: str, *, code: str = "", method: str = "", advice: str = "", everything: bool = False
    ) -> None:
        super().__init__(message, code=code, method=method, advice=advice)
        self.everything = everything


class PortalRefused(PortalError):
    """The portal understood the call and will never execute it."""

    exit_code = 1
