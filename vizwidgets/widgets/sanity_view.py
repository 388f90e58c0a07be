"""What `SanitySlider` plays and shows: the runs of several methods in turns, maps as colours, similarities as curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor, isfinite
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from bqplot import Axis, Figure, LinearScale, Lines
from torch import Tensor

from vizwidgets.core.net import Net
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import colourise, readable_limits
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Target
from vizwidgets.methods.sanity import SanityStep

from .base import message
from .score_curve import COLOURS, nice_ticks

LONGEST = 320  # rows or columns of a map that goes to the page; larger ones are averaged down


@dataclass(frozen=True)
class Turn:
    """A step of one of the methods, or why there is none."""

    index: int
    method: str
    step: SanityStep | None
    error: str = ""
    scores: dict[str, Tensor] = field(default_factory=dict)

    def picture(self) -> None:
        """None: the page is told what there is by itself."""


def in_turns(runs: dict[str, Run[SanityStep]]) -> Run[Turn]:
    """The runs of several methods as one, a step of each in turn; one that fails leaves the others alone."""

    def turns() -> Iterator[Turn]:
        left, index = dict(runs), 0
        while left:
            for name, run in list(left.items()):
                try:
                    step, error = next(run, None), ""
                except Exception as e:
                    step, error = None, message(e)
                if step is None:
                    del left[name]
                if step is not None or error:
                    index += 1
                    yield Turn(index, name, step, error)

    return Run(turns(), sum(map(len, runs.values())))


def prediction(net: Net, images: Tensor, target: Target) -> Attribution:
    """What the network says, as a method that has no map: so it gets the network with the same random weights."""
    with torch.inference_mode():
        chance = net(images).softmax(1).cpu()
    return Attribution(torch.zeros(len(images), 7, 7), chance.clone())


def tile(step: SanityStep) -> dict[str, Any]:
    """A map as colours (H, W, 3) on a scale of its own, and how alike it is to the first."""
    values = step.attribution.map[:1]
    pooled = ceil(max(values.shape[1:]) / LONGEST)
    if pooled > 1:
        values = F.avg_pool2d(values, pooled, ceil_mode=True)
    colours = colourise(values, *readable_limits(values))[0]
    alike = {name: float(v[0]) if isfinite(float(v[0])) else None for name, v in step.scores.items()}
    constant = bool(values.min() == values.max())
    return {"height": colours.shape[0], "width": colours.shape[1], "pixels": colours.tobytes(), "alike": alike, "constant": constant}


def says(step: SanityStep, net: Net, wanted: int) -> dict[str, Any] | None:
    """The first class at a step, and the one that is explained."""
    chance = step.attribution.scores[0]
    if not bool(chance.isfinite().all()):
        return None
    first = int(chance.argmax())
    found: dict[str, Any] = {"first": net.label(first), "chance": float(chance[first]), "by chance": 1 / len(chance)}
    return {**found, "wanted": net.label(wanted), "its": float(chance[wanted])} if wanted >= 0 else found


class Curves:
    """Similarities by method against the number of random layers, and a line where the slider is."""

    def __init__(self) -> None:
        self._x, self._y = LinearScale(min=0, max=1), LinearScale(min=0, max=1)
        self._axes = [Axis(scale=self._x, side="bottom", label="layers random", label_offset="32px", tick_format="~g", grid_lines="none"),
                      Axis(scale=self._y, side="left", tick_format="~g", grid_lines="solid")]  # fmt: skip
        self._here = Lines(x=[0, 0], y=[0, 1], scales=self._scales, colors=["#888888"], stroke_width=1.5, line_style="dashed")
        self._lines: dict[str, Lines] = {}
        self.figure = Figure(
            axes=self._axes, marks=[self._here], fig_margin={"top": 10, "bottom": 40, "left": 40, "right": 16},
            background_style={"fill-opacity": "0"}, min_aspect_ratio=0.2, max_aspect_ratio=20, display_toolbar=False,
            animation_duration=0, padding_x=0, padding_y=0,
        )  # fmt: skip
        self.figure.layout.height, self.figure.layout.width, self.figure.layout.min_width = "200px", "auto", "0"
        self.figure.add_class("vw").add_class("vw-curve").add_class("vw-sanity-curve")

    @property
    def _scales(self) -> dict[str, LinearScale]:
        return {"x": self._x, "y": self._y}

    def begin(self, methods: list[str], layers: int) -> dict[str, str]:
        """Curves for these methods, empty; gives their colours."""
        colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(methods)}
        self._lines = {
            name: Lines(x=[], y=[], scales=self._scales, colors=[c], stroke_width=2, marker="circle", marker_size=20)
            for name, c in colours.items()
        }
        self.figure.marks = [self._here, *self._lines.values()]
        self._x.max = float(max(1, layers))
        self._axes[0].tick_values = [t for t in nice_ticks(0, max(1, layers)) if t == int(t) and t <= layers]
        return colours

    def draw(self, values: dict[str, list[float]]) -> None:
        """Show the similarities so far; NaN leaves a gap."""
        known = [v for all_of in values.values() for v in all_of if isfinite(v)]
        low = min(0.0, floor(4 * min(known, default=0)) / 4)
        if self._y.min != low:
            self._y.min = low
        ticks = [low + 0.25 * i for i in range(round((1 - low) / 0.25) + 1)]
        if list(self._axes[1].tick_values if self._axes[1].tick_values is not None else []) != ticks:
            self._axes[1].tick_values = ticks
        for name, line in self._lines.items():
            y = np.array(values.get(name, []), float)
            kept = np.isfinite(y)
            with line.hold_sync():
                line.x, line.y = np.arange(len(y), dtype=float)[kept], y[kept]

    def mark(self, position: int) -> None:
        """Put the line there."""
        with self._here.hold_sync():
            self._here.x, self._here.y = [position, position], [self._y.min, 1.0]

    def close(self) -> None:
        """Close the figure."""
        self.figure.close()


