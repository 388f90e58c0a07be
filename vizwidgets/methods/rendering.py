"""Runs that make images: every step an update, the result a `Rendering` with the recipe of what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vizwidgets.core.net import Net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer, ImageStep
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Rendering

MOST_FRAMES = 64


class History:
    """The images of a run, thinned out so that at most `MOST_FRAMES` are held, at even distances."""

    def __init__(self) -> None:
        self.frames: list[Tensor] = []
        self._every, self._offered = 1, 0
        self._last: ImageStep | None = None

    def add(self, step: ImageStep) -> None:
        """Keep the images of a step, if it is one to keep."""
        place = self._offered
        self._offered += 1
        if place % self._every:
            return
        if len(self.frames) == MOST_FRAMES:
            self.frames = self.frames[::2]
            self._every *= 2
            if place % self._every:
                return
        self.frames.append(_bytes(step))
        self._last = step

    def ending_with(self, step: ImageStep) -> tuple[Tensor, ...]:
        """The frames held, and those of `step` if they are not among them."""
        return tuple(self.frames) if self._last is step else (*self.frames, _bytes(step))


def _bytes(step: ImageStep) -> Tensor:
    return (step.image * 255).round_().to(torch.uint8)


def rendering_run(
    steps: Iterable[ImageStep], total: int, net: Net, method: str, inputs: dict[str, Any], options: dict[str, Any],
    controls: Any = None, shown: Callable[[ImageStep], bool] = lambda step: True,
) -> Run[ImageStep]:  # fmt: skip
    """A `Run` of image steps whose result is a `Rendering`.

    `controls` is what may be changed between steps (an `ImageOptimizer`); its changes go into the recipe. `shown` says of which
    steps the way there is made.
    """
    history, scores = History(), []

    def watched() -> Iterator[ImageStep]:
        for step in steps:
            if shown(step):
                history.add(step)
            scores.append(step.scores["score"])
            yield step

    def finish(last: ImageStep) -> Rendering:
        recipe = make_recipe(net, method, inputs, options)
        recipe["taken"], recipe["changes"] = len(scores), list(getattr(controls, "changes", []))
        return Rendering(last.image, torch.stack(scores), history.ending_with(last), recipe=recipe)

    return Run(watched(), total, finish, controls=controls)


def best_so_far(optimizer: ImageOptimizer) -> Iterator[ImageStep]:
    """The steps of an optimizer, each with the best image so far, of each of the batch, rather than those just made."""
    best: Tensor | None = None
    with torch.no_grad():
        images = made = optimizer.image().clone()
    changes = 0
    for step in optimizer:
        if len(optimizer.changes) > changes:  # another target has other scores
            best, changes = None, len(optimizer.changes)
        scores = step.scores["score"]  # of the images before the update
        better = torch.ones_like(scores, dtype=torch.bool) if best is None else scores > best
        best = scores if best is None else torch.where(better, scores, best)
        if better.all():
            images = made
        elif better.any():
            images = torch.where(better[:, None, None, None], made, images)
        made = step.image
        yield replace(step, image=images)
