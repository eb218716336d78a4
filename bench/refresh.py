"""The index refresh, full and incremental, against the portal's limit and against peers that only read.

Ours reads and stores; fast_bitrix24 and b24pysdk read the same fields of the same lists and keep nothing. The
sandbox portal is a process of its own: `portal cpu` is the part of a run that is the simulator's work.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from parts.company import USERS, company
from parts.machine import RUNS, median, say, title
from parts.processes import Load, Run, Sandbox, alone

from imaprouter.bitrix24 import rows
from imaprouter.bitrix24.portal import Portal
from imaprouter.model import EntityType
from imaprouter.refresh import Report, refresh
from imaprouter.sandbox import portal as simulator
from imaprouter.sandbox.limits import UNLIMITED, Limits
from imaprouter.store.index import Index

DEALS, CONTACTS, COMPANIES = 100_000, 80_000, 20_000
FEWEST = (DEALS + CONTACTS + COMPANIES) // 2500
#: Seconds after which a peer is given up.
PATIENCE = 180
PLAN = Limits(burst=50, per_second=2.0)
#: Where `./dev bench` puts the peers, whose requirements and ours do not agree.
PEERS = Path(__file__).parent.parent / ".dev/peers/bin/python"
_DEAL_FIELDS = ["ID", "TITLE", "CATEGORY_ID", "STAGE_ID", "STAGE_SEMANTIC_ID", "IS_RECURRING"]
_DEAL_FIELDS += ["ASSIGNED_BY_ID", "COMPANY_ID", "CONTACT_ID", "LEAD_ID", "DATE_CREATE", "DATE_MODIFY"]
_DEAL_FIELDS += ["MOVED_TIME", "LAST_ACTIVITY_TIME"]
#: crm.deal.list, since neither peer reads crm.item.list; it knows one contact of a deal.
LISTS: list[list[Any]] = [
    ["user.get", {}],
    ["crm.company.list", {"select": rows.COMPANY_FIELDS}],
    ["crm.contact.list", {"select": rows.CONTACT_FIELDS}],
    ["crm.deal.list", {"select": _DEAL_FIELDS}],
]


def ours(url: str, folder: str, limited: bool, full: bool) -> Report:
    """Refresh the index in `folder`."""
    limits = {} if limited else {"requests_per_second": 10_000.0, "burst": 10_000}
    index = Index(Path(folder) / "index.db")
    with contextlib.closing(Portal(url, **limits)) as portal, contextlib.closing(index):
        return refresh(portal, index, full=full)


def peer(name: str, url: str, limited: bool) -> Run[int]:
    """One peer reads the lists."""
    order = json.dumps({"url": url, "lists": LISTS, "limited": limited})
    script = Path(__file__).parent / "parts/peer.py"
    command = [PEERS, script, name]
    try:
        done = subprocess.run(
            command, input=order, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Run(None, float(PATIENCE), 0.0, 0.0, error=f"not ready after {PATIENCE} s")
    if done.returncode:
        return Run(None, 0.0, 0.0, 0.0, error=(done.stderr.strip().splitlines() or ["?"])[-1][:150])
    said = json.loads(done.stdout)
    return Run(said["rows"], said["seconds"], said["cpu"], said["peak_mib"], said["error"])


def full(limits: Limits, runs: int, peers: tuple[str, ...]) -> None:
    """The table of the full refresh under these limits."""
    limited = limits is PLAN
    say(f"{'':<22}{'requests':>9}{'refused':>8}{'seconds':>9}{'rows/s':>9}{'cpu s':>7}{'portal cpu':>11}")
    say(f"{'peak MiB':>9}\n")
    wanted = DEALS + CONTACTS + COMPANIES + USERS
    with Sandbox(company, DEALS, CONTACTS, COMPANIES, limits=limits) as sandbox:
        sandbox.load()
        measured: dict[str, list[tuple[Run[Any], Load]]] = {}
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                run: Run[Any] = alone(ours, sandbox.webhook_url, folder, limited, True)
            said = replace(run, result=sum(run.result.read.values()) if run.result else 0)
            measured.setdefault("imaprouter (stores)", []).append((said, sandbox.load()))
            for name in peers:
                if len(measured.get(name, [])) and measured[name][0][0].error:
                    continue
                measured.setdefault(name, []).append(
                    (peer(name, sandbox.webhook_url, limited), sandbox.load())
                )
    for name, made in measured.items():
        row(name, made, wanted)
    mine = measured["imaprouter (stores)"]
    if limited:
        ratio = median([load.requests for _, load in mine]) / FEWEST
        say(f"requests: {ratio:.3f} × the fewest ({FEWEST}); reach 1.1, none refused\n\n")
        return
    whole = {
        name: median([run.seconds for run, _ in made])
        for name, made in measured.items()
        if made is not mine and not any(run.error for run, _ in made)
    }
    if whole:
        best = min(whole, key=lambda name: whole[name])
        ratio = median([run.seconds for run, _ in mine]) / whole[best]
        say(f"time: {ratio:.2f} × the faster peer's ({best}) for reading alone; reach 1.0\n\n")


def row(name: str, made: list[tuple[Run[Any], Load]], wanted: int) -> None:
    """One line of the table: medians, and why a peer has none."""
    seconds = median([run.seconds for run, _ in made])
    read = median([run.result or 0 for run, _ in made])
    say(f"{name:<22}{median([load.requests for _, load in made]):>9.0f}")
    say(f"{median([load.refused for _, load in made]):>8.0f}{seconds:>9.1f}{read / (seconds or 1):>9.0f}")
    say(f"{median([run.cpu for run, _ in made]):>7.1f}{median([load.cpu for _, load in made]):>11.1f}")
    say(f"{max(run.peak_mib for run, _ in made):>9.0f}")
    errors = [run.error for run, _ in made if run.error]
    say(f"  gave up: {errors[0]}\n" if errors else "\n" if read == wanted else f"  only {read:.0f} rows\n")


def incremental(runs: int) -> None:
    """500 changed deals and 300 changed contacts, then the sweep that finds five deleted of each."""
    requests, seconds, sweeps, missed = [], [], [], 0
    with (
        Sandbox(company, DEALS, CONTACTS, COMPANIES, limits=UNLIMITED) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        alone(ours, sandbox.webhook_url, folder, False, True)
        for number in range(runs):
            sandbox.do(_change, number)
            run = alone(ours, sandbox.webhook_url, folder, False, False)
            swept = alone(ours, sandbox.webhook_url, folder, False, True)
            if run.result is None or swept.result is None:
                say(f"failed: {run.error or swept.error}\n")
                return
            changed = (run.result.read["deals"], run.result.read["contacts"])
            gone = 5 * (number + 1)
            left = (swept.result.counts["deals"], swept.result.counts["contacts"])
            missed += changed[0] < 500 or changed[1] < 300
            missed += left != (DEALS - gone, CONTACTS - gone)
            requests.append(run.result.requests)
            seconds.append(run.seconds)
            sweeps.append(swept.result.requests)
    say(f"incremental: {median(requests):.0f} requests (reach 4), {median(seconds):.2f} s\n")
    say(f"deletion sweep (the full refresh, once in 24 h): {median(sweeps):.0f} requests a day (reach 100)\n")
    say("everything was found\n" if not missed else f"{missed} RUNS MISSED SOMETHING\n")


def _change(portal: simulator.Portal, number: int) -> None:
    """In the portal's process."""
    crm = portal.crm
    deal, contact = EntityType.DEAL.type_id, EntityType.CONTACT.type_id
    for kind, count in ((deal, 500), (contact, 300)):
        table = crm.entities[kind]
        first = 1000 * number + 1
        for entity in range(first, first + 7 * count, 7):
            table[entity]["DATE_MODIFY"] = crm.now()
        for entity in range(60_000 + 10 * number, 60_000 + 10 * number + 5):
            del table[entity]


def main() -> int:
    """Print the tables."""
    peers: tuple[str, ...] = ("b24pysdk", "fast_bitrix24") if PEERS.exists() else ()
    title(f"index refresh: {DEALS:,} deals, {CONTACTS:,} contacts, {COMPANIES:,} companies, {USERS} users")
    if not peers:
        say("the peers are not installed: ./dev bench does it\n")
    say("at 2 requests/s and burst 50:\n")
    full(PLAN, RUNS, peers)
    say("with the limiter off:\n")
    full(UNLIMITED, RUNS, peers)
    incremental(RUNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
