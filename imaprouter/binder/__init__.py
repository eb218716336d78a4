"""Waiting messages become settled ones: pair with activities, correct the bindings, tell, settle.

The portal's state is the truth: every attempt plans from the bindings that are there now. Before the world is
touched, the journal has the pair, the bindings that were seen first, the time of the next attempt and every
write. Whatever dies in between, the next attempt reads, finds its own half-done work or a person's hand, and
goes on or stops.
"""

from __future__ import annotations

from imaprouter.binder.correction import Correction
from imaprouter.binder.pairs import Pairs

__all__ = ["Correction", "Pairs"]
