"""How well the nature of a message is told from its header: recall and false alarms over fixtures/natures.

The folder of a letter is its label. The set is the project's own: real mail servers wrote none of it, so the
figures say which forms are understood, not how often they occur.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from imaprouter.mail import parse
from imaprouter.model import Nature

SET = Path(__file__).parent.parent / "fixtures" / "natures"
MACHINES = (Nature.BOUNCE, Nature.AUTO_REPLY)


def main() -> int:
    """Print the table and what was misread; 1 when there is nothing to measure."""
    read = {path: (Nature(path.parent.name), parse(path.read_bytes()).nature) for path in SET.glob("*/*.eml")}
    say = sys.stdout.write
    say(f"nature of {len(read)} labelled letters\n\n")
    say(f"{'nature':<26}{'letters':>8}{'found':>7}{'recall':>9}{'false alarms':>24}\n")
    counts = Counter(read.values())
    for nature in Nature:
        say(row(nature, counts, (nature,)))
    say(row("machine: bounce or answer", counts, MACHINES))
    say("\nmisread:\n")
    for path, (label, found) in sorted(read.items()):
        if label is not found:
            say(f"  {path.relative_to(SET)} as {found}\n")
    return 0 if read else 1


def row(name: str, counts: Counter[tuple[Nature, Nature]], natures: tuple[Nature, ...]) -> str:
    """One line: what of these natures was found as one of them, and what else was taken for one."""
    inside = sum(count for (label, _), count in counts.items() if label in natures)
    found = sum(count for (label, read), count in counts.items() if label in natures and read in natures)
    others = sum(count for (label, _), count in counts.items() if label not in natures)
    false = sum(count for (label, read), count in counts.items() if label not in natures and read in natures)
    alarms = f"{false} of {others} ({share(false, others)})"
    return f"{name:<26}{inside:>8}{found:>7}{share(found, inside):>9}{alarms:>24}\n"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


if __name__ == "__main__":
    sys.exit(main())
