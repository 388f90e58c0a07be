"""The frame: who may import whom, how long a file may be, and that the engine works without a notebook."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "vizwidgets"
FILES = sorted(ROOT.rglob("*.py"))
COMMAND = sorted((ROOT.parent / "vizwidgets_command").glob("*.py"))
# What each part may import of the package; the parts are folders and the modules at the top.
ALLOWED = {
    "core": {"core"},
    "methods": {"core", "data", "methods"},
    "data": {"core", "data"},
    "models": {"core", "data", "methods", "models"},
    "weights": set(),
    "load": {"core", "models", "data", "methods", "weights"},
    "recipe": {"core", "models", "data", "methods", "load"},
    "widgets": {"core", "models", "data", "methods", "load", "recipe", "widgets", "__init__"},
    "__main__": set(),
    "__init__": {"core", "models", "data", "methods", "load", "recipe"},
}
NOTEBOOK = {"ipywidgets", "anywidget", "bqplot", "matplotlib", "traitlets", "IPython"}
HEAVY = {*NOTEBOOK, "sklearn", "skimage", "scipy", "openTSNE", "umap"}
CORE_MAY = {"torch", "numpy", "PIL"}


def part(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path, deep: bool = True) -> set[str]:
    """Absolute names of what a file imports; `deep` also within functions."""
    tree = ast.parse(path.read_text())
    package = ("vizwidgets", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {f"{module}.{a.name}" for a in node.names}
    return found


def of_package(names: set[str]) -> set[str]:
    own = {n.split(".")[1] if "." in n else "__init__" for n in names if n.split(".")[0] == "vizwidgets"}
    return {n if n in ALLOWED else "__init__" for n in own}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    assert of_package(imports(path)) <= ALLOWED[part(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_the_command(path: Path) -> None:
    assert part(path) == "__main__" or "vizwidgets_command" not in {n.split(".")[0] for n in imports(path)}


@pytest.mark.parametrize("path", COMMAND, ids=lambda p: p.name)
def test_the_command_stays_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 200


@pytest.mark.parametrize("path", [p for p in FILES if part(p) == "core"], ids=lambda p: p.name)
def test_core_needs_torch_numpy_and_pillow_only(path: Path) -> None:
    outside = {n.split(".")[0] for n in imports(path, deep=False)} - {"vizwidgets"} - set(sys.stdlib_module_names)
    assert outside <= CORE_MAY


@pytest.mark.parametrize("path", [p for p in FILES if part(p) != "widgets"], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_heavy_is_imported_at_once(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path, deep=False)} & HEAVY


def test_no_cycle() -> None:
    def name(path: Path) -> str:
        return ".".join(("vizwidgets", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")

    modules = {name(p): p for p in FILES}
    edges: dict[str, set[str]] = {}
    for own, path in modules.items():
        targets = {i if i in modules else i.rpartition(".")[0] for i in imports(path, deep=False)}
        edges[own] = (targets & set(modules)) - {own}
    done: set[str] = set()

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert node not in trail, " -> ".join([*trail[trail.index(node) :], node])
        if node not in done:
            for target in sorted(edges[node]):
                visit(target, (*trail, node))
            done.add(node)

    for node in edges:
        visit(node, ())
    assert len(done) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short_and_folders_flat(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert len(path.relative_to(ROOT).parts) <= 2


def test_every_name_of_the_package_is_there() -> None:
    import vizwidgets as vw

    assert set(vw.__all__) <= set(dir(vw))
    assert all(getattr(vw, name) is not None for name in vw.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = vw.lode


ENGINE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import torch
import vizwidgets as vw

torch.set_num_threads(1)
net = vw.as_net(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), size=16)
x = vw.image(torch.rand(3, 16, 16), net)
result = vw.activation_maps(net, x, "0")
assert vw.rerun(result, net).maps.equal(result.maps)
assert vw.gradient(net, vw.Logit(1), x)[1].shape == x.shape
result.picture()
try:
    vw.Explorer
except ImportError as e:
    assert "blocked" in str(e)
else:
    raise AssertionError("the widgets need what is blocked")
assert not {{m.split(".")[0] for m in sys.modules}} & {blocked!r}
"""


@pytest.mark.long
def test_the_engine_works_without_a_notebook(tmp_path: Path) -> None:
    program = tmp_path / "engine.py"
    program.write_text(ENGINE.format(blocked=NOTEBOOK))
    done = subprocess.run([sys.executable, program], cwd=ROOT.parent, capture_output=True, text=True, timeout=120,
                          env={"PYTHONPATH": str(ROOT.parent), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
