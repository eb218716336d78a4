"""The Markdown files, held against what they describe: commands, configuration, rooms, links, two languages.

That every command's `--help` has an example is in test_cli.py, that config.example.toml loads is in
test_config.py.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import click
import pytest
from click.testing import CliRunner

from imaprouter.cli import COMMANDS, cli
from imaprouter.config import load

ROOT = Path(__file__).parent.parent
ENGLISH, RUSSIAN = ROOT / "README.md", ROOT / "README.ru.md"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """The text without its code blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def blocks(path: Path, language: str | None = None) -> list[str]:
    """The code blocks, without the indentation of the list that they stand in."""
    found = _FENCE.findall(path.read_text("utf-8"))
    return [dedent(code) for _, name, code in found if language in (None, name)]


def first_cells(path: Path, column: str) -> list[list[str]]:
    """What stands in backticks in the first column of the table whose first two headings are `column`."""
    _, _, table = prose(path).partition(f"\n| {column} |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows]


def markdown_files() -> list[Path]:
    """Every Markdown file outside of hidden folders, in which tools keep their own."""
    top = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    deeper = (file for folder in top if folder.is_dir() for file in folder.rglob("*.md"))
    return sorted([*(path for path in top if path.suffix == ".md"), *deeper])


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command that does something itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name)


def console_lines() -> list[str]:
    """What README tells its reader to type."""
    return [line[2:] for block in blocks(ENGLISH, "console") for line in block.splitlines()]


# ── two languages ───────────────────────────────────────────────────────────────────────────────────────────


def test_both_readmes_have_the_same_sections() -> None:
    """As many headings, of the same levels, in the same order."""
    levels = [[mark for mark, _ in _HEADING.findall(prose(path))] for path in (ENGLISH, RUSSIAN)]
    assert levels[0] == levels[1]
    assert len(levels[0]) > 5


def test_both_readmes_have_the_same_code_blocks() -> None:
    """Commands, configuration and output are not translated."""
    assert blocks(RUSSIAN) == blocks(ENGLISH)
    assert len(blocks(ENGLISH)) > 5


def test_both_readmes_link_to_the_same_files() -> None:
    """Except for each other."""
    english, russian = (set(_LINK.findall(prose(path))) for path in (ENGLISH, RUSSIAN))
    assert english - russian == {RUSSIAN.name}
    assert russian - english == {ENGLISH.name}


# ── what they describe ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "column"), [(ENGLISH, "command | does"), (RUSSIAN, "команда | что делает")])
def test_the_table_names_every_command_and_no_other(path: Path, column: str) -> None:
    """In `cache refresh`, `lookup` the second word belongs to the group of the first."""
    named: set[tuple[str, ...]] = set()
    for cell in first_cells(path, column):
        group: tuple[str, ...] = ()
        for code in cell:
            words = tuple(word for word in code.split() if not word.startswith("-"))
            named.add(words if words[0] in COMMANDS else group + words)
            group = words[:-1] or group
    assert named == set(commands())


@pytest.mark.parametrize("line", [line for line in console_lines() if line.startswith("imaprouter ")])
def test_the_commands_that_a_reader_types_exist(line: str) -> None:
    """With their options: `--help` at the end answers only when everything before it is known."""
    words = shlex.split(line.partition(" >")[0])[1:]
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "COMMAND [ARGS]" not in result.stdout, "a group, not a command"


def test_dev_knows_the_words_of_the_readme() -> None:
    """`./dev demo`, `./dev test`: listed by `./dev` alone."""
    help_text = subprocess.run(
        [sys.executable, ROOT / "dev"], capture_output=True, text=True, encoding="utf-8", check=True
    ).stdout
    words = re.findall(r"\./dev (\w+)", ENGLISH.read_text("utf-8"))
    assert words
    assert [word for word in words if not re.search(rf"^  {word} ", help_text, re.MULTILINE)] == []


def test_the_first_configuration_loads(tmp_path: Path) -> None:
    """The reader needs no more than what README shows, and gets no warning for it."""
    (toml,) = blocks(ENGLISH, "toml")
    url = "https://company.bitrix24.ru/rest/1/code/"
    for name, secret in (("webhook", url), ("sales.password", "sesame")):
        assert f'"/etc/imaprouter/{name}"' in toml
        (tmp_path / name).write_text(f"{secret}\n")
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "imaprouter.toml"
    path.write_text(toml.replace("/etc/imaprouter/", ""))
    settings = load(path, {})
    (mailbox,) = settings.mailboxes
    assert settings.require_portal().webhook_url == url
    assert (mailbox.host, mailbox.port, mailbox.password) == ("imap.company.ru", 993, "sesame")
    assert settings.binding.mode == "observe"
    assert settings.warnings == ()


def test_the_architecture_names_every_room_and_no_other() -> None:
    """A room is a module or a folder directly below imaprouter/."""
    package = ROOT / "imaprouter"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py"} - {"__init__", "__main__"}
    rooms |= {path.parent.name for path in package.glob("*/__init__.py")}
    cells = first_cells(ROOT / "ARCHITECTURE.md", "room | holds")
    assert sorted(name.removesuffix("/") for cell in cells for name in cell) == sorted(rooms)


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    """To a file of this repository; other sites are not asked."""
    links = [link for link in _LINK.findall(prose(path)) if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []
