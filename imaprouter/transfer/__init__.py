"""Activities go from one timeline to another: all that are there, or each new one by a standing rule.

Every write is on record before it is sent, with what was found and what it leaves, and is read back: so
`undo` takes it back like any other. Routing comes first: what it is about to bind, or still waits for, is
left to it.
"""

from __future__ import annotations
