"""Run all benchmarks, or those named, and write `results.md`."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

NAMES = ["importing", "drawing", "extraction", "clicking", "scrolling", "frames", "optimizing", "quality"]

chosen = sys.argv[1:] or NAMES
sections = []
for name in chosen:
    sections.append(import_module(f"benchmarks.{name}").measure())
    print(sections[-1], end="\n\n", flush=True)
if chosen == NAMES:
    about = (
        f"Measured on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"torch {version('torch')}, medians of interleaved rounds. Times vary with the machine; ratios hold."
    )
    text = "\n\n".join(["# Benchmarks", about, *sections]) + "\n"
    (Path(__file__).parent / "results.md").write_text(text, encoding="utf-8")
