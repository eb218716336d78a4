"""Where the sample company lies: `fixtures/` of a checkout, its copy inside an installed package."""

from __future__ import annotations

from pathlib import Path


def sample_folder() -> Path:
    """Return the folder of the sample company and its mails."""
    packaged = Path(__file__).parent / "fixtures"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "fixtures"
