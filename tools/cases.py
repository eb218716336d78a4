"""./dev cases: replays the letters of fixtures/ and prints what becomes of the cases F1 to F25.

The letters take the service's own way, without a mail server: the fields that it asks for, recorder, journal,
and a second look at a letter of which a copy came later. The portal refuses to say anything. 1 when a
decision is not its golden one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from imaprouter import mail
from imaprouter.arrival import WatchedFolder
from imaprouter.bitrix24.portal import Portal
from imaprouter.config import Settings, load
from imaprouter.lookup import answer_questions
from imaprouter.mailbox import FetchResult
from imaprouter.model import FetchedMessage
from imaprouter.recorder import Recorder
from imaprouter.store.folders import Folder
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import StoredMessage
from imaprouter.store.snapshot import import_snapshot

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CASES = tuple(f"F{number}" for number in range(1, 26))

# What a golden may say of a decision; a row of the table shows all but the subject.
_DECIDED = ("outcome", "target", "rule", "review", "candidates", "subject")
# When a letter without Date arrives.
_LATE = datetime(2026, 11, 20, 18, tzinfo=UTC)
_FIELD = re.compile(rb"^([!-9;-~]+):[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)
_NO_PORTAL = "http://127.0.0.1/rest/1/nobody/"
_HEADINGS = ("case", "fixture", "expected", "got", "ok")


@dataclass(frozen=True, slots=True)
class Golden:
    """A letter, and the decision that a person wrote down for it."""

    letter: Path
    says: dict[str, Any]

    @classmethod
    def of(cls, letter: Path) -> Golden:
        return cls(letter, json.loads(letter.with_suffix(".json").read_bytes()))

    @property
    def name(self) -> str:
        return self.letter.relative_to(FIXTURES).with_suffix("").as_posix()

    @property
    def cases(self) -> list[str]:
        return list(self.says.get("cases", []))

    def expected(self) -> dict[str, Any]:
        """Of what `found` tells, all that the golden decision names."""
        return {key: self.says[key] for key in _DECIDED if key in self.says}

    def found(self, message: StoredMessage) -> dict[str, Any]:
        """The same of the journal's decision."""
        decision, target = message.decision, message.decision.target
        values = {
            "outcome": decision.outcome.value,
            "target": {"type": target.type.value, "id": target.id} if target else None,
            "rule": decision.rule,
            "review": decision.review,
            "candidates": list(decision.candidates),
            "subject": message.envelope.subject,
        }
        return {key: values[key] for key in _DECIDED if key in self.says}


def correspondences() -> dict[str, list[Golden]]:
    """Name to goldens: each letter of `mail` alone, those of each thread together in the order of arrival."""
    alone = {path.stem: [path] for path in sorted((FIXTURES / "mail").glob("*.eml"))}
    threads = {
        folder.name: sorted(folder.glob("*.eml"), key=lambda path: int(path.stem))
        for folder in sorted((FIXTURES / "threads").iterdir())
    }
    return {name: [Golden.of(path) for path in paths] for name, paths in (alone | threads).items()}


def replay(goldens: Sequence[Golden]) -> list[tuple[Golden, StoredMessage]]:
    """What the journal says in the end of letters that arrive one after the other.

    A golden with `repeat` comes so many times, one for each arrival.
    """
    settings = load(FIXTURES / "imaprouter.toml", {})
    with ExitStack() as stack:
        journal = stack.enter_context(closing(Journal(":memory:")))
        knowledge = stack.enter_context(closing(Knowledge(":memory:", journal.messages)))
        import_snapshot(knowledge, _snapshot())
        office = _Office(settings, goldens, journal, knowledge)
        arrived = [golden for golden in goldens for _ in office.deliver(golden)]
        office.look_again()
        messages = [journal.messages.get(number) for number in range(1, len(arrived) + 1)]
        assert journal.messages.count() == len(arrived)
        return [(golden, message) for golden, message in zip(arrived, messages, strict=True) if message]


class _Office:
    """The mailboxes of one correspondence, with the recorders of their folders."""

    def __init__(
        self, settings: Settings, goldens: Sequence[Golden], journal: Journal, knowledge: Knowledge
    ) -> None:
        self._journal, self._knowledge = journal, knowledge
        (mailbox,) = settings.mailboxes
        self._addresses = {mailbox.name: frozenset(mailbox.addresses)}
        further = (golden.says["mailbox"] for golden in goldens if "mailbox" in golden.says)
        self._addresses |= {address: frozenset({address}) for address in further}
        self._home = mailbox.name
        self._settings = settings
        self._uid = 0

    def deliver(self, golden: Golden) -> Iterator[None]:
        """Record the letter, as often as its golden says."""
        raw = golden.letter.read_bytes()
        mailbox = golden.says.get("mailbox", self._home)
        for number in range(golden.says.get("repeat", 1)):
            self._record(mailbox, _later(raw, number) if number else raw)
            yield

    def look_again(self) -> None:
        """As the binder does before it binds anything: what a later copy changes is decided again."""
        refusal = httpx.MockTransport(lambda _: httpx.Response(403, json={"error": "ACCESS_DENIED"}))
        with closing(Portal(_NO_PORTAL, transport=refusal)) as portal:
            while answer_questions(portal, self._journal, self._knowledge, self._watched, _LATE):
                pass

    def _record(self, mailbox: str, raw: bytes) -> None:
        self._uid += 1
        header = _fetched(raw)
        envelope = mail.parse(header)
        ours = any(address.email in self._addresses[mailbox] for address in envelope.writers)
        name = "Sent" if ours else "INBOX"
        message = FetchedMessage(self._uid, header, envelope.date or _LATE, len(raw))
        recorder = Recorder(self._watched(mailbox, name), self._journal, self._knowledge, lambda _: b"")
        recorder.record(self._folder(mailbox, name), FetchResult((message,)), self._uid)

    def _folder(self, mailbox: str, name: str) -> Folder:
        folders = self._journal.folders
        known = folders.get(mailbox, name)
        return known or folders.start(mailbox, name, uidvalidity=1, cursor=0, watch_since=None)

    def _watched(self, mailbox: str, name: str) -> WatchedFolder:
        return WatchedFolder(
            mailbox=mailbox,
            name=name,
            kind="sent" if name == "Sent" else "incoming",
            own_addresses=self._addresses[mailbox],
            house_addresses=frozenset(chain.from_iterable(self._addresses.values())),
            start="all",
            policy=self._settings.routing,
            live_lookup=False,
        )


@cache
def _snapshot() -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads((FIXTURES / "crm.json").read_bytes())
    return snapshot


def _fetched(raw: bytes) -> bytes:
    """Of the header, what the service asks a server for."""
    head = raw.partition(b"\n\n")[0] + b"\n"
    asked = {name.lower().encode() for name in mail.HEADER_FIELDS}
    fields = (found[0] for found in _FIELD.finditer(head) if found[1].lower() in asked)
    return b"".join([*fields, b"\n"]).replace(b"\n", b"\r\n")


def _later(raw: bytes, minutes: int) -> bytes:
    """Another letter that says the same so many minutes later."""
    head, blank, body = raw.partition(b"\n\n")

    def moved(line: re.Match[bytes]) -> bytes:
        moment = parsedate_to_datetime(line[1].decode()) + timedelta(minutes=minutes)
        return b"Date: " + format_datetime(moment).encode()

    head = re.sub(rb"^Message-ID: <", b"Message-ID: <%d." % minutes, head, flags=re.MULTILINE)
    return re.sub(rb"^Date: (.+)$", moved, head, flags=re.MULTILINE) + blank + body


def table() -> Iterator[tuple[tuple[str, ...], bool]]:
    """Rows in the order of the cases, those of no case last; and whether each is as expected."""
    rows: list[tuple[tuple[str, ...], bool]] = []
    for goldens in correspondences().values():
        answers = replay(goldens)
        for golden in goldens:
            expected = golden.expected()
            found = [golden.found(message) for one, message in answers if one is golden]
            wrong = [one for one in found if one != expected]
            got = (wrong or found)[0]
            shown = _line(got)
            if got["subject"] != expected["subject"]:
                shown += f"; subject: {got['subject']}"
            rows += [
                ((case, golden.name, _line(expected), shown, "no" if wrong else "yes"), not wrong)
                for case in golden.cases or ["-"]
            ]
    order = (*CASES, "-")
    yield from sorted(rows, key=lambda row: (order.index(row[0][0]), row[0][1]))


def _line(decision: dict[str, Any]) -> str:
    """`deal 1 by thread`, `a person: 1, 2 by participants`."""
    target = decision["target"]
    told = f"{target['type']} {target['id']}" if target else decision["outcome"]
    if decision["review"]:
        told = f"a person: {', '.join(map(str, decision.get('candidates', [])))}"
    return f"{told} by {decision['rule']}"


def main() -> int:
    logging.getLogger("imaprouter").addHandler(logging.NullHandler())
    found = list(table())
    lines = [_HEADINGS, *(row for row, _ in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(" | ".join(cells).rstrip() + "\n")
    wrong = sum(not right for _, right in found)
    sys.stdout.write(f"{len(found)} rows, {wrong} not as expected\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
