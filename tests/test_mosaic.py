"""Grids of images: against searches through everything on small sets."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

import vizwidgets as vw
from vizwidgets.core.picture import colour_table
from vizwidgets.methods.mosaic import _assign


def embedding(n: int, seed: int = 0, length: int = 4, images: object = None) -> vw.Embedding:
    generator = torch.Generator().manual_seed(seed)
    points, vectors = torch.rand(n, 2, generator=generator), torch.randn(n, length, generator=generator)
    points[0], points[-1] = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])  # so that nothing is stretched
    return vw.Embedding(points, vw.Features(vectors, images=images, labels=torch.arange(n) % 3))


def centres(cells: int) -> np.ndarray:
    """Of the cells as points of the map, row by row from the top."""
    return np.array([[(x + 0.5) / cells, 1 - (y + 0.5) / cells] for y in range(cells) for x in range(cells)])


def test_up_on_the_map_is_up_in_the_grid() -> None:
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    map_ = vw.Embedding(5 * corners - 3, vw.Features(torch.rand(4, 2)))
    for kind in ("place", "fill", "assign"):
        assert vw.image_grid(map_, kind=kind, cells=2).cells.tolist() == [[2, 3], [0, 1]]


def test_in_its_place_is_the_image_nearest_the_middle_of_the_cell() -> None:
    map_ = embedding(60)
    grid = vw.image_grid(map_, kind="place", cells=5)
    points = map_.points.double().numpy()
    wanted = np.full((5, 5), -1)
    for y, x in np.ndindex(5, 5):
        inside = [i for i, p in enumerate(points) if min(int(p[0] * 5), 4) == x and min(int((1 - p[1]) * 5), 4) == y]
        if inside:
            wanted[y, x] = min(inside, key=lambda i: ((points[i] - centres(5)[5 * y + x]) ** 2).sum())
    assert grid.cells.tolist() == wanted.tolist() and grid.seams is None
    assert grid.shown == (wanted >= 0).sum()


def test_filled_every_cell_shows_its_nearest_image() -> None:
    map_ = embedding(20)
    grid = vw.image_grid(map_, kind="fill", cells=7)
    distances = ((map_.points.double().numpy()[None] - centres(7)[:, None]) ** 2).sum(2)
    assert grid.cells.flatten().tolist() == distances.argmin(1).tolist()


@pytest.mark.parametrize("n", [1, 3, 6, 8, 9])
def test_no_other_assignment_is_nearer(n: int) -> None:
    rng = np.random.default_rng(n)
    at, cells = rng.random((n, 2)), rng.random((6 if n < 9 else 3, 2))[: max(1, min(n, 6))]
    grid = _assign(at, cells)
    chosen = [i for i in range(n) if i in grid]
    cost = ((at[:, None] - cells) ** 2).sum(2)
    found = sum(cost[i, c] for c, i in enumerate(grid) if i >= 0)
    best = min(sum(cost[i, c] for i, c in zip(chosen, p, strict=True)) for p in permutations(range(len(cells)), len(chosen)))
    assert len(chosen) == min(n, len(cells)) and found == pytest.approx(best)


def test_each_image_has_a_cell_of_its_own_and_no_greedy_way_is_nearer() -> None:
    map_ = embedding(100)
    grid = vw.image_grid(map_, kind="assign", cells=20)
    assert sorted(grid.cells.flatten().tolist()) == list(range(100))  # the smallest square that holds them
    cost = ((map_.points.double().numpy()[:, None] - centres(10)) ** 2).sum(2)
    greedy, left = 0.0, cost.copy()
    for _ in range(100):
        i, c = np.unravel_index(left.argmin(), left.shape)
        greedy += cost[i, c]
        left[i], left[:, c] = np.inf, np.inf
    flat = grid.cells.flatten().numpy()
    assert cost[flat, np.arange(100)].sum() < greedy


def test_of_many_images_some_are_taken_at_even_distances() -> None:
    grid = vw.image_grid(embedding(200), kind="assign", cells=5)
    assert sorted(grid.cells.flatten().tolist()) == np.linspace(0, 199, 25).round().astype(int).tolist()
    assert repr(grid) == "Mosaic(5 × 5, 'assign', 25 of 200 images)"
    few = vw.image_grid(embedding(7), kind="assign", cells=5)
    assert sorted(few.cells.flatten().tolist()) == [-1, -1, *range(7)]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_seams_are_the_distances_of_the_vectors(metric: str) -> None:
    map_ = embedding(14)
    map_ = vw.Embedding(map_.points, map_.features, metric=metric)
    grid = vw.image_grid(map_, kind="assign")
    cells, (right, down), vectors = grid.cells, grid.seams, map_.features.vectors.double()
    assert cells.shape == (4, 4) and right.shape == (4, 3) and down.shape == (3, 4)

    def distance(a: int, b: int) -> float:
        if min(a, b) < 0:
            return np.nan
        u, v = vectors[a], vectors[b]
        return float((u - v).norm()) if metric == "l2" else float(1 - u @ v / u.norm() / v.norm())

    wanted = [[distance(cells[y, x], cells[y, x + 1]) for x in range(3)] for y in range(4)]
    np.testing.assert_allclose(right, wanted, rtol=1e-4, atol=1e-6)
    wanted = [[distance(cells[y, x], cells[y + 1, x]) for x in range(4)] for y in range(3)]
    np.testing.assert_allclose(down, wanted, rtol=1e-4, atol=1e-6)


def test_the_picture_shows_images_and_seams_in_their_places() -> None:
    colours = torch.linspace(0, 1, 9).view(9, 1, 1, 1).expand(9, 3, 8, 8)
    grid = vw.image_grid(embedding(9, images=colours), kind="assign", cells=3, side=40)
    pixels = np.asarray(grid.picture()).astype(int)
    gap, table = 4, colour_table("sequential")
    low, high = grid.scale
    for (y, x), row in np.ndenumerate(grid.cells.numpy()):
        assert abs(pixels[y * 44 + 20, x * 44 + 20] - round(255 * row / 8)).max() <= 1
    for (y, x), value in np.ndenumerate(grid.seams[0].numpy()):
        assert pixels[y * 44 + 20, x * 44 + 40 + gap // 2].tolist() == table[round(255 * (value - low) / (high - low))].tolist()
    for (y, x), value in np.ndenumerate(grid.seams[1].numpy()):
        assert pixels[y * 44 + 40 + gap // 2, x * 44 + 20].tolist() == table[round(255 * (value - low) / (high - low))].tolist()
    assert (low, high) == (min(s.min() for s in grid.seams), max(s.max() for s in grid.seams))
    bare = np.asarray(grid.picture(side=20, seams=False))
    assert bare.shape[0] == 60 + 24


@pytest.mark.parametrize("kind", ["place", "fill", "assign"])
def test_one_or_two_or_equal_images(kind: str) -> None:
    for n in (1, 2, 5):
        map_ = vw.Embedding(torch.zeros(n, 2), vw.Features(torch.ones(n, 3)))
        grid = vw.image_grid(map_, kind=kind, cells=4)
        assert grid.shown >= 1 and grid.picture().width > 20
        if kind == "assign":
            assert sorted(i for i in grid.cells.flatten().tolist() if i >= 0) == list(range(n))


def test_the_recipe_says_what_was_chosen_and_of_which_map() -> None:
    map_ = vw.pca(vw.Features(torch.rand(9, 3)))
    grid = vw.image_grid(map_, kind="assign")
    assert grid.recipe["options"] == {"kind": "assign", "cells": 3, "side": 96} and grid.recipe["embedding"] == map_.recipe
    with pytest.raises(ValueError, match="does not hold them"):
        vw.rerun(grid)


@pytest.mark.parametrize(("options", "message"), [
    ({"kind": "asign"}, "did you mean 'assign'"),
    ({"kind": "assign", "cells": 65}, "from 1 to 64, not 65"),
    ({"cells": 0}, "from 1 to 200, not 0"),
    ({"side": 4}, "side is a whole number from 8"),
])  # fmt: skip
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises((LookupError, ValueError), match=message):
        vw.image_grid(embedding(9), **options)
