"""The twelve kinds of flower: what petals they have, where, and what sits in the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vizwidgets.data._canvas import Array, Canvas
from vizwidgets.data._petals import Brush, Pose, blade, dome, dots, ring
from vizwidgets.data._scenes import Random, rgb

# Base, tip and accent of each family of colours.
COLOURS: dict[str, tuple[Array, Array, Array]] = {
    "white": (rgb(0.80, 0.84, 0.77), rgb(0.96, 0.96, 0.94), rgb(0.86, 0.36, 0.58)),
    "yellow": (rgb(0.95, 0.64, 0.05), rgb(1.00, 0.87, 0.22), rgb(0.76, 0.20, 0.05)),
    "red": (rgb(0.52, 0.02, 0.05), rgb(0.84, 0.10, 0.10), rgb(0.16, 0.02, 0.07)),
    "magenta": (rgb(0.58, 0.04, 0.36), rgb(0.90, 0.28, 0.64), rgb(1.00, 0.88, 0.95)),
    "coral": (rgb(0.86, 0.30, 0.27), rgb(1.00, 0.64, 0.54), rgb(1.00, 0.94, 0.80)),
    "orange": (rgb(0.86, 0.34, 0.03), rgb(1.00, 0.62, 0.16), rgb(0.52, 0.06, 0.05)),
    "violet": (rgb(0.33, 0.13, 0.56), rgb(0.67, 0.47, 0.88), rgb(0.19, 0.03, 0.34)),
    "pink": (rgb(0.86, 0.36, 0.56), rgb(1.00, 0.77, 0.85), rgb(0.72, 0.05, 0.32)),
    "sky": (rgb(0.40, 0.58, 0.88), rgb(0.73, 0.87, 1.00), rgb(0.18, 0.22, 0.62)),
    "cream": (rgb(0.93, 0.82, 0.58), rgb(1.00, 0.96, 0.84), rgb(0.82, 0.44, 0.26)),
    "blue": (rgb(0.10, 0.18, 0.60), rgb(0.36, 0.50, 0.94), rgb(0.93, 0.94, 1.00)),
    "wine": (rgb(0.22, 0.02, 0.10), rgb(0.55, 0.09, 0.22), rgb(0.97, 0.70, 0.38)),
}

GOLD = (rgb(0.72, 0.42, 0.04), rgb(1.00, 0.84, 0.22))
BROWN = (rgb(0.13, 0.06, 0.03), rgb(0.52, 0.30, 0.12))
BLACK = (rgb(0.04, 0.03, 0.06), rgb(0.22, 0.18, 0.26))
GREEN = (rgb(0.24, 0.36, 0.12), rgb(0.62, 0.74, 0.34))


def _daisy(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    count = 2 * int(rng.integers(9, 13))
    for k in range(2):
        ring(canvas, pose, replace(brush, shadow=0.28, spread=0.06), rng, count=count, inner=0.14, length=0.84 - 0.10 * k,
             width=0.105, outline="strap", turn=k * np.pi / count, elevation=0.05 + 0.2 * k, jitter=0.09, notch=0.04, teeth=2)
    dome(canvas, pose, radius=rng.uniform(0.25, 0.30), dark=GOLD[0], bright=GOLD[1], florets=(8, 13), height=0.16)


def _sunflower(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    count = 2 * int(rng.integers(8, 11))
    for k in range(2):
        ring(canvas, pose, replace(brush, rib=0.18), rng, count=count, inner=0.38, length=0.60 - 0.06 * k, width=0.125,
             outline="lance", turn=k * np.pi / count + 0.1, elevation=0.1 + 0.25 * k, jitter=0.13, swirl=rng.uniform(-0.2, 0.2))
    dome(canvas, pose, radius=0.50, dark=BROWN[0], bright=BROWN[1], florets=(21, 34), grain=0.30, height=0.08)
    dome(canvas, pose, radius=0.24, dark=BROWN[0] * 0.8, bright=rgb(0.40, 0.36, 0.12), florets=(13, 21), height=0.10)


def _rose(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.42, shadow=0.50, spread=0.11, rim=0.20, rib=0.0, fibre=0.008, round=0.16)
    turn = rng.uniform(0.0, 6.28)
    for size, count in ((1.0, 5), (0.80, 5), (0.60, 4), (0.43, 3), (0.29, 3), (0.18, 2)):
        ring(canvas, pose, brush, rng, count=count, passes=count, length=size, width=size * (0.66 if count > 3 else 0.80),
             outline="rose", turn=turn, elevation=0.1 + 0.75 * (1.0 - size), jitter=0.04, ruffle=0.025)
        turn += 2.4


def _tulip(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.25, rib=0.10, shadow=0.40, spread=0.10, round=0.26)
    up, spread = -np.pi / 2.0, rng.uniform(0.85, 1.15)
    back = replace(brush, base=brush.base * 0.75, tip=brush.tip * 0.80)
    for number, (x, lean, width, length, paint) in enumerate((
        (-0.20, -0.26, 0.34, 1.50, back), (0.20, 0.26, 0.34, 1.50, back), (0.0, 0.0, 0.38, 1.56, back),
        (-0.34, -0.20, 0.40, 1.52, brush), (0.34, 0.20, 0.40, 1.52, brush), (0.0, 0.0, 0.52, 1.40, brush),
    )):
        side = np.sign(x)
        blade(canvas, pose, paint, at=(0.75 * x, 0.82), angle=up + spread * lean, length=length * rng.uniform(0.95, 1.04),
              width=width, outline="cup", bend=-0.12 * side, number=number, ruffle=0.02)


def _poppy(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.40, shadow=0.42, spread=0.14, fibre=0.06, rim=0.10)
    turn = rng.uniform(0.0, 6.28)
    for size, shift, lift in ((1.0, 0.0, 0.10), (0.90, rng.uniform(1.3, 1.8), 0.32)):
        ring(canvas, pose, brush, rng, count=2, passes=2, length=size, width=0.86 * size, outline="crepe", turn=turn + shift,
             elevation=lift, jitter=0.025, ruffle=0.075, arc=0.30)
    for radius, count in ((0.30, 22), (0.23, 16)):
        dots(canvas, pose, count=count, radius=radius, size=0.036, colour=BLACK[1] * 0.8, rng=rng, wobble=0.16, lift=0.12)
    dome(canvas, pose, radius=0.155, dark=GREEN[0], bright=GREEN[1], florets=(8, 8), grain=0.25, height=0.2)


def _lily(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.30, rib=0.22, rim=0.08, shadow=0.40, spread=0.10)
    turn = rng.uniform(0.0, 6.28)
    for k, width in enumerate((0.20, 0.265)):
        ring(canvas, pose, brush, rng, count=3, passes=3, length=1.04, width=width, outline="star", jitter=0.03,
             turn=turn + k * np.pi / 3.0, elevation=0.15 + 0.12 * k, swirl=rng.uniform(-0.12, 0.12))
    filament = Brush(rgb(0.62, 0.72, 0.38), rgb(0.80, 0.84, 0.58), GREEN[1], hollow=0.0, shadow=0.30, spread=0.04, part="disc")
    ring(canvas, pose, filament, rng, count=6, passes=1, length=0.46, width=0.016, outline="hair", turn=turn + 0.25,
         elevation=0.35, jitter=0.09)
    anther = replace(pose, roll=pose.roll + turn + 0.25)
    dots(canvas, anther, count=6, radius=0.47, size=0.055, colour=rgb(0.50, 0.19, 0.05), rng=rng, wobble=0.05, lift=0.16)
    dome(canvas, pose, radius=0.07, dark=GREEN[0], bright=GREEN[1], florets=(3, 3), height=0.3)


def _iris(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.30, shadow=0.42, spread=0.10, fibre=0.05, rim=0.08)
    pale = replace(brush, base=0.6 * brush.base + 0.4 * brush.tip, tip=np.minimum(brush.tip * 1.08 + 0.03, 1.0))
    up, down = -np.pi / 2.0, np.pi / 2.0
    blade(canvas, pose, replace(pale, base=pale.base * 0.7, tip=pale.tip * 0.75), at=(0.0, 0.10), angle=up, length=0.98, width=0.34,
          outline="spoon", number=0, ruffle=0.05)
    for side in (-1.0, 1.0):
        blade(canvas, pose, brush, at=(0.04 * side, 0.02), angle=down - side * rng.uniform(0.95, 1.1), length=1.0, width=0.31,
              outline="spoon", bend=0.42 * side, number=2 + int(side), ruffle=0.06)
        blade(canvas, pose, pale, at=(0.05 * side, 0.10), angle=up + side * rng.uniform(0.36, 0.46), length=1.02, width=0.33,
              outline="spoon", bend=-0.30 * side, number=5 + int(side), ruffle=0.05)
    blade(canvas, pose, brush, at=(0.0, -0.04), angle=down, length=1.0, width=0.40, outline="spoon", number=4, ruffle=0.06)
    beard = Brush(rgb(0.90, 0.55, 0.05), rgb(1.0, 0.85, 0.30), GOLD[1], hollow=0.0, shadow=0.25, spread=0.04, fibre=0.15, part="disc")
    for side in (-1.0, 0.0, 1.0):
        blade(canvas, pose, beard, at=(0.04 * side, 0.0), angle=down - side, length=0.46 if side == 0 else 0.36, width=0.07,
              outline="oval", bend=0.42 * side)


def _orchid(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.30, shadow=0.38, spread=0.10, fibre=0.04, rim=0.08)
    up = -np.pi / 2.0
    for number, (turn, size) in enumerate(((0.0, 1.0), (2.25, 0.95), (-2.25, 0.95))):
        blade(canvas, pose, brush, angle=up + turn, length=size, width=0.27, outline="oval", number=number)
    for side in (-1.0, 1.0):
        blade(canvas, pose, brush, angle=up + side * 1.32, at=(0.0, 0.02), length=1.02, width=0.50, outline="spoon",
              bend=-0.1 * side, number=4 + int(side), ruffle=0.03)
    lip = replace(brush, base=0.55 * brush.accent + rgb(0.30, 0.05, 0.15), tip=0.75 * brush.accent + 0.25 * brush.tip, part="disc",
                  texture="plain")
    for side in (-1.0, 1.0):
        blade(canvas, pose, lip, at=(0.0, 0.06), angle=np.pi / 2.0 - side * 0.95, length=0.34, width=0.12, outline="oval",
              bend=-0.6 * side)
    blade(canvas, pose, lip, at=(0.0, 0.02), angle=np.pi / 2.0, length=0.58, width=0.17, outline="spoon")
    dome(canvas, pose, radius=0.095, dark=rgb(0.80, 0.55, 0.20), bright=rgb(1.0, 0.95, 0.80), florets=(2, 3), at=(0.0, -0.01))


def _forget_me_not(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.12, shadow=0.40, spread=0.16, fibre=0.02)
    turn = rng.uniform(0.0, 6.28)
    places = [(0.72 * np.cos(turn + k * 1.2566), 0.66 * np.sin(turn + k * 1.2566)) for k in range(5)] + [(0.0, 0.0)]
    for x, y in places:
        x, y = x + rng.uniform(-0.06, 0.06), y + rng.uniform(-0.06, 0.06)
        small = pose.inside(x, y, rng.uniform(0.38, 0.44), roll=rng.uniform(0.0, 6.28),
                            tilt=float(np.clip(pose.tilt + rng.uniform(-0.2, 0.3), 0.0, 0.8)))
        ring(canvas, small, brush, rng, count=5, passes=1, length=1.0, width=0.54, outline="round", jitter=0.03)
        ring(canvas, small, Brush(rgb(0.98, 0.96, 0.88), rgb(1.0, 1.0, 0.96), GOLD[1], shadow=0.0, hollow=0.0, part="disc"), rng,
             count=5, passes=1, length=0.36, width=0.10, outline="oval", jitter=0.0)
        dome(canvas, small, radius=0.23, dark=rgb(0.85, 0.55, 0.05), bright=rgb(1.0, 0.88, 0.25), florets=(5, 5), grain=0.2)


def _dandelion(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.30, shadow=0.34, spread=0.06, rim=0.04)
    for k, (length, count) in enumerate(((1.0, 34), (0.87, 32), (0.73, 28), (0.58, 24), (0.43, 18), (0.28, 12), (0.15, 8))):
        ring(canvas, pose, brush, rng, count=count, length=length, width=0.066, outline="tongue", turn=0.7 * k,
             elevation=0.05 + 0.12 * k, jitter=0.14, notch=0.05, teeth=3)


def _cornflower(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    turn, count = rng.uniform(0.0, 6.28), int(rng.integers(8, 11))
    brush = replace(brush, hollow=0.35, shadow=0.36, spread=0.08, fibre=0.07)
    for k, length in enumerate((1.02, 0.80)):
        ring(canvas, pose, brush, rng, count=count - 2 * k, passes=count, length=length, width=0.30 - 0.03 * k, outline="trumpet",
             turn=turn + 0.35 * k, elevation=0.1 + 0.3 * k, jitter=0.10, notch=0.30, teeth=4)
    tuft = Brush(brush.base * 0.45, 0.5 * brush.tip + rgb(0.10, 0.0, 0.18), brush.accent, hollow=0.4, shadow=0.4, spread=0.04,
                 part="disc")
    for length, number in ((0.42, 20), (0.30, 16), (0.18, 10)):
        ring(canvas, pose, tuft, rng, count=number, length=length, width=0.03, outline="strap", elevation=0.5, jitter=0.22)


def _anemone(canvas: Canvas, pose: Pose, brush: Brush, rng: Random) -> None:
    brush = replace(brush, hollow=0.20, shadow=0.40, spread=0.10, rim=0.07)
    turn = rng.uniform(0.0, 6.28)
    for k, length in enumerate((1.0, 0.86)):
        ring(canvas, pose, brush, rng, count=4, passes=4, length=length, width=0.37, outline="oval", turn=turn + k * np.pi / 4.0,
             elevation=0.08 + 0.25 * k, jitter=0.04, ruffle=0.02)
    pale = Brush(rgb(0.96, 0.95, 0.92), rgb(0.96, 0.95, 0.92), GOLD[1], shadow=0.0, hollow=0.0, part="disc")
    ring(canvas, pose, pale, rng, count=8, passes=2, length=0.40, width=0.17, outline="oval", turn=turn, jitter=0.02)
    hair = Brush(BLACK[0], BLACK[1], BLACK[1], hollow=0.0, shadow=0.0, spread=0.02, part="disc")
    ring(canvas, pose, hair, rng, count=20, passes=1, length=0.36, width=0.012, outline="hair", elevation=0.2, jitter=0.12)
    dots(canvas, pose, count=20, radius=0.38, size=0.042, colour=BLACK[0] + 0.05, rng=rng, wobble=0.10, lift=0.08)
    dots(canvas, pose, count=14, radius=0.28, size=0.036, colour=BLACK[0] + 0.04, rng=rng, wobble=0.12, lift=0.10)
    dome(canvas, pose, radius=0.17, dark=BLACK[0], bright=BLACK[1], florets=(8, 13), height=0.2)


@dataclass(frozen=True)
class Kind:
    """One kind: how it is drawn, its own texture and families of colours, and how it is usually seen."""

    draw: Callable[[Canvas, Pose, Brush, Random], None]
    texture: str
    colours: tuple[str, ...]
    tilt: float = 0.75
    roll: float = np.pi
    stem: float = 0.05
    leaves: int = 2
    slender: float = 0.22
    start: float = 0.0


KINDS: dict[str, Kind] = {
    "daisy": Kind(_daisy, "plain", ("white", "yellow", "pink", "violet"), stem=0.03, slender=0.16),
    "sunflower": Kind(_sunflower, "streaks", ("yellow", "orange", "wine", "cream"), tilt=0.6, stem=0.06, slender=0.42),
    "rose": Kind(_rose, "blush", ("red", "pink", "cream", "coral"), tilt=0.5, leaves=3, slender=0.34),
    "tulip": Kind(_tulip, "flame", ("red", "yellow", "magenta", "violet"), 0.0, 0.22, slender=0.20, start=0.4),
    "poppy": Kind(_poppy, "blotch", ("red", "coral", "white", "orange"), stem=0.025, leaves=1, slender=0.16),
    "lily": Kind(_lily, "spots", ("orange", "white", "pink", "yellow"), leaves=3, slender=0.16),
    "iris": Kind(_iris, "veins", ("violet", "blue", "cream", "wine"), 0.0, 0.22, slender=0.15, start=0.1),
    "orchid": Kind(_orchid, "mottle", ("magenta", "white", "pink", "coral"), 0.3, 0.25, stem=0.035, leaves=1, slender=0.26),
    "forget-me-not": Kind(_forget_me_not, "eye", ("sky", "blue", "pink", "white"), tilt=0.35, stem=0.03, leaves=3, slender=0.2),
    "dandelion": Kind(_dandelion, "stripe", ("yellow", "cream", "orange", "white"), tilt=0.6, leaves=2, slender=0.18),
    "cornflower": Kind(_cornflower, "picotee", ("blue", "sky", "magenta", "wine"), stem=0.03, slender=0.12),
    "anemone": Kind(_anemone, "bands", ("violet", "red", "sky", "magenta"), leaves=1, slender=0.3),
}
