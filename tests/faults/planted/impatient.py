"""No bug: a journal that is locked is waited for a second only, so that a test need not wait for 30."""

from __future__ import annotations

from imaprouter.cli import main
from imaprouter.store import database

if __name__ == "__main__":
    database.BUSY_SECONDS = 1
    main()
