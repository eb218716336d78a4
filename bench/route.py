"""How fast a header becomes a decision: raw bytes → envelope → decision, on one core, nothing written.

The index lies in a file, as in the service, beside a journal with earlier letters of the threads. The letters
are made here, in the shapes in which Gmail, Yandex, Mail.ru and Exchange deliver: 2 to 4 kB of Received,
DKIM-Signature and Authentication-Results around the fields that count. Every figure is the median of three
runs, by the time of the processor: nothing waits for a disk, and other work on the machine counts less.
Beside it stands Python's own header parser, which neither decodes nor decides: the floor.
"""

from __future__ import annotations

import base64
import gc
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from email.parser import BytesHeaderParser
from email.utils import format_datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from imaprouter.decide import decide
from imaprouter.mail import parse
from imaprouter.model import (
    Activity,
    Binding,
    Company,
    Contact,
    Deal,
    Decision,
    Direction,
    Envelope,
    Finding,
    Letter,
    Outcome,
    State,
    User,
    Verdict,
    deal,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import why
from imaprouter.store.index import index_path
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import NewMessage

SIZES = (1_000, 200_000, 1_000_000)
#: The size at which stages and rules are measured one by one.
MAIN_SIZE = 200_000
LETTERS = 4_000
RUNS = 3
ON_RECORD = 20_000
USERS = 200
#: Bitrix24 has sent a letter from every tenth deal.
SENT = 10
OWN = frozenset({"sales@company.ru"})
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MOSCOW = timezone(timedelta(hours=3))
POLICY = RoutingPolicy()
#: Of a hundred letters.
MIX = {"marker": 25, "thread": 35, "address": 10, "participants": 20, "unknown sender": 10}

# With letters of this kind on a machine of this kind, over 20,000 records; their licences keep them out of
# this file.
QUOTED = {
    "Frappe's receive.py, by In-Reply-To": "7,841",
    "Frappe's receive.py, by marker": "7,996",
    "Frappe's receive.py, by subject": "365 to 452",
    "Odoo 18, parse and route": "65 to 79",
}

_Row = TypeVar("_Row")

say = sys.stdout.write


class Sample(NamedTuple):
    """A letter, and by what its deal can be told."""

    by: str
    raw: bytes


class Office:
    """An index of so many deals, a journal, and the clients who write."""

    def __init__(self, folder: Path, deals: int) -> None:
        self.deals = deals
        self.contacts = max(1, deals * 4 // 5)
        self.companies = max(1, deals // 5)
        path = folder / "bench.db"
        self.journal = Journal(path)
        self.knowledge = Knowledge(index_path(path), self.journal.messages)
        self._random = random.Random(deals)
        self._fill()
        self._record()

    def close(self) -> None:
        self.knowledge.close()
        self.journal.close()

    def route(self, raw: bytes) -> Decision:
        """The work that is measured."""
        return self.decide(parse(raw))

    def decide(self, envelope: Envelope) -> Decision:
        return decide(Letter(envelope, OWN, OWN), self.knowledge, POLICY)

    def letters(self, count: int) -> list[Sample]:
        """Letters of every kind in random order, each of another client."""
        kinds = [kind for kind, share in MIX.items() for _ in range(share * count // 100)]
        self._random.shuffle(kinds)
        return [Sample(kind, self._letter(kind, number)) for number, kind in enumerate(kinds)]

    # ── the CRM ───────────────────────────────────────────────────────────────────────────────────────────

    def _fill(self) -> None:
        index = self.knowledge
        with index.writing():
            index.put_users([User(n, f"Employee {n}", employee(n)) for n in range(1, USERS + 1)], 1)
            for companies in pages(self._company(n) for n in range(1, self.companies + 1)):
                index.put_companies(companies, 1)
            for contacts in pages(self._contact(n) for n in range(1, self.contacts + 1)):
                index.put_contacts(contacts, 1)
            for deals in pages(self._deal(n) for n in range(1, self.deals + 1)):
                index.put_deals(deals, 1)
            for sent in pages(self._sent(n) for n in range(3, self.deals + 1, SENT)):
                index.put_sent_letters(sent)
            index.facts.set("generation", "1")

    def _company(self, number: int) -> Company:
        return Company(number, f"ООО «Фирма {number}»", number % USERS + 1, (f"info@firma{number}.ru",))

    def _contact(self, number: int) -> Contact:
        return Contact(
            number, f"Клиент {number}", number % USERS + 1, (self._employer(number),), (self._email(number),)
        )

    def _deal(self, number: int) -> Deal:
        contact = self._client(number)
        created = NOW - timedelta(days=number % 700 + 2)
        return Deal(
            id=number,
            title=f"Поставка {number}",
            stage_id="NEW",
            semantic="PSF"[number % 3],
            responsible_id=responsible(number),
            company_id=self._employer(contact),
            contact_ids=(contact,),
            created_at=created,
            modified_at=created + timedelta(days=1),
            moved_at=created + timedelta(days=1),
        )

    def _sent(self, number: int) -> Activity:
        return Activity(
            id=number,
            mailbox_email="sales@company.ru",
            direction=Direction.OUTGOING,
            subject="",
            start_time=None,
            created_at=None,
            updated_at=None,
            owner=Binding(2, number),
            responsible_id=1,
            completed=True,
            message_id=sent_id(number),
        )

    def _client(self, number: int) -> int:
        """The contact of a deal."""
        return (number - 1) % self.contacts + 1

    def _recorded_deal(self, number: int) -> int:
        """The deal of a letter on record."""
        return number * 7919 % self.deals + 1

    def _employer(self, contact: int) -> int:
        return contact % self.companies + 1

    def _email(self, contact: int) -> str:
        """One of four has no domain of his own."""
        return (
            f"client{contact}@gmail.com"
            if contact % 4 == 0
            else f"k{contact}@firma{self._employer(contact)}.ru"
        )

    # ── the letters ───────────────────────────────────────────────────────────────────────────────────────

    def _record(self) -> None:
        """Put the letters into the journal that those of threads answer."""
        folder = self.journal.folders.start("sales", "INBOX", uidvalidity=1, cursor=0, watch_since=None)
        with self.journal.transaction():
            for number in range(1, ON_RECORD + 1):
                target = deal(self._recorded_deal(number))
                found = Finding("marker", Verdict.MATCH, (why("marker", deal=target.id),), (), target)
                message = NewMessage(
                    uid=number,
                    direction=Direction.INCOMING,
                    envelope=Envelope(message_id=recorded_id(number)),
                    decision=Decision(Outcome.DEAL, "marker", found.reasons, (found,), target),
                    internal_date=NOW,
                    size=3000,
                    seen=False,
                    state=State.WAITING,
                )
                self.journal.messages.add(folder, message, NOW)

    def _letter(self, kind: str, number: int) -> bytes:
        pick = self._random
        # Open, and written from by Bitrix24.
        number_of_deal = pick.randrange(3, self.deals + 1, 3 * SENT)
        sender = self._email(self._client(number_of_deal))
        to, subject = "sales@company.ru", pick.choice(SUBJECTS)
        answers: list[str] = []
        if kind == "participants":
            to = f"{employee(responsible(number_of_deal))}, {to}"
        elif kind == "unknown sender":
            sender = f"buyer{number}@shop{number}.ru"
            to = f"{employee(pick.randint(1, USERS))}, {to}"
        elif kind == "marker":
            subject = f"{subject} #{number_of_deal}"
        elif kind == "address":
            to = f"sales+d{number_of_deal}@company.ru"
        elif kind == "thread":
            known = sent_id(number_of_deal)
            if pick.random() < 0.5:
                recorded = pick.randint(1, ON_RECORD)
                known = recorded_id(recorded)
                sender = self._email(self._client(self._recorded_deal(recorded)))
            strangers = [f"unseen.{number}.{step}@mail.gmail.com" for step in range(pick.randint(0, 4))]
            answers = [*strangers, known]
        shape = pick.choice(SHAPES)
        return shape(f"{number}.{self.deals}", sender, to, subject, answers, pick).encode("ascii")


SUBJECTS = (
    "Коммерческое предложение на поставку кабеля",
    "Re: Вопрос по срокам отгрузки и упаковке",
    "Спецификация, вторая редакция",
    "Re: Встреча в четверг",
    "Re: Price list and delivery terms",
    "Fwd: Уточнение реквизитов и адреса склада в Подольске",
)


def employee(number: int) -> str:
    return f"manager{number}@company.ru"


def responsible(deal_number: int) -> int:
    return deal_number % USERS + 1


def sent_id(number: int) -> str:
    return f"crm.activity.{number}-abc123@company.bitrix24.ru"


def recorded_id(number: int) -> str:
    return f"caf{number:09x}.recorded.letter@mail.gmail.com"


def pages(rows: Iterable[_Row]) -> Iterable[list[_Row]]:
    rows = iter(rows)
    while page := list(islice(rows, 10_000)):
        yield page


# ── how mailers write ─────────────────────────────────────────────────────────────────────────────────────


def gmail(name: str, sender: str, to: str, subject: str, answers: list[str], pick: random.Random) -> str:
    domain = sender.rpartition("@")[2]
    return header(
        f"Return-Path: <{sender}>",
        "Delivered-To: sales@company.ru",
        *received(pick, "mx.company.ru", "mail-lf1-f41.google.com", "mx.google.com"),
        "Authentication-Results: mx.company.ru; dkim=pass (2048-bit key; unprotected)\r\n"
        f" header.d={domain} header.i=@{domain} header.a=rsa-sha256 header.s=20230601\r\n"
        f" header.b={noise(pick, 8)}; dkim-atps=neutral; spf=pass (mx.company.ru:\r\n"
        f" domain of {sender} designates 209.85.167.41 as permitted sender) smtp.mailfrom={sender};\r\n"
        f" dmarc=pass (p=none dis=none) header.from={domain}",
        dkim(pick, domain, "20230601"),
        dkim(pick, "1e100.net", "20230601").replace("DKIM-Signature", "X-Google-DKIM-Signature"),
        f"X-Gm-Message-State: {noise(pick, 60)}\r\n {noise(pick, 70)}\r\n {noise(pick, 40)}",
        f"X-Google-Smtp-Source: {noise(pick, 70)}\r\n {noise(pick, 60)}",
        f"X-Received: by 2002:a05:6512:3d0f:b0:52c with SMTP id {noise(pick, 20)}; {stamp(pick)}",
        "MIME-Version: 1.0",
        *threading(answers),
        f"From: {word('Сергей Кузнецов')} <{sender}>",
        f"Date: {stamp(pick)}",
        f"Message-ID: <CAF{noise(pick, 28)}{name}@mail.gmail.com>",
        f"Subject: {word(subject)}",
        f"To: {to}",
        f'Content-Type: multipart/alternative; boundary="{noise(pick, 28)}"',
    )


def yandex(name: str, sender: str, to: str, subject: str, answers: list[str], pick: random.Random) -> str:
    domain = sender.rpartition("@")[2]
    return header(
        f"Return-Path: <{sender}>",
        "Delivered-To: sales@company.ru",
        *received(
            pick, "mx.company.ru", "forward502a.mail.yandex.net", "mail-nwsmtp-smtp-35.sas.yp-c.yandex.net"
        ),
        f"Authentication-Results: mx.company.ru; spf=pass smtp.mailfrom={sender};\r\n"
        f" dkim=pass header.d={domain}",
        dkim(pick, domain, "mail"),
        f"X-Yandex-Front: mail-nwsmtp-smtp-production-main-{pick.randint(10, 99)}.sas.yp-c.yandex.net",
        f"X-Yandex-Fwd: {noise(pick, 50)}",
        f"From: {word('Анна Орлова')} <{sender}>",
        f"To: {to}",
        *threading(answers),
        f"Subject: {word(subject)}",
        "MIME-Version: 1.0",
        "X-Mailer: Yamail [ http://yandex.ru ] 5.0",
        f"Date: {stamp(pick)}",
        f"Message-Id: <{pick.randint(10**13, 10**14)}{name}@mail.yandex.ru>",
        "Content-Transfer-Encoding: 7bit",
        "Content-Type: text/html; charset=utf-8",
    )


def mail_ru(name: str, sender: str, to: str, subject: str, answers: list[str], pick: random.Random) -> str:
    domain = sender.rpartition("@")[2]
    return header(
        f"Return-Path: <{sender}>",
        "Delivered-To: sales@company.ru",
        *received(
            pick, "mx.company.ru", "smtp57.i.mail.ru", "f750.i.mail.ru", "exim-smtp-77d5b8c6d6.mail.ru"
        ),
        f"Authentication-Results: mx.company.ru; spf=pass (mx.company.ru: domain of {sender}\r\n"
        f" designates 217.69.128.37 as permitted sender) smtp.mailfrom={sender}; dkim=pass\r\n"
        f" header.d={domain}; dmarc=pass header.from={domain}",
        dkim(pick, domain, "mail4"),
        f"From: {word('Пётр Ильин')} <{sender}>",
        f"To: {to}",
        "Cc: boss@company.ru",
        f"Subject: {word(subject)}",
        "MIME-Version: 1.0",
        "X-Mailer: Mail.Ru Mailer 1.0",
        f"Date: {stamp(pick)}",
        f"Reply-To: {word('Пётр Ильин')} <{sender}>",
        "X-Priority: 3 (Normal)",
        f"Message-ID: <{pick.randint(10**9, 10**10)}.{pick.randint(10**8, 10**9)}.{name}@f750.i.mail.ru>",
        *threading(answers),
        'Content-Type: multipart/alternative;\r\n boundary="--ALT--' + noise(pick, 30) + '"',
        "X-Mailru-Src: smtp",
        f"X-7564579A: {noise(pick, 40)}",
        f"X-77F55803: {noise(pick, 72)}\r\n {noise(pick, 72)}\r\n {noise(pick, 72)}",
        f"X-7FA49CB5: {noise(pick, 72)}\r\n {noise(pick, 72)}\r\n {noise(pick, 72)}\r\n {noise(pick, 72)}",
        f"X-Mras: Ok\r\nX-Spam: undefined\r\nX-C1DE0DAB: {noise(pick, 72)}\r\n {noise(pick, 72)}",
    )


def exchange(name: str, sender: str, to: str, subject: str, answers: list[str], pick: random.Random) -> str:
    domain = sender.rpartition("@")[2]
    return header(
        f"Return-Path: <{sender}>",
        "Delivered-To: sales@company.ru",
        *received(
            pick, "mx.company.ru", f"mail.{domain}", f"EX01.{domain}", f"EX01.{domain}", f"EX02.{domain}"
        ),
        f"Authentication-Results: mx.company.ru; spf=pass smtp.mailfrom={sender}; dkim=none; dmarc=none",
        f"From: {word('Ольга Белова')} <{sender}>",
        f"To: {', '.join(f'<{one.strip()}>' for one in to.split(','))}",
        f"Subject: {word(subject)}",
        f"Thread-Topic: {word(subject)}",
        f"Thread-Index: {thread_index(pick)}",
        f"Date: {stamp(pick)}",
        f"Message-ID: <{noise(pick, 32)}{name}@{domain}>",
        *threading(answers),
        "Accept-Language: ru-RU, en-US",
        "Content-Language: ru-RU",
        "X-MS-Has-Attach: yes",
        "X-MS-TNEF-Correlator:",
        "x-originating-ip: [10.11.0.57]",
        "x-kse-serverinfo: ex01.local, 9",
        "x-kse-attachmentfiltering-interceptor-info: no applicable attachment filtering rules found",
        f"x-kse-antivirus-info: Clean, bases: {stamp(pick)}",
        "x-kse-bulkmessagesfiltering-scan-result: InTheLimit",
        f'Content-Type: multipart/mixed;\r\n\tboundary="_004_{noise(pick, 32)}_"',
        "MIME-Version: 1.0",
    )


SHAPES = (gmail, yandex, mail_ru, exchange)


def header(*fields: str) -> str:
    return "\r\n".join(fields) + "\r\n\r\n"


def received(pick: random.Random, *hosts: str) -> list[str]:
    return [
        f"Received: from {by} ({by} [10.{pick.randint(0, 255)}.{pick.randint(0, 255)}.7])\r\n\tby {host}"
        f" (Postfix) with ESMTPS id {noise(pick, 12)}\r\n\tfor <sales@company.ru>; {stamp(pick)}"
        for host, by in zip(hosts, (*hosts[1:], "[192.168.1.34]"), strict=True)
    ]


def dkim(pick: random.Random, domain: str, selector: str) -> str:
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s={selector}; t=1768201200;\r\n"
        f" h=to:subject:message-id:date:from:mime-version:from:to:cc:subject;\r\n bh={noise(pick, 43)}=;\r\n"
        f" b={noise(pick, 70)}\r\n {noise(pick, 76)}\r\n {noise(pick, 76)}\r\n {noise(pick, 76)}"
        f"\r\n {noise(pick, 40)}=="
    )


def threading(answers: list[str]) -> list[str]:
    if not answers:
        return []
    return [f"In-Reply-To: <{answers[-1]}>", "References: " + "\r\n ".join(f"<{one}>" for one in answers)]


def word(text: str) -> str:
    """As encoded words of base64, folded where a mailer folds them."""
    if text.isascii():
        return text
    parts = [text[start : start + 28] for start in range(0, len(text), 28)]
    return "\r\n ".join(f"=?UTF-8?B?{base64.b64encode(part.encode()).decode()}?=" for part in parts)


def stamp(pick: random.Random) -> str:
    return format_datetime((NOW - timedelta(minutes=pick.randint(1, 60))).astimezone(MOSCOW))


def thread_index(pick: random.Random) -> str:
    return base64.b64encode(b"\x01" + pick.randbytes(21)).decode()


def noise(pick: random.Random, length: int) -> str:
    return base64.b64encode(pick.randbytes(length)).decode().replace("/", "a").replace("+", "b")[:length]


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────


def per_second(work: Callable[[_Row], object], items: list[_Row]) -> float:
    """Items a second, the median of the runs."""
    rates = []
    for _ in range(RUNS):
        gc.collect()
        start = time.process_time()
        for item in items:
            work(item)
        rates.append(len(items) / (time.process_time() - start))
    return statistics.median(rates)


def in_detail(office: Office, letters: list[Sample]) -> None:
    """Print the stages, then the whole by what the letters tell their deal by."""
    raws = [raw for _, raw in letters]
    sizes = sorted(map(len, raws))
    say(f"\n{office.deals:,} deals, {office.contacts:,} contacts, {office.companies:,} companies;")
    least, middle, most = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    say(f" {len(raws):,} letters of {least:,} to {most:,} bytes, median {middle:,}\n\n")
    envelopes = [parse(raw) for raw in raws]
    floor = per_second(BytesHeaderParser().parsebytes, raws)
    row("Python's header parser alone", floor, floor)
    row("our parse alone", per_second(parse, raws), floor)
    row("deciding alone", per_second(office.decide, envelopes), floor)
    row("whole: bytes to decision", per_second(office.route, raws), floor)
    say("\nwhole, by what tells the deal\n\n")
    for kind in MIX:
        row(kind, per_second(office.route, [raw for by, raw in letters if by == kind]), floor)
    say("\ndecided by\n\n")
    decided = Counter(
        (by, decision.rule, decision.outcome.value) for by, raw in letters for decision in [office.route(raw)]
    )
    for (by, rule, outcome), count in sorted(decided.items()):
        say(f"{by:<18}{rule:<14}{outcome:<10}{count:>6}\n")


def row(name: str, rate: float, floor: float) -> None:
    say(f"{name:<36}{rate:>10,.0f} messages/s{1e6 / rate:>9.1f} µs{rate / floor:>8.2f} of Python's parser\n")


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if sys.platform == "linux" else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{model} ({os.cpu_count()} cores), Python {platform.python_version()}, {platform.system()}"


def main() -> int:
    """Print the tables."""
    say(f"headers to decisions, one core of {machine()}; median of {RUNS} runs\n")
    rates = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, closing(Office(Path(folder), size)) as office:
            letters = office.letters(LETTERS)
            # As the recorder decides: a batch in one transaction of the journal.
            with office.journal.transaction():
                if size == MAIN_SIZE:
                    in_detail(office, letters)
                rates[size] = per_second(office.route, [raw for _, raw in letters])
    say("\nwhole, by the size of the index\n\n")
    for size, rate in rates.items():
        say(f"{size:>11,} deals{rate:>20,.0f} messages/s{rate / rates[SIZES[0]]:>8.2f}\n")
    say("\nquoted from earlier measurements, not measured here\n\n")
    for name, quoted in QUOTED.items():
        say(f"{name:<36}{quoted:>12} messages/s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
