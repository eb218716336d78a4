"""A mailbox on an IMAP server, read-only: the only importer of imapclient outside the sandbox."""

from __future__ import annotations

from imaprouter.mailbox.session import Session
from imaprouter.mailbox.values import HEADER_BYTES, Account, FetchResult, FolderStatus, Timeouts, backoff

__all__ = ["HEADER_BYTES", "Account", "FetchResult", "FolderStatus", "Session", "Timeouts", "backoff"]
