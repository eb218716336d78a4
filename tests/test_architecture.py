"""The import table of ARCHITECTURE.md, checked: who may know whom, and who may know which library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "imaprouter"

CORE = {"model", "errors", "policy", "address", "text", "reasons"}
MAY_IMPORT: dict[str, set[str]] = {
    "model": {"reasons"},
    "reasons": set(),
    "marker_signature": set(),
    "errors": set(),
    "policy": set(),
    "address": set(),
    "text": set(),
    "copies": CORE,
    "correspondence": CORE,
    "report": CORE,
    "audit": {"model", "plan"},
    "crm_faults": CORE,
    "timelines": {"model", "plan"},
    "mail": CORE,
    "rules": CORE | {"marker_signature"},
    "decide": CORE | {"rules"},
    "pairing": CORE,
    "skipped": CORE,
    "plan": CORE,
    "ledger": CORE,
    "notice": CORE,
    "standing": CORE,
    "alerts": CORE | {"notice", "standing"},
    "language": {"reasons"},
    "log": CORE,
    "config": CORE | {"timelines"},
    "store": CORE | {"alerts", "audit", "copies", "correspondence", "report", "standing", "timelines"},
    "mailbox": CORE,
    "bitrix24": CORE | {"log", "timelines"},
    "arrival": CORE | {"copies", "decide", "standing", "store"},
    "pulse": CORE | {"log", "standing", "store"},
    "overview": CORE | {"refresh", "standing", "store"},
    "teller": CORE | {"alerts", "bitrix24", "log", "mailbox", "overview", "standing", "store"},
    "metrics": CORE | {"alerts", "log", "overview", "standing", "store"},
    "poller": CORE | {"bitrix24", "store"},
    "refresh": CORE | {"bitrix24", "store"},
    "lookup": CORE | {"bitrix24", "store", "arrival", "copies", "decide", "log"},
    "recorder": CORE | {"mail", "mailbox", "store", "arrival", "ledger", "log"},
    "opening": CORE | {"arrival", "ledger", "log", "mailbox", "recorder", "store"},
    "watcher": CORE | {"mail", "mailbox", "store", "arrival", "opening", "recorder", "log", "pulse"},
    "binder": CORE
    | {
        "arrival",
        "audit",
        "bitrix24",
        "store",
        "pairing",
        "skipped",
        "plan",
        "poller",
        "lookup",
        "notice",
        "log",
        "mailbox",
    }
    | {"pulse", "standing"},
    "service": CORE
    | {"config", "log", "store", "bitrix24", "mailbox", "binder", "watcher", "arrival", "refresh", "notice"}
    | {"metrics", "pulse", "standing", "teller", "transfer"},
    "transfer": CORE | {"audit", "binder", "bitrix24", "log", "plan", "store", "timelines"},
    "past": CORE
    | {"arrival", "binder", "bitrix24", "config", "log", "lookup", "mail", "mailbox", "opening", "plan"}
    | {"recorder", "refresh", "service", "store"},
    "doctor": CORE | {"bitrix24", "config", "mailbox", "refresh", "service", "store"},
    "sandbox": CORE | {"mail"},
}
ONLY_IN = {
    "imapclient": {"mailbox", "sandbox"},
    "imaplib": {"mailbox", "sandbox"},
    "httpx": {"bitrix24"},
    "mailparser": {"mail"},
    "sqlite3": {"store"},
    "sqlite_utils": {"store"},
    "starlette": {"sandbox"},
    "pymap": {"sandbox"},
    "prometheus_client": {"metrics"},
    "click": {"cli"},
    "rich": {"cli"},
    "msgspec": {"bitrix24", "config", "store"},
    "xlsxwriter": {"cli"},
}
PURE = {
    "model",
    "errors",
    "policy",
    "address",
    "text",
    "reasons",
    "copies",
    "correspondence",
    "report",
    "audit",
    "crm_faults",
    "timelines",
    "marker_signature",
    "mail",
    "rules",
    "decide",
    "pairing",
    "skipped",
    "plan",
    "ledger",
    "notice",
    "standing",
    "alerts",
}
CLOCKS = {"now", "today", "utcnow", "time", "monotonic"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[tuple[str, Path, ast.Module]]:
    found = sorted(PACKAGE.rglob("*.py"))
    return [(room_of(path), path, ast.parse(path.read_text("utf-8"))) for path in found]


def imports(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


@pytest.mark.parametrize(("room", "path", "tree"), modules(), ids=lambda value: getattr(value, "name", ""))
def test_rooms_know_only_whom_they_may(room: str, path: Path, tree: ast.Module) -> None:
    """A module imports only the rooms that the table allows; `cli` may know everybody."""
    if room in {"cli", "__init__", "__main__"}:
        return
    known = {name.split(".")[1] for name in imports(tree) if name.startswith("imaprouter.")}
    assert known - MAY_IMPORT[room] - {room} == set(), path


@pytest.mark.parametrize(("room", "path", "tree"), modules(), ids=lambda value: getattr(value, "name", ""))
def test_each_library_lives_in_its_room(room: str, path: Path, tree: ast.Module) -> None:
    """A foreign library is imported in one room, where its errors are translated."""
    used = {name.split(".")[0] for name in imports(tree)}
    for library, rooms in ONLY_IN.items():
        assert library not in used or room in rooms, f"{path} imports {library}"


@pytest.mark.parametrize(("room", "path", "tree"), modules(), ids=lambda value: getattr(value, "name", ""))
def test_the_core_has_no_clock_no_log_and_no_files(room: str, path: Path, tree: ast.Module) -> None:
    """Time, policy and knowledge come into the core as arguments."""
    if room not in PURE:
        return
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called & CLOCKS == set(), path
    assert not any(name.split(".")[0] in {"logging", "pathlib", "os", "socket"} for name in imports(tree)), (
        path
    )
