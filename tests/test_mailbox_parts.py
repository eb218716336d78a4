"""The parts of the mailbox that need no server: special folders, back-off, isolation by halving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaprouter.errors import MailboxError
from imaprouter.mailbox import FetchResult, backoff
from imaprouter.mailbox.folders import ListedFolder, special_folders
from imaprouter.mailbox.isolate import isolate
from imaprouter.model import FetchedMessage


def test_special_use_goes_before_names() -> None:
    listed = [
        folder("Sent"),
        folder("Исходящие копии", "\\Sent"),
        folder("[Gmail]/Спам", delimiter="/"),
        folder("INBOX.Drafts", delimiter="."),
        folder("Удалённые"),
    ]
    assert special_folders(listed) == {
        "sent": "Исходящие копии",
        "junk": "[Gmail]/Спам",
        "drafts": "INBOX.Drafts",
        "trash": "Удалённые",
    }


def test_a_folder_that_cannot_be_opened_is_not_special() -> None:
    assert special_folders([folder("Sent", "\\Noselect"), folder("Junk", "\\NonExistent")]) == {}


def folder(name: str, *attributes: str, delimiter: str = "/") -> ListedFolder:
    return ListedFolder(frozenset(attributes), delimiter, name)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_stays_between_half_a_base_and_the_cap(attempt: int, chance: float) -> None:
    assert 0.5 <= backoff(attempt, random=lambda: chance) <= 300


def test_backoff_doubles_up_to_the_cap() -> None:
    waits = [backoff(attempt, cap=10, random=lambda: 0.0) for attempt in range(1, 7)]
    assert waits == [1, 2, 4, 8, 10, 10]


@given(
    st.sets(st.integers(1, 200), max_size=80), st.sets(st.integers(1, 200), max_size=12), st.integers(12, 40)
)
def test_isolation_accounts_for_every_uid_once(asked: set[int], poison: set[int], most: int) -> None:
    """Whatever is unreadable: nothing is lost, nothing readable is called unreadable, and it gets ahead."""
    failures = 0

    def ask(batch: list[int]) -> FetchResult:
        nonlocal failures
        if poison.intersection(batch):
            failures += 1
            raise MailboxError("the line broke")
        return FetchResult(tuple(FetchedMessage(uid, b"", None, 0) for uid in batch))

    result = isolate(sorted(asked), ask, lambda: None, most_failures=most)

    read = [message.uid for message in result.messages]
    settled = sorted([*read, *result.unreadable])
    assert settled + list(result.deferred) == sorted(asked)
    assert read == sorted(asked.intersection(settled) - poison)
    assert set(result.unreadable) <= poison
    assert failures <= most
    assert not asked or settled


def test_one_broken_line_makes_no_message_unreadable() -> None:
    broken = iter([True])

    def ask(batch: list[int]) -> FetchResult:
        if next(broken, False):
            raise MailboxError("the line broke")
        return FetchResult(tuple(FetchedMessage(uid, b"", None, 0) for uid in batch))

    result = isolate([7], ask, lambda: None)
    assert [message.uid for message in result.messages] == [7]
    assert result.unreadable == ()
