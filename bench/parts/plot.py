"""plot.py FIGURES FOLDER: one log-log SVG for each entry of a figures.json of scale.py.

Run by the Python of the peers' environment, which has matplotlib; imaprouter is not imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

# The same figures give the same file.
matplotlib.rcParams.update({"svg.hashsalt": "imaprouter", "svg.fonttype": "none", "font.size": 10})


def main(figures: Path, folder: Path) -> None:
    """Write the pictures."""
    for name, growth in json.loads(figures.read_text("utf-8")).items():
        picture = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = picture.subplots()
        for (line, points), marker in zip(growth["lines"].items(), "osD^v", strict=False):
            axes.loglog(*zip(*points, strict=True), marker=marker, label=line)
        sizes = sorted({size for points in growth["lines"].values() for size, _ in points})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set(title=growth["title"], xlabel=growth["x"], ylabel=growth["y"])
        axes.grid(visible=True, alpha=0.3)
        axes.legend(frameon=False)
        picture.savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
