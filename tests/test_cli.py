"""The commands as a user calls them: output, JSON, exit codes, and errors that say what to do."""

from __future__ import annotations

import json
import mailbox
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from company import snapshot

from imaprouter.cli import COMMANDS, cli
from imaprouter.sandbox.limits import UNLIMITED
from imaprouter.sandbox.portal import Portal

FIXTURES = Path(__file__).parent.parent / "fixtures"
LETTER = FIXTURES / "mail" / "reply-to-masha.eml"


def imaprouter(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], input=stdin)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def crm(tmp_path: Path) -> Path:
    path = tmp_path / "company.json"
    path.write_text(json.dumps(snapshot(), ensure_ascii=False), "utf-8")
    return path


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    with Portal(snapshot(), limits=UNLIMITED) as running:
        monkeypatch.setenv("IMAPROUTER_PORTAL__WEBHOOK_URL", running.webhook_url)
        monkeypatch.setenv("IMAPROUTER_PORTAL__REQUESTS_PER_SECOND", "100.0")
        yield running


# ── every command ─────────────────────────────────────────────────────────────────────────────────────────


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_has_an_example(words: tuple[str, ...]) -> None:
    """The contract: every command has --help with an example."""
    result = imaprouter(*words, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert "imaprouter" in result.stdout.partition("Example:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    """Their modules are not imported for it."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    _, summary = COMMANDS[name]
    assert summary == (command.help or "").partition("\n\n")[0].replace("\n", " ")


def test_help_does_not_wait_for_heavy_libraries() -> None:
    """`--help` and completion import click, and none of the libraries that commands need."""
    code = (
        "import sys; from imaprouter.cli import cli; cli(['--help'], standalone_mode=False)\n"
        "heavy = {'imaprouter.model', 'imaprouter.cli.demo'}\n"
        "heavy |= {'httpx', 'imapclient', 'sqlite_utils', 'mailparser', 'rich', 'msgspec', 'starlette'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit code 2."""
    assert imaprouter("nonsense").exit_code == 2


def test_a_wrong_configuration_tells_every_mistake(tmp_path: Path) -> None:
    """All of them at once, each with its key; exit code 2, no traceback."""
    path = tmp_path / "wrong.toml"
    path.write_text('[stor]\npath = "x"\n[binding]\nmode = "maybe"\nwait = "5"\n')
    result = imaprouter("--config", path, "queue")
    assert result.exit_code == 2
    for word in ("stor", "store", "binding.mode", "binding.wait"):
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_a_command_without_its_configuration_says_which_key_is_missing() -> None:
    """`run` needs a portal and a mailbox; the message names the first missing key."""
    result = imaprouter("run", "--once")
    assert result.exit_code == 2
    assert "portal.webhook_url" in result.stderr


# ── cache ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_import_lookup_status_export(crm: Path) -> None:
    """A snapshot goes in, answers come out, and an equal snapshot comes back."""
    assert imaprouter("cache", "import", crm).exit_code == 0
    (found,) = lines(imaprouter("cache", "lookup", "Sergey@Horns.ru", "--json"))
    assert [row["id"] for row in found["deals"]] == [1, 2, 4]
    assert found["contacts"][0]["companies"] == [10]
    (found,) = lines(imaprouter("cache", "lookup", "#2", "--json"))
    assert found["deals"][0]["responsible"]["email"] == "ilya@company.ru"
    (status,) = lines(imaprouter("cache", "status", "--json"))
    assert status["rows"]["deals"] == 4
    exported = imaprouter("cache", "export")
    again = json.loads(exported.stdout)
    assert {row["ID"] for row in again["deals"]} == {1, 2, 3, 4}
    Path("again.json").write_text(exported.stdout, "utf-8")
    assert imaprouter("cache", "import", "again.json").exit_code == 0
    assert imaprouter("cache", "export").stdout == exported.stdout


def test_lookup_of_nothing_known(crm: Path) -> None:
    """Exit code 1 and a sentence; before anything was imported, advice."""
    before = imaprouter("cache", "lookup", "a@b.ru")
    assert (before.exit_code, "cache refresh" in before.stderr) == (1, True)
    imaprouter("cache", "import", crm)
    nothing = imaprouter("cache", "lookup", "a@b.ru")
    assert (nothing.exit_code, "knows nothing" in nothing.stdout) == (1, True)
    assert imaprouter("cache", "lookup", "neither").exit_code == 2


def test_refresh_reads_the_portal_and_then_only_changes(portal: Portal) -> None:
    """First everything, then what changed; a deletion shows only in a full refresh."""
    (first,) = lines(imaprouter("cache", "refresh", "--json"))
    assert first["full"] is True
    assert (first["rows"]["deals"], first["rows"]["contacts"]) == (4, 3)
    later = portal.clock() + timedelta(minutes=1)
    portal.crm.set_deal(1, TITLE="Новое имя", DATE_MODIFY=later.isoformat())
    portal.crm.delete(2, 3)
    (second,) = lines(imaprouter("cache", "refresh", "--json"))
    assert second["full"] is False
    assert second["read"]["deals"] < 4
    (found,) = lines(imaprouter("cache", "lookup", "1", "--json"))
    assert found["deals"][0]["title"] == "Новое имя"
    assert lines(imaprouter("cache", "lookup", "3", "--json"))[0]["deals"]
    imaprouter("cache", "refresh", "--full")
    assert imaprouter("cache", "lookup", "3").exit_code == 1


def test_a_portal_that_suddenly_shows_nothing_is_not_believed(portal: Portal) -> None:
    """Figures and --force are named; the index stays; with --force it follows."""
    imaprouter("cache", "refresh")
    for number in (1, 2, 3, 4):
        portal.crm.delete(2, number)
    refused = imaprouter("cache", "refresh", "--full")
    assert refused.exit_code == 1
    assert "4 of 4 deals" in refused.stderr
    assert "--force" in refused.stderr
    assert lines(imaprouter("cache", "lookup", "1", "--json"))[0]["deals"]
    assert imaprouter("cache", "refresh", "--full", "--force").exit_code == 0
    assert imaprouter("cache", "lookup", "1").exit_code == 1


def test_a_refused_webhook_is_exit_77_and_shows_no_code(
    monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    """Rejected credentials have their own exit code."""
    monkeypatch.setenv("IMAPROUTER_PORTAL__WEBHOOK_URL", portal.url + "/rest/1/another-code/")
    result = imaprouter("cache", "refresh")
    assert result.exit_code == 77
    assert "another-code" not in result.output


def test_an_unreachable_portal_is_exit_69(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there."""
    monkeypatch.setenv("IMAPROUTER_PORTAL__WEBHOOK_URL", "http://127.0.0.1:9/rest/1/some-code/")
    monkeypatch.setenv("IMAPROUTER_PORTAL__TIMEOUT", "1s")
    done = subprocess.run(
        [sys.executable, "-m", "imaprouter", "cache", "refresh"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
    )
    assert done.returncode == 69
    assert "some-code" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# ── replay ────────────────────────────────────────────────────────────────────────────────────────────────

CONTRACT_KEYS = [
    "source",
    "message_id",
    "subject",
    "from",
    "outcome",
    "target",
    "rule",
    "review",
    "reason",
    "trail",
]


def replayed(*paths: str | Path, stdin: bytes | None = None) -> tuple[int, list[dict[str, Any]]]:
    result = imaprouter(
        "--config",
        FIXTURES / "imaprouter.toml",
        "replay",
        "--crm",
        FIXTURES / "crm.json",
        "--json",
        *paths,
        stdin=stdin,
    )
    return result.exit_code, lines(result)


def test_replay_of_the_exact_example() -> None:
    """Contract section 4: two funnels, one client, Maria addressed."""
    code, (found,) = replayed(LETTER)
    assert code == 0
    assert [key for key in CONTRACT_KEYS if key not in found] == []
    assert (found["outcome"], found["target"], found["rule"]) == (
        "deal",
        {"type": "deal", "id": 1},
        "participants",
    )
    assert found["from"] == "sergey@horns.ru"
    assert found["message_id"].startswith("<")
    assert found["reason"] == (
        "sergey@horns.ru is a client of deals 1 and 2; masha@company.ru is responsible for deal 1"
    )
    last = found["trail"][-1]
    assert (last["verdict"], last["candidates"], last["target"]) == (
        "match",
        [1, 2],
        {"type": "deal", "id": 1},
    )


def test_replay_reads_folders_mbox_maildir_and_standard_input(tmp_path: Path) -> None:
    """The same letter through every door gives the same decision."""
    raw = LETTER.read_bytes()
    box = mailbox.mbox(tmp_path / "letters.mbox")
    box.add(raw)
    box.close()
    maildir = mailbox.Maildir(tmp_path / "Maildir")
    maildir.add(raw)
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "letter.eml").write_bytes(raw)
    code, found = replayed(tmp_path / "letters.mbox", tmp_path / "Maildir", tmp_path / "deep", "-", stdin=raw)
    assert code == 0
    assert [row["target"] for row in found] == [{"type": "deal", "id": 1}] * 4


def test_replay_goes_on_behind_what_is_no_mail(tmp_path: Path) -> None:
    """An error line for each, exit 1 after the rest has been handled."""
    (tmp_path / "picture.eml").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "empty.eml").write_bytes(b"")
    code, found = replayed(tmp_path / "picture.eml", "nowhere.eml", tmp_path / "empty.eml", LETTER)
    assert code == 1
    assert [set(row) == {"source", "error"} for row in found] == [True, True, True, False]
    assert found[3]["target"] == {"type": "deal", "id": 1}


def test_replay_writes_nothing(crm: Path, tmp_path: Path) -> None:
    """Against the index: no journal comes into being."""
    imaprouter("cache", "import", crm)
    before = sorted(tmp_path.iterdir())
    assert imaprouter("replay", LETTER).exit_code == 0
    assert sorted(tmp_path.iterdir()) == before


def test_replay_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    """Deciding against nothing would answer 'leave' to everything."""
    (tmp_path / "letter.eml").write_bytes(LETTER.read_bytes())
    result = imaprouter("replay", tmp_path / "letter.eml")
    assert result.exit_code == 1
    assert "cache import" in result.stderr


def test_markers_for_deals_without_an_index_say_what_to_do(portal: Portal, tmp_path: Path) -> None:
    """And make no empty index, which would look like a company without deals."""
    result = imaprouter("marker", "--write-field", "UF_CRM_MARKER", "--all-active")
    assert result.exit_code == 1
    assert "cache import" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_hostile_subjects_are_inert_on_a_terminal(tmp_path: Path) -> None:
    """No escape sequence, bidi or other control character reaches the output."""
    (tmp_path / "hostile.eml").write_bytes(
        "From: a@b.ru\nTo: sales@company.ru\nSubject: \x1b[31m#1\x07\u202eevil\n\nx".encode()
    )
    result = imaprouter("replay", "--crm", FIXTURES / "crm.json", tmp_path / "hostile.eml")
    assert result.exit_code == 0
    assert not any(ord(character) < 32 and character != "\n" for character in result.stdout)


# ── explain and queue ─────────────────────────────────────────────────────────────────────────────────────


def test_explain_and_queue_before_anything_was_read() -> None:
    """No journal: advice instead of a traceback, and no file is made."""
    for words in (("explain", "1"), ("queue",)):
        result = imaprouter(*words)
        assert result.exit_code == 1
        assert "store.path" in result.stderr
    assert not Path("imaprouter.db").exists()


def test_demo_ends_with_everything_in_its_place() -> None:
    """Twelve letters, exit 0, and the reasons on the table."""
    done = subprocess.run(
        [sys.executable, "-m", "imaprouter", "demo"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(FIXTURES.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "12 of 12 letters are where they belong" in done.stdout
    assert "the subject names deal 1" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--once"],
        ["cache", "refresh"],
        ["evaluate", "--all"],
        ["backfill", "--all"],
        ["transfer", "--from", "contact", "--to", "company"],
    ],
)
def test_without_a_configuration_a_command_says_how_to_get_one(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAPROUTER_CONFIG", raising=False)
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "there is no configuration file" in done.stderr
    assert "imaprouter init" in done.stderr
