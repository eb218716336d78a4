"""Bitrix24 over REST: one `Portal` that speaks to it, and typed calls in the words of `model`.

webhook.py     the address with its secret code, masked everywhere
failures.py    error codes and statuses to `errors`
values.py      the portal's loose values (string ids, `[]` for empty maps) to Python's
rows.py        rows of lists to Deal, Contact, Company, Lead, User, Activity
commands.py    one call as a value; its form inside a batch
budget.py      when a method whose running time is used up is free again
patience.py    when a failed request is sent again, and how long before
portal.py      requests: limits, retries, batch; the only importer of httpx
listing.py     long lists in few requests
index.py       deals, contacts, companies, leads, users, sent letters: pages for the deal index
activities.py  e-mail activities and their bindings
clients.py     what the portal knows of an address, an id, a client's deals: live look-up
writes.py      commands that change something
probes.py      who we are and what we may
"""
