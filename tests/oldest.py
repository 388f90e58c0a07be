"""Print the oldest supported version of each dependency, as constraints for pip: `make check-oldest` installs these."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """Name and lower bound of requirements such as ``"torch>=2.6"``; each must have exactly that form."""
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement) for requirement in requirements]
    return {pair[1]: pair[2] for pair in pairs if pair}


if __name__ == "__main__":
    for name, version in lower_bounds(PROJECT["dependencies"]).items():
        print(f"{name}=={version}")
