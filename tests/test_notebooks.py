"""What is committed in the notebooks: outputs to look at, no state, public calls only. (nbval runs them.)"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import vizwidgets as vw

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMPORTS = {"vizwidgets", "torch", "torchvision", "timm", "numpy", "matplotlib", "pathlib", "tempfile", "time"}
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|var|opt|mnt|Users)/|[A-Z]:\\")
HEADINGS = ["The idea in plain words", "The formula", "experiment", "Where this misleads", "Exercises", "own", "References"]


@pytest.fixture(scope="module", params=PATHS, ids=lambda p: p.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def snippets(notebook):
    """The code in cells, and the code that is shown in the text."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [cell.source for cell in code(notebook)] + re.findall(r"```python\n(.*?)```", text, re.S)


def test_there_are_notebooks():
    assert {"00_first_look", "02_activation_maps"} <= {p.stem for p in PATHS}


def test_it_is_in_the_table_of_the_readme(path):
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert sum(f"(notebooks/{path.name})" in row for row in rows) == 1


def test_it_is_valid_small_and_without_state(notebook, path):
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_500_000
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert not {"execution", "trusted"} & set(cell.metadata)


def test_it_was_run_from_top_to_bottom_without_a_complaint(notebook):
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {}), "a view without a kernel"


def test_a_page_without_a_kernel_shows_pictures(notebook):
    pictures = [o for cell in code(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
    widgets = [o for o in pictures if o.output_type == "execute_result"]
    assert widgets, "the widget's own still picture"


def test_nothing_in_it_belongs_to_one_machine(notebook):
    for cell in notebook.cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        for text in texts:
            assert not ABSOLUTE.search(text), text
            assert not re.search(r"0x[0-9a-f]{6,}", text), text


def test_its_parts_are_in_order(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    assert headings[0].endswith("?")
    places = [next((i for i, h in enumerate(headings) if wanted in h), -1) for wanted in HEADINGS]
    assert -1 not in places, dict(zip(HEADINGS, places, strict=True))
    assert places == sorted(places)
    assert "Two things to try" in text
    exercises = text[text.index("## Exercises") : text.index("## References")]
    assert exercises.count("<details>") == exercises.count("</details>") == len(re.findall(r"^\*\*\d\. ", exercises, re.M)) >= 3


def test_it_is_written_with_public_calls(notebook):
    for source in snippets(notebook):
        for node in ast.walk(ast.parse(source.replace("?", ""))):
            if isinstance(node, ast.ClassDef):
                assert [ast.unparse(base) for base in node.bases] == ["nn.Module"], "a class is a network of one's own"
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno < 5, f"{node.name} is long enough for the package"
            elif isinstance(node, ast.Import):
                assert {a.name.partition(".")[0] for a in node.names} <= IMPORTS
            elif isinstance(node, ast.ImportFrom):
                assert node.module.partition(".")[0] in IMPORTS - {"vizwidgets"}, "import vizwidgets as vw is enough"
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr in ("__init__", "__name__"), node.attr
                if isinstance(node.value, ast.Name) and node.value.id == "vw":
                    assert node.attr in vw.__all__, f"vw.{node.attr} is not public"


@pytest.mark.slow
def test_the_code_of_its_exercises_runs(notebook, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    for cell in code(notebook):
        exec(cell.source, names)
    exercises = next(cell.source for cell in notebook.cells if cell.source.startswith("## Exercises"))
    snippets = re.findall(r"```python\n(.*?)```", exercises, re.S)
    assert snippets
    for source in snippets:
        exec(source, names)


# The kernel's own figures: getrusage would count the memory of the process that started it. Pages of libraries are the system's
# to drop and read again, and PyTorch's build for graphics cards has half a gigabyte more of them: they are left out.
PEAK = """own = {k: int(v.split()[0]) for k, v in (l.split(':') for l in open('/proc/self/status')) if k in ('VmHWM', 'RssFile')}
print(own['VmHWM'] - own['RssFile'])"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read from /proc")
def test_its_kernel_fits_beside_others_on_a_small_machine(notebook, path):
    notebook = nbformat.v4.new_notebook(cells=[*code(notebook), nbformat.v4.new_code_cell(PEAK)], metadata=notebook.metadata)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}}).execute()
    gigabytes = int(notebook.cells[-1].outputs[0].text) / 1e6
    print(f"{path.stem}: {gigabytes:.2f} GB")
    assert gigabytes < 0.9
