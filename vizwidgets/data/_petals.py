"""Petals, leaves and discs: outlines, textures and how light falls on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from vizwidgets.data._canvas import Array, Canvas, mix, smoothstep

TURN = 2.0 * np.pi

# Half-width along the petal: s**rise * (1 - s)**fall, so small numbers are blunt ends and 1 is a sharp one.
OUTLINES = {
    "strap": (0.35, 0.30),
    "tongue": (0.30, 0.12),
    "lance": (0.55, 0.85),
    "star": (0.75, 0.95),
    "oval": (0.60, 0.50),
    "spoon": (1.10, 0.45),
    "round": (0.65, 0.42),
    "rose": (0.80, 0.36),
    "crepe": (0.75, 0.38),
    "trumpet": (1.70, 0.30),
    "cup": (0.42, 0.62),
    "leaf": (0.65, 1.00),
    "grass": (0.12, 0.80),
    "hair": (0.02, 0.10),
}


@cache
def _outline(name: str, samples: int = 512) -> tuple[Array, Array]:
    """Half-width in [0, 1] along the petal, and its slope, sampled at the middles of `samples` intervals."""
    rise, fall = OUTLINES[name]
    s = (np.arange(samples) + 0.5) / samples
    width = s**rise * (1.0 - s) ** fall
    peak = rise / (rise + fall)
    width /= peak**rise * (1.0 - peak) ** fall
    return width, np.clip(width * (rise / s - fall / (1.0 - s)), -60.0, 60.0)


@dataclass(frozen=True)
class Pose:
    """Where a flower is and how it is turned: angles in radians, lengths in half pictures."""

    x: float = 0.0
    y: float = 0.0
    radius: float = 1.0
    roll: float = 0.0
    tilt: float = 0.0
    lean: float = 0.0
    light: float = -2.0

    def local(self, canvas: Canvas, index: Array) -> tuple[Array, Array]:
        """Coordinates of pixels in the plane of the flower, before `roll`; v is foreshortened by the tilt."""
        x, y = (canvas.x[index] - self.x) / self.radius, (canvas.y[index] - self.y) / self.radius
        c, s = np.cos(self.lean), np.sin(self.lean)
        return c * x + s * y, (c * y - s * x) / np.cos(self.tilt)

    def cone(self, canvas: Canvas, index: Array, elevation: float) -> tuple[Array, Array]:
        """Ground coordinates of pixels on a cone of petals that rise by `elevation`, seen from the tilted camera."""
        u, v = self.local(canvas, index)
        m = np.clip(np.tan(elevation) * np.tan(self.tilt), -0.85, 0.85)
        rho = (v * m + np.sqrt(v * v + (1.0 - m * m) * u * u)) / (1.0 - m * m)
        return u, v + rho * m

    def inside(self, x: float, y: float, scale: float, **changes: float) -> Pose:
        """The pose of a smaller flower at (x, y) of this one's plane."""
        c, s = np.cos(self.lean), np.sin(self.lean)
        y = y * np.cos(self.tilt)
        place = (self.x + self.radius * (c * x - s * y), self.y + self.radius * (s * x + c * y))
        return replace(self, x=place[0], y=place[1], radius=self.radius * scale, **changes)


@dataclass(frozen=True)
class Brush:
    """How a petal is painted: colours (3,), the texture and its random numbers, and the play of light."""

    base: Array
    tip: Array
    accent: Array
    texture: str = "plain"
    detail: Array = field(default_factory=lambda: np.full((64, 8), 0.5))
    strength: float = 0.85
    round: float = 0.16
    hollow: float = 0.45
    rib: float = 0.10
    fibre: float = 0.035
    rim: float = 0.05
    shadow: float = 0.35
    spread: float = 0.10
    part: str | None = "petals"


def _spots(s: Array, q: Array, d: Array) -> Array:
    rows, columns = s * 6.5 + d[0], q * 2.2 + 8.0 + d[1]
    i, j = rows.astype(np.int64), columns.astype(np.int64)
    a, b = (np.sin(i * 12.9 + j * 78.2 + d[2] * 40.0 + k) * 0.5 + 0.5 for k in (0.0, 2.0))
    distance = np.hypot(rows - i - 0.35 - 0.3 * a, columns - j - 0.35 - 0.3 * b)
    return (1.0 - smoothstep(0.20, 0.34, distance)) * (1.0 - smoothstep(0.62, 0.88, s))


def _veins(s: Array, q: Array, d: Array) -> Array:
    fan = np.cos(q * (9.0 + 3.0 * s) + 0.8 * np.sin(s * 9.0 + d[0] * TURN))
    branch = np.cos(11.0 * np.abs(q) - 16.0 * s + d[1] * TURN)
    lines = np.maximum(smoothstep(0.55, 0.98, fan), 0.8 * smoothstep(0.65, 1.0, branch))
    return lines * (1.0 - smoothstep(0.70, 1.0, s))


def _mottle(s: Array, q: Array, d: Array) -> Array:
    a = np.sin(9.0 * s + 3.0 * q + d[0] * TURN) + np.sin(4.0 * s - 7.0 * q + d[1] * TURN)
    b = np.sin(15.0 * s + 6.0 * q + a + d[2] * TURN) + np.sin(11.0 * q - 8.0 * s + d[3] * TURN)
    return smoothstep(0.25, 0.75, a + 0.8 * b) * smoothstep(0.0, 0.15, s)


def _flame(s: Array, q: Array, d: Array) -> Array:
    ragged = 0.10 * np.sin(17.0 * np.abs(q) + 8.0 * s + d[0] * TURN) + 0.06 * np.sin(31.0 * s + d[1] * TURN)
    return 1.0 - smoothstep(-0.10, 0.12, np.abs(q) - 0.62 * (1.0 - s) ** 0.8 + 0.08 + ragged)


def _bands(s: Array, q: Array, d: Array) -> Array:
    return smoothstep(-0.15, 0.45, np.cos(TURN * 3.0 * (s + 0.06 * q * q))) * smoothstep(0.08, 0.2, s)


# Each takes s (0 at the base, 1 at the tip), q (-1 to 1 across) and random numbers d (8,) or (8, N), and gives the
# amount of accent colour in [0, 1].
TEXTURES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "plain": lambda s, q, d: np.zeros_like(s),
    "streaks": lambda s, q, d: smoothstep(-0.1, 0.9, np.cos(13.0 * q + d[0] * 1.5)) * (1.0 - smoothstep(0.45, 0.9, s)),
    "blush": lambda s, q, d: 0.6 * smoothstep(0.55, 1.05, s + 0.12 * q * q),
    "flame": _flame,
    "blotch": lambda s, q, d: 1.0 - smoothstep(0.30, 0.42, s + 0.08 * np.cos(9.0 * q + d[0] * TURN)),
    "spots": _spots,
    "veins": _veins,
    "mottle": _mottle,
    "eye": lambda s, q, d: smoothstep(0.12, 0.2, s) * (1.0 - smoothstep(0.34, 0.42, s + 0.03 * np.cos(6.0 * q))),
    "stripe": lambda s, q, d: 0.7 * (1.0 - smoothstep(0.16, 0.36, np.abs(q))) * (1.0 - smoothstep(0.85, 1.0, s)),
    "picotee": lambda s, q, d: smoothstep(0.55, 0.80, np.maximum(np.abs(q), 1.6 * s - 0.72)),
    "bands": _bands,
}


def _kept(keep: Array, *values: Any) -> tuple[Any, ...]:
    """The pixels `keep` of each value that is not the same for all pixels."""
    return tuple(value[keep] if np.ndim(value) else value for value in values)


def _paint(canvas: Canvas, scale: float, index: Array, along: Array, across: Array, length: Array | float, width: float,
           outline: str, turned: Array | float, number: Array | int, brush: Brush, slant: Array | float = 0.0) -> None:
    """Paint petals of `length` and half-`width` at `along`, `across` (N,).

    `turned` is the angle from petal to light; `slant` is how steeply the length changes across, where there are teeth.
    """
    near = np.abs(across) < width + brush.spread
    near &= along > -brush.spread
    near &= along < length + brush.spread
    keep = np.flatnonzero(near)
    if not keep.size:
        return
    index, along, across = index[keep], along[keep], across[keep]
    length, turned, number, slant = _kept(keep, length, turned, number, slant)
    s = along / length
    table, slopes = _outline(outline)
    place = np.clip(s * table.size - 0.5, 0.0, table.size - 1.001)
    cell = place.astype(np.int64)
    half = table[cell] + (place - cell) * (table[cell + 1] - table[cell])
    steep = slopes[cell] * (width / length)
    half = half * width
    gap, slant = half - np.abs(across), 1.0 + slant * slant
    ends = np.minimum((length - along) / np.sqrt(slant), along + 0.02)
    steep = steep * steep * slant
    if brush.shadow:
        # Beyond a blunt tip the outline is so steep that the distance to it would vanish.
        away = np.minimum(gap / np.sqrt(1.0 + np.minimum(steep, (12.0 * width / length) ** 2)), ends)
        soft = np.clip(1.0 + away / brush.spread, 0.0, 1.0)
        amount = brush.shadow * soft * soft
        if brush.part:
            # Full shadows only between petals: what lies behind the flower is further away.
            amount *= 0.3 + 0.7 * (canvas.petals[index] + canvas.disc[index])
        canvas.darken(index, amount)
    alpha = canvas.edge(np.minimum(gap / np.sqrt(1.0 + steep), ends), scale)
    keep = np.flatnonzero(alpha)
    s, half = np.clip(s[keep], 0.0, 1.0), half[keep]
    turned, number = _kept(keep, turned, number)
    q = np.clip(across[keep] / (half + 1e-9), -1.0, 1.0)
    detail = brush.detail[number % 64].T

    colour = mix(brush.base, brush.tip, smoothstep(0.0, 0.95, s))
    amount = TEXTURES[brush.texture](s, q, detail)
    colour += (brush.accent[:, None] - colour) * (brush.strength * amount)
    square = q * q
    light = 1.0 + brush.round * q * np.sin(turned) + 0.10 * np.cos(turned) * (s - 0.3)
    light += 0.14 * (detail[4] - 0.5) + brush.rim * np.maximum(square * square * s, smoothstep(0.80, 1.0, s))
    light -= brush.hollow * (1.0 - smoothstep(0.0, 0.5, s)) ** 2
    light -= brush.rib / (1.0 + 60.0 * square) * (1.0 - s)
    light += brush.fibre * np.cos(23.0 * q + 5.0 * detail[5])
    canvas.over(index[keep], colour * light, alpha[keep], brush.part)


def _ruffle(tip: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """A wavy line across a petal, at `tip` in [-1, 1], and its slope."""
    a, b = 5.0 * tip + first, 11.0 * tip + second
    return 0.6 * np.sin(a) + 0.4 * np.sin(b), 3.0 * np.cos(a) + 4.4 * np.cos(b)


def ring(canvas: Canvas, pose: Pose, brush: Brush, rng: np.random.Generator, *, count: int, length: float, width: float,
         outline: str, inner: float = 0.0, turn: float = 0.0, elevation: float = 0.0, passes: int = 2,
         jitter: float = 0.05, notch: float = 0.0, teeth: float = 1.0, ruffle: float = 0.0, swirl: float = 0.0,
         arc: float = 0.0) -> None:
    """A ring of `count` petals from radius `inner` outwards, drawn in `passes` interleaved sets that may overlap.

    `length` and half-`width` are in radii of the flower, `elevation` in radians; `notch` cuts `teeth` teeth into each
    tip, `ruffle` makes the tip irregular, `swirl` bends all petals the same way, `arc` rounds the tips about the centre.
    """
    passes = passes if count % passes == 0 else count
    angles = turn + pose.roll + TURN * np.arange(count) / count + jitter * TURN / count * rng.uniform(-1, 1, count) * 2.0
    lengths = length * (1.0 + jitter * rng.uniform(-1.0, 1.0, count))
    phases = rng.uniform(0.0, TURN, (2, count))
    reach = (inner + length * (1.0 + jitter + ruffle)) * 1.04 + brush.spread
    rise = abs(np.tan(elevation) * np.sin(pose.tilt))
    index = canvas.region(pose.x, pose.y, pose.radius * reach * (1.0 + rise))
    gx, gy = pose.cone(canvas, index, elevation)
    rho = gx * gx + gy * gy
    keep = np.flatnonzero((rho < reach * reach) & (rho > (0.6 * inner) ** 2))
    index, gx, gy = index[keep], gx[keep], gy[keep]
    theta = np.arctan2(gy, gx) - turn - pose.roll
    cos, sin = np.cos(angles), np.sin(angles)
    for start in range(passes):
        if passes == count:
            number, ix, part_x, part_y = start, index, gx, gy
            facing = np.flatnonzero(gx * cos[start] + gy * sin[start] > -brush.spread)
            ix, part_x, part_y = index[facing], gx[facing], gy[facing]
        else:
            number = np.rint((theta / TURN * count - start) / passes).astype(np.int64) * passes + start
            number %= count
            ix, part_x, part_y = index, gx, gy
        c, s = cos[number], sin[number]
        along = part_x * c + part_y * s - inner
        across = part_y * c - part_x * s
        if arc:
            along = along + arc * across * across
        if swirl:
            across = across + swirl * along * along
        tip, size = np.clip(across / width, -1.0, 1.0), lengths[number]
        slant: Array | float = 0.0
        if notch:
            saw = np.pi * (teeth - 1.0)
            slant = length * notch * 0.5 * saw / width * np.sin(saw * tip + np.pi * teeth)
            size = size * (1.0 - notch * (0.5 + 0.5 * np.cos(saw * tip + np.pi * teeth)))
        if ruffle:
            wave, slope = _ruffle(tip, *phases[:, number])
            size, slant = size * (1.0 + ruffle * wave), length * ruffle / width * slope
        turned = pose.light - pose.lean - angles[number]
        _paint(canvas, pose.radius, ix, along, across, size, width, outline, turned, number, brush, slant)


def blade(canvas: Canvas, pose: Pose, brush: Brush, *, at: tuple[float, float] = (0.0, 0.0), angle: float, length: float,
          width: float, outline: str, bend: float = 0.0, number: int = 0, ruffle: float = 0.0) -> None:
    """One petal or leaf from `at` towards `angle` (0 right, pi / 2 down) in the plane of the flower."""
    reach = pose.radius * (np.hypot(*at) + length * (1.0 + abs(bend) * length + ruffle) + width + brush.spread)
    index = canvas.region(pose.x, pose.y, reach)
    u, v = pose.local(canvas, index)
    c, s = np.cos(pose.roll), np.sin(pose.roll)
    u, v = c * u + s * v - at[0], c * v - s * u - at[1]
    c, s = np.cos(angle), np.sin(angle)
    along = u * c + v * s
    across = v * c - u * s - bend * along * np.abs(along)
    size: Array | float = length
    slant: Array | float = 0.0
    if ruffle:
        wave, slope = _ruffle(np.clip(across / width, -1.0, 1.0), *brush.detail[number % 64, 6:8] * TURN)
        size, slant = length * (1.0 + ruffle * wave), length * ruffle / width * slope
    turned = pose.light - pose.lean - pose.roll - angle
    _paint(canvas, pose.radius, index, along, across, size, width, outline, turned, number, brush, slant)


def dome(canvas: Canvas, pose: Pose, *, radius: float, dark: Array, bright: Array, florets: tuple[int, int] = (13, 21),
         grain: float = 0.35, height: float = 0.10, part: str = "disc", at: tuple[float, float] = (0.0, 0.0)) -> None:
    """A domed disc whose florets lie along two opposite families of spirals, as in a sunflower."""
    top = pose.inside(at[0], at[1], 1.0)
    lift = height * np.sin(pose.tilt) * pose.radius
    top = replace(top, x=top.x + np.sin(pose.lean) * lift, y=top.y - np.cos(pose.lean) * lift)
    index = canvas.region(top.x, top.y, pose.radius * (radius * 1.1 + 0.08))
    u, v = top.local(canvas, index)
    rho = np.sqrt(u * u + v * v)
    canvas.darken(index, 0.45 * np.clip(1.0 - (rho - radius) / 0.08, 0.0, 1.0))
    alpha = canvas.edge(radius - rho, pose.radius)
    keep = np.flatnonzero(alpha)
    u, v, rho = u[keep], v[keep], rho[keep] / radius
    theta, depth = np.arctan2(v, u) - pose.roll, np.log(rho + 0.06) * 4.2
    seeds = np.cos(florets[0] * (theta + 0.30 * depth)) + np.cos(florets[1] * (theta - 0.19 * depth))
    light = 1.0 - 0.25 * rho**3 + 0.22 * (u * np.cos(pose.light) + v * np.sin(pose.light)) / radius
    colour = mix(dark, bright, np.clip(0.55 - 0.25 * np.cos(3.5 * rho) + grain * seeds, 0.0, 1.0))
    canvas.over(index[keep], colour * light, alpha[keep], part)


def dots(canvas: Canvas, pose: Pose, *, count: int, radius: float, size: float, colour: Array, rng: np.random.Generator,
         wobble: float = 0.08, lift: float = 0.0, part: str = "disc") -> None:
    """A ring of `count` small balls (anthers) at `radius`."""
    up = lift * np.sin(pose.tilt) * pose.radius
    pose = replace(pose, x=pose.x + np.sin(pose.lean) * up, y=pose.y - np.cos(pose.lean) * up)
    index = canvas.region(pose.x, pose.y, pose.radius * (radius * (1.0 + wobble) + 2.0 * size))
    u, v = pose.local(canvas, index)
    theta = np.arctan2(v, u) - pose.roll
    number = np.rint(theta / TURN * count).astype(np.int64) % count
    angles = pose.roll + TURN * (np.arange(count) + wobble * rng.uniform(-1.5, 1.5, count)) / count
    radii = radius * (1.0 + wobble * rng.uniform(-1.0, 1.0, count))
    x, y = (radii * np.cos(angles))[number] - u, (radii * np.sin(angles))[number] - v
    distance = np.sqrt(x * x + y * y)
    alpha = canvas.edge(size - distance, pose.radius)
    keep = np.flatnonzero(alpha)
    light = 1.05 - 0.5 * (x[keep] * np.cos(pose.light) + y[keep] * np.sin(pose.light)) / size
    canvas.over(index[keep], np.reshape(colour, (3, 1)) * light, alpha[keep], part)
