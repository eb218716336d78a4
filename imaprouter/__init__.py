"""imaprouter binds the e-mail activities that Bitrix24 makes to the deal they belong to.

    watcher:  mailbox | mail.parse | rules | decide | store            (a thread for each folder)
    refresh:  bitrix24 | store                                          (one thread)
    binder:   bitrix24 | store | pairing | plan | bitrix24 | store      (one thread)

`mail`, `rules`, `decide`, `pairing`, `plan` and `ledger` are pure: values in, values out. `mailbox`,
`bitrix24` and `store` are the edges and never import each other. `service` starts the threads, `cli` puts the
parts together. ARCHITECTURE.md has the rooms and one message's way; tests/test_architecture.py checks who
knows whom.
"""
