"""Scores, gradients with respect to the image, and runs: finite sequences of steps that somebody else drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any, Generic, Protocol, TypeVar

import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from .capture import activations, extract
from .modes import evaluating
from .net import Net, as_net
from .stem import quick_way_back
from .targets import INPUT, OUTPUT, Target


def score(net: Net | nn.Module, target: Target, images: Tensor) -> Tensor:
    """The target's score of each image.

    The forward pass stops at the deepest layer that the target reads.

    Parameters
    ----------
    net : Net or torch.nn.Module
    target : Target
    images : Tensor
        (B, C, H, W) in [0, 1].

    Returns
    -------
    Tensor
        (B,), in the autograd graph.
    """
    net = as_net(net)
    target = target.resolve(net)
    return target(read(net, target, images))


def read(net: Net, target: Target, images: Tensor, picture: Tensor | None = None) -> dict[str, Tensor]:
    """What a resolved target reads when the network sees `images`; ``"input"`` is `picture`, by default the images."""
    wanted = target.layers - {INPUT, OUTPUT}
    found = {INPUT: images if picture is None else picture}
    acts: dict[str, Tensor] = {}
    if OUTPUT in target.layers:
        with net.lock, extract(net, *wanted) if wanted else nullcontext(acts) as acts:
            found[OUTPUT] = net(images)
    elif wanted:
        acts = activations(net, images, *wanted)
    return found | {k: _float(v) for k, v in acts.items()}


def gradient(
    net: Net | nn.Module, target: Target, images: Tensor, *, on_graph: Callable[[Tensor], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Scores (B,) and their gradients with respect to the images (B, C, H, W); no parameter is given a gradient.

    `on_graph` is called with the scores before the way back, and may change it.
    """
    net = as_net(net)
    # Evaluation mode for the way back as well: a net that saves memory runs parts of itself again there.
    with net.lock, evaluating(net.module), torch.inference_mode(False), torch.enable_grad(), quick_way_back(net.module):
        images = (images.clone() if images.is_inference() else images.detach()).requires_grad_()
        scores = score(net, target, images)
        if on_graph is not None:
            on_graph(scores)
        return scores.detach(), image_gradient(scores, images, target)


def image_gradient(scores: Tensor, images: Tensor, target: Target) -> Tensor:
    """Gradient of the sum of scores with respect to the images, or to what they are made of.

    ValueError if the target, named in it, does not depend on them.
    """
    return image_gradients(scores, [images], target)[0]


def image_gradients(scores: Tensor, images: Sequence[Tensor], target: Target) -> list[Tensor]:
    """Likewise of several, one of which the target depends on."""
    found = torch.autograd.grad(scores, images, torch.ones_like(scores), allow_unused=True) if scores.requires_grad else ()
    if all(g is None for g in found):
        raise ValueError(f"{target!r} does not depend on the image: it has no gradient")
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, images, strict=True)]


def joined(parts: list[Tensor]) -> Tensor:
    """The parts as one tensor; a single one itself, not a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def on_cpu(x: Tensor) -> Tensor:
    """The tensor on the CPU. To send one there that is there already takes a noticeable part of a small network's pass."""
    return x.cpu() if x.device.type != "cpu" else x


def finite_scores(net: Net, scores: Tensor) -> Tensor:
    """The scores themselves, or ValueError where one is no number."""
    if not all(map(isfinite, scores.flatten().tolist())):
        raise ValueError(f"{net.name or 'the network'} gives the score {scores.tolist()}: its weights hold NaN, or it overflows")
    return scores


def _float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class Step(Protocol):
    """What a `Run` yields: `index`, from 1, and `scores` by name."""

    @property
    def index(self) -> int:
        """Steps so far."""

    @property
    def scores(self) -> dict[str, Tensor]:
        """(B,) each."""

    def picture(self) -> PILImage.Image | None:
        """The state as a picture, if there is one to show."""


S = TypeVar("S", bound=Step)


class Run(Generic[S]):
    """A finite, lazy sequence of steps that knows its length; whoever iterates it owns the loop.

    ``for step in run`` takes the steps, ``run.result()`` takes the rest and gives the result, ``run.stop()`` ends it: the
    result is then that of the steps taken.

    Parameters
    ----------
    steps : iterable of Step
    total : int
        How many steps there will be.
    finish : callable, optional
        Makes the result from the last step; by default the last step is the result.
    controls : object, optional
        What may be changed between two steps, by setting its attributes.
    """

    def __init__(self, steps: Iterable[S], total: int, finish: Any = None, controls: Any = None) -> None:
        if total < 1:
            raise ValueError(f"a run has at least one step, not {total}")
        self._steps: Iterator[S] = iter(steps)
        self._total, self._finish, self._taken, self._stopped = total, finish, 0, False
        self.last: S | None = None
        self.controls = controls

    def __iter__(self) -> Iterator[S]:
        """Itself: a run is taken once."""
        return self

    def __len__(self) -> int:
        """Steps in all."""
        return self._total

    def __next__(self) -> S:
        """Take a step."""
        if self._stopped or self._taken >= self._total:
            raise StopIteration
        self.last = next(self._steps)
        self._taken += 1
        return self.last

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return self._taken

    def stop(self) -> None:
        """End the run; a step that is under way is finished."""
        self._stopped = True

    def result(self) -> Any:
        """Take the steps that are left and give the result."""
        for _ in self:
            pass
        return self.so_far()

    def so_far(self) -> Any:
        """What `result` would be if the run ended here; it goes on. Not to be called while a step is under way."""
        if self.last is None:
            raise ValueError("no step was taken, so there is no result")
        return self._finish(self.last) if self._finish else self.last
