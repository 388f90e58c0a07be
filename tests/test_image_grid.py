"""ImageGrid without a page: cells and distances on the wire, choosing, links, thumbnails by size, errors."""

from __future__ import annotations

import gc
import io
import sys

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw


@pytest.fixture
def embedding():
    generator = torch.Generator().manual_seed(2)
    features = vw.Features(torch.randn(50, 6, generator=generator), labels=torch.arange(50) % 4, classes=("ash", "birch", "cedar"),
                           images=torch.rand(50, 3, 9, 14, generator=generator))  # fmt: skip
    return vw.pca(features)


def cells_of(grid):
    return np.frombuffer(grid.about["cells"], "<i4").reshape(grid.about["rows"], grid.about["columns"])


@pytest.mark.parametrize("kind", ["place", "fill", "assign"])
def test_it_shows_the_cells_of_the_mosaic(embedding, kind):
    mosaic = vw.image_grid(embedding, kind=kind, cells=6)
    grid = vw.ImageGrid(mosaic)
    assert np.array_equal(cells_of(grid), mosaic.cells.numpy())
    assert grid.about["classes"][:5] == ["ash", "birch", "cedar", "class 3", "ash"]
    assert repr(grid) == f"ImageGrid(6 × 6, {kind}, {mosaic.shown} of 50 images)"
    if kind != "assign":
        assert grid.about["right"] == grid.about["down"] == b""
        return
    vectors, cells = embedding.features.vectors, mosaic.cells
    right = np.frombuffer(grid.about["right"], "<f4").reshape(6, 5)
    down = np.frombuffer(grid.about["down"], "<f4").reshape(5, 6)
    for i, j in ((0, 0), (2, 4), (4, 1)):
        assert right[i, j] == pytest.approx((vectors[cells[i, j]] - vectors[cells[i, j + 1]]).norm().item(), rel=1e-4)
        assert down[i, j] == pytest.approx((vectors[cells[i, j]] - vectors[cells[i + 1, j]]).norm().item(), rel=1e-4)
    assert grid.about["scale"] == pytest.approx([min(right.min(), down.min()), max(right.max(), down.max())])


def test_the_page_chooses_and_turns_seams_off(embedding):
    grid = vw.ImageGrid(vw.image_grid(embedding, kind="assign"))
    wire = Wire(grid)
    wire.receive({"cmd": "pick", "value": 17})
    assert grid.wait(10) and (grid.index, grid.picked) == (17, 17)
    assert torch.equal(grid.image.pixels, embedding.features.images.image(17).pixels)
    wire.receive({"cmd": "seams", "value": False})
    assert grid.seams is False
    wire.receive({"cmd": "pick", "value": -1})
    assert grid.wait(10) and grid.index is None and grid.image is None
    wire.receive({"cmd": "pick", "value": 50})
    assert "no row 50: there are 50" in grid.error and grid.index is None


def test_thumbnails_of_two_sizes_do_not_drop_each_other(embedding):
    grid = vw.ImageGrid(vw.image_grid(embedding, kind="fill", cells=5))
    wire = Wire(grid)
    for side in (20, 96):
        wire.receive({"cmd": "look", "rows": [3, 4], "side": side})
    assert grid.wait(10) and grid.error == ""
    assert sorted((m["look"], tuple(m["names"])) for m in wire.messages) == [(20, ("#3", "#4")), (96, ("#3", "#4"))]
    sizes = [PILImage.open(io.BytesIO(b)).width for d, buffers in wire.sent if d["method"] == "custom" for b in buffers]
    assert sorted(sizes) == [20, 20, 96, 96]


def test_it_is_linked_with_the_map(embedding):
    scatter, grid = vw.EmbeddingScatter(embedding), vw.ImageGrid(vw.image_grid(embedding, kind="assign"))
    changes = []
    for name in ("index", "image"):
        traitlets.link((scatter, name), (grid, name))
        grid.observe(lambda change: changes.append(change.name), name)
    Wire(scatter.player).receive({"cmd": "pick", "value": 8})
    assert scatter.wait(10) and grid.wait(10)
    assert grid.index == grid.picked == 8 and grid.image == scatter.image is not None
    Wire(grid).receive({"cmd": "pick", "value": 9})
    assert grid.wait(10) and scatter.wait(10)
    assert scatter.index == scatter.player.picked == 9
    assert changes == ["index", "image", "index", "image"], "nothing echoes"


def test_another_mosaic(embedding):
    grid = vw.ImageGrid(vw.image_grid(embedding, kind="place", cells=4), index=30)
    assert grid.wait(10) and grid.image is not None
    grid.mosaic = vw.image_grid(embedding, kind="fill", cells=3)
    assert grid.index == 30 and cells_of(grid).shape == (3, 3)
    grid.mosaic = vw.image_grid(vw.pca(vw.Features(torch.rand(12, 4))), kind="fill", cells=3)
    assert grid.index is None and grid.about["pictures"] is False and grid.about["classes"] == []
    grid.mosaic = None
    assert grid.about == {} and grid.still() is None and repr(grid) == "ImageGrid()"


def test_a_constructor_that_fails_leaves_nothing_to_complain_about(embedding, monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(repr(unraisable.exc_value)))
    for options in ({}, {"nonsense": 1}):
        with pytest.raises(TypeError):
            vw.ImageGrid(embedding, **options)
    gc.collect()
    assert heard == []


def test_errors_and_the_still_picture(embedding):
    mosaic = vw.image_grid(embedding, kind="assign")
    with pytest.raises(TypeError, match="a grid shows a Mosaic, not Embedding"):
        vw.ImageGrid(embedding)
    with pytest.raises(IndexError, match="no row 50"):
        vw.ImageGrid(mosaic, index=50)
    with pytest.raises(TypeError, match="did you mean"):
        vw.ImageGrid(mosaic, seam=False)
    data, _ = vw.ImageGrid(mosaic)._repr_mimebundle_()
    with_seams, without = (PILImage.open(io.BytesIO(vw.ImageGrid(mosaic, seams=s)._repr_mimebundle_()[0]["image/png"])) for s in (True, False))
    assert data["text/plain"] == "ImageGrid(8 × 8, assign, 50 of 50 images)"
    assert with_seams.width > without.width >= 8 * 48
