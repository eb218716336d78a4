"""No bug: a journal that is locked is waited for half a second only, so that a test need not wait for 30."""

from __future__ import annotations

from marking import plant

from imaprouter.cli import main
from imaprouter.store import database

if __name__ == "__main__":
    plant(database, "BUSY_SECONDS", 0.5)
    main()
