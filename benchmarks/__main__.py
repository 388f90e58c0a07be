"""Run all benchmarks but the long ones, or those named, and write their sections of `results.md`.

`quality`, `inverting`, `fooling`, `attributing`, `judging`, `embedding`, `recording` and `shapes` take some minutes each and run by their
names, as `starting` does. Of one with several sections each may be named: `embedding.neighbours`.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

NAMES = ["importing", "drawing", "extraction", "clicking", "dragging", "scrolling", "frames", "scattering", "optimizing"]

ABOUT = (
    f"Measured on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
    f"torch {version('torch')}, medians of interleaved rounds. Times vary with the machine; ratios hold."
)
PATH = Path(__file__).parent / "results.md"


def title(section: str) -> str:
    """The first line of a section, without what stands in brackets: that may change from run to run."""
    return section.splitlines()[0].partition(" (")[0]


written = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
sections = {title("## " + s): "## " + s.strip() for s in written.split("\n## ")[1:]}
for name in sys.argv[1:] or NAMES:
    module = import_module(f"benchmarks.{name.partition('.')[0]}")
    for part in [name.partition(".")[2]] if "." in name else getattr(module, "PARTS", ["measure"]):
        section = getattr(module, part)()
        print(section, end="\n\n", flush=True)
        sections[title(section)] = section
        PATH.write_text("\n\n".join(["# Benchmarks", ABOUT, *sections.values()]) + "\n", encoding="utf-8")
