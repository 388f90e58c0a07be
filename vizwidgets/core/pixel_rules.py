"""What is done to the pixels after an update, rather than asked of them by a score: decay, blur, and clipping of small ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .transforms import GREY, Blur, RandomView


class PixelRule:
    """``rule(values, gradient, index)`` gives the pixels (B, C, H, W) after step `index`, counted from 1."""

    def __call__(self, values: Tensor, gradient: Tensor, index: int) -> Tensor:
        """The pixels to go on with."""
        raise NotImplementedError


@dataclass(frozen=True)
class Decay(PixelRule):
    """Towards grey by a share of the distance at each step: the L2 rule of Yosinski et al."""

    share: float = 1e-4

    def __call__(self, values: Tensor, gradient: Tensor, index: int) -> Tensor:
        """The pixels to go on with."""
        return GREY + (1 - self.share) * (values - GREY)


@dataclass(frozen=True)
class PeriodicBlur(PixelRule):
    """A Gaussian blur of `sigma` pixels at every `every`-th step: high frequencies do not build up."""

    sigma: float = 1.0
    every: int = 4

    def __call__(self, values: Tensor, gradient: Tensor, index: int) -> Tensor:
        """The pixels to go on with."""
        return RandomView([Blur(self.sigma)])(values) if index % self.every == 0 else values


@dataclass(frozen=True)
class ClipNorm(PixelRule):
    """Pixels among the `share` nearest to grey become grey: only what matters stays."""

    share: float = 0.3

    def __call__(self, values: Tensor, gradient: Tensor, index: int) -> Tensor:
        """The pixels to go on with."""
        return _cleared(values, (values - GREY).square().sum(1, keepdim=True), self.share)


@dataclass(frozen=True)
class ClipContribution(PixelRule):
    """Pixels among the `share` that contribute least to the score become grey, to first order: distance times gradient."""

    share: float = 0.3

    def __call__(self, values: Tensor, gradient: Tensor, index: int) -> Tensor:
        """The pixels to go on with."""
        return _cleared(values, ((values - GREY) * gradient).sum(1, keepdim=True).abs(), self.share)


def _cleared(values: Tensor, weights: Tensor, share: float) -> Tensor:
    bound = torch.quantile(weights.flatten(1), share, dim=1).view(-1, 1, 1, 1)
    return torch.where(weights < bound, GREY, values)
