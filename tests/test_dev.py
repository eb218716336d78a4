"""./dev and the packaging: what a fresh machine gets, from files that name no host and pin by hash."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "requirements/demo.txt"
DEV = ROOT / "requirements/dev.txt"
BENCH = ROOT / "requirements/bench.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Stands in for uv: writes down what it is asked, and makes a .venv whose programs say their arguments.
FAKE_UV = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(os.environ["SAID"])
said = {{"asked": sys.argv[1:], "downloads": os.environ.get("UV_PYTHON_DOWNLOADS"),
        "index": os.environ.get("UV_DEFAULT_INDEX")}}
with here.open("a") as file:
    file.write(json.dumps(said) + "\\n")
if sys.argv[1] == "venv":
    programs = pathlib.Path(sys.argv[-1]) / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in ("imaprouter", "python", "ruff", "mypy"):
        fails = here.parent / f"{{name}}-fails"
        (programs / name).write_text(f"#!/bin/sh\\necho ran {{name}} $@\\ntest ! -e {{fails}}\\n")
        (programs / name).chmod(0o755)
sys.exit(sys.argv[2:3] == ["sync"] and "UV_FAILS" in os.environ)
"""


class Clone:
    """A checkout with nothing but what ./dev reads, and a uv that only writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        (self.folder / "requirements").mkdir(parents=True)
        for name in ("dev", "pyproject.toml", *(f"requirements/{lock.name}" for lock in (DEMO, DEV, BENCH))):
            shutil.copy(ROOT / name, self.folder / name)
        self._tools = folder / "tools"
        self._tools.mkdir()
        (self._tools / "uv").write_text(FAKE_UV)
        (self._tools / "uv").chmod(0o755)
        self._said = folder / "said"

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "PATH": f"{self._tools}{os.pathsep}{os.environ['PATH']}",
            "SAID": str(self._said),
        }
        return subprocess.run(
            [sys.executable, str(self.folder / "dev"), *arguments],
            env={**environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[list[str]]:
        """What uv was asked since the last look, without the question for its version."""
        lines = self._said.read_text().splitlines() if self._said.exists() else []
        self._said.unlink(missing_ok=True)
        said = [json.loads(line) for line in lines]
        assert all(each["downloads"] == "never" for each in said if each["asked"] != ["--version"])
        return [each["asked"] for each in said if each["asked"] != ["--version"]]

    def breaks(self, program: str) -> None:
        (self._said.parent / f"{program}-fails").touch()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_dev_alone_lists_what_it_can_do(clone: Clone) -> None:
    done = clone.run()
    assert done.returncode == 0
    for command in ("demo", "test", "faults", "lint", "format", "cases", "fuzz", "i18n", "lock", "bench"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    assert clone.asked() == []


def test_an_unknown_command_is_a_usage_error(clone: Clone) -> None:
    done = clone.run("dmeo")
    assert done.returncode == 2
    assert "  demo " in done.stdout


def test_demo_sets_up_from_the_hashed_files_and_runs(clone: Clone) -> None:
    """Nothing unpinned is fetched, not even for building imaprouter itself, and no other Python."""
    done = clone.run("demo", "--once")
    assert done.returncode == 0
    assert done.stdout.endswith("ran imaprouter demo --once\n")
    venv, sync, install = clone.asked()
    assert venv[0] == "venv"
    assert venv[venv.index("--python") + 1] == sys.executable
    assert sync[:2] == ["pip", "sync"]
    assert {"--require-hashes", "requirements/demo.txt"} <= set(sync)
    assert {"--no-deps", "--no-build-isolation", "--editable"} <= set(install)


def test_a_second_run_sets_nothing_up(clone: Clone) -> None:
    clone.run("demo")
    clone.asked()
    assert clone.run("demo").stdout == "ran imaprouter demo\n"
    assert clone.asked() == []


def test_what_tests_need_serves_the_demo_but_not_the_other_way_round(clone: Clone) -> None:
    clone.run("demo")
    clone.asked()
    clone.run("lint")
    assert any("requirements/dev.txt" in asked for asked in clone.asked())
    clone.run("demo")
    assert clone.asked() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/dev.txt"])
def test_changed_requirements_set_up_again(clone: Clone, name: str) -> None:
    clone.run("demo")
    clone.asked()
    with (clone.folder / name).open("a") as file:
        file.write("# changed\n")
    clone.run("demo")
    assert len(clone.asked()) == 3


def test_a_failed_set_up_runs_nothing_and_is_tried_again(clone: Clone) -> None:
    done = clone.run("demo", UV_FAILS="yes")
    assert done.returncode == 1
    assert "failed: uv pip sync" in done.stderr
    assert "ran" not in done.stdout
    clone.asked()
    assert clone.run("demo").returncode == 0
    assert len(clone.asked()) == 3


def test_pips_index_is_told_to_uv(clone: Clone) -> None:
    """A company's mirror in PIP_INDEX_URL serves, and uv's own setting outranks it."""
    clone.run("demo", PIP_INDEX_URL="https://pip.test/simple", UV_DEFAULT_INDEX="https://uv.test/simple")
    said = (clone.folder.parent / "said").read_text().splitlines()
    assert json.loads(said[-1])["index"] == "https://uv.test/simple"
    clone.run("lint", PIP_INDEX_URL="https://pip.test/simple")
    said = (clone.folder.parent / "said").read_text().splitlines()
    assert json.loads(said[-1])["index"] == "https://pip.test/simple"


@pytest.mark.parametrize("program", ["ruff", "mypy"])
def test_lint_runs_everything_and_fails_with_any(clone: Clone, program: str) -> None:
    assert clone.run("lint").returncode == 0
    clone.breaks(program)
    done = clone.run("lint")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["ran ruff check", "ran ruff format --check", "ran mypy"]


def test_fuzz_hands_its_arguments_on(clone: Clone) -> None:
    done = clone.run("fuzz", "--minutes", "0.1", "--seed", "7")
    assert done.stdout.endswith("ran python tools/fuzz.py --minutes 0.1 --seed 7\n")
    clone.breaks("python")
    assert clone.run("fuzz").returncode == 1


def test_bench_says_that_there_is_nothing_to_measure(clone: Clone) -> None:
    done = clone.run("bench")
    assert done.returncode == 0
    assert "0 benchmarks" in done.stdout
    (clone.folder / "bench").mkdir()
    (clone.folder / "bench/decide.py").touch()
    assert "ran python" in clone.run("bench").stdout


def test_what_benchmarks_compare_with_stays_out_of_the_projects_own_environment(clone: Clone) -> None:
    clone.run("lint")
    clone.asked()
    clone.run("bench")
    venv, sync = clone.asked()
    assert venv[-1].endswith(".dev/peers")
    assert sync[sync.index("--python") + 1].endswith(".dev/peers")
    assert {"--require-hashes"} <= set(sync)
    assert sync[-1].endswith("requirements/bench.txt")
    clone.run("bench")
    assert clone.asked() == []


def test_benchmarks_run_without_what_they_compare_with(clone: Clone) -> None:
    clone.run("lint")
    done = clone.run("bench", UV_FAILS="yes")
    assert done.returncode == 0
    assert "peers of the benchmarks could not be installed" in done.stderr


def test_an_older_python_is_told_what_is_needed() -> None:
    code = (
        "import runpy, sys; sys.version_info = (3, 10, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "dev")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr


def _pins(lock: Path) -> dict[str, str]:
    """Project to version; the marker belongs to it, since one project can be pinned twice."""
    found = re.findall(
        r"^([\w.-]+)==(\S+)(?: ; (.*?))?(?: \\)?$", lock.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {f"{name} {marker}".strip(): version for name, version, marker in found}


def _names(requirements: list[str]) -> set[str]:
    return {match[0].lower() for text in requirements if (match := re.match(r"[\w.-]+", text))}


@pytest.mark.parametrize("lock", [DEMO, DEV, BENCH], ids=lambda lock: lock.name)
def test_requirement_files_name_no_host_and_hash_every_project(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(_pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_requirement_files_cover_the_project() -> None:
    """They are as new as pyproject.toml, and those of `test` hold those of `demo`, version for version."""
    extras, groups = PROJECT["project"]["optional-dependencies"], PROJECT["dependency-groups"]
    demo = _names(PROJECT["project"]["dependencies"] + extras["demo"] + groups["build"])
    assert demo <= {key.split()[0] for key in _pins(DEMO)}
    assert demo | _names(groups["test"] + groups["lint"]) <= {key.split()[0] for key in _pins(DEV)}
    assert _pins(DEMO).items() <= _pins(DEV).items()
    assert _names(groups["bench"]) <= {key.split()[0] for key in _pins(BENCH)}
    assert groups["build"] == PROJECT["build-system"]["requires"]


def test_the_wheel_holds_the_package_and_the_sample_company(tmp_path: Path) -> None:
    """An installed imaprouter finds fixtures/ without a checkout, and brings nothing beside the package."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.split("/")[0] for name in names} == {"imaprouter", "imaprouter-0.1.0.dist-info"}
    assert "imaprouter/py.typed" in names
    assert "imaprouter/locale/ru/LC_MESSAGES/imaprouter.mo" in names
    code = "from imaprouter.sandbox.sample import sample_folder; print(sample_folder())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    packaged = Path(done.stdout.strip())
    assert packaged.is_relative_to(tmp_path)
    sample = _files(ROOT / "fixtures")
    of_tests = {name for name in sample if name.startswith(("natures/", "threads/"))}
    assert of_tests
    assert _files(packaged) == {name: sample[name] for name in sample.keys() - of_tests}
    assert not [name for name in names if name.endswith(".po")]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
