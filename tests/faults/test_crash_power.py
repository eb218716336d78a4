"""The power goes: what was synced is there, of what was not nothing, or any part of it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from dovecot import Dovecot

from faults.crash import Point, Stage, Summary, go_on, left_by_power_cut, points, restore, sample, traced
from faults.laws import SEED

DEFAULT = 14


@pytest.fixture(scope="module")
def stage(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(dovecot, "crash-power", tmp_path_factory.mktemp("power"))


def every_point(stage: Stage) -> list[Point]:
    with stage.scene() as office:
        done, calls = traced(office)
        assert done.returncode == 0, done.stderr
        # The model of the disk is worth something only if it agrees with the disk where nothing is lost.
        synced = [replace(call, name="fsync") for call in calls if call.name != "unlink"]
        for path, content in left_by_power_cut([*calls, *synced]).items():
            if path.parent == office.folder:
                assert path.read_bytes() == content, path
    return points(calls)


def power_cut_at(stage: Stage, point: Point, dice: random.Random | None, planted: str = "") -> list[str]:
    with stage.scene() as office:
        _, calls = traced(office, point.inject("signal=KILL"), planted=planted)
        restore(office.folder, left_by_power_cut(calls, dice))
        for path in office.folder.glob("imaprouter.db"):
            with closing(sqlite3.connect(path)) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                return [f"integrity_check: {found}"]
        return go_on(office, stage.expected, planted=planted)


def sweep(stage: Stage, size: int) -> None:
    found = every_point(stage)
    dice = random.Random(SEED)
    summary = Summary("power cut at system calls", points=len(found))
    for number, point in enumerate(sample(found, size)):
        torn = number % 2 == 1
        summary.add(
            f"{point} {'torn' if torn else 'lost'}", power_cut_at(stage, point, dice if torn else None)
        )
    summary.end()


def test_the_power_goes_at_some_moments(stage: Stage) -> None:
    """What was not synced is lost, or torn: the journal opens, is sound, and all is gone on from."""
    sweep(stage, DEFAULT)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_power_goes_at_many_moments(stage: Stage) -> None:
    """Every other call."""
    sweep(stage, 300)


def test_a_journal_that_is_not_synced_is_found(stage: Stage) -> None:
    """With synchronous=NORMAL a power cut takes back what the portal has already done."""
    with stage.scene() as office:
        _, calls = traced(office, planted="unsynced")
    marked = next(place for place, call in enumerate(calls) if call.data == b"planted")
    writes = sum(call.name == "pwrite64" for call in calls[: marked + 1])
    broken = power_cut_at(stage, Point("pwrite64", writes + 1), None, planted="unsynced")
    print(f"\nunsynced: {broken}")
    assert broken


# ── a disk that fails ───────────────────────────────────────────────────────────────────────────────────────


def sync_fails_at(stage: Stage, number: int) -> list[str]:
    """What is broken in the end when the disk refuses this sync; SQLite keeps quiet about some of them."""
    with stage.scene() as office:
        done, _ = traced(office, Point("fdatasync", number).inject("error=EIO"))
        broken = [] if "Traceback" not in done.stderr else [f"a traceback: {done.stderr[-1000:]}"]
        if done.returncode not in (0, 1):
            broken.append(f"exit code {done.returncode}")
        if done.returncode == 1 and "disk I/O error\n  look at the disk" not in done.stderr:
            broken.append(f"it does not say what is wrong: {done.stderr[-300:]}")
        return broken + go_on(office, stage.expected)


@pytest.mark.parametrize(
    "step", [pytest.param(9, id="some"), pytest.param(1, id="all", marks=pytest.mark.long)]
)
@pytest.mark.timeout(900)
def test_a_sync_that_fails_is_no_sync(stage: Stage, step: int) -> None:
    """EIO: it ends with advice instead of going on, and the next start goes on."""
    syncs = [point.number for point in every_point(stage) if point.call == "fdatasync"]
    summary = Summary("EIO from fdatasync", syncs=len(syncs))
    for number in syncs[::step]:
        summary.add(number, sync_fails_at(stage, number))
    summary.end()
