"""Portal requests for binding 1,000 letters whose activities appear within a minute: how many a letter."""

from __future__ import annotations

import sys
import time

from parts.machine import RUNS, median, say, title
from parts.offices import office

LETTERS, SECONDS = 1000, 60
#: The portal binds every letter of this client to deal 2, which is Ilya's.
WRONG, RIGHT = "masha@company.ru", "ilya@company.ru"


def measure(wrong_of_ten: int, letters: int = LETTERS) -> tuple[int, int, int]:
    """(requests until all are settled, letters that are bound right, seconds); some of ten were wrong."""
    from office import letter

    with office() as place:
        if place is None:
            return 0, 0, 0
        place.options["binding.poll_every"] = "'5s'"
        with place.service():
            place.until(lambda: place.heard("folder.opened"))
            before, began = len(place.portal.requests), time.monotonic()
            place.sync.start(0.5)
            for number in range(letters):
                wait = began + number * SECONDS / letters - time.monotonic()
                time.sleep(max(0.0, wait))
                to = WRONG if number % 10 < wrong_of_ten else RIGHT
                place.deliver(letter(to=to, cc="sales@company.ru"))
            place.until(lambda: place.settled(letters))
            seconds = time.monotonic() - began
            asked = len(place.portal.requests) - before
        place.sync.stop()
        right = sum(
            place.deals(number) == [1 if WRONG in row["SETTINGS"]["EMAIL_META"]["to"] else 2]
            for number, row in place.portal.crm.activities.items()
            if number > 503
        )
        return asked, right, round(seconds)


def main() -> int:
    """Print the table."""
    title(f"binding: {LETTERS:,} letters whose activities appear within {SECONDS} s, one poll in 5 s")
    say(
        f"{'bound wrong by the portal':<28}{'requests':>9}{'a letter':>10}{'bound right':>13}{'seconds':>9}\n"
    )
    for wrong_of_ten in (10, 5, 0):
        made = [measure(wrong_of_ten) for _ in range(RUNS)]
        asked, right, seconds = (median([each[place] for each in made]) for place in range(3))
        share = f"{wrong_of_ten * 10} %"
        say(f"{share:<28}{asked:>9.0f}{asked / LETTERS:>10.3f}{right:>13.0f}{seconds:>9.0f}\n")
    say("reach: 0.1 a letter, and none for one that is right already beyond the shared poll\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
