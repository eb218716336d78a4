"""tools/picture.py FILE.png: a picture of what `report --format html` says of ten weeks of a company's mail.

The company is that of tools/past.py, its mailbox and its portal real as there; Bitrix24 needs minutes for a
letter. The service routes all of it, `report` writes the page, and Chromium draws it, if it is installed.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import past
from dovecot import Dovecot
from office import Office

LETTERS, CLIENTS, WEEKS = 5000, 300, 10
SIZE = "1240,1130"


def main(picture: Path) -> int:
    """1 when a command or the browser fails."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        past.say("this needs Chromium")
        return 1
    dice = random.Random(1)
    crm = past.crm(CLIENTS, dice)
    with tempfile.TemporaryDirectory() as folder, Dovecot() as dovecot:
        office = Office(Path(folder), dovecot, "picture", snapshot=crm)
        office.start = "all"
        office.options["portal.requests_per_second"] = "100.0"
        for name in ("routing.address.category", "routing.participants.user_aliases"):
            del office.options[name]
        with office:
            for letter in past.letters(crm, LETTERS, dice, years=timedelta(weeks=WEEKS)):
                office.dovecot.deliver(office.user, letter.raw, letter.folder, date=letter.arrived)
            office.sync.sync_once()
            for activity in office.portal.crm.activities.values():
                if isinstance(activity["START_TIME"], datetime):
                    delay = timedelta(seconds=dice.expovariate(1 / 240))
                    activity["CREATED"] = activity["START_TIME"] + delay
            page = Path(folder) / "report.html"
            period = ("--from", "2026-08-24", "--to", "2026-11-01", "--by", "week", "--per", "manager")
            for words in (
                ("cache", "refresh"),
                ("run", "--once"),
                ("report", *period, "--format", "html", "--output", str(page)),
            ):
                program = [sys.executable, "-m", "imaprouter", "--config", str(office.config), "--lang", "en"]
                subprocess.run([*program, *words], check=True, capture_output=True)
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}")
        command = [browser, *options, f"--screenshot={picture}", page.as_uri()]
        return subprocess.run(command, check=False, capture_output=True).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
