"""What a table says above itself, and medians."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

RUNS = int(os.environ.get("BENCH_RUNS", "3"))


def title(text: str) -> None:
    """The name of a benchmark, and the machine with what else it is doing."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    say(f"\n{text}\n")
    say(f"{_cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}; load {load}; ")
    say(f"medians of {RUNS} runs\n\n")


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
