"""Mail of the past: read, decided and compared with the portal (`evaluate`), or bound as well (`backfill`).

    Reading   every letter of the period is read, oldest first over all folders, and decided: so each letter
              finds the ones that it answers on record, in whatever order is bound later
    Looking   the activities of these letters are found, and what is bound is read; what people corrected by
              hand is learned, and the letters that answer those are decided again
    Binding   (`backfill` only) what is wrong is corrected in bounded steps

A rehearsal does the first two in a journal of its own; then only `judged` is needed to say what would be.
"""

from __future__ import annotations
