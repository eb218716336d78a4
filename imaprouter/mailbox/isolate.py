"""Finding the messages that a server cannot hand over, by halving. Pure but for the functions it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imaprouter.errors import MailboxError
from imaprouter.mailbox.values import FetchResult

#: Reconnections that one call may cost; a single unreadable message among 500 takes eleven at most.
MOST_FAILURES = 24


def isolate(
    uids: Sequence[int],
    ask: Callable[[list[int]], FetchResult],
    recover: Callable[[], None],
    *,
    most_failures: int = MOST_FAILURES,
) -> FetchResult:
    """Ask for `uids`, in smaller batches where asking fails, and account for every one of them.

    `ask` raises MailboxError when the session died of the question; then `recover` makes a new one, and what
    it raises goes to the caller. A line may break by chance, so a message is unreadable only when it broke
    the line twice, alone. After `most_failures` the rest is deferred; what is settled lies before it.
    """
    waiting = [sorted(set(uids))] if uids else []
    parts: list[FetchResult] = []
    suspects: set[int] = set()
    failures = 0
    while waiting and failures < most_failures:
        batch = waiting.pop()
        try:
            parts.append(ask(batch))
            continue
        except MailboxError:
            failures += 1
        recover()
        half = len(batch) // 2
        if half:
            waiting += [batch[half:], batch[:half]]
        elif batch[0] in suspects:
            parts.append(FetchResult(messages=(), unreadable=(batch[0],)))
        else:
            suspects.add(batch[0])
            waiting.append(batch)
    return _merged(parts, deferred=sorted(uid for batch in waiting for uid in batch))


def _merged(parts: Sequence[FetchResult], *, deferred: Sequence[int]) -> FetchResult:
    return FetchResult(
        messages=tuple(message for part in parts for message in part.messages),
        gone=tuple(uid for part in parts for uid in part.gone),
        unreadable=tuple(uid for part in parts for uid in part.unreadable),
        deferred=tuple(deferred),
    )
