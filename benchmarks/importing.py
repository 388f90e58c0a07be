"""Time of `import vizwidgets` over importing torch and torchvision."""

from __future__ import annotations

import subprocess
import sys

from .timing import side_by_side, table


def measure() -> str:
    """The ratio as a Markdown section."""

    def run(code: str) -> object:
        return subprocess.run([sys.executable, "-c", code], check=True)

    times = side_by_side(
        {"torch": lambda: run("import torch, torchvision"), "ours": lambda: run("import torch, torchvision, vizwidgets")},
        rounds=9, warmup=1,
    )  # fmt: skip
    row = [f"{times['torch']:.2f}", f"{times['ours']:.2f}", f"{times['ours'] / times['torch']:.2f}", "1.10"]
    return "## import\n\n" + table(["torch and torchvision, s", "and vizwidgets, s", "ratio", "limit"], [row])
