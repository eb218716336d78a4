"""tools/past.py: years of mail of many clients as Bitrix24 bound it: evaluate, backfill, transfer; figures.

Letters lie in a real Dovecot (tests/dovecot.py), their activities in the portal simulator, mis-bound as the
mail sync does and some corrected by hand. The commands run as processes of their own. What each letter is
about is known here alone: so the figures say how many were bound right before and after. 1 when a letter
was told of, a binding of a person was changed, an undo leaves another state, or a backfill changes that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dovecot import Dovecot, installed  # noqa: E402
from office import Office  # noqa: E402

DEAL, CONTACT, COMPANY = 2, 3, 4
OURS = "sales@company.ru"
MANAGERS = 20
_END = datetime(2026, 11, 1, tzinfo=UTC)
_YEARS = timedelta(days=730)
#: How often a person moved a letter that lay wrong, and how often he then chose another wrong deal.
_CORRECTED, _MISTAKEN = 0.08, 0.03
_DELETED = 0.01

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter of the past; `about` is the deal that it belongs to, 0 for none."""

    message_id: str
    raw: bytes
    folder: str
    arrived: datetime
    about: int


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--letters", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="portal.requests_per_second")
    chosen = parser.parse_args(arguments)
    if not installed():
        say("this needs Dovecot: ./dev test installs it")
        return 2
    with tempfile.TemporaryDirectory(prefix="imaprouter-past-") as folder, Dovecot() as dovecot:
        return Scene(Path(folder), dovecot, chosen).play()


class Scene:
    def __init__(self, folder: Path, dovecot: Dovecot, chosen: argparse.Namespace) -> None:
        self._random = random.Random(chosen.seed)
        self._crm = crm(chosen.clients, self._random)
        self._letters = list(letters(self._crm, chosen.letters, self._random))
        self._office = Office(folder, dovecot, "past", snapshot=self._crm)
        self._office.start = "new"
        self._office.options |= {"portal.requests_per_second": str(chosen.rate)}
        # What this is about is the present index; the sample company's choices are no part of it.
        for name in ("routing.address.category", "routing.participants.user_aliases"):
            del self._office.options[name]
        self._about = {letter.message_id: letter.about for letter in self._letters}
        self._config = folder / "imaprouter.toml"
        #: Activity to the deal of its letter.
        self._right: dict[int, int] = {}
        self._by_hand: dict[int, list[Pair]] = {}

    def play(self) -> int:
        with self._office as office:
            self._config = office.config
            self._happen()
            self._run("cache refresh", "cache", "refresh")
            before = self._bindings()
            self._tell_bindings("as Bitrix24 and people left it", before)
            said = self._run("evaluate", "evaluate", "--all", "--rate-share", "1", "--json")
            self._tell_summary(said)
            say(self._run("evaluate, interrupted and gone on with", "evaluate", "--all", kill=True))
            assert self._bindings() == before, "evaluate has changed a binding"
            say(self._run("backfill", "backfill", "--all", "--rate-share", "1"))
            after = self._bindings()
            self._tell_bindings("after backfill", after)
            self._run("backfill again", "backfill", "--all", "--rate-share", "1")
            faults = self._faults(after)
            if self._bindings() != after:
                faults.append("a second backfill changed bindings")
            since = datetime.now(UTC).astimezone() - timedelta(days=1)
            said = self._run("undo", "undo", "--since", f"{since:%Y-%m-%d}")
            say(said.splitlines()[-1])
            undone = self._bindings()
            self._tell_bindings("after undo", undone)
            if _sorted(undone) != _sorted(before):
                faults.append("undo leaves other bindings than there were before")
            say(self._run("backfill after undo", "backfill", "--all", "--rate-share", "1"))
            if self._bindings() != undone:
                faults.append("a backfill has bound again what was undone")
            faults += self._transfer()
        for fault in faults:
            say(f"FAULT: {fault}")
        return 1 if faults else 0

    def _transfer(self) -> list[str]:
        """Contacts' activities go to their companies, and back."""
        faults, before = [], self._bindings()
        words = ("transfer", "--from", "contact", "--to", "company", "--rate-share", "1", "--json")
        said = self._run("transfer, interrupted and gone on with", *words, kill=True)
        summary = json.loads(said.splitlines()[-1])["summary"]
        say(json.dumps(summary))
        company = {each["ID"]: each["COMPANY_IDS"][0] for each in self._crm["contacts"]}
        wanted = {
            number: sorted(
                {(COMPANY, company[id_]) if kind == CONTACT else (kind, id_) for kind, id_ in bound}
            )
            for number, bound in before.items()
        }
        after = _sorted(self._bindings())
        differ = [number for number, bound in wanted.items() if after[number] != bound]
        say(f"{len(differ)} of {len(wanted)} activities are not where the transfer was to bring them")
        if len(differ) != summary["waits"]:
            faults.append("a transfer left activities that nothing else decides about")
        say(self._run("undo of the transfer", "undo", "--rule", "transfer").splitlines()[-1])
        if _sorted(self._bindings()) != _sorted(before):
            faults.append("undo of a transfer leaves other bindings than there were before")
        else:
            say(f"bindings of {len(before)} activities are as before the transfer")
        return faults

    # ── the past ──────────────────────────────────────────────────────────────────────────────────────────

    def _happen(self) -> None:
        """Mail arrives, Bitrix24 imports it, people correct some of it and delete some."""
        office = self._office
        began = time.monotonic()
        for letter in self._letters:
            office.dovecot.deliver(office.user, letter.raw, letter.folder, date=letter.arrived)
        office.sync.sync_once()
        for imported in office.sync.log:
            about = self._about.get(imported.letter.message_id.strip("<>"), 0)
            if imported.activity_id and about:
                self._right[imported.activity_id] = about
        wrong = [
            (number, about)
            for number, about in self._right.items()
            if office.deals(number) not in ([], [about])
        ]
        for number, about in wrong:
            dice = self._random.random()
            if dice < _DELETED:
                office.portal.crm.delete_activity(number)
                del self._right[number]
            elif dice < _DELETED + _CORRECTED:
                self._correct(number, about)
        seconds = time.monotonic() - began
        activities = len(office.portal.crm.activities)
        say(f"{len(self._letters)} letters, {activities} activities, made in {seconds:.0f} s")
        say(f"{len(self._by_hand)} of {len(wrong)} that lay wrong were corrected by hand")

    def _correct(self, number: int, about: int) -> None:
        crm = self._office.portal.crm
        (landed,) = self._office.deals(number)
        others = [deal["ID"] for deal in self._crm["deals"] if deal["ID"] not in (about, landed)]
        chosen = self._random.choice(others) if self._random.random() < _MISTAKEN else about
        crm.move_by_hand(number, (DEAL, landed), (DEAL, chosen))
        self._by_hand[number] = crm.bindings(number)

    # ── commands and figures ──────────────────────────────────────────────────────────────────────────────

    def _run(self, name: str, *words: str, kill: bool = False) -> str:
        """Run a command, say what it took, return its output."""
        command = [sys.executable, "-m", "imaprouter", "--config", str(self._config), *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMAPROUTER_LANG": "en"}
        used, began, spent = len(self._office.portal.requests), time.monotonic(), _cpu()
        if kill:
            first = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
            )
            assert first.stderr
            while line := first.stderr.readline():
                if b"50 %" in line:
                    first.kill()
            first.wait()
            say(f"{name}: killed at one half after {time.monotonic() - began:.1f} s")
            began, spent = time.monotonic(), _cpu()
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
        seconds, requests = time.monotonic() - began, len(self._office.portal.requests) - used
        cpu = _cpu() - spent
        say(f"\n{name}: {seconds:.1f} s ({cpu:.1f} s CPU), {requests} requests, exit code {done.returncode}")
        if done.returncode:
            say(done.stderr[-2000:])
        return done.stdout

    def _tell_summary(self, said: str) -> None:
        found = [json.loads(line) for line in said.splitlines()]
        (summary,) = (each["summary"] for each in found if "summary" in each)
        say(json.dumps(summary["total"]))
        decided = Counter[str]()
        for each in found:
            about = self._right.get(each.get("activity") or 0)
            if about and each["review"]:
                decided["asked"] += 1
            elif about and each["target"]:
                right = each["target"] == {"type": "deal", "id": about}
                decided["right" if right else "wrong"] += 1
            elif about:
                decided["left"] += 1
        say(f"decisions against what the letters are about: {dict(decided)}")

    def _bindings(self) -> dict[int, list[Pair]]:
        crm = self._office.portal.crm
        return {number: crm.bindings(number) for number in sorted(crm.activities)}

    def _tell_bindings(self, when: str, bindings: Mapping[int, list[Pair]]) -> None:
        found = Counter[str]()
        for number, about in self._right.items():
            deals = [target for kind, target in bindings[number] if kind == DEAL]
            found["right" if deals == [about] else "wrong" if deals else "without a deal"] += 1
        say(f"{when}: of {len(self._right)} activities of clients' letters {dict(found)}")

    def _faults(self, after: Mapping[int, list[Pair]]) -> list[str]:
        faults = []
        told = self._office.told()
        if told:
            faults.append(f"{len(told)} notifications of letters of the past")
        changed = [number for number, bound in self._by_hand.items() if after[number] != bound]
        if changed:
            faults.append(f"{len(changed)} activities that people had corrected were changed")
        return faults


# ── a company with a past ───────────────────────────────────────────────────────────────────────────────────


def crm(clients: int, dice: random.Random) -> dict[str, Any]:
    """Managers, and for each client a company, a contact or two, and one to three active deals."""
    users = [
        {"ID": 10 + number, "EMAIL": f"manager{number}@company.ru", "NAME": f"M{number}", "ACTIVE": True}
        for number in range(MANAGERS)
    ]
    companies, contacts, deals = [], [], []
    for client in range(1, clients + 1):
        company = 1000 + client
        companies.append({"ID": company, "TITLE": f"Client {client}", "ASSIGNED_BY_ID": 10, "EMAIL": []})
        people = []
        for position in range(dice.choice((1, 1, 2))):
            contact = 10_000 + 2 * client + position
            email = f"person{position}@client{client}.ru"
            contacts.append(
                {
                    "ID": contact,
                    "NAME": f"Person {contact}",
                    "ASSIGNED_BY_ID": 10,
                    "COMPANY_IDS": [company],
                    "EMAIL": [{"VALUE": email}],
                }
            )
            people.append(contact)
        managers = dice.sample(range(MANAGERS), 3)
        for position in range(dice.choice((1, 2, 2, 3))):
            moment = _END - timedelta(minutes=dice.randrange(1, 500_000))
            deals.append(
                {
                    "ID": 10 * client + position,
                    "TITLE": f"Deal {position} of client {client}",
                    "CATEGORY_ID": 0,
                    "STAGE_ID": "NEW",
                    "STAGE_SEMANTIC_ID": "P",
                    "CLOSED": "N",
                    "ASSIGNED_BY_ID": 10 + managers[position],
                    "COMPANY_ID": company,
                    "CONTACT_IDS": people,
                    "DATE_CREATE": (_END - _YEARS).isoformat(),
                    "DATE_MODIFY": moment.isoformat(),
                    "LAST_ACTIVITY_TIME": moment.isoformat(),
                }
            )
    return {"users": users, "companies": companies, "contacts": contacts, "deals": deals, "leads": []}


def letters(
    company: Mapping[str, Any], count: int, dice: random.Random, *, years: timedelta = _YEARS
) -> Iterator[Letter]:
    """Conversations of one to five letters about one deal each, with strangers' and colleagues' letters."""
    made: list[Letter] = []
    addresses = {contact["ID"]: contact["EMAIL"][0]["VALUE"] for contact in company["contacts"]}
    while len(made) < count:
        deal = dice.choice(company["deals"])
        client = addresses[dice.choice(deal["CONTACT_IDS"])]
        begin = _END - timedelta(seconds=dice.randrange(3600, int(years.total_seconds())))
        kind = dice.random()
        if kind < 0.03:
            client, deal = f"stranger{len(made)}@elsewhere.ru", None
        elif kind < 0.05:
            client, deal = f"manager{dice.randrange(MANAGERS)}@company.ru", None
        made += _conversation(len(made), client, deal, begin, dice)
    yield from sorted(made[:count], key=lambda letter: letter.arrived)


def _conversation(
    number: int, client: str, deal: Mapping[str, Any] | None, begin: datetime, dice: random.Random
) -> Iterator[Letter]:
    manager = f"manager{deal['ASSIGNED_BY_ID'] - 10}@company.ru" if deal else ""
    first, parent = f"c{number}", ""
    for position in range(dice.choice((1, 1, 2, 3, 4, 5)) if deal else 1):
        ours = position % 2 == 1
        begin += timedelta(seconds=dice.randrange(60, 200_000)) if position else timedelta()
        message_id = f"{first}.{position}@{'company.ru' if ours else client.partition('@')[2]}"
        evidence = dice.random()
        subject = f"{'Re: ' if position else ''}Order {number}"
        if deal and not position and evidence < 0.12:
            subject += f" #{deal['ID']}"
        named = bool(deal) and not ours and 0.12 <= evidence < 0.62
        lines = [
            f"From: {OURS if ours else client}",
            f"To: {client if ours else OURS}",
            *([f"Cc: {manager}"] if named and manager else []),
            f"Subject: {subject}",
            f"Date: {format_datetime(begin)}",
            f"Message-ID: <{message_id}>",
            *([f"In-Reply-To: <{parent}>", f"References: <{parent}>"] if parent else []),
            "MIME-Version: 1.0",
            "Content-Type: text/plain",
            "",
            "Hello",
            "",
        ]
        yield Letter(
            message_id,
            "\r\n".join(lines).encode(),
            "Sent" if ours else "INBOX",
            begin + timedelta(seconds=dice.randrange(1, 90)),
            int(deal["ID"]) if deal else 0,
        )
        parent = message_id


def _sorted(bindings: Mapping[int, list[Pair]]) -> dict[int, list[Pair]]:
    """Without the order: what is put back stands last."""
    return {number: sorted(bound) for number, bound in bindings.items()}


def _cpu() -> float:
    """Seconds of the processor that ended processes of ours have used: other work on the machine apart."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
