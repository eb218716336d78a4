"""Mailboxes of any size in the Dovecot of the tests, and the CRM whose clients wrote what lies in them.

The letters have the header of a mail that went through Gmail and two relays: 33 fields, of which the program
reads a third. What tells their deal is mixed: a marker, a thread on record or not, a tagged address, the
participants, nothing.
"""

from __future__ import annotations

import base64
import os
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from dovecot import Dovecot
from office import Office

from imaprouter.model import Company, Contact, Deal, User
from imaprouter.store.index import Index

__all__ = ["MIX", "Dovecot", "Office", "deliver", "fill", "letters"]

DEALS = 20_000
CONTACTS, COMPANIES, USERS = DEALS * 4 // 5, DEALS // 5, 200
#: Of a hundred letters, by what tells their deal.
MIX = {"marker": 25, "thread": 35, "address": 10, "participants": 20, "nothing": 10}
FIRST = datetime(2025, 3, 1, 8, tzinfo=UTC)
SUBJECTS = (
    "Коммерческое предложение на поставку кабеля",
    "Re: Вопрос по срокам отгрузки и упаковке",
    "Спецификация, вторая редакция",
    "Re: Price list and delivery terms",
)


def fill(index: Index) -> None:
    """Put the CRM into an empty index."""
    with index.writing():
        index.put_users([User(n, f"Employee {n}", f"manager{n}@company.ru") for n in range(1, USERS + 1)], 1)
        index.put_companies([Company(n, f"ООО «Фирма {n}»", 1) for n in range(1, COMPANIES + 1)], 1)
        index.put_contacts([_contact(n) for n in range(1, CONTACTS + 1)], 1)
        index.put_deals([_deal(n) for n in range(1, DEALS + 1)], 1)
        index.facts.set("generation", "1")


def _contact(number: int) -> Contact:
    company = number % COMPANIES + 1
    return Contact(number, f"Клиент {number}", number % USERS + 1, (company,), (_email(number),))


def _deal(number: int) -> Deal:
    contact = (number - 1) % CONTACTS + 1
    return Deal(
        id=number,
        title=f"Поставка {number}",
        stage_id="NEW",
        semantic="PSF"[number % 3],
        responsible_id=number % USERS + 1,
        company_id=contact % COMPANIES + 1,
        contact_ids=(contact,),
        created_at=FIRST,
        modified_at=FIRST,
        moved_at=FIRST,
    )


def _email(contact: int) -> str:
    return f"client{contact}@firma{contact % COMPANIES + 1}.ru"


def letters(count: int) -> Iterator[tuple[datetime, bytes]]:
    """So many letters and when they arrived, in that order; the same ones every time."""
    pick = random.Random(count)
    arrived = FIRST
    ids: list[tuple[str, int]] = []
    for number in range(count):
        arrived += timedelta(seconds=pick.randrange(1, 600))
        (kind,) = pick.choices(tuple(MIX), tuple(MIX.values()))
        deal = pick.randrange(3, DEALS, 3)
        to, subject, answers = "sales@company.ru", pick.choice(SUBJECTS), []
        if kind == "marker":
            subject = f"{subject} #{deal}"
        elif kind == "address":
            to = f"sales+d{deal}@company.ru"
        elif kind == "participants":
            to = f"manager{deal % USERS + 1}@company.ru, {to}"
        elif kind == "thread":
            answers = [f"unseen.{number}.{step}@mail.gmail.com" for step in range(pick.randrange(4))]
            if ids and pick.random() < 0.7:
                answered, deal = pick.choice(ids[-2000:])
                answers.append(answered)
        client = (deal - 1) % CONTACTS + 1
        sender = f"buyer{number}@shop{number}.ru" if kind == "nothing" else _email(client)
        own = f"CAF{_noise(pick, 28)}.{number}@mail.gmail.com"
        ids.append((own, deal))
        yield arrived, _letter(own, sender, to, subject, answers, arrived, pick)


def _letter(
    own: str, sender: str, to: str, subject: str, answers: list[str], date: datetime, pick: random.Random
) -> bytes:
    domain = sender.rpartition("@")[2]
    written = format_datetime(date)
    signature = (
        "v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d={0}; s=20230601; t=1768201200; x=1768806000;\r\n"
        " h=to:subject:message-id:date:from:in-reply-to:references:mime-version\r\n"
        " :from:to:cc:subject:date:message-id:reply-to;\r\n bh={1}=;\r\n"
        " b={2}\r\n {2}\r\n {2}\r\n {2}\r\n {3}=="
    )
    signed = signature.format(domain, _noise(pick, 43), _noise(pick, 72), _noise(pick, 40))
    results = (
        f"mx.company.ru; dkim=pass header.i=@{domain} header.s=20230601\r\n header.b={_noise(pick, 8)};"
        f" arc=pass (i=1 spf=pass spfdomain={domain});\r\n spf=pass (mx.company.ru: domain of {sender}\r\n"
        f" designates 209.85.167.41 as permitted sender) smtp.mailfrom={sender};\r\n dmarc=pass (p=NONE)"
        f" header.from={domain}"
    )
    hops = ("mx.company.ru", "relay.company.ru", "mail-lf1-f41.google.com", "mx.google.com", "10.0.0.7")
    fields = [
        ("Return-Path", f"<{sender}>"),
        ("Delivered-To", "sales@company.ru"),
        *(
            (
                "Received",
                f"from {by} ({by} [10.1.2.3])\r\n\tby {at} (Postfix) with ESMTPS id {_noise(pick, 12)}\r\n"
                f"\tfor <sales@company.ru>\r\n\t(version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256);"
                f"\r\n\t{written}",
            )
            for at, by in pairwise(hops)
        ),
        ("Received-SPF", f"pass (mx.company.ru: domain of {sender}) client-ip=209.85.167.41;"),
        ("Authentication-Results", results),
        ("ARC-Seal", signed.replace("v=1;", "i=1;")),
        ("ARC-Message-Signature", signed.replace("v=1;", "i=1;")),
        ("ARC-Authentication-Results", f"i=1; {results}"),
        ("DKIM-Signature", signed),
        ("X-Google-DKIM-Signature", signed),
        ("X-Gm-Message-State", f"{_noise(pick, 60)}\r\n {_noise(pick, 70)}\r\n {_noise(pick, 40)}"),
        ("X-Google-Smtp-Source", f"{_noise(pick, 70)}\r\n {_noise(pick, 60)}"),
        ("X-Received", f"by 2002:a05:6512:3d0f:b0:52c with SMTP id {_noise(pick, 20)}; {written}"),
        ("X-Spam-Score", "-1.9"),
        (
            "X-Spam-Status",
            "No, score=-1.9 required=6.2\r\n tests=[BAYES_00=-1.9, DKIM_SIGNED=0.1]",
        ),
        ("X-Virus-Scanned", "amavisd-new at company.ru"),
        ("X-Mailer", "Gmail for iPhone"),
        ("X-Priority", "3"),
        ("List-Unsubscribe-Post", "no"),
        ("MIME-Version", "1.0"),
        *(
            (("In-Reply-To", f"<{answers[-1]}>"), ("References", "\r\n ".join(f"<{one}>" for one in answers)))
            if answers
            else ()
        ),
        ("From", f"{Header('Сергей Кузнецов', 'utf-8').encode()} <{sender}>"),
        ("Date", written),
        ("Message-ID", f"<{own}>"),
        ("Subject", Header(subject, "utf-8").encode(linesep="\r\n")),
        ("Thread-Topic", Header(subject, "utf-8").encode(linesep="\r\n")),
        ("To", to),
        ("Content-Language", "ru"),
        ("Content-Type", f'multipart/alternative; boundary="{_noise(pick, 28)}"'),
    ]
    lines = [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", "Добрый день!", ""]).encode()


def _noise(pick: random.Random, length: int) -> str:
    return base64.b64encode(pick.randbytes(length)).decode().replace("/", "a").replace("+", "b")[:length]


def deliver(server: Dovecot, user: str, count: int) -> int:
    """Put so many letters into the INBOX of `user`; returns the bytes of a header, on average."""
    maildir = server.maildir(user)
    owner = maildir.stat()
    total = 0
    for number, (arrived, raw) in enumerate(letters(count)):
        second = int(arrived.timestamp())
        path = maildir / "cur" / f"{second}.N{number:06}.bench:2,S"
        path.write_bytes(raw)
        os.chown(path, owner.st_uid, owner.st_gid)
        os.utime(path, (second, second))
        total += raw.index(b"\r\n\r\n")
    return total // max(count, 1)
