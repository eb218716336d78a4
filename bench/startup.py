"""How long a command takes that does next to nothing: `--help`, and `replay` of one letter.

Beside them what they cannot be quicker than: Python alone, and Python with click. Everything is compiled
before it is measured, as installing a package does. Each figure is the median of eleven starts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parts.machine import machine

STARTS = 11
ROOT = Path(__file__).parent.parent
LETTER = ROOT / "fixtures" / "mail" / "reply-to-masha.eml"
PROGRAM = ("-c", "from imaprouter.cli import main; main()")
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "python -c 'import click'": ("-c", "import click"),
    "imaprouter --help": (*PROGRAM, "--help"),
    "imaprouter --version": (*PROGRAM, "--version"),
    "imaprouter replay LETTER --crm FILE": (
        *(*PROGRAM, "replay", str(LETTER)),
        *("--crm", str(ROOT / "fixtures" / "crm.json")),
    ),
}
#: What the project wants to stay below.
WANTED = {"imaprouter --help": 120, "imaprouter replay LETTER --crm FILE": 400}

say = sys.stdout.write


def milliseconds(words: tuple[str, ...], environ: dict[str, str]) -> tuple[float, float]:
    """One start: by the clock, and of processor time; CalledProcessError when it fails."""
    began, used = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *words], env=environ, stdout=subprocess.DEVNULL, check=True)
    seconds, now = time.perf_counter() - began, os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    return 1000 * seconds, 1000 * cpu


def main() -> int:
    """Print the table."""
    say(f"starts; {machine()}; median of {STARTS}\n\n")
    say(f"{'':<40}{'ms':>8}{'of CPU':>8}{'of Python':>11}{'wanted':>9}\n")
    with tempfile.TemporaryDirectory() as compiled:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        floor = 0.0
        for name, words in COMMANDS.items():
            milliseconds(words, environ)
            starts = [milliseconds(words, environ) for _ in range(STARTS)]
            taken, cpu = (statistics.median(figures) for figures in zip(*starts, strict=True))
            floor = floor or taken
            wanted = f"< {WANTED[name]}" if name in WANTED else ""
            say(f"{name:<40}{taken:>8.0f}{cpu:>8.0f}{taken / floor:>11.1f}{wanted:>9}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
