"""Shell completion, by the very line of the README, in a real bash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize(
    ("typed", "offered"), [("che", "check"), ("queue as", "assign"), ("cache ", "lookup")]
)
def test_bash_completes_commands(tmp_path: Path, typed: str, offered: str) -> None:
    """The function that bash calls on a tab gives the words of a command, and of a group."""
    assert shutil.which("bash"), "this test needs bash"
    program = tmp_path / "imaprouter"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imaprouter "$@"\n')
    program.chmod(0o700)
    found = re.search(
        r"`(eval \"\$\(_IMAPROUTER_COMPLETE=bash_source imaprouter\)\")`", README.read_text("utf-8")
    )
    assert found, "README names no line for bash"
    words = ["imaprouter", *typed.split(" ")]
    listed = " ".join(f"'{word}'" for word in words)
    script = f"{found[1]}\nCOMP_WORDS=({listed}) COMP_CWORD={len(words) - 1}\n"
    script += "handler=$(complete -p imaprouter | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
    script += f"$handler imaprouter {listed.rsplit(' ', 1)[-1]}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
    }
    result = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert offered in result.stdout.split(), result.stderr
    assert "Traceback" not in result.stderr
