"""One letter: from delivery to the decision, and from its activity to the right binding.

Real IMAP IDLE of a real Dovecot; the portal is the sandbox, asked every POLL seconds while a letter waits.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime

from parts.machine import median, p95, say, title
from parts.offices import office

LETTERS, POLL = 40, 2


def measure() -> tuple[list[float], list[float]]:
    """Seconds to the decision and to the binding, of each letter."""
    from office import letter

    decided, bound = [], []
    draw = random.Random(24)
    with office() as place:
        if place is None:
            return [], []
        place.options["binding.poll_every"] = f"'{POLL}s'"
        with place.service():
            place.until(lambda: place.heard("folder.opened"))
            for number in range(1, LETTERS + 1):
                raw = letter(to="masha@company.ru", cc="sales@company.ru")
                delivered = datetime.now(UTC)
                place.deliver(raw)
                place.until(lambda wanted=number: len(place.messages()) == wanted)
                newest = max(message.recorded_at for message in place.messages())
                decided.append((newest - delivered).total_seconds())
                time.sleep(draw.uniform(0, POLL))
                (activity,) = place.sync.sync_once()
                began = time.monotonic()
                while place.deals(activity) != [1]:
                    time.sleep(0.005)
                bound.append(time.monotonic() - began)
                place.until(lambda wanted=number: place.settled(wanted))
    return decided, bound


def main() -> int:
    """Print the table; it is one run of many letters."""
    title(f"latency of {LETTERS} letters, one at a time; one poll in {POLL} s")
    decided, bound = measure()
    if not decided:
        return 1
    say(f"{'':<40}{'median':>8}{'p95':>8}{'most':>8}{'reach':>8}\n")
    for name, values, reach in (
        ("delivery to decision", decided, 1.0),
        ("activity appears to bound right", bound, POLL + 1.0),
    ):
        say(f"{name:<40}{median(values):>7.3f}s{p95(values):>7.3f}s{max(values):>7.3f}s{reach:>7.1f}s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
