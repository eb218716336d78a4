"""Letters made to hurt: each goes all the way, costs a bounded time, and is shown inert.

Every letter is examined in a process of its own that the kernel ends after some seconds of CPU: a step that
is not linear does not come back.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzz
import pytest
from click.testing import CliRunner
from dovecot import Dovecot
from office import FIXTURES, Office, letter

from imaprouter import mail
from imaprouter.cli import cli
from imaprouter.model import Address, Envelope, Result, State, deal
from imaprouter.notice import notice
from imaprouter.reasons import ENGLISH

#: Of CPU for one letter, examined twice, on any machine of today; a second is usual for the worst of them.
SECONDS = 15
#: `limits.header_bytes`: what the configuration allows at most, beside the default.
LARGEST = 64_000_000

WHO = b"From: sergey@horns.ru\r\nTo: sales@company.ru\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return WHO + name + b": " + value + b"\r\n\r\n"


def subject(value: bytes) -> bytes:
    return field(b"Subject", value)


def many(count: int, item: Callable[[int], bytes], between: bytes = b", ") -> bytes:
    return between.join(map(item, range(count)))


def word(text: str, charset: str = "utf-8") -> bytes:
    """An encoded word, whatever the text holds."""
    data = base64.b64encode(text.encode("utf-8", "surrogatepass"))
    return b"=?" + charset.encode() + b"?B?" + data + b"?="


def forward(body: bytes, kind: bytes = b'multipart/mixed; boundary="b"') -> bytes:
    """What an employee forwards: only that is opened."""
    return b"From: masha@company.ru\r\nTo: sales@company.ru\r\nContent-Type: " + kind + b"\r\n\r\n" + body


def nested(depth: int) -> bytes:
    """Letters in letters in letters."""
    part = b"Content-Type: message/rfc822\r\n\r\n"
    return forward(part * depth + b"From: sergey@horns.ru\r\nSubject: #1\r\n\r\nx", b"message/rfc822")


def nested_parts(depth: int) -> bytes:
    head = b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n'
    return forward(many(depth, lambda at: head % (at, at + 1), b""), b'multipart/mixed; boundary="b0"')


#: Name: the letter, and what its defects must say of it ('' where nothing is lost).
FLOODS: dict[str, tuple[bytes, str]] = {
    "a header of 5 MB": (
        WHO + b"X-Junk: " + b"x" * 990 + b"\r\n" + b"X-Junk: y\r\n" * 460_000 + b"Subject: #1\r\n\r\n",
        "header: cut at 1000000 bytes",
    ),
    "a line of 5 MB": (WHO + b"X-Junk: " + b"x" * 5_000_000 + b"\r\n\r\n", "header: cut at 1000000 bytes"),
    "a subject of a megabyte": (subject(b"#1 " * 330_000), "subject: cut at 65536 bytes"),
    "blank lines of 5 MB": (b"\r\n" * 2_500_000 + WHO, "from: no address"),
    "100,000 recipients": (
        field(b"Cc", many(100_000, lambda at: b"a%d@x.ru" % at)),
        "cc: cut at 65536 bytes",
    ),
    "100,000 recipients with names": (
        field(b"Cc", many(100_000, lambda at: b'"N, %d" <a%d@x.ru>' % (at, at))),
        "cc: cut at 65536 bytes",
    ),
    "short recipients": (field(b"Cc", many(12_000, lambda at: b"a@b")), "cc: more than 1000 addresses"),
    "100,000 Cc fields": (WHO + b"Cc: a@x.ru\r\n" * 100_000 + b"\r\n", "header: cut at 1000000 bytes"),
    "every recipient a deal": (
        b"From: sergey@horns.ru\r\n"
        + b"".join(
            name + b": " + many(1000, lambda at: b"sales+d%d@company.ru" % (at + 1)) + b"\r\n"
            for name in (b"To", b"Cc", b"Resent-To", b"Resent-Cc", b"Delivered-To", b"Envelope-To")
        )
        + b"Subject: #1\r\n\r\n",
        "",
    ),
    "thousands of writers and of deals": (
        b"From: " + many(1000, lambda at: b"a%d@horns.ru" % at) + b"\r\nReply-To: "
        + many(1000, lambda at: b"b%d@horns.ru" % at) + b"\r\nTo: "
        + many(1000, lambda at: b"sales+d%d@company.ru" % (at + 1)) + b"\r\nSubject: "
        + many(9000, lambda at: b"#%d" % (at + 1), b" ") + b"\r\n\r\n",
        "subject: cut at 1000 characters",
    ),
    "our own letter to thousands": (
        b"From: sales@company.ru\r\nTo: "
        + many(1000, lambda at: b"a%d@x.ru" % at) + b"\r\nCc: sergey@horns.ru, "
        + many(990, lambda at: b"b%d@x.ru" % at) + b"\r\nSubject: "
        + many(9000, lambda at: b"#%d" % (at + 1), b" ") + b"\r\n\r\n",
        "subject: cut at 1000 characters",
    ),
    "10,000 numbers": (subject(many(10_000, lambda at: b"#%d" % (at + 1), b" ")), "cut at 1000 characters"),
    "10,000 signed numbers": (
        subject(many(7_000, lambda at: b"#%d-7K4Q" % (at + 1), b" ")),
        "subject: cut at 1000 characters",
    ),
    "a number of a megabyte": (subject(b"#" + b"9" * 1_000_000), "subject: cut at 65536 bytes"),
    "signs of numbers without numbers": (subject("# \u00a0№".encode() * 9_000), "subject: cut"),
    "letters that grow when they are read": (subject("ﷺ#1".encode() * 10_000), "subject: cut"),
    "10,000 references": (
        field(b"References", many(10_000, lambda at: b"<%d@x.ru>" % at, b" ")),
        "references: more than 500 ids, the nearest are kept",
    ),
    "10,000 references of Bitrix24": (
        field(b"References", many(10_000, lambda at: b"<crm.activity.%d-ABC123@x.ru>" % at, b" ")),
        "references: cut at 65536 bytes",
    ),
    "10,000 References fields": (
        WHO + many(10_000, lambda at: b"References: <%d@x.ru>\r\n" % at, b"") + b"\r\n",
        "references: cut at 65536 bytes",
    ),
    "an id of a megabyte": (field(b"Message-ID", b"<" + b"a" * 1_000_000 + b"@x>"), "message-id: cut"),
    "ids without an end": (field(b"References", b"<" * 60_000), ""),
    "ids of comments": (field(b"In-Reply-To", b"(<" * 30_000 + b">" * 5_000), ""),
    "NUL bytes": (WHO.replace(b"s", b"\0s\0") + b"Sub\0ject: \0#1\0" + b"\0" * 900_000, "header: NUL bytes"),
    "50,000 encoded words": (subject(b"=?utf-8?Q?a?= " * 50_000), "subject: more than 500 encoded words"),
    "words in words": (subject(b"=?utf-8?Q?" * 6_000 + b"?=" * 2_000), ""),
    "a word of 64 KB": (subject(b"=?utf-8?B?" + b"0JrQnw" * 10_000 + b"?="), "cut at 1000 characters"),
    "a word of escapes": (subject(b"=?utf-8?Q?" + b"=D0=9A" * 10_000 + b"?="), "cut at 1000 characters"),
    "each word in another charset": (
        subject(many(5_000, lambda at: b"=?x-%d?Q?=FF?=" % at, b" ")),
        "subject: unknown charset x-0",
    ),
    "words in a list of names": (field(b"Cc", b"=?utf-8?Q?a,b?= <a@b>," * 2_700), "cc: more than 1000"),
    "half characters between words": (subject(b"=?utf-8?B?0A==?= =?utf-8?B?mg==?= " * 1_500), "500 encoded"),
    "brackets of a list": (field(b"Cc", b"<" * 60_000), ""),
    "comments in a list": (field(b"Cc", b"(" * 60_000), "cc: "),
    "closed comments in a list": (field(b"Cc", b"(" * 30_000 + b")" * 30_000 + b" a@b.ru"), ""),
    "groups in groups": (field(b"Cc", b"g:" * 30_000 + b"a@b.ru" + b";" * 5_000), "cc: "),
    "quotes in a list": (field(b"Cc", b'"' * 60_001), "cc: "),
    "quotes and commas": (field(b"Cc", b'",' * 30_000), "cc: "),
    "backslashes in a list": (field(b"Cc", b'"' + b"\\" * 60_000), "cc: "),
    "at signs": (field(b"Cc", b"a@" * 30_000), "cc: "),
    "dots": (field(b"Cc", b"a." * 30_000 + b"@b.ru"), "cc: "),
    "an endless domain": (field(b"From", b"a@" + b"b." * 30_000 + b"ru"), "from: "),
    "an endless domain of many alphabets": (field(b"From", b"a@" + "é.".encode() * 20_000), "from: "),
    "two endless domains": (field(b"From", b"<a@" + b"\xc3\xa9" * 15_000 + b"> <b@" + b"\xc3\xab" * 99), ""),
    "blanks in a list": (field(b"Cc", b"a b " * 16_000), "cc: "),
    "blanks before an address": (field(b"Cc", b" " * 60_000 + b"x"), "cc: "),
    "items that are nearly plain": (field(b"Cc", b"a b <a@b.ru>x," * 4_000), "cc: "),
    "comments in a date": (field(b"Date", b"(" * 500_000), "date: "),
    "digits in a date": (field(b"Date", b"1" * 60_000), "date: "),
    "the end of the calendar": (field(b"Date", b"31 Dec 9999 23:59:60 -2359"), "date: cannot be understood"),
    "results in results": (
        field(b"Authentication-Results", b"mx.company.ru; " + b"(a" * 4_000 + b")" * 4_000),
        "authentication-results: cannot be read to its end",
    ),
    "10,000 results": (
        WHO + b"Authentication-Results: mx.company.ru; dmarc=pass\r\n" * 10_000 + b"\r\n",
        "authentication-results: more than 50",
    ),
    "a conversation of 64 KB": (field(b"Thread-Index", b"Aa" * 32_000), ""),
    "charsets of a megabyte": (field(b"Content-Type", b"a/b; charset =" * 70_000), "content-type: cut"),
    "blanks in a type": (field(b"Content-Type", b"multipart/x; " + b"report-type " * 5_000), ""),
    "lines that are no fields": (WHO + b"no field\r\n" * 90_000 + b"Subject: #1\r\n\r\n", "no header fields"),
    "100,000 folds": (subject(b"x\r\n " * 100_000), "subject: cut at 65536 bytes"),
    "only carriage returns": (WHO.replace(b"\n", b"") + b"Subject: x\r" * 90_000, "subject: "),
    "letters in letters": (nested(2_000), ""),
    "parts in parts": (nested_parts(2_000), ""),
    "100,000 parts": (forward(b"--b\r\n\r\n" * 37_000), ""),
    "boundaries that nearly fit": (forward(b"--b-\r\n" * 40_000), ""),
    "a boundary of 64 KB": (forward(b"x" * 200_000, b'multipart/x; boundary="' + b"b" * 60_000 + b'"'), ""),
    "parameters of parts": (forward(b"", b"multipart/mixed" + b"; a*0*=''x" * 6_000), ""),
    "quotes in parameters": (forward(b"", b'multipart/mixed; boundary="' + b'\\"' * 30_000), ""),
}  # fmt: skip

CHARSETS = [
    *("x-unknown", "rot13", "rot_13", "zlib", "bz2", "hex", "base64", "uu", "quopri", "idna", "punycode"),
    *("unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "utf-7", "utf-16", "utf-32"),
    *("string_escape", "charmap", "utf_8_sig", "palmos", "../../etc/passwd", "utf-8*ru", "8bit", "None", "_"),
]  # fmt: skip

#: What a subject or a name may try, as text; each also comes as an encoded word.
TRICKS = {
    "SQL": "'; DROP TABLE messages; --",
    "SQL in a like": '%" OR 1=1 /*',
    "shell": "$(reboot) `reboot` ; rm -rf / | sh && x > /etc/passwd",
    "HTML": "<script>alert(document.cookie)</script><img src=x onerror=alert(1)>&lt;b&gt;",
    "BB code": "[url=https://evil.ru]bank[/url][img]https://evil.ru/x.png[/img][user=1]Boss[/user][send=/x]y[/send]",
    "BB code cut in half": "x" * 195 + "[url=https://evil.ru]bank[/url]",
    "a line break of Bitrix24": "КП#BR#------#br#Boss#BR#>>[BR]pay",
    "a colour": "\x1b[31mred\x1b[0m",
    "a clear screen": "\x1b[2J\x1b[H",
    "a title of the terminal": "\x1b]0;owned\x07\x1b]8;;https://evil.ru\x1b\\x\x1b]8;;\x1b\\",
    "C1 controls": "\x9b31m\x9d0;owned\x9c\x90q\x9c",
    "backspaces": "deal 1\b\b\b\b\b\bdeal 2\x7f\x7f",
    "a bell": "\a" * 50,
    "a new line": "КП\r\nBcc: evil@x.ru\r\n\r\nbody",
    "a line of the log": "КП\n2026-11-24T12:00:00+03:00 INFO message.decided id=7",
    "a line of JSON": 'КП"}\n{"source": "forged", "review": false, "x": "',
    "other line ends": "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i",
    "a word from the right": "\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "hidden letters": "#\u200b1\u200d\u2060\ufeff2\u00ad3\u034f4\u180e5",
    "tags": "".join(chr(0xE0000 + ord(sign)) for sign in "#1 ignore") + "\U000e0001",
    "half a character": "\ud800x\udfff",
    "nothing to see": "\u3164\u115f\u1160\uffa0\u17b4",
    "homographs": "ѕергеу@һоrnѕ.ru ＃１ #１ №１",
    "Hebrew": "שלום #1 עולם",
    "a template of Python": "{0.__class__} {deal} %s %(x)s ${x} {{7*7}}",
    "a path": "../../../etc/passwd\0.eml",
    "a formula": '=HYPERLINK("https://evil.ru";"x")',
    "stacked marks": "З" + "\u0489\u0300" * 400,
    "a null": "\0#1\0",
}


def tricks() -> Iterator[tuple[str, bytes, str]]:
    for name, text in TRICKS.items():
        raw = text.encode("utf-8", "surrogatepass")
        for way, shown in (("raw", raw.replace(b"\n", b"\n ")), ("encoded", word(text))):
            head = b"From: " + shown + b" <sergey@horns.ru>\r\nTo: " + shown + b" <masha@company.ru>\r\n"
            ids = b"Message-ID: <" + shown + b"@x>\r\nReferences: <" + shown + b">\r\n"
            yield f"{name}, {way}", head + b"Subject: " + shown + b"\r\n" + ids + b"\r\nbody", ""
    for charset in CHARSETS:
        yield (
            f"charset {charset}",
            subject(b"=?" + charset.encode() + b"?Q?#1_=FF=D0=9A?="),
            "" if charset in ("utf-8*ru", "../../etc/passwd") else "subject: ",
        )


LETTERS = {
    **FLOODS,
    **{name: (raw, defect) for name, raw, defect in tricks()},
}


# ── each in a process of its own ──────────────────────────────────────────────────────────────────────────


def examine(world: fuzz.World, raw: bytes) -> dict[str, Any]:
    """The letter with the default limit and with the greatest one, and with attached letters opened."""
    decision = world.examine(raw)
    world.examine(raw, "forwards are opened", limit=LARGEST)
    envelope = mail.parse(raw)
    return {"defects": envelope.defects, "subject": envelope.subject, "codes": decision.code}


def examine_all(folder: Path) -> None:
    """A line of JSON for each letter: what became of it. Runs alone, so that forking is safe."""
    with contextlib.closing(fuzz.World(on_record=())) as world:
        for path in sorted(folder.iterdir()):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                try:
                    told = examine(world, path.read_bytes())
                except BaseException as error:
                    told = {"error": f"{type(error).__name__}: {error!s:.300}"}
                told["seconds"] = sum(os.times()[:2])
                os.write(writer, json.dumps(told).encode()[:60_000])
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader, "rb") as pipe:
                answer = pipe.read()
            os.waitpid(child, 0)
            died = {"error": f"it took more than {SECONDS} s of CPU"}
            told = json.loads(answer) if answer else died
            sys.stdout.write(json.dumps({"name": path.name, **told}) + "\n")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    for number, (raw, _) in enumerate(LETTERS.values()):
        (folder / f"{number:04}").write_bytes(raw)
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(LETTERS, said, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LETTERS)
def test_a_hostile_letter_goes_all_the_way(name: str, answers: dict[str, dict[str, Any]]) -> None:
    """It is decided, kept and shown by the laws, in time, and what is lost of it is named."""
    told = answers[name]
    assert "error" not in told, told["error"]
    wanted = LETTERS[name][1]
    assert any(wanted in defect for defect in told["defects"]) or not wanted, told["defects"]
    assert len(told["subject"]) <= 1000


# ── what is left of them ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [4_096, 65_536, 1_000_000])
@pytest.mark.parametrize("line", [b"X-Junk: y\r\n", b"X-Junk: " + b"y" * 3000 + b"\r\n", b"no field\r\n"])
def test_nothing_behind_the_limit_is_read(limit: int, line: bytes) -> None:
    """The last field that fits is read, the next one is not, and that is said."""
    before = WHO + line * ((limit - len(WHO) - 60) // len(line))
    within = mail.parse(before + b"Subject: found\r\n\r\n", limit=limit)
    assert within.subject == "found"
    assert not any("cut" in defect for defect in within.defects)
    beyond = mail.parse(before + line * (100 // len(line) + 1) + b"Subject: lost\r\n\r\n", limit=limit)
    assert beyond.subject == ""
    assert f"header: cut at {limit} bytes" in beyond.defects
    assert beyond.from_ == (Address("sergey@horns.ru"),)


@pytest.mark.parametrize("text", TRICKS.values(), ids=TRICKS)
def test_a_trick_in_a_name_changes_no_address(text: str) -> None:
    """Whatever a display name tries, who wrote the letter is what stands between the brackets."""
    envelope = mail.parse(b"From: " + word(text) + b" <sergey@horns.ru>\r\n\r\n")
    assert [address.email for address in envelope.from_] == ["sergey@horns.ru"]
    assert envelope.from_is_clear


def test_a_domain_that_looks_like_another_is_written_out() -> None:
    """A Cyrillic letter in a Latin domain is seen, and is another address."""
    envelope = mail.parse("From: sergey@hоrns.ru\r\n\r\n".encode())
    assert envelope.from_[0].email == "sergey@xn--hrns-55d.ru"


def test_line_ends_in_an_encoded_word_make_no_field() -> None:
    raw = (
        b"From: "
        + word("x\r\nBcc: evil@x.ru")
        + b" <a@b.ru>\r\nSubject: "
        + word("КП\r\nTo: evil@x.ru")
        + b"\r\n"
    )
    envelope = mail.parse(raw + b"\r\n")
    assert (envelope.to, envelope.cc) == ((), ())
    assert (envelope.from_[0].name, envelope.subject) == ("x Bcc: evil@x.ru", "КП To: evil@x.ru")


@pytest.mark.parametrize("text", TRICKS.values(), ids=TRICKS)
def test_a_notification_says_one_line_with_one_link(text: str) -> None:
    """Neither a subject nor a deal that was made of one breaks out of its place."""
    envelope = mail.parse(b"From: " + word(text) + b" <a@b.ru>\r\nSubject: " + word(text) + b"\r\n\r\n")
    told = notice(envelope, text, "https://p/1", ENGLISH)
    fuzz.check_line(told, "the notification")
    assert told.count("[") == 2
    assert "#br#" not in told.lower()
    assert told.startswith("The e-mail “")
    assert "[url=https://p/1]" in told


def test_the_title_of_a_deal_may_be_empty_once_it_is_inert() -> None:
    assert "[url=https://p/1]https://p/1[/url]" in notice(Envelope(), "\u202e", "https://p/1", ENGLISH)


# ── through the service ───────────────────────────────────────────────────────────────────────────────────

#: By mail to Masha, so that deal 1 is meant and a notification is sent.
FLOODED = [
    *("a header of 5 MB", "100,000 recipients", "10,000 references", "every recipient a deal"),
    *("10,000 numbers", "the end of the calendar"),
    *("50,000 encoded words", "letters in letters", "lines that are no fields", "comments in a list"),
]  # fmt: skip
TRICKED = ["SQL", "BB code", "a clear screen", "a new line", "a word from the right", "half a character"]
DELIVERED = [
    *(FLOODS[name][0] for name in FLOODED),
    *(
        letter(to="masha@company.ru", cc="sales@company.ru").replace(
            b"Subject: ", b"Subject: " + word(TRICKS[name]) + b" "
        )
        for name in TRICKED
    ),
]


@pytest.mark.timeout(300)
def test_the_service_takes_hostile_letters_and_goes_on(tmp_path: Path, dovecot: Dovecot, user: str) -> None:
    """Each has exactly one entry, the letter behind them is moved, and everything that is shown is inert."""
    with Office(tmp_path, dovecot, user) as office:
        office.options["routing.loop.limit"] = "0"
        office.options["routing.forwards.read_attached"] = "true"
        office.deliver(*DELIVERED)
        office.deliver(letter(to="masha@company.ru", cc="sales@company.ru", subject="the last one"))
        count = len(DELIVERED) + 1
        with office.service() as process:
            office.until(lambda: len(office.messages()) == count)
            activities = office.sync.sync_once()
            office.until(lambda: office.messages()[-1].result is Result.MOVED)
            assert office.deals(activities[-1]) == [1]
            assert office.stop(process) == 0
        found = office.messages()
        assert [message.uid for message in found] == list(range(1, count + 1)), "each has one entry"
        assert not [message for message in found if message.decision.code == "defect"]
        assert {message.state for message in found} <= {State.SETTLED, State.REVIEW, State.WAITING}
        moved = [message for message in found if message.decision.target == deal(1)]
        assert len(moved) > len(TRICKED)
        for line in office.output.read_text("utf-8").splitlines():
            fuzz.check_line(line, "a line of the log")
            json.loads(line)
        for told in office.portal.notifications:
            if told.kind == "system":
                fuzz.check_line(told.message, "a notification")
                assert told.message.count("[") == 2
        for words in (["queue"], ["queue", "--json"], *(["explain", str(message.id)] for message in found)):
            shown = CliRunner().invoke(cli, ["--config", str(office.config), *words])
            assert shown.exit_code == 0
            for line in shown.output.split("\n"):
                fuzz.check_line(line, " ".join(words))


def test_a_header_that_we_fail_to_read_goes_to_a_person(
    tmp_path: Path, dovecot: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours must not keep the letters behind it from being read, at this start or the next."""
    parse = mail.parse

    def fails(raw: bytes, *, limit: int = 1_000_000) -> Envelope:
        if b"poison" in raw:
            raise OverflowError("a defect")
        return parse(raw, limit=limit)

    with Office(tmp_path, dovecot, user) as office:
        monkeypatch.setattr(mail, "parse", fails)
        office.deliver(letter(subject="poison"), letter(to="masha@company.ru", cc="sales@company.ru"))
        assert office.run_once() == 2
        first, second = office.messages()
        assert (first.state, first.decision.code) == (State.REVIEW, "defect")
        assert first.envelope.defects == ("header: imaprouter failed on it",)
        assert second.decision.target == deal(1)
        assert office.run_once() == 0, "the same folder is known again"


def test_replay_shows_hostile_letters_inert(tmp_path: Path) -> None:
    """One line for each letter, also where the names of files are hostile."""
    letters = [raw for _, raw, _ in tricks()]
    for number, raw in enumerate(letters):
        (tmp_path / f"{number:04}.eml").write_bytes(raw)
    names = [b"\x1b[31m.eml", b"a\nb.eml", b"\xff\xfe.eml", "\u202egnp.eml".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(WHO + b"\r\n")
    config = str(FIXTURES / "imaprouter.toml")
    crm = str(FIXTURES / "crm.json")
    for words in ((), ("--json",)):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "imaprouter",
                "--config",
                config,
                "replay",
                "--crm",
                crm,
                *words,
                str(tmp_path),
            ],
            env={**os.environ, "PYTHONPATH": str(FIXTURES.parent), "PYTHONUTF8": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr.decode()
        assert b"Traceback" not in done.stderr
        lines = done.stdout.decode().split("\n")
        assert len(lines) - 1 + done.stderr.count(b"this is no e-mail") == len(letters) + len(names)
        for line in lines:
            fuzz.check_line(line, "a line of replay")


if __name__ == "__main__":
    examine_all(Path(sys.argv[1]))
