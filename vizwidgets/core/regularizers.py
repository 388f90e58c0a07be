"""Targets that look at the picture itself, or at how the pictures of a batch differ; and the energy of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .net import Net
from .references import gram
from .targets import INPUT, Target, check_layer


@dataclass(frozen=True)
class Energy(Target):
    """Mean square of a layer's activations: whatever it sees, more of it (DeepDream)."""

    layer: str

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return acts[self.layer].square().flatten(1).mean(1)

    def resolve(self, net: Net) -> Target:
        """Itself, once the layer is known to exist."""
        check_layer(net, self.layer)
        return self

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return f"energy of {self.layer}"


class _OfPicture(Target):
    @property
    def layers(self) -> frozenset[str]:
        return frozenset({INPUT})


@dataclass(frozen=True)
class TotalVariation(_OfPicture):
    """How much neighbouring pixels differ: the length of the step to the right and below, to a power, averaged.

    ``beta=1`` allows edges, ``beta=2`` asks for smoothness everywhere.

    References
    ----------
    Mahendran, Vedaldi: Understanding deep image representations by inverting them, 2015.
    """

    beta: float = 1.0

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        x = acts[INPUT]
        right, down = x.diff(dim=3)[:, :, :-1], x.diff(dim=2)[:, :, :, :-1]
        length = right.square() + down.square()
        if self.beta != 2:
            length = (length + 1e-8) ** (self.beta / 2)  # the root has no slope at 0
        return length.flatten(1).mean(1)

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return "total variation"


@dataclass(frozen=True)
class L2(_OfPicture):
    """Mean square of the pixels' distance from grey.

    References
    ----------
    Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks, 2014.
    """

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return (acts[INPUT] - 0.5).square().flatten(1).mean(1)

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return "contrast (L2)"


@dataclass(frozen=True)
class LAlpha(_OfPicture):
    """Mean of the pixels' distance from grey to the power `alpha`: keeps them in range without making them grey.

    References
    ----------
    Mahendran, Vedaldi: Understanding deep image representations by inverting them, 2015.
    """

    alpha: float = 6.0

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        return (acts[INPUT] - 0.5).abs().pow(self.alpha).flatten(1).mean(1)

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return f"contrast (power {self.alpha:g})"


@dataclass(frozen=True)
class Diversity(Target):
    """How much the images of a batch differ in a layer: minus the mean cosine of their Gram matrices with the others'.

    The one target whose score of an image depends on the others of its batch; of a single image it is 0.

    References
    ----------
    Olah, Mordvintsev, Schubert: Feature visualization, Distill, 2017.
    """

    layer: str

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,)."""
        maps = acts[self.layer]
        flat = torch.nn.functional.normalize(gram(maps).flatten(1), dim=1)
        cosines = flat @ flat.T
        return -(cosines.sum(1) - cosines.diagonal()) / max(1, len(maps) - 1)

    def resolve(self, net: Net) -> Target:
        """Itself, once the layer is known to exist."""
        check_layer(net, self.layer)
        return self

    def describe(self, net: Net) -> str:
        """What it is called in a caption."""
        return f"diversity at {self.layer}"
