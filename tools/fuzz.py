"""./dev fuzz: hostile headers through the whole of deciding, for as long as you like.

Headers of fixtures/ are mutated (bits, splices, pieces that mean something) or built by their grammar, and
go through parse → decide → journal and back → what explain, queue, replay, log and notification show. A case
that breaks a law is shrunk, written to a file that the output names, and makes 1 of the exit code. FILE...
examines such files again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import re
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cases import FIXTURES
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from imaprouter import mail
from imaprouter.arrival import WatchedFolder, decided
from imaprouter.cli.decisions import as_line, decision_json, headline
from imaprouter.cli.messages import _explained, _explained_text, _waiting_lines
from imaprouter.config import load
from imaprouter.language import language
from imaprouter.log import _json_formatter, _TextFormatter
from imaprouter.mail.fields import HEADER_FIELDS
from imaprouter.model import Decision, Envelope, FetchedMessage, Outcome, Standing, deal
from imaprouter.notice import notice
from imaprouter.policy import ForwardsPolicy, MarkerPolicy, RoutingPolicy, TrustPolicy
from imaprouter.reasons import sentence
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.rows import dump
from imaprouter.store.rows import load as undump
from imaprouter.store.snapshot import import_snapshot

# Examples of one round: after each, the time is looked at.
ROUND = 400
ARRIVED = datetime(2026, 11, 20, 18, tzinfo=UTC)
HOUSE = frozenset({"sales@company.ru"})
# Control, bidi and other hidden characters, surrogates, line and paragraph separators.
_UNSAFE = re.compile(
    "["
    + "".join(
        re.escape(sign)
        for sign in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )
    + "]"
)

_LANGUAGES = [language(lang, {}) for lang in ("en", "ru", "pl")]
_POLICIES = {
    "default": RoutingPolicy(),
    "conflicts are a question": RoutingPolicy(on_conflict="review"),
    "signed markers": RoutingPolicy(marker=MarkerPolicy(secret="a long text that nobody guesses")),
    "proof wanted": RoutingPolicy(
        trust=TrustPolicy("require", ("mx.company.ru", "microsoft", "*.yandex.net"))
    ),
    "proof liked": RoutingPolicy(trust=TrustPolicy("prefer", ("mx.company.ru",))),
    "forwards are opened": RoutingPolicy(forwards=ForwardsPolicy(read_attached=True)),
}


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────────────


def unsafe(text: str) -> str:
    """The characters that a terminal, a log or a browser could obey: control, bidi, hidden, surrogates."""
    return "".join(sorted(set(_UNSAFE.findall(text))))


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def check_line(text: str, what: str) -> None:
    """One line stays one line, and nothing in it is obeyed."""
    assert not unsafe(text), f"{what} holds {unsafe(text)!a}"
    text.encode()


def check_decision(decision: Decision) -> None:
    """A target is chosen, a review has none, and there is always a reason."""
    assert decision.reasons
    assert decision.trail
    assert not (decision.review and decision.target), "a review has a target"
    standing = {one.target: one.standing for one in decision.considered}
    chosen = [target for target, found in standing.items() if found is Standing.CHOSEN]
    if decision.outcome is Outcome.IGNORE:
        assert decision.target is None
    elif decision.target:
        assert decision.outcome.value == decision.target.type.value
        assert chosen == [decision.target], "the target is not the one that was chosen"
    else:
        assert decision.outcome is Outcome.LEAVE
        assert not chosen, "something was chosen, but there is no target"
    if decision.review:
        assert all(standing.get(deal(number)) is Standing.OPEN for number in decision.candidates)
    else:
        assert Standing.OPEN not in standing.values(), "something is open, but nobody is asked"


def check_shown(envelope: Envelope, decision: Decision, fields: Mapping[str, object]) -> None:
    """What people see of a letter outside the journal: replay, log, notification."""
    for said in _LANGUAGES:
        value = decision_json("letter.eml", envelope, decision, said)
        line = as_line(value)
        assert json.loads(line) == value
        check_line(line, "a line of JSON")
        for text in strings(value):
            check_line(text, "a text in JSON")
        shown = f"{headline(decision, said)} ({decision.rule}): {sentence(decision.reasons, said)}"
        check_line(shown, "replay's line")
        told = notice(envelope, envelope.subject, "https://portal/1", said)
        check_line(told, "a notification")
        assert told.count("[") == told.count("]") == 2, "a notification has BB codes of a stranger"
        assert "#br#" not in told.lower(), "a notification has a line break of a stranger"
    record = logging.LogRecord("imaprouter", logging.INFO, "", 0, "message.decided", None, None)
    record.fields = fields
    for formatter in (_TextFormatter(), _json_formatter()):
        check_line(formatter.format(record), "a line of the log")


class _Undo(Exception):
    """Ends a transaction whose writes nobody wants."""


def _undo() -> None:
    raise _Undo


class World:
    """The sample company with letters on record; every letter is examined against the same one."""

    def __init__(self, on_record: Iterable[bytes] | None = None) -> None:
        """`on_record` stands for the letters of fixtures/."""
        self.settings = load(FIXTURES / "imaprouter.toml", {})
        self.journal = Journal(":memory:")
        self.knowledge = Knowledge(":memory:", self.journal.messages)
        import_snapshot(self.knowledge, json.loads((FIXTURES / "crm.json").read_bytes()))
        self._folders = {
            name: self.journal.folders.start("sales", name, uidvalidity=1, cursor=0, watch_since=None)
            for name in ("INBOX", "Sent")
        }
        for number, raw in enumerate(corpus() if on_record is None else on_record, start=1):
            envelope = mail.parse(raw)
            message = FetchedMessage(number, raw, envelope.date or ARRIVED, len(raw))
            new = decided(self._watched("INBOX", "default"), self.knowledge, message, envelope, ARRIVED)
            with self.journal.transaction():
                self.journal.messages.add(self._folders["INBOX"], new, ARRIVED)

    def close(self) -> None:
        self.knowledge.close()
        self.journal.close()

    def examine(
        self, raw: bytes, policy: str = "default", folder: str = "INBOX", limit: int | None = None
    ) -> Decision:
        """Take one letter all the way. Whatever it raises is a defect: AssertionError for a law.

        `limit` stands for `limits.header_bytes`.
        """
        watched = self._watched(folder, policy)
        envelope = mail.parse(raw, limit=limit or self.settings.limits.header_bytes)
        if watched.policy.forwards.read_attached and watched.is_colleagues(envelope, self.knowledge):
            envelope = mail.with_attached(envelope, raw)
        message = FetchedMessage(1_000_000, raw, ARRIVED, len(raw))
        new = decided(watched, self.knowledge, message, envelope, ARRIVED, recent=1)
        decision = new.decision
        check_decision(decision)
        assert undump(dump(envelope), Envelope) == envelope
        assert undump(dump(decision), Decision) == decision
        for text in strings(json.loads(dump((envelope, decision)))):
            check_line(text, "a text in the journal")
        fields = {"id": 1, "subject": envelope.subject, "message_id": envelope.message_id, "uid": 7}
        check_shown(envelope, decision, fields)
        try:
            with self.journal.transaction():
                number = self.journal.messages.add(self._folders[folder], new, ARRIVED)
                stored = self.journal.messages.get(number)
                assert stored is not None
                assert (stored.envelope, stored.decision) == (envelope, decision)
                for said in _LANGUAGES[:2]:
                    for line in _explained_text(self.journal, stored, said):
                        check_line(line, "a line of explain")
                    for line in _waiting_lines(stored, said):
                        check_line(line, "a line of queue")
                check_line(as_line(_explained(self.journal, stored, _LANGUAGES[0])), "explain's JSON")
                _undo()
        except _Undo:
            pass
        return decision

    def _watched(self, folder: str, policy: str) -> WatchedFolder:
        chosen = replace(
            self.settings.routing,
            **{
                name: getattr(_POLICIES[policy], name)
                for name in ("on_conflict", "marker", "trust", "forwards")
            },
        )
        return WatchedFolder(
            mailbox="sales",
            name=folder,
            kind="sent" if folder == "Sent" else "incoming",
            own_addresses=HOUSE,
            house_addresses=HOUSE,
            start="all",
            policy=chosen,
            live_lookup=True,
        )


# ── letters ───────────────────────────────────────────────────────────────────────────────────────────────


@cache
def corpus() -> tuple[bytes, ...]:
    """The letters of fixtures/, headers and the beginnings of their bodies."""
    found = [sorted((FIXTURES / folder).rglob("*.eml")) for folder in ("mail", "threads", "natures")]
    return tuple(path.read_bytes()[:4096] for paths in found for path in paths)


_PEOPLE = [
    *("sergey@horns.ru", "anna@hooves.ru", "masha@company.ru", "ilya@company.ru", "sales@company.ru"),
    *("sales+d1@company.ru", "sales+d2@company.ru", "support@company.ru", "stranger@nowhere.com"),
    *("иван@почта.рф", "a..b@x.ru", '"a b"@x.ru', "a@[127.0.0.1]", "x@xn--80a1acny.xn--p1ai"),
]
_PIECES = [
    *(person.encode() for person in _PEOPLE),
    *(f"<{person}>".encode() for person in _PEOPLE),
    *b"< > @ , ; : \" ( ) \\ [ ] . = ? _ + - # / % & * ! | ~ { }".split(),
    *(b"\r\n ", b"\n\t", b"\r", b"\n", b"\0", b" ", b"\t", b"\x1b[31m", b"\x9b2J", b"\x07", b"\x7f", b"\x85"),
    *(b"#1", b"#2", b"#99", b"#1-7K4Q", "№ 3".encode(), "＃４".encode(), b"[CRM:501-ABC123]", b"d1"),
    *(b"#BR#", b"[url=https://evil.ru]x[/url]", b"<script>alert(1)</script>", b"'; DROP TABLE messages; --"),
    *(b"$(reboot)", b"{deal}", b"%s", b"{0.__class__}", b"../../etc/passwd", "\u202egnp.exe".encode()),
    *("\u200b\u2028\u2029\ufeff\u2066\U000e0041".encode(), b"\xed\xa0\x80", b"\xff\xfe", b"\xcf\xf0\xe8"),
    *(b"=?utf-8?B?0JrQnw==?=", b"=?utf-8?Q?=0D=0ABcc:_x@y?=", b"=?utf-8?B?DQpTdWJqZWN0OiB4?="),
    *(b"=?x-foo?q?=FF?=", b"=?rot13?Q?nop?=", b"=?utf-16?B?2AA=?=", b"=?utf-7?Q?+ADw-?="),
    *(b"=?iso-2022-jp?B?GyRC?=", b"=?utf-8?Q?=E2=80=AE?=", b"=?utf-8?Q?=ED=A0=80?="),
    *(b"=?cp1251?B?7/Do4uXy?=", b"=?utf-8?B?", b"?=", b"=?", b"=?hz?Q?~{?="),
    *(b"<crm.activity.501-ABC123@company.bitrix24.ru>", b"<unknown@x>", b"<a@b> <c@d>", b"crm.activity.7-x@"),
    *(b"Mon, 12 Jan 2026 10:00:00 +0300", b"12 Jan 0000 99:99:99 +9999", b"31 Dec 9999 23:59:60 -2359"),
    *(b"mx.company.ru; dmarc=pass header.from=horns.ru", b"mx.company.ru; dmarc=fail", b"dkim=pass"),
    *(b"AdHmWJPQAAECAwQFBgcICQoLDA0ODw==", b"multipart/report; report-type=delivery-status"),
    *(b"bulk", b"auto-replied", b"IM_NEW_NOTIFY", b"message/rfc822", b"text/plain; charset=koi8-r"),
    *(b'multipart/mixed; boundary="b"', b"--b\r\nContent-Type: message/rfc822\r\n\r\n"),
    *("١٢٣".encode(), "é".encode(), "ＦＵＬＬ".encode(), "ﷺ".encode(), "İ".encode(), "ß".encode()),
    "\U0001f469\u200d\U0001f469\u200d\U0001f467".encode(),
]  # fmt: skip
_LINES = [
    *(name.encode() for name in HEADER_FIELDS),
    *(b"From", b"To", b"Subject", b"Subject", b"References", b"Reply-To", b"X-Junk", b"a line without colon"),
]

_pieces = st.one_of(
    st.sampled_from(_PIECES),
    st.binary(max_size=8),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
# What reports and machines write is half as interesting.
_starts = [*corpus(), *(raw for raw in corpus() if b"sergey@horns.ru" in raw)]
_place = st.integers(0, 4095)
# By number: the description of a strategy must not hold all letters.
_some_start = st.integers(0, len(_starts) - 1).map(lambda number: _starts[number])
Op = Callable[[bytes], bytes]


def _flip(at: int, bit: int) -> Op:
    return lambda raw: (
        raw[: at % len(raw)] + bytes([raw[at % len(raw)] ^ 1 << bit]) + raw[at % len(raw) + 1 :]
    )


def _insert(at: int, piece: bytes, times: int) -> Op:
    return lambda raw: raw[: at % len(raw)] + piece * times + raw[at % len(raw) :]


def _cut(at: int, length: int) -> Op:
    return lambda raw: raw[: at % len(raw)] + raw[at % len(raw) + length :]


def _splice(at: int, other: bytes, start: int, length: int) -> Op:
    return lambda raw: raw[: at % len(raw)] + other[start % len(other) :][:length] + raw[at % len(raw) :]


def _value(name: bytes, pieces: list[bytes]) -> Op:
    """Another value for a field that is there, or one more field on top."""

    def change(raw: bytes) -> bytes:
        lines = raw.split(b"\n")
        wanted = name.lower() + b":"
        for number, line in enumerate(lines):
            if line.lower().startswith(wanted):
                lines[number] = name + b": " + b"".join(pieces)
                return b"\n".join(lines)
        return name + b": " + b"".join(pieces) + b"\n" + raw

    return change


_ops = st.one_of(
    st.builds(_value, st.sampled_from(_LINES), st.lists(_pieces, max_size=8)),
    st.builds(_insert, _place, _pieces, st.sampled_from([1, 1, 1, 2, 40])),
    st.builds(_flip, _place, st.integers(0, 7)),
    st.builds(_splice, _place, _some_start, _place, st.integers(1, 400)),
    st.builds(_cut, _place, st.integers(1, 200)),
)


def _mutated(raw: bytes, ops: list[Op]) -> bytes:
    for op in ops:
        raw = op(raw or b"\n")
    return raw


_fields = st.tuples(st.sampled_from(_LINES), st.lists(_pieces, max_size=10))
letters = st.one_of(
    st.builds(_mutated, _some_start, st.lists(_ops, min_size=1, max_size=5)),
    st.lists(_fields, max_size=10).map(
        lambda fields: (
            b"\r\n".join(name + b": " + b"".join(value) for name, value in fields) + b"\r\n\r\nbody"
        )
    ),
)


# ── rounds ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Statistics:
    """What was seen."""

    examples: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    defects: Counter[str] = field(default_factory=Counter)

    def add(self, raw: bytes, decision: Decision) -> None:
        self.examples += 1
        self.outcomes["review" if decision.review else decision.outcome.value] += 1
        self.rules[decision.rule] += 1
        self.codes.update(reason.code for finding in decision.trail for reason in finding.reasons)
        self.defects.update(mail.parse(raw).defects[:20])

    def shown(self, seconds: float) -> Iterator[str]:
        kinds = {defect.split(": ", 1)[-1].split(":")[0] for defect in self.defects}
        rate = self.examples / max(seconds, 0.001)
        yield f"{self.examples} examples in {seconds:.0f} s, {rate:.0f} a second"
        yield f"outcomes: {_counted(self.outcomes)}"
        yield f"rules: {_counted(self.rules)}"
        yield f"{len(self.codes)} codes of reasons, {len(self.defects)} defects of {len(kinds)} kinds"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def fuzz_round(
    world: World, number: int, seen: Statistics, examples: int = ROUND
) -> tuple[bytes, Exception] | None:
    """So many examples from this seed; the smallest letter that breaks a law, and how, or None."""
    last: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(letters, st.sampled_from(sorted(_POLICIES)), st.sampled_from(["INBOX", "INBOX", "Sent"]))
    def examine(raw: bytes, policy: str, folder: str) -> None:
        last[:] = [raw]
        seen.add(raw, world.examine(raw, policy, folder))

    try:
        examine()
    except Exception as error:
        return last[0], error
    return None


def examine_files(world: World, files: list[Path]) -> int:
    """Each file against every policy and both folders."""
    failed = 0
    for path in files:
        for policy in _POLICIES:
            for folder in ("INBOX", "Sent"):
                try:
                    world.examine(path.read_bytes(), policy, folder)
                except Exception as error:
                    failed = 1
                    sys.stdout.write(f"{path}: {policy}, {folder}: {type(error).__name__}: {str(error)!a}\n")
    return failed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    parser.add_argument("--seed", type=int, default=None, help="the first round's; the same finds the same")
    parser.add_argument("--into", type=Path, default=Path(), help="the folder for what breaks a law (.)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="examine these instead")
    chosen = parser.parse_args(arguments)
    logging.getLogger("imaprouter").addHandler(logging.NullHandler())
    logging.getLogger("mailparser").setLevel(logging.CRITICAL)
    with closing(World()) as world:
        if chosen.files:
            return examine_files(world, chosen.files)
        first = random.randrange(2**31) if chosen.seed is None else chosen.seed
        sys.stdout.write(f"./dev fuzz: seed {first}, {len(corpus())} letters to begin with\n")
        sys.stdout.flush()
        return _run(world, first, chosen.minutes, chosen.into)


def _run(world: World, first: int, minutes: float, into: Path) -> int:
    seen, start = Statistics(), time.monotonic()
    number = first
    broken = None
    while broken is None and (number == first or time.monotonic() - start < 60 * minutes):
        broken = fuzz_round(world, number, seen)
        number += 1
    for line in seen.shown(time.monotonic() - start):
        sys.stdout.write(f"{line}\n")
    if broken is None:
        return 0
    raw, error = broken
    path = into / f"fuzz-{hashlib.sha256(raw).hexdigest()[:8]}.eml"
    path.write_bytes(raw)
    sys.stdout.write(f"{type(error).__name__}: {str(error)!a}\n")
    sys.stdout.write(f"a law is broken by {path} (seed {number - 1}); look again: ./dev fuzz {path}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
