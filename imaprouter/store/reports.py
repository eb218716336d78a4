"""What the journal tells about many messages at once, counted by SQLite: no message is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date

from imaprouter.report import NUMBERS, Counts, Tally
from imaprouter.store.rows import Tables, marks

_DAY = 86_400
_EPOCH = date(1970, 1, 1)
# The local day of arrival, by the C library's time zone. A stranger's Date may lie at the end of all years,
# where the local one is beyond what SQLite or Python can say.
_LOCAL_DAY = """
max(coalesce(date(m.internal_second, 'unixepoch', 'localtime'), date(m.internal_second, 'unixepoch')),
    '0001-01-01')
"""
# What the server could not hand over was never read, and nothing was decided of it (arrival.unreadable).
_COUNTED = "m.same_as IS NULL AND NOT (m.fingerprint = '' AND m.size = 0)"
# An employee's letter is the only one of a person that the last of all rules ignores. The search for a text
# is for speed: few trails hold a conflict.
_EACH = """
SELECT {day} AS day, m.mailbox, m.state, m.result,
    json_extract(m.decision, '$.rule') AS rule,
    m.direction = 'outgoing' OR m.folder_id IN ({sent}) AS ours,
    coalesce(json_extract(m.envelope, '$.nature'), 'client') NOT IN ('client', 'list') AS machine,
    json_extract(m.decision, '$.outcome') = 'ignore' AND json_extract(m.decision, '$.rule') = 'fallback'
        AS barred,
    instr(m.decision, '"conflict"') > 0 AND EXISTS (
        SELECT 1 FROM json_each(m.decision, '$.trail') WHERE json_extract(value, '$.rule') = 'conflict'
    ) AS conflict,
    coalesce(json_extract(m.decision, '$.review'), 0) AS asked,
    m.person_type IS NOT NULL OR m.result IS 'person' AS chosen,
    m.person_type IS NOT json_extract(m.decision, '$.target.type')
        OR m.person_id IS NOT json_extract(m.decision, '$.target.id') AS otherwise
FROM messages m WHERE {where}
"""
_SUMS = {
    "received": "NOT ours AND NOT machine AND NOT barred",
    "machines": "NOT ours AND machine",
    "sent": "ours",
    "conflicts": "conflict",
    "moved": "result IS 'moved'",
    "already_right": "result IS 'already_right'",
    "review": "state = 'review'",
    "missing": "state = 'missing'",
    "failed": "state = 'failed'",
    "overruled": "chosen AND NOT asked AND otherwise",
    "answered": "chosen AND asked",
}
# Materialized: flattened, each sum would read the JSON again.
_TALLIES = f"""
WITH each AS MATERIALIZED ({_EACH})
SELECT day, mailbox, rule, count(*), {", ".join(f"sum({_SUMS[name]})" for name in NUMBERS)}
FROM each GROUP BY day, mailbox, rule ORDER BY day, mailbox, rule
"""


class Reports(Tables):
    def tallies(
        self, first: date | None, last: date | None, sent_folders: Collection[tuple[str, str]] = ()
    ) -> Iterator[Tally]:
        """The messages that arrived from `first` to `last`, both included, on local days; None: no end.

        One tally for each day, mailbox and rule. What lies in one of the `sent_folders` (mailbox, name) was
        sent, whoever stands in From. A mail that was met again counts once, in two mailboxes it is two.
        """
        folders = self._rows("SELECT id, mailbox, name FROM folders")
        sent = [number for number, mailbox, name in folders if (mailbox, name) in sent_folders]
        where, values = [_COUNTED], [*sent]
        # No local day is more than a day away from UTC's: the index narrows, the day decides.
        if first:
            where.append(f"m.internal_second >= ? AND {_LOCAL_DAY} >= ?")
            values += [_second(first) - _DAY, first.isoformat()]
        if last:
            where.append(f"m.internal_second < ? AND {_LOCAL_DAY} <= ?")
            values += [_second(last) + 2 * _DAY, last.isoformat()]
        query = _TALLIES.format(day=_LOCAL_DAY, sent=marks(sent), where=" AND ".join(where))
        for day, mailbox, rule, count, *numbers in self._rows(query, values):
            counts = Counts(**dict(zip(NUMBERS, numbers, strict=True)), decided={rule: count})
            yield Tally(date.fromisoformat(day), mailbox, counts)


def _second(day: date) -> int:
    return (day - _EPOCH).days * _DAY
