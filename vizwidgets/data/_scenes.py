"""What surrounds a flower: twelve backgrounds, stem and leaves, and what stands in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vizwidgets.data._canvas import Array, Canvas, mix, noise, smoothstep
from vizwidgets.data._petals import Brush, Pose, blade

Random = np.random.Generator


def rgb(*values: float) -> Array:
    """A colour (3,) in [0, 1]."""
    return np.array(values, dtype=np.float64)


def _near(rng: Random, *values: float, spread: float = 0.05) -> Array:
    return rgb(*values) + rng.uniform(-spread, spread, 3) * 0.6 + rng.uniform(-spread, spread)


def _bokeh(canvas: Canvas, rng: Random, colours: Array, count: int, radius: tuple[float, float], alpha: float) -> None:
    """Out-of-focus lights: soft discs with a slightly brighter rim."""
    for _ in range(count):
        x, y = rng.uniform(-1.1, 1.1, 2)
        size, tint, strength = rng.uniform(*radius), colours[rng.integers(len(colours))], alpha * rng.uniform(0.4, 1.0)
        index = canvas.region(x, y, size * 1.2)
        distance = np.sqrt((canvas.x[index] - x) ** 2 + (canvas.y[index] - y) ** 2) / size
        cover = (1.0 - smoothstep(0.85, 1.10, distance)) * (0.75 + 0.25 * distance * distance)
        canvas.over(index, tint, strength * cover)


def _meadow(canvas: Canvas, rng: Random) -> None:
    low, high = _near(rng, 0.13, 0.30, 0.09), _near(rng, 0.52, 0.68, 0.28)
    field = 0.45 - 0.30 * canvas.y + 0.22 * noise(rng, canvas.size, 4, 4) + 0.10 * noise(rng, canvas.size, 9, 7)
    canvas.rgb[:] = mix(low, high, np.clip(field, 0.0, 1.2))
    lights = np.array([[0.90, 0.95, 0.60], [0.98, 0.90, 0.95], [0.75, 0.90, 0.45], [0.95, 0.75, 0.80]])
    _bokeh(canvas, rng, lights, 12, (0.06, 0.24), 0.38)


def _sky(canvas: Canvas, rng: Random) -> None:
    top, bottom = _near(rng, 0.22, 0.47, 0.80), _near(rng, 0.68, 0.84, 0.95, spread=0.03)
    canvas.rgb[:] = mix(top, bottom, 0.5 + 0.5 * canvas.y)
    cloud = noise(rng, canvas.size, 4, 2) + 0.55 * noise(rng, canvas.size, 9, 5) + 0.22 * noise(rng, canvas.size, 20, 12)
    cover = smoothstep(0.1, 1.9, cloud)
    canvas.rgb[:] = mix(canvas.rgb, rgb(0.99, 0.98, 0.97), 0.85 * cover)


def _sunset(canvas: Canvas, rng: Random) -> None:
    top, middle, low = _near(rng, 0.30, 0.20, 0.45), _near(rng, 0.95, 0.50, 0.32), _near(rng, 0.99, 0.80, 0.45, spread=0.03)
    height = 0.5 + 0.5 * canvas.y + 0.08 * noise(rng, canvas.size, 7, 2)
    canvas.rgb[:] = mix(mix(top, middle, smoothstep(0.0, 0.60, height)), low, smoothstep(0.45, 0.95, height))
    x, y = rng.uniform(-0.7, 0.7), rng.uniform(0.0, 0.7)
    distance = np.sqrt((canvas.x - x) ** 2 + (canvas.y - y) ** 2)
    canvas.rgb += rgb(0.5, 0.42, 0.25)[:, None] / (1.0 + 14.0 * distance * distance)
    hills = 0.72 + 0.10 * np.sin(canvas.x * rng.uniform(1.5, 3.0) + rng.uniform(0.0, 6.0))
    canvas.rgb[:] = mix(canvas.rgb, rgb(0.20, 0.11, 0.22), 0.85 * smoothstep(-0.04, 0.04, canvas.y - hills))


def _soil(canvas: Canvas, rng: Random) -> None:
    size = canvas.size
    grain = 0.5 * noise(rng, size, 6, 6) + 0.6 * noise(rng, size, 18, 18) + 0.5 * noise(rng, size, 36, 36)
    canvas.rgb[:] = mix(_near(rng, 0.13, 0.08, 0.05, spread=0.03), _near(rng, 0.47, 0.33, 0.22), 0.42 + 0.26 * grain)


def _grass(canvas: Canvas, rng: Random) -> None:
    canvas.rgb[:] = mix(_near(rng, 0.06, 0.17, 0.05), _near(rng, 0.16, 0.36, 0.10), 0.5 - 0.5 * canvas.y)
    dark, bright = _near(rng, 0.10, 0.30, 0.07), _near(rng, 0.48, 0.70, 0.22)
    for layer in range(5):
        # One modulo draws a whole row of blades; the rows shear in turn to the left and to the right.
        slope, count = rng.uniform(-0.45, 0.45), rng.uniform(7.0, 12.0)
        place = (canvas.x + slope * (canvas.y - 1.0) + 0.12 * slope * canvas.y**2 + rng.uniform(0.0, 1.0)) * count
        number = np.floor(place).astype(np.int64) % 32
        top, tint = rng.uniform(-1.2, 0.9, 32)[number], rng.uniform(0.0, 1.0, 32)[number]
        half = 0.34 * np.clip((canvas.y - top) * 1.4, 0.0, 1.0)
        side = place - np.floor(place) - 0.5
        cover = np.clip(0.5 + (half - np.abs(side)) / (count * canvas.pixel), 0.0, 1.0) * (half > 0.0)
        colour = mix(dark, bright, np.clip(0.25 * tint + 0.15 * layer - 0.25 * (canvas.y - top) + 0.7 * side + 0.2, 0.0, 1.0))
        canvas.rgb[:] = mix(canvas.rgb, colour, cover)


def _studio(canvas: Canvas, rng: Random) -> None:
    x, y = rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.2)
    distance = (canvas.x - x) ** 2 + (canvas.y - y) ** 2
    glow = rgb(0.27, 0.27, 0.31) + rng.uniform(-0.06, 0.06, 3)
    canvas.rgb[:] = mix(rgb(0.025, 0.025, 0.035), glow, 1.0 / (1.0 + 1.7 * distance))


def _wood(canvas: Canvas, rng: Random) -> None:
    size = canvas.size
    height = (canvas.y + 1.0) * rng.uniform(1.1, 1.7) + rng.uniform(0.0, 1.0)
    plank = np.floor(height).astype(np.int64)
    tints, shifts = rng.uniform(-0.14, 0.14, 8), rng.uniform(0.0, 20.0, 8)
    across = height - plank
    wave = 0.30 * noise(rng, size, 3, 3) + shifts[plank]
    rings = np.sin(16.0 * (across + 0.5 * wave)) * 0.5 + 0.5 * np.sin(41.0 * across + 5.0 * wave)
    grain = 0.46 + tints[plank] + 0.13 * rings + 0.11 * noise(rng, size, 48, 4)
    canvas.rgb[:] = mix(_near(rng, 0.28, 0.16, 0.09), _near(rng, 0.82, 0.62, 0.42), grain)
    canvas.rgb *= 1.0 - 0.7 * (1.0 - smoothstep(0.0, 0.035, np.minimum(across, 1.0 - across)))


def _brick(canvas: Canvas, rng: Random) -> None:
    size, scale = canvas.size, rng.uniform(2.2, 2.9)
    row = (canvas.y + 1.0) * scale + rng.uniform(0.0, 1.0)
    i = np.floor(row).astype(np.int64)
    column = (canvas.x + 1.0) * scale * 0.42 + 0.5 * (i % 2) + rng.uniform(0.0, 1.0)
    j = np.floor(column).astype(np.int64)
    a, b = row - i, column - j
    wobble = 0.012 * noise(rng, size, 24, 24)
    joint = np.minimum(np.minimum(a, 1.0 - a), np.minimum(b, 1.0 - b) / 0.42) + wobble
    tint = rng.uniform(0.0, 1.0, (8, 8))[i % 8, j % 8] + 0.16 * noise(rng, size, 30, 30)
    face = mix(_near(rng, 0.46, 0.20, 0.15), _near(rng, 0.72, 0.42, 0.31), tint)
    face *= 0.88 + 0.24 * smoothstep(0.05, 0.3, 1.0 - a)
    canvas.rgb[:] = mix(_near(rng, 0.70, 0.67, 0.62), face, smoothstep(0.04, 0.09, joint))


def _water(canvas: Canvas, rng: Random) -> None:
    size = canvas.size
    canvas.rgb[:] = mix(_near(rng, 0.30, 0.58, 0.66), _near(rng, 0.03, 0.20, 0.32), 0.5 + 0.5 * canvas.y)
    sway = noise(rng, size, 6, 4)
    depth = 1.0 / (1.6 + canvas.y)
    wave = np.sin(26.0 * depth + 1.4 * sway + 2.0 * canvas.x) + 0.8 * np.sin(43.0 * depth - 2.2 * sway - 3.0 * canvas.x)
    canvas.rgb += rgb(0.07, 0.10, 0.11)[:, None] * wave
    canvas.rgb += rgb(0.5, 0.5, 0.45)[:, None] * smoothstep(1.15, 1.8, wave + 0.25 * noise(rng, size, 14, 6))


def _paper(canvas: Canvas, rng: Random) -> None:
    slope = rng.uniform(-0.05, 0.05, 2)
    fibre = 0.010 * noise(rng, canvas.size, 40, 40) + 0.012 * noise(rng, canvas.size, 12, 24)
    shade = 1.0 + slope[0] * canvas.x + slope[1] * canvas.y + fibre
    canvas.rgb[:] = _near(rng, 0.92, 0.90, 0.85, spread=0.05)[:, None] * shade


def _foliage(canvas: Canvas, rng: Random) -> None:
    canvas.rgb[:] = rgb(0.03, 0.08, 0.05)[:, None]
    for layer in range(11):
        depth = 0.35 + 0.06 * layer
        base = _near(rng, 0.10, 0.26, 0.12) * depth * 1.3
        brush = leaf_brush(base, base * 1.5 + 0.04, rng, shadow=0.5, part=None)
        angle = rng.uniform(0.0, 6.28)
        at = (rng.uniform(-1.0, 1.0) - 0.5 * np.cos(angle), rng.uniform(-1.0, 1.0) - 0.5 * np.sin(angle))
        blade(canvas, Pose(), brush, at=at, angle=angle, length=rng.uniform(0.9, 1.3), width=rng.uniform(0.2, 0.32),
              outline="leaf", bend=rng.uniform(-0.25, 0.25))


def _pebbles(canvas: Canvas, rng: Random) -> None:
    scale = rng.uniform(2.0, 2.8)
    x, y = (canvas.x + 1.0) * scale, (canvas.y + 1.0) * scale * 1.15
    i, j = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    points, tints = rng.uniform(0.1, 0.9, (2, 10, 10)), rng.uniform(0.0, 1.0, (10, 10))
    first, second, tint = np.full_like(x, 9.0), np.full_like(x, 9.0), np.zeros_like(x)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            a, b = (i + di) % 10, (j + dj) % 10
            distance = (i + di + points[0, a, b] - x) ** 2 + (j + dj + points[1, a, b] - y) ** 2
            closer = distance < first
            second = np.where(closer, first, np.minimum(second, distance))
            first, tint = np.where(closer, distance, first), np.where(closer, tints[a, b], tint)
    gap = np.sqrt(second) - np.sqrt(first)
    stone = mix(_near(rng, 0.42, 0.41, 0.40), _near(rng, 0.76, 0.72, 0.66), tint)
    stone *= 0.62 + 0.42 * smoothstep(0.0, 0.7, gap) + 0.04 * noise(rng, canvas.size, 30, 30)
    canvas.rgb[:] = mix(rgb(0.10, 0.09, 0.08), stone, smoothstep(0.03, 0.22, gap))


SCENES: dict[str, Callable[[Canvas, Random], None]] = {
    "meadow": _meadow,
    "sky": _sky,
    "foliage": _foliage,
    "wood": _wood,
    "water": _water,
    "studio": _studio,
    "brick": _brick,
    "paper": _paper,
    "soil": _soil,
    "grass": _grass,
    "sunset": _sunset,
    "pebbles": _pebbles,
}


def leaf_brush(base: Array, tip: Array, rng: Random, shadow: float = 0.3, part: str | None = None) -> Brush:
    """Paint for a leaf: a pale rib and curved side veins."""
    return Brush(base, tip, tip * 1.25 + 0.05, "veins", rng.random((64, 8)), strength=0.22, round=0.28, hollow=0.15,
                 rib=-0.30, fibre=0.02, rim=-0.10, shadow=shadow, spread=0.07, part=part)


def stem(canvas: Canvas, rng: Random, pose: Pose, *, thickness: float, leaves: int, start: float = 0.0,
         slender: float = 0.22) -> None:
    """A stem from the flower to the lower edge of the picture, with `leaves` on alternate sides."""
    green = rgb(0.25, 0.43, 0.14) + rng.uniform(-0.06, 0.06, 3)
    foot, sway = pose.x + rng.uniform(-0.35, 0.35), rng.uniform(-0.15, 0.15)
    top = pose.y + start
    span = max(1.1 - top, 0.1)

    def middle(t: Any) -> Any:
        return pose.x + (foot - pose.x) * t + sway * t * (1.0 - t)

    for k in range(leaves):
        t = 0.25 + 0.55 * (k + rng.uniform(0.2, 0.8)) / leaves
        side = 1.0 if k % 2 else -1.0
        angle = -np.pi / 2.0 + side * rng.uniform(0.7, 1.2)
        tint = green * rng.uniform(0.75, 1.15)
        blade(canvas, Pose(light=pose.light), leaf_brush(tint * 0.75, tint * 1.15, rng), at=(middle(t), top + span * t),
              angle=angle, length=rng.uniform(0.55, 0.9), width=rng.uniform(0.8, 1.2) * slender * 0.6, outline="leaf",
              bend=side * rng.uniform(0.0, 0.5))
    index = np.flatnonzero(canvas.y > top)
    down = (canvas.y[index] - top) / span
    across = (canvas.x[index] - middle(down)) / thickness
    alpha = canvas.edge(1.0 - np.abs(across), thickness)
    keep = np.flatnonzero(alpha)
    down, across = down[keep], across[keep]
    light = 1.0 + 0.35 * across * np.cos(pose.light) - 0.25 * across**2 - 0.3 * np.exp(-6.0 * down)
    canvas.over(index[keep], green[:, None] * light, alpha[keep])


def occlude(canvas: Canvas, rng: Random, kind: str, light: float) -> None:
    """Lay grass blades, a leaf or a twig over the picture; its coverage is entered as front."""
    if kind == "grass":
        for _ in range(int(rng.integers(2, 5))):
            tint = rgb(0.28, 0.48, 0.14) * rng.uniform(0.6, 1.2)
            brush = leaf_brush(tint * 0.8, tint * 1.3, rng, part="front")
            blade(canvas, Pose(light=light), brush, at=(rng.uniform(-0.8, 0.8), 1.1), angle=-np.pi / 2 + rng.uniform(-0.35, 0.35),
                  length=rng.uniform(1.0, 1.9), width=rng.uniform(0.025, 0.05), outline="grass", bend=rng.uniform(-0.2, 0.2))
        return
    side = rng.choice([-1.0, 1.0])
    tint = rgb(0.20, 0.40, 0.14) * rng.uniform(0.7, 1.2)
    angle = (0.0 if side < 0.0 else np.pi) + rng.uniform(-0.6, 0.6)
    brush = leaf_brush(tint * 0.8, tint * 1.25, rng, part="front")
    blade(canvas, Pose(light=light), brush, at=(side * 1.15, rng.uniform(-0.3, 0.9)), angle=angle,
          length=rng.uniform(0.7, 1.15), width=rng.uniform(0.14, 0.24), outline="leaf", bend=rng.uniform(-0.3, 0.3))
