"""A canvas for drawing in the square from -1 to 1, whatever its size in pixels.

Everything is float64: other processors may differ in the last bit of a sine, which then never reaches the 8-bit picture.
Pixels are kept flat, so that a shape is a list of pixel numbers and nothing else of the picture is touched.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Smooth rise from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(first: Array, second: Array, amount: Array) -> Array:
    """Colours (3,) or (3, N) mixed by `amount` (N,) into (3, N)."""
    first = np.reshape(first, (3, -1))
    return first + (np.reshape(second, (3, -1)) - first) * amount


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> tuple[Array, Array]:
    """Lattice numbers (4, size) and cubic B-spline weights (4, size) for `size` pixels over `cells` cells."""
    place = (np.arange(size) + 0.5) / size * cells
    first = np.minimum(place.astype(np.int64), cells - 1)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t * t) + 1, t**3]) / 6.0
    return first + np.arange(4)[:, None], weights


def noise(rng: np.random.Generator, size: int, rows: int, columns: int) -> Array:
    """Smooth noise (size * size,) of about unit deviation, with `rows` x `columns` cells: the same field at any size."""
    lattice = rng.standard_normal((rows + 3, columns + 3)) * 2.2
    numbers, weights = _spline(size, rows)
    field = sum(lattice[n] * w[:, None] for n, w in zip(numbers, weights, strict=True))
    numbers, weights = _spline(size, columns)
    return sum(field[:, n] * w for n, w in zip(numbers, weights, strict=True)).ravel()


def blurred(planes: Array, deviation: float) -> Array:
    """Gaussian blur of planes (..., H, W), `deviation` in pixels, edges repeated."""
    reach = int(np.ceil(3.0 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (-1, -2):
        pad = [(0, 0)] * planes.ndim
        pad[axis] = (reach, reach)
        padded = np.moveaxis(np.pad(planes, pad, mode="edge"), axis, -1)
        length = planes.shape[axis]
        planes = np.moveaxis(sum(w * padded[..., k : k + length] for k, w in enumerate(kernel)), -1, axis)
    return planes


class Canvas:
    """Colours (3, size * size) in [0, 1] and the coverage of petals, disc and whatever stands in front of the flower."""

    def __init__(self, size: int):
        self.size = size
        self.pixel = 2.0 / size
        self.axis = (np.arange(size) + 0.5) * self.pixel - 1.0
        self.x = np.tile(self.axis, size)
        self.y = np.repeat(self.axis, size)
        self.rgb = np.zeros((3, size * size))
        self.petals, self.disc, self.front = np.zeros((3, size * size))

    def region(self, x: float, y: float, radius: float) -> Array:
        """Numbers of the pixels in the square of half-width `radius` around (x, y)."""
        left, right = np.searchsorted(self.axis, (x - radius, x + radius))
        top, bottom = np.searchsorted(self.axis, (y - radius, y + radius))
        return (np.arange(top, bottom)[:, None] * self.size + np.arange(left, right)).ravel()

    def edge(self, distance: Array, scale: float = 1.0) -> Array:
        """Coverage of pixels whose centre lies `distance` inside an edge, in units of `scale`."""
        return np.clip(0.5 + distance * (scale / self.pixel), 0.0, 1.0)

    def over(self, index: Array, colour: Array, alpha: Array, part: str | None = None) -> None:
        """Lay `colour`, (3,) or (3, N), over the pixels `index` (N,), and enter it into the coverage of `part`."""
        below = self.rgb[:, index]
        self.rgb[:, index] = below + (np.reshape(colour, (3, -1)) - below) * alpha
        for name in ("petals", "disc", "front"):
            cover = getattr(self, name)
            if name == part:
                cover[index] += (1.0 - cover[index]) * alpha
            elif part is not None:
                cover[index] *= 1.0 - alpha

    def darken(self, index: Array, amount: Array) -> None:
        """Let a shadow fall on the pixels `index`."""
        self.rgb[:, index] *= 1.0 - amount
