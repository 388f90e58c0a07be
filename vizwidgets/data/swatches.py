"""Swatches: textures drawn from numbers, to be grown, taken apart, and painted with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from vizwidgets.core.errors import unknown
from vizwidgets.data._canvas import Array, Canvas, mix, noise, smoothstep

Random = np.random.Generator


def swatch(name: str, size: int = 64, *, seed: int = 0) -> Tensor:
    """A texture drawn from numbers; at any size the same picture.

    Parameters
    ----------
    name : str
        One of `SWATCHES`. "checkerboard" has squares of whole pixels, an eighth of the picture each, in two colours.
    size : int
        Height and width in pixels, from 16 to 1024.
    seed : int
        At least 0; another seed, another piece of the same texture. The checkerboard is always the same.

    Returns
    -------
    Tensor
        (1, 3, size, size), float32 in [0, 1], in steps of 1/255.

    Raises
    ------
    LookupError, ValueError
        For a name that is not there, and a size or seed that is not allowed.

    Examples
    --------
    >>> swatch("bricks", 128).shape
    torch.Size([1, 3, 128, 128])
    """
    if name not in _DRAWN:
        raise LookupError(unknown("swatch", name, SWATCHES))
    if not 16 <= operator.index(size) <= 1024:
        raise ValueError(f"size is {size}; a swatch has 16 to 1024 pixels along a side")
    if operator.index(seed) < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0")
    canvas = Canvas(2 * size)  # two by two pixels become one: smooth edges
    _DRAWN[name](canvas, np.random.default_rng([seed, SWATCHES.index(name)]))
    fine = np.clip(canvas.rgb, 0.0, 1.0).reshape(3, size, 2, size, 2).mean((2, 4))
    return torch.from_numpy((fine * 255.0 + 0.5).astype(np.uint8)).float()[None] / 255


def _colours(*codes: str) -> Array:
    """Colours (N, 3) in [0, 1] from their hexadecimal codes."""
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


def _bricks(canvas: Canvas, rng: Random) -> None:
    row = (canvas.y + 1.0) * 3.0 + rng.uniform(0.0, 1.0)
    i = np.floor(row).astype(np.int64) % 8
    column = (canvas.x + 1.0) * 1.5 + 0.5 * (i % 2) + rng.uniform(-0.08, 0.08, 8)[i] + rng.uniform(0.0, 1.0)
    j = np.floor(column).astype(np.int64) % 8
    a, b = row % 1.0, column % 1.0
    joint = np.minimum(np.minimum(a, 1.0 - a), 2.0 * np.minimum(b, 1.0 - b)) + 0.015 * noise(rng, canvas.size, 30, 30)
    clay = _colours("a8442f", "c05a3c", "8c3427", "d07a4e", "98503c", "b5533f", "7a3030", "c86a44")
    grain = noise(rng, canvas.size, 40, 40) + 0.6 * noise(rng, canvas.size, 12, 24)
    face = clay[rng.integers(0, len(clay), (8, 8))[i, j]].T * (1.0 + 0.06 * grain)
    face *= 1.0 + 0.22 * (1.0 - smoothstep(0.08, 0.26, a)) - 0.30 * smoothstep(0.74, 0.93, a)
    mortar = _colours("d9cfbf").T * (0.94 + 0.05 * grain)
    canvas.rgb[:] = mix(mortar, face, smoothstep(0.05, 0.10, joint))


def _checkerboard(canvas: Canvas, rng: Random) -> None:
    square = 2 * max(1, round(canvas.size / 16))
    number = np.arange(canvas.size) // square
    canvas.rgb[:] = _colours("f3ead7", "1f4e79").T[:, (number[:, None] + number).ravel() % 2]


def _cells(canvas: Canvas, rng: Random, count: int, jitter: float) -> tuple[Array, Array, Array]:
    """Voronoi cells of about `count` points along a side, in units of their distance.

    Gives for each pixel the cell's number, the way to its point (2, N), and the distance to the nearest other cell.
    """
    place = np.stack([canvas.y, canvas.x]) * (count / 2.0) + count / 2.0
    points = rng.uniform(0.5 - jitter, 0.5 + jitter, (2, count + 4, count + 4))
    corner = np.floor(place).astype(np.int64)

    def near() -> Iterator[tuple[Array, Array]]:
        for shift in np.ndindex(5, 5):
            i, j = corner + np.reshape(shift, (2, 1))  # the table of points begins two cells beyond the border
            yield i * (count + 4) + j, np.stack([i, j]) - 2 + points[:, i, j] - place

    number, here = np.zeros_like(corner[0]), np.full_like(place, 9.0)
    for other, way in near():
        closer = (way**2).sum(0) < (here**2).sum(0)
        number, here = np.where(closer, other, number), np.where(closer, way, here)
    border = np.full(len(number), 9.0)
    for other, way in near():
        across = way - here
        distance = (((way + here) * across).sum(0) / 2.0) / np.maximum(np.hypot(*across), 1e-9)
        border = np.where(other == number, border, np.minimum(border, distance))
    return number, here, border


def _pebbles(canvas: Canvas, rng: Random) -> None:
    cell, way, border = _cells(canvas, rng, 7, 0.34)
    border = np.minimum(border, 0.9 * border + 0.55 * (0.62 - np.hypot(*way)))  # corners become round
    stones = _colours("8c97a1", "b8ad9a", "6f7880", "d6cbb8", "a98f74", "94857c", "c3b5ac", "5f6b73", "b7976f", "dcd6cb")
    grain = noise(rng, canvas.size, 48, 48)
    stone = stones[rng.integers(0, len(stones), 11 * 11)[cell]].T * (1.0 + 0.05 * grain)
    dome = smoothstep(0.02, 0.34, border)
    stone *= 0.55 + 0.50 * dome + 0.32 * (way[0] + 0.6 * way[1]) * smoothstep(0.0, 0.2, border)
    canvas.rgb[:] = mix(_colours("231f1c").T, stone, smoothstep(0.03, 0.11, border + 0.01 * grain))


def _grass(canvas: Canvas, rng: Random) -> None:
    canvas.rgb[:] = mix(_colours("12260f").T, _colours("1f4016").T, 0.5 + 0.3 * noise(rng, canvas.size, 8, 8))
    greens = _colours("2f6b1e", "4c8f2a", "76b041", "a9cf5a", "5f9e36", "cfd97a", "3b7a2a")
    for foot in np.sort(rng.uniform(-1.0, 1.9, 520)):
        x, length, width = rng.uniform(-1.15, 1.15), rng.uniform(0.5, 0.95), rng.uniform(0.022, 0.042)
        bend, green = rng.uniform(-0.38, 0.38), greens[rng.integers(len(greens))]
        rows = slice(*np.searchsorted(canvas.axis, (foot - length, foot)))
        columns = slice(*np.searchsorted(canvas.axis, (x + min(bend, 0.0) - width, x + max(bend, 0.0) + width)))
        up = ((foot - canvas.axis[rows]) / length)[:, None]
        side = (canvas.axis[None, columns] - x - bend * up**2) / width
        cover = canvas.edge((1.0 - up**1.5) - np.abs(side), width)
        light = (0.50 + 0.60 * up) * (1.0 + 0.22 * np.sign(side) * np.minimum(np.abs(side) * 2.0, 1.0))
        index = (np.arange(canvas.size)[rows, None] * canvas.size + np.arange(canvas.size)[None, columns]).ravel()
        canvas.over(index, green[:, None] * light.ravel(), cover.ravel())


def _waves(canvas: Canvas, rng: Random) -> None:
    """Overlapping scales of concentric rings, as on Japanese cloth."""
    radius = 0.25
    shift, tints = rng.uniform(0.0, 1.0, 2) * radius, rng.integers(0, 4, (32, 16))
    rings = np.array([_colours(*codes) for codes in (
        ("f4f1e6", "16356b", "f4f1e6", "2a5fa5", "f4f1e6", "5f9bd1"),
        ("f4f1e6", "0f4c5c", "f4f1e6", "1f8a8c", "f4f1e6", "7cc6b8"),
        ("f4f1e6", "16356b", "f4f1e6", "35528f", "f4f1e6", "8fb4dd"),
        ("f4f1e6", "9c3d2e", "f4f1e6", "e08e45", "f4f1e6", "f5cf8e"),
    )])  # fmt: skip
    widths = np.array([1.0, 0.95, 0.73, 0.68, 0.45, 0.40])
    for row in range(24):
        start = shift[1] + radius * (row % 2) - 1.0 - 2 * radius
        column = np.round((canvas.x - start) / (2 * radius)).astype(np.int64)
        y = shift[0] - 1.0 - radius + row * radius / 2
        distance = np.hypot(canvas.x - start - column * 2 * radius, canvas.y - y) / radius
        index = np.flatnonzero(distance < 1.02)
        ring = rings[tints[row, column[index] % 16]]
        for k, width in enumerate(widths):
            canvas.over(index, ring[:, k].T, canvas.edge(width - distance[index], radius))
        canvas.rgb[:, index] *= 1.04 - 0.10 * distance[index]


def _knit(canvas: Canvas, rng: Random) -> None:
    """Rows of stitches, each two strands that lean against each other, in a pattern of four yarns."""
    shift = rng.integers(0, 8, 2)
    column = (canvas.x + 1.0) * 6.0
    side = np.abs(column % 1.0 - 0.5)
    row = (canvas.y + 1.0) * 7.0 + 1.1 * side
    i, j = np.floor(row).astype(np.int64) + shift[0], np.floor(column).astype(np.int64) + shift[1]
    across, along = (side - 0.25) / 0.25, (row % 1.0 - 0.5) / 0.5
    reach = across**2 + along**2 * 0.8
    strands = 0.5 + 0.5 * np.sin(9.0 * along + 5.0 * across)
    pattern = np.array([[int(c) for c in line] for line in (
        "00000000", "01000100", "11101110", "01000100", "00000000", "22222222", "23232323", "22222222")])  # fmt: skip
    yarn = _colours("b3262e", "f2e8d5", "1e3f5c", "e6b54a")[pattern[i % 8, j % 8]].T
    light = 0.40 + 0.62 * np.sqrt(np.clip(1.0 - 0.72 * reach, 0.0, 1.0)) + 0.10 * (strands - 0.5) + 0.03 * noise(rng, canvas.size, 48, 48)
    canvas.rgb[:] = yarn * light


def _strokes(canvas: Canvas, rng: Random) -> None:
    """Thick brush strokes that follow swirls, from long to short."""
    size = canvas.size
    canvas.rgb[:] = _colours("12264f").T
    sky = _colours("0d1f4a", "173a7a", "2763b0", "5b9bd5", "a9d0e6", "e9e6b8", "f6c644", "e88b2d")
    centres, turns = rng.uniform(-0.9, 0.9, (4, 2)), rng.choice([-1.0, 1.0], 4)
    tones = np.clip(0.36 + 0.17 * noise(rng, size, 4, 4), 0.0, 1.0)
    for centre in centres[:2]:
        tones += 0.55 * np.exp(-((canvas.x - centre[0]) ** 2 + (canvas.y - centre[1]) ** 2) / 0.05)
    for length in (*[0.36] * 240, *[0.24] * 520, *[0.16] * 700):
        x, y = rng.uniform(-1.05, 1.05, 2)
        away = np.array([x, y]) - centres
        pull = turns / (0.06 + (away**2).sum(1))
        angle = np.arctan2((pull * away[:, 0]).sum(), (-pull * away[:, 1]).sum() + 1.2)
        width, bend, phase = length * rng.uniform(0.11, 0.16), rng.uniform(-0.8, 0.8), rng.uniform(0.0, 6.3)
        index = canvas.region(x, y, 0.62 * length)
        if not index.size:
            continue
        dx, dy = canvas.x[index] - x, canvas.y[index] - y
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / (0.5 * length)
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / width - bend * along**2 * 0.5
        middle = min(size - 1, max(0, round((y + 1) / 2 * size))) * size + min(size - 1, max(0, round((x + 1) / 2 * size)))
        tone = np.clip(tones[middle] + rng.uniform(-0.13, 0.13), 0.0, 0.999) * (len(sky) - 1)
        colour = mix(sky[int(tone)], sky[int(tone) + 1], np.array([tone % 1.0])) * rng.uniform(0.9, 1.1)
        ragged = 1.0 - 0.18 * np.sin(7.0 * across + phase) - np.abs(along)
        cover = canvas.edge(np.minimum(1.0 - np.abs(across), ragged * length / (2.0 * width)), width)
        relief = 1.0 + 0.10 * np.sin(9.0 * across + phase) - 0.16 * across
        canvas.over(index, colour * relief, cover)


def _mosaic(canvas: Canvas, rng: Random) -> None:
    cell, way, border = _cells(canvas, rng, 9, 0.36)
    glass = _colours("e63946", "f4a261", "f6d55c", "2a9d8f", "3caea3", "20639b", "173f5f", "8e44ad", "f2f2f2", "ed553b", "7fb069")
    chosen = rng.integers(0, len(glass), 13 * 13)
    light = 1.0 + 0.16 * way[1] - 0.16 * way[0] + rng.uniform(-0.10, 0.10, 13 * 13)[cell] + 0.03 * noise(rng, canvas.size, 24, 24)
    tile = glass[chosen[cell]].T * light
    canvas.rgb[:] = mix(_colours("1b1b22").T, tile, smoothstep(0.035, 0.075, border))


_DRAWN: dict[str, Callable[[Canvas, Random], None]] = {
    "bricks": _bricks,
    "checkerboard": _checkerboard,
    "pebbles": _pebbles,
    "grass": _grass,
    "waves": _waves,
    "knit": _knit,
    "strokes": _strokes,
    "mosaic": _mosaic,
}
SWATCHES: tuple[str, ...] = tuple(_DRAWN)
