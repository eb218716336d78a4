"""SQLite: the only place with SQL. Contains no business logic.

Two files. The *journal* (`store.path`) holds what happened and cannot be made again: folders, messages,
decisions, pairs, notices, writes. The *index* (`…-index.db` beside it) is a copy of the CRM that a refresh
rebuilds; deleting it costs a refresh, nothing else.
"""
