"""Binder's environment against what the package asks for."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import yaml
from oldest import PROJECT, lower_bounds

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
CONDA_NAMES = {"torch": "pytorch-cpu", "opentsne": "opentsne", "matplotlib": "matplotlib-base"}


def environment():
    return yaml.safe_load((BINDER / "environment.yml").read_text(encoding="utf-8"))


def fetched():
    """The networks that postBuild loads, read from its Python part."""
    code = (BINDER / "postBuild").read_text(encoding="utf-8").split("<<'PYTHON'\n")[1].split("\nPYTHON")[0]
    loop = next(node for node in ast.parse(code).body if isinstance(node, ast.For))
    return ast.literal_eval(loop.iter)


def test_every_requirement_has_one_lower_bound_and_none_from_above():
    everything = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"]]
    assert len(lower_bounds(everything)) == len(everything)


def test_the_environment_asks_for_what_the_package_asks_for():
    wanted = lower_bounds([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"]])
    expected = {CONDA_NAMES.get(name.lower(), name.lower()): bound for name, bound in wanted.items()}
    expected["python"] = PROJECT["requires-python"].removeprefix(">=")
    found = environment()
    assert found["channels"] == ["conda-forge"], "one channel: packages of two do not mix"
    assert lower_bounds([d for d in found["dependencies"] if d != "pip"]) == expected
    assert len(found["dependencies"]) == len(expected) + 1


def test_what_runs_after_it_installs_the_package_and_nothing_else():
    script = BINDER / "postBuild"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK), "repo2docker runs it"
    assert text.startswith("#!/usr/bin/env bash\nset -euo pipefail\n")
    assert re.findall(r"pip install (.*)", text) == ["--no-deps ."]
    assert len(text.split("<<'PYTHON'")) == 2


def test_the_networks_that_it_fetches_are_small():
    from torchvision import models

    sizes = {name: models.get_model_weights(name).DEFAULT.meta["_file_size"] for name in fetched()}
    assert sizes and max(sizes.values()) < 12, sizes


def test_the_badge_names_the_owner_in_one_place():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("[binder]") == 2 and readme.count("mybinder.org/v2/") == 1
    opened = re.search(r"^\[binder\]: https://mybinder\.org/v2/gh/[\w-]+/vizwidgets/HEAD\?urlpath=lab/tree/(\S+)$", readme, re.M)
    assert opened and (ROOT / opened[1]).is_file()
