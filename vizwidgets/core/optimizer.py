"""The one loop that changes images so that a target rises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from .adam import Adam
from .copies import Folded
from .errors import unknown
from .lbfgs import Lbfgs
from .memory import images_at_once
from .modes import evaluating
from .net import Net, as_net
from .optimize import image_gradient, image_gradients, joined, read
from .params import Params, PixelImage
from .pixel_rules import PixelRule
from .pooling import pooled
from .programs import Programmed, free_of_hooks
from .regularizers import Diversity
from .relu import redirected, relu_backward
from .results import sheet
from .targets import INPUT, Target, terms, unchanging, weighted
from .transforms import RandomView, Transform

OPTIMIZERS: dict[str, Any] = {
    "adam": Adam,
    "sgd": lambda values, lr: torch.optim.SGD(values, lr=lr, momentum=0.9),
    "lbfgs": Lbfgs,
}
FOLD_AFTER = 4  # steps, for a faster copy of the network takes as long as some of them to make
PROGRAM_AFTER = 8  # steps, for to write passes down and to try the program takes as long as two or three more
# What may be changed between two steps; each change is written down.
CHANGEABLE = ("target", "lr", "transforms", "rules", "normalize")


@dataclass(frozen=True, eq=False)
class ImageStep:
    """The images after one update.

    Attributes
    ----------
    index : int
        Updates so far, from 1.
    scores : dict of str to Tensor
        ``"score"`` (B,), and that of each term of a sum by its repr, before weighting: of the images before the update.
    image : Tensor
        (B, C, H, W) in [0, 1], on the CPU, after the update.
    """

    index: int
    scores: dict[str, Tensor]
    image: Tensor

    def picture(self) -> PILImage.Image:
        """The images side by side."""
        return sheet(self.image)


class ImageOptimizer:
    """An endless iterator: each step changes the images so that the target rises.

    `target`, `lr`, `transforms`, `rules` and `normalize` are read at each step and may be changed between two; `changes` is the
    list of such changes, each as [steps taken before it, name, value].

    Parameters
    ----------
    net : Net or torch.nn.Module
    target : Target
        What shall rise. Terms of the picture itself (`TotalVariation`, `L2`) see it before the transforms.
    image : PixelImage, FourierImage or Tensor
        What is changed; a tensor (B, C, H, W) in [0, 1] stands for `PixelImage`.
    transforms : sequence of transforms, or str
        Changes at random before each pass; see `RandomView`. By default none.
    lr : float
        Learning rate, in the units of the parameters.
    optimizer : str
        "adam", "sgd" (with momentum 0.9) or "lbfgs" (each image with a memory of its own; steps that lower the score are taken
        back, so it wants a target without chance: no transforms).
    rules : sequence of PixelRule
        What is done to the pixels after each update; for `PixelImage` only.
    normalize : bool
        Divide the gradient of each image by its mean absolute value.
    redirect : int
        For so many steps, images that a ReLU blocks altogether get a gradient nonetheless.
    pooling : str
        "max", as the network does itself, or "average" in place of it.
    seed : int
        Of the transforms.

    Raises
    ------
    LookupError, TypeError, ValueError
        For what the network does not have or the optimizer does not know, before anything is computed.

    Examples
    --------
    >>> net = vizwidgets.load("flowers")
    >>> optimizer = ImageOptimizer(net, vizwidgets.Logit("rose"), FourierImage(size=net.size))
    >>> optimizer.step().image.shape
    torch.Size([1, 3, 96, 96])
    """

    def __init__(
        self, net: Net | nn.Module, target: Target, image: Params | Tensor, *, transforms: Sequence[Transform] | str = (),
        lr: float = 0.05, optimizer: str = "adam", rules: Sequence[PixelRule] = (), normalize: bool = False,
        redirect: int = 16, pooling: str = "max", seed: int = 0,
    ) -> None:  # fmt: skip
        if optimizer not in OPTIMIZERS:
            raise LookupError(unknown("optimizer", optimizer, OPTIMIZERS))
        self.net = as_net(net)
        pooled(pooling)
        target.resolve(self.net)
        self.image: Params = PixelImage(image) if isinstance(image, Tensor) else image
        if rules and not isinstance(self.image, PixelImage):
            raise ValueError("rules change pixels, so they need a PixelImage")
        self.target, self.lr, self.rules, self.normalize, self.redirect = target, lr, tuple(rules), normalize, redirect
        self.index, self._pooling = 0, pooling
        self.changes: list[list[Any]] = []
        self._view = RandomView(transforms, seed=seed)
        # Views of the values, so that an update of one image's is an update of the images; L-BFGS must not mix images.
        values = self.image.values.detach()
        self._leaves = list(values) if optimizer == "lbfgs" else [values]
        self._optimizers = [OPTIMIZERS[optimizer]([leaf], lr) for leaf in self._leaves]
        self._settings = {name: getattr(self, name) for name in CHANGEABLE}
        self._at_once, self._folded = 0, Folded(self.net, pool_first=pooling == "max" and not redirect)
        self._made: tuple[Tensor, int] | None = None
        self._programmed: tuple[tuple[Any, ...], Programmed | None] | None = None
        self._try_size()

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """Changes at random before each pass."""
        return self._view.transforms

    @transforms.setter
    def transforms(self, transforms: Sequence[Transform] | str) -> None:
        self._view.transforms = RandomView(transforms).transforms

    def __iter__(self) -> Iterator[ImageStep]:
        """Itself."""
        return self

    def __next__(self) -> ImageStep:
        """Do one step."""
        return self.step()

    def step(self) -> ImageStep:
        """Do one update and give the images after it."""
        self._note_changes()
        with torch.inference_mode(False):
            scores, gradient = self._gradient()
            self.index += 1
            self._update(scores["score"], gradient)
            image = self._images().detach().clone()
        return ImageStep(self.index, scores, image)

    def _images(self) -> Tensor:
        """The images in the graph of the values; made once after each update, for the step that ends and the one that comes."""
        version = self.image.values._version
        if self._made is None or self._made[1] != version:
            with torch.enable_grad():
                self._made = self.image(), version
        return self._made[0]

    def _note_changes(self) -> None:
        for name in CHANGEABLE:
            value = getattr(self, name)
            if value != self._settings[name]:
                self._settings[name] = value
                self.changes.append([self.index, name, value])
                for optimizer in self._optimizers:
                    if isinstance(optimizer, Lbfgs) and name != "lr":
                        optimizer.restart()

    def _gradient(self) -> tuple[dict[str, Tensor], Tensor]:
        """Scores by term, and the gradient of the target with respect to the values; some images at a time."""
        target = self.target.resolve(self.net)
        names = [repr(term) for _, term in terms(self.target)]
        image = self._images()
        net = self._folded.net(target, image) if self.index >= FOLD_AFTER else self.net
        at_once = len(image) if _across(target) else self._fitting(image)
        scores: dict[str, list[Tensor]] = {name: [] for name in ("score", *names)}
        gradients = []
        # In one piece the way back goes on to the values; otherwise it ends at the pixels, and a second one begins there.
        whole = at_once >= len(image) and not self.normalize and not self.rules
        for first in range(0, len(image), at_once):
            part = image if whole else image.detach()[first : first + at_once].requires_grad_()
            with net.lock, evaluating(net.module), torch.enable_grad(), self._redirected(), pooled(self._pooling):
                aim = target.images(first, len(part))
                seen, source = self._view(part, first=first), self.image.values if whole else part
                passes = self._passes(net) if at_once >= len(image) else None
                if passes is None:
                    total, *values = _scores(net, aim, seen, part)
                    found = image_gradient(total, source, self.target)
                else:
                    # What follows is the network's part alone: views are another way at each step.
                    inputs = [seen] if seen is part or INPUT not in aim.layers else [seen, part]
                    total, *values = passes(partial(_pass, net, aim, self.target), *(x.detach() for x in inputs))
                    values, slopes = values[: -len(inputs)], values[-len(inputs) :]
                    (found,) = torch.autograd.grad(inputs, source, slopes)
                gradients.append(found)
            for name, v in zip(("score", *names), (total, *values), strict=True):
                scores[name].append(v.detach().cpu())
        gradient = joined(gradients)
        # One number tells: whatever is not finite makes the sum so.
        if not isfinite(gradient.sum().item()):
            raise ValueError(f"the gradient of {self.target!r} is not finite in step {self.index + 1}: the network or its weights overflow")
        if self.normalize:
            gradient = gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-30)
        self._pixel_gradient = gradient
        if not whole and image is not self.image.values:
            (gradient,) = torch.autograd.grad(image, self.image.values, gradient)
        if image is not self.image.values:
            self._made = None  # its graph is used up
        return {name: joined(parts) for name, parts in scores.items()}, gradient

    def _passes(self, net: Net) -> Programmed | None:
        """Of the copy that a long run computes with the passes, as soon as they are the same at each step."""
        if net is self.net or self.index < max(self.redirect, PROGRAM_AFTER):
            return None
        now = net, self.target, self._view.transforms
        if self._programmed is None or any(a is not b for a, b in zip(self._programmed[0], now, strict=True)):
            self._programmed = now, Programmed() if unchanging(self.target) and free_of_hooks(net.module) else None
        return self._programmed[1]

    def _try_size(self) -> None:
        image = self._images()[:1].detach()
        if tuple(image.shape[2:]) != self.net.size:
            with torch.no_grad(), pooled(self._pooling):
                read(self.net, self.target.resolve(self.net).images(0, 1), image)

    def _fitting(self, image: Tensor) -> int:
        # Asked once: what is free is read from the system's files, which takes as long as a light network's step.
        if not self._at_once:
            self._at_once = images_at_once(self.net, (image.shape[2], image.shape[3]))
        return self._at_once

    def _redirected(self) -> AbstractContextManager[None]:
        return relu_backward(redirected) if self.index < self.redirect else nullcontext()

    @torch.no_grad()
    def _update(self, scores: Tensor, gradient: Tensor) -> None:
        values = self.image.values
        parts = zip(self._leaves, gradient if len(self._leaves) > 1 else [gradient], self._optimizers, strict=True)
        for i, (leaf, part, optimizer) in enumerate(parts):
            leaf.grad = -part.reshape(leaf.shape).contiguous()  # optimizers minimise
            for group in optimizer.param_groups:
                group["lr"] = self.lr
            loss = -(scores.sum() if len(self._leaves) == 1 else scores[i])
            optimizer.step(lambda loss=loss: loss)
            leaf.grad = None
        self.image.project()
        for rule in self.rules:
            values.copy_(rule(values, self._pixel_gradient, self.index))


def _scores(net: Net, target: Target, images: Tensor, picture: Tensor) -> list[Tensor]:
    """The score, and that of each term before weighting."""
    acts = read(net, target, images, picture=picture)
    values = [term(acts) for _, term in terms(target)]
    return [weighted([weight for weight, _ in terms(target)], values), *values]


def _pass(net: Net, target: Target, named: Target, *inputs: Tensor) -> list[Tensor]:
    """Scores, and the gradients with respect to what the network sees and, if it is not the same, to the picture itself."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    scores = _scores(net, target, leaves[0], leaves[-1])
    return [*scores, *image_gradients(scores[0], leaves, named)]


def _across(target: Target) -> bool:
    return any(isinstance(term, Diversity) for _, term in terms(target))
