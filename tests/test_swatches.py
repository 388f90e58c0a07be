"""Drawn textures: the same for the same seed, the same picture at any size, and each another one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import vizwidgets as vw
from vizwidgets.data import SWATCHES, swatch
from vizwidgets.data._canvas import Canvas
from vizwidgets.data.swatches import _cells


@pytest.mark.parametrize("name", SWATCHES)
def test_a_swatch_is_a_picture_in_whole_levels(name: str) -> None:
    torch.manual_seed(3), np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    x = swatch(name, 48, seed=5)
    assert x.shape == (1, 3, 48, 48) and x.dtype == torch.float32
    levels = x * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert 0 <= x.min() < 0.4 < 0.6 < x.max() <= 1
    assert x.equal(swatch(name, 48, seed=5))
    assert x.equal(swatch(name, 48, seed=6)) == (name == "checkerboard")
    assert torch.get_rng_state().equal(before[0]) and np.random.get_state()[1].tolist() == before[1]
    assert vw.image(x).equal(x)


@pytest.mark.parametrize("name", SWATCHES)
def test_a_swatch_is_the_same_picture_at_any_size(name: str) -> None:
    small, large = swatch(name, 64), swatch(name, 128)
    other = small.flip(3) if name == "checkerboard" else swatch(name, 64, seed=1)
    shrunk = F.avg_pool2d(large, 2)
    assert (small - shrunk).abs().mean() < 0.5 * (other - shrunk).abs().mean()


def test_swatches_differ() -> None:
    """By colours or by the sizes of what repeats, whatever the place: sorted values and spectra."""
    def looks(name: str) -> torch.Tensor:
        x = swatch(name, 64)
        spectrum = torch.fft.rfft2(x.mean(1)).abs().flatten().sort().values / 64**2
        return torch.cat([x.flatten(2).sort(2).values[:, :, ::64].flatten(), 10 * spectrum[-100:]])

    described = {name: looks(name) for name in SWATCHES}
    for a, b in combinations(SWATCHES, 2):
        assert (described[a] - described[b]).abs().mean() > 0.04, (a, b)


@pytest.mark.parametrize(("size", "square"), [(32, 4), (64, 8), (70, 9), (16, 2)])
def test_the_checkerboard_has_two_colours_in_squares_of_whole_pixels(size: int, square: int) -> None:
    x = swatch("checkerboard", size)[0]
    n = torch.arange(size) // square
    even = ((n[:, None] + n) % 2 == 0).expand(3, -1, -1)
    assert x.flatten(1).unique(dim=1).shape[1] == 2
    assert x.equal(torch.where(even, x[:, :1, :1], x[:, :1, square : square + 1]))


def test_cells_are_those_of_the_nearest_points() -> None:
    """The distance to the border, against all points: half the difference of squares over the distance of two points."""
    canvas = Canvas(20)
    number, way, border = _cells(canvas, np.random.default_rng(4), 5, 0.4)
    points = np.random.default_rng(4).uniform(0.1, 0.9, (2, 9, 9))
    points = (points + np.indices((9, 9)) - 2).reshape(2, -1).T
    place = np.stack([canvas.y, canvas.x], 1) * 2.5 + 2.5
    squares = ((place[:, None] - points) ** 2).sum(2)
    assert np.array_equal(number, squares.argmin(1))
    np.testing.assert_allclose(way.T, points[number] - place, atol=1e-12)
    apart = np.linalg.norm(points[number][:, None] - points, axis=2)
    with np.errstate(invalid="ignore"):
        borders = (squares - squares.min(1, keepdims=True)) / 2 / apart
    np.testing.assert_allclose(border, np.nanmin(borders, 1), atol=1e-9)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(LookupError, match="did you mean 'bricks'"):
        swatch("brick")
    for size in (15, 1025):
        with pytest.raises(ValueError, match="16 to 1024"):
            swatch("bricks", size)
    with pytest.raises(ValueError, match="at least 0"):
        swatch("bricks", seed=-1)
    with pytest.raises(TypeError):
        swatch("bricks", 64.5)  # type: ignore[arg-type]
