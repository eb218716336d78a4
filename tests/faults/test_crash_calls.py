"""SIGKILL at every write, every sync and every send of a catch-up; and bugs that this has to find."""

from __future__ import annotations

from pathlib import Path

import pytest
from dovecot import Dovecot

from faults.crash import Point, Stage, Summary, go_on, plain, points, sample, traced

DEFAULT = 24


@pytest.fixture(scope="module")
def stage(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(dovecot, "crash-calls", tmp_path_factory.mktemp("calls"))


def every_point(stage: Stage, planted: str = "") -> list[Point]:
    """All calls of an undisturbed run, which also has to keep the laws."""
    with stage.scene() as office:
        done, calls = traced(office, planted=planted)
        assert done.returncode == 0, done.stderr
        assert go_on(office, stage.expected) == []
    assert len({call.thread for call in calls}) == 1, "strace counts the calls of each thread"
    return points(calls)


def killed_at(stage: Stage, point: Point, planted: str = "") -> list[str]:
    """What is broken in the end, after a kill at this point."""
    with stage.scene() as office:
        done, _ = traced(office, point.inject("signal=KILL"), planted=planted)
        assert done.returncode != 0, f"{point} was never reached"
        return go_on(office, stage.expected, planted=planted)


def sweep(stage: Stage, size: int | None) -> None:
    found = every_point(stage)
    chosen = sample(found, size) if size else found
    summary = Summary("SIGKILL at system calls", points=len(found))
    for point in chosen:
        summary.add(point, killed_at(stage, point))
    summary.end()


def test_killed_at_a_sample_of_its_calls(stage: Stage) -> None:
    """Every k-th write, sync and send: the next start goes on, nothing lost, nothing twice."""
    sweep(stage, DEFAULT)


@pytest.mark.parametrize("name", ["imaprouter.db", "imaprouter-index.db"])
def test_killed_while_a_file_is_made(stage: Stage, name: str) -> None:
    """Its first page is half written and a rollback journal lies beside it; `journal check` only looks."""
    with stage.scene() as office:
        _, calls = traced(office)
    syncs = [Path(call.path).name for call in calls if call.name == "fdatasync"]
    with stage.scene() as office:
        traced(office, Point("fdatasync", syncs.index(name) + 1).inject("signal=KILL"))
        left = office.folder / f"{name}-journal"
        assert left.stat().st_size
        if name == "imaprouter.db":
            checked = plain(office, "journal", "check")
            assert checked.returncode == 1
            assert "a write was broken off" in checked.stdout
            assert left.stat().st_size
        assert go_on(office, stage.expected) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_each_of_its_calls(stage: Stage) -> None:
    """All of them."""
    sweep(stage, None)


# ── planted bugs ────────────────────────────────────────────────────────────────────────────────────────────

PLANTED = {
    "cursor_first": "was lost",
    "done_before_call": "is bound to",
    "blind_retry": "somebody twice",
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(stage: Stage, bug: str) -> None:
    """Each is killed where it hurts: at the first write or send after the step that comes too early.

    The bug marks that step by a write of its own to /dev/null, so the point is found whatever else changes.
    """
    with stage.scene() as office:
        done, calls = traced(office, planted=bug)
        assert done.returncode == 0, done.stderr
        assert go_on(office, stage.expected, planted=bug) == [], "without a crash the bug does no harm"
    marked = next(place for place, call in enumerate(calls) if call.data == b"planted")
    writes = sum(call.name == "pwrite64" for call in calls[: marked + 1])
    following = Point("pwrite64", writes + 1)
    broken = killed_at(stage, following, planted=bug)
    print(f"\n{bug}, killed at {following}: {broken}")
    assert any(PLANTED[bug] in sentence for sentence in broken)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_by_the_sweep(stage: Stage, bug: str) -> None:
    """Without being told where: every fifth call is enough for each of them."""
    found = every_point(stage, bug)[::5]
    hits = [point for point in found if killed_at(stage, point, bug)]
    print(f"\n{bug}: {len(hits)} of {len(found)} points hit: {', '.join(map(str, hits))}")
    assert hits
