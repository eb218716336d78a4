"""The fault suite: an office whose service runs behind proxies, and a summary of what all cases came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dovecot import INSTALL, Dovecot, installed

from faults.harness import Shared, Site
from faults.laws import SCORE

#: The names of the tests that failed.
FAILED: list[str] = []


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    if not installed():
        pytest.fail(INSTALL)
    shared = Shared(tmp_path_factory.mktemp("shared"))
    yield shared
    shared.close()


@pytest.fixture
def site(shared: Shared, request: pytest.FixtureRequest) -> Site:
    """The service that runs through many cases, each on top of what those before it left."""
    return shared.take(request.node.name)


@pytest.fixture
def make_site(
    tmp_path: Path, dovecot: Dovecot, user: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Site]]:
    """A site of the case's own, on the tests' mail server or on `dovecot`; `case` starts its service."""
    with ExitStack() as stack:

        def make(**options: Any) -> Site:
            options = {"dovecot": dovecot, "user": user, "name": request.node.name, **options}
            return stack.enter_context(Site(tmp_path, **options))

        yield make


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cases that take minutes run where a marker is asked for: ./dev faults."""
    if config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test counts as failed wherever it failed: with its laws, before them, or in its setting up."""
    if report.failed and "faults/" in report.nodeid:
        FAILED.append(report.nodeid)
        SCORE.failed = len(set(FAILED))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not SCORE.cases and not FAILED:
        return
    terminalreporter.section("faults")
    for name in dict.fromkeys(FAILED):
        terminalreporter.write_line(f"failed: {name}")
    terminalreporter.write_line(str(SCORE))
