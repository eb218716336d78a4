"""Fixtures for every test: a clean environment and, for those that ask, a real mail server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dovecot import INSTALL, Dovecot, installed
from hypothesis import settings

from imaprouter import log

# Machines are noisy: how long an example takes says nothing.
settings.register_profile("imaprouter", deadline=None)
settings.load_profile("imaprouter")

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own reaches a test."""
    for name in os.environ:
        if name.startswith("IMAPROUTER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("IMAPROUTER_LANG", "en")


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test registers is masked in no other, and searched for in no other's log."""
    monkeypatch.setattr(log, "_secrets", [])


@pytest.fixture
def open_folders(tmp_path: Path) -> None:
    """Others may enter pytest's private folder: only then a file's own mode says who can read it."""
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o001)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A running Dovecot that all tests share; each takes a `user` of its own and leaves the server alone."""
    if not installed():
        pytest.fail(INSTALL)
    with Dovecot() as server:
        yield server


@pytest.fixture
def user() -> str:
    """A user whom no other test knows; he has an empty mailbox."""
    return f"user{next(_numbers)}"


@pytest.fixture
def own_dovecot() -> Iterator[Dovecot]:
    """A running Dovecot for this test alone, to stop and kill."""
    if not installed():
        pytest.fail(INSTALL)
    with Dovecot() as server:
        yield server
