"""Run notebooks and write them as they are committed: with outputs, without widget state, times or model ids.

``python notebooks/execute.py`` runs all of them, ``python notebooks/execute.py 02_activation_maps.ipynb`` one.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
VIEW = "application/vnd.jupyter.widget-view+json"
LARGE = 100_000  # bytes of a picture; a larger one is kept with 256 colours, at a third of its size


def smaller(picture: str) -> str:
    """The PNG, in base64, with 256 colours if it is large."""
    if len(picture) * 3 / 4 <= LARGE:
        return picture
    buffer = io.BytesIO()
    colours = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    colours.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def execute(path: Path) -> None:
    """Run the notebook in place."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", record_timing=False, store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()  # fmt: skip
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k not in ("execution", "trusted")})
        for output in cell.get("outputs", []):
            # Without a view, whoever opens the notebook before running it sees the still picture.
            data = output.get("data", {})
            data.pop(VIEW, None)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    nbformat.write(notebook, path)


if __name__ == "__main__":
    # Weights that happen to be on this computer do not show in what is committed.
    os.environ["TORCH_HOME"] = tempfile.mkdtemp()
    for name in sys.argv[1:] or sorted(p.name for p in HERE.glob("*.ipynb")):
        print(name, flush=True)
        execute(HERE / name)
