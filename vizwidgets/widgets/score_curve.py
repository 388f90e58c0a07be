"""The scores of a run as curves, with bqplot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from bqplot import Axis, Figure, LinearScale, Lines

MOST_POINTS = 300
# Safe for colour-blind people (Okabe and Ito, 2008), and readable on light and dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d1f")


class ScoreCurve:
    """Values by name, step after step, thinned out to at most `MOST_POINTS`, and the figure that shows them.

    `add` keeps, `draw` shows; both are for the one thread that takes the steps.
    """

    def __init__(self) -> None:
        self._x, self._y = LinearScale(), LinearScale()
        self._shown: dict[Axis, Any] = {}
        self._axes = (Axis(scale=self._x, side="bottom", tick_format="~g", grid_lines="none"),
                      Axis(scale=self._y, side="left", tick_format="~g", grid_lines="solid"))  # fmt: skip
        self.figure = Figure(
            axes=list(self._axes), marks=[], fig_margin={"top": 10, "bottom": 24, "left": 48, "right": 16}, background_style={"fill-opacity": "0"},
            min_aspect_ratio=0.2, max_aspect_ratio=20, display_toolbar=False, animation_duration=0, padding_x=0, padding_y=0.05,
        )  # fmt: skip
        self.figure.layout.height, self.figure.layout.width, self.figure.layout.min_width = "180px", "auto", "0"
        self.figure.add_class("vw").add_class("vw-curve")
        self.clear()

    def clear(self, total: int = 0) -> None:
        """Forget everything; there will be `total` steps, if that is known."""
        self._total = total
        self._points: list[tuple[int, dict[str, float]]] = []
        self._last: tuple[int, dict[str, float]] | None = None
        self._every = 1
        self._lines: dict[str, Lines] = {}
        self.figure.marks = []
        self._fit((0, total or 100), None)

    def add(self, index: int, values: dict[str, float]) -> None:
        """Keep the values of a step."""
        self._last = (index, values)
        if index % self._every:
            return
        if len(self._points) == MOST_POINTS - 1:
            self._every *= 2
            self._points = [p for p in self._points if p[0] % self._every == 0]
            if index % self._every:
                return
        self._points.append(self._last)

    def _held(self) -> list[tuple[int, dict[str, float]]]:
        newest = [] if self._last is None or (self._points and self._points[-1] is self._last) else [self._last]
        return self._points + newest

    def points(self, name: str) -> tuple[Any, Any]:
        """Steps and values of a curve, the newest step among them."""
        points = self._held()
        found = [(i, v[name]) for i, v in points if math.isfinite(v.get(name, math.nan))]
        return np.array([i for i, _ in found], float), np.array([v for _, v in found], float)

    def colour(self, name: str) -> str:
        """The colour of a curve; the same for as long as the run is."""
        names = list(dict.fromkeys(n for _, v in self._held() for n in v))
        return COLOURS[names.index(name) % len(COLOURS)]

    def draw(self) -> None:
        """Show what is held; a point is no curve."""
        if self._last is None or len(self._held()) < 2:
            return
        names = list(self._last[1])
        held = [v for _, values in self._held() for v in values.values() if math.isfinite(v)]
        self._fit((0, self._total or self._last[0]), (min(held), max(held)) if held else None)
        for name in names:
            x, y = self.points(name)
            if name in self._lines:
                line = self._lines[name]
                with line.hold_sync():
                    line.x, line.y = x, y
            elif len(x) > 1:
                self._lines[name] = Lines(x=x, y=y, scales={"x": self._x, "y": self._y}, colors=[self.colour(name)], stroke_width=2)
                self.figure.marks = list(self._lines.values())

    def _fit(self, steps: tuple[float, float], values: tuple[float, float] | None) -> None:
        """Scales with round numbers; told to the page only when they change. Without values no axis is seen."""
        across = [t for t in nice_ticks(*steps) if t <= steps[1]] if values else []
        up = nice_ticks(*values) if values else []
        for scale, axis, ticks, ends in (
            (self._x, self._axes[0], across, steps),
            (self._y, self._axes[1], up, (up[0], up[-1]) if up else (0, 1)),
        ):
            if self._shown.get(axis) != (ticks, ends):
                self._shown[axis] = (ticks, ends)
                with scale.hold_sync():
                    scale.min, scale.max = float(ends[0]), float(ends[1])
                axis.tick_values, axis.visible = ticks, bool(ticks)


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers, the first not above `low` and the last not below `high`."""
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if span / (power * k) <= 4)
    first = math.floor(low / step)
    return [round(i * step, 12) for i in range(first, max(first + 1, math.ceil(high / step)) + 1)]
