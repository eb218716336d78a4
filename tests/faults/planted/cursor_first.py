"""A bug for the harness to find: the cursor is committed before the messages."""

from __future__ import annotations

from faults.planted.marking import mark, plant
from imaprouter.cli import main
from imaprouter.mailbox import FetchResult
from imaprouter.recorder import Recorder, envelope_of, mark_of
from imaprouter.store.folders import Folder

_record = Recorder.record


def _cursor_first(self: Recorder, folder: Folder, result: FetchResult, cursor: int) -> None:
    marks = {message.uid: mark_of(message, envelope_of(message)) for message in result.messages}
    with self._journal.transaction():
        self._journal.folders.advance(folder, cursor, marks)
    mark()
    _record(self, folder, result, cursor)


PLANTS = ((Recorder, "record", _cursor_first),)

if __name__ == "__main__":
    plant(PLANTS)
    main()
