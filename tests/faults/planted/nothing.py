"""No bug: the program as it is, but that one thread makes all of its calls."""

from __future__ import annotations

from faults.planted.marking import plant
from imaprouter.cli import main

if __name__ == "__main__":
    plant(())
    main()
