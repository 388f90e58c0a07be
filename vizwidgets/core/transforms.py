"""Small changes of an image between two steps, so that what grows does not hang on single pixels: seeded, and folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import unknown

GREY = 0.5


@dataclass(frozen=True)
class Pad:
    """A border of `by` pixels of grey on each side."""

    by: int


@dataclass(frozen=True)
class Jitter:
    """A random crop that is `by` pixels smaller in height and width."""

    by: int


@dataclass(frozen=True)
class Scale:
    """Enlargement about the middle by one of `factors`, each as likely; repeated ones are likelier."""

    factors: tuple[float, ...]


@dataclass(frozen=True)
class Rotate:
    """Rotation about the middle by one of `degrees`, counter-clockwise; what comes into view behind the corners is grey."""

    degrees: tuple[float, ...]


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of standard deviation `sigma`, in pixels; the border is continued."""

    sigma: float


Transform = Pad | Jitter | Scale | Rotate | Blur

_TENTHS = tuple(1 + (i - 5) / 50 for i in range(11))
TRANSFORMS: dict[str, tuple[Transform, ...]] = {
    # Lucid's set.
    "default": (Pad(12), Jitter(8), Scale(_TENTHS), Rotate((*range(-10, 11), 0, 0, 0, 0, 0)), Jitter(4)),
    "gentle": (Pad(4), Jitter(4), Jitter(4)),
    "jitter": (Pad(8), Jitter(16)),
    "none": (),
}


class RandomView:
    """Images as a network sees them in one step of an optimization: changed at random, at the size that they have.

    All transforms between two blurs become one resampling; views of whole pixels are exact copies. Of a canvas that has become
    larger than the images the middle is seen, at their own scale; a smaller one is enlarged to their size. What lies outside of
    the image is grey.

    Parameters
    ----------
    transforms : sequence of transforms, or a name from ``TRANSFORMS``
    seed : int
        Image `i` of a batch is changed as the only image of seed ``seed + i``.
    shared : bool
        Change all images of a batch alike, as the first.

    Raises
    ------
    LookupError
        For an unknown name.

    References
    ----------
    Olah, Mordvintsev, Schubert: Feature visualization, Distill, 2017.

    Examples
    --------
    >>> RandomView("default", seed=0)(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(self, transforms: Sequence[Transform] | str = "default", *, seed: int = 0, shared: bool = False) -> None:
        self.transforms = named(transforms)
        self.shared = shared
        self._seed = seed
        self._generators: list[torch.Generator] = []

    def __call__(self, images: Tensor, *, first: int = 0) -> Tensor:
        """New views (B, C, H, W) of images (B, C, H, W), in their autograd graph; `first` is their place in a larger batch."""
        if not self.transforms:
            return images
        first, count = (0, 1) if self.shared else (first, len(images))
        size = (images.shape[2], images.shape[3])
        pose = _Pose.of(count, images)
        for transform in self.transforms:
            if isinstance(transform, Blur):
                images = blurred(pose.seen(images, pose.canvas), transform.sigma)
                pose = _Pose.of(count, images)
            else:
                pose = pose.then(transform, self._random(first + count)[first:])
        return pose.seen(images, size)

    def _random(self, count: int) -> list[torch.Generator]:
        for i in range(len(self._generators), count):
            self._generators.append(torch.Generator().manual_seed(self._seed + i))
        return self._generators[:count]


def named(transforms: Sequence[Transform] | str) -> tuple[Transform, ...]:
    """The transforms of that name, or those given."""
    if isinstance(transforms, str):
        if transforms not in TRANSFORMS:
            raise LookupError(unknown("set of transforms", transforms, TRANSFORMS))
        return TRANSFORMS[transforms]
    for t in transforms:
        if not isinstance(t, Transform):
            raise TypeError(f"a transform is one of Pad, Jitter, Scale, Rotate and Blur, not {t!r}")
    return tuple(transforms)


@dataclass(frozen=True)
class _Pose:
    """Where in the images each pixel of the canvas is looked up: ``turn @ p + shift``, in pixels from the middle, x before y."""

    turn: Tensor  # (B, 2, 2)
    shift: Tensor  # (B, 2)
    canvas: tuple[int, int]
    whole: bool  # moved by whole pixels only

    @staticmethod
    def of(count: int, images: Tensor) -> _Pose:
        turn = torch.eye(2, dtype=torch.float64).expand(count, 2, 2)
        return _Pose(turn, turn.new_zeros(count, 2), (images.shape[2], images.shape[3]), True)

    def then(self, transform: Transform, random: list[torch.Generator]) -> _Pose:
        h, w = self.canvas
        if isinstance(transform, Pad):
            return replace(self, canvas=(h + 2 * transform.by, w + 2 * transform.by))
        if isinstance(transform, Jitter):
            by = transform.by
            if by >= min(h, w):
                raise ValueError(f"a jitter of {by} pixels leaves nothing of {h}×{w}")
            corner = torch.stack([torch.randint(0, by + 1, (2,), generator=g) for g in random]).double()
            shift = self.shift + (self.turn @ (corner - by / 2)[:, :, None])[:, :, 0]
            return replace(self, shift=shift, canvas=(h - by, w - by))
        assert isinstance(transform, (Scale, Rotate))
        choices = transform.factors if isinstance(transform, Scale) else transform.degrees
        drawn = torch.tensor([choices[int(torch.randint(len(choices), (), generator=g))] for g in random], dtype=torch.float64)
        if isinstance(transform, Scale):
            return replace(self, turn=self.turn / drawn[:, None, None], whole=False)
        # Rows grow downwards, so counter-clockwise on the screen.
        cos, sin = torch.deg2rad(drawn).cos(), torch.deg2rad(drawn).sin()
        back = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
        return replace(self, turn=self.turn @ back, whole=False)

    def seen(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """The images in this pose at `size`."""
        h, w = images.shape[2:]
        shown = min(self.canvas[0], size[0]), min(self.canvas[1], size[1])
        even = all((c - s) % 2 == 0 for c, s in zip(self.canvas, size, strict=True))
        if self.whole and shown == size and even:
            # The middle of the canvas lies on whole or half pixels as that of the images does, so corners are whole.
            corners = (self.shift.flip(1) + torch.tensor([(h - size[0]) / 2, (w - size[1]) / 2])).round().long()
            if len(corners) == 1 or len(set(map(tuple, corners.tolist()))) == 1:
                return _crop(images, corners[0].tolist(), size)
            return torch.cat([_crop(x, c, size) for x, c in zip(images.split(1), corners.tolist(), strict=True)])
        out = torch.tensor([shown[1] / 2, shown[0] / 2], dtype=torch.float64)
        into = torch.tensor([2 / w, 2 / h], dtype=torch.float64)
        theta = torch.cat([self.turn * out * into[:, None], (self.shift * into)[:, :, None]], 2).to(images)
        grid = F.affine_grid(theta.expand(len(images), 2, 3), [len(images), 1, *size], align_corners=False)
        return F.grid_sample(images - GREY, grid, padding_mode="zeros", align_corners=False) + GREY


def _crop(images: Tensor, corner: Sequence[int], size: tuple[int, int]) -> Tensor:
    (y, x), (h, w) = corner, images.shape[2:]
    border = (-x, x + size[1] - w, -y, y + size[0] - h)
    return F.pad(images, border, value=GREY) if any(border) else images


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (B, C, H, W) behind a Gaussian blur of standard deviation `sigma`, in pixels; the border is continued."""
    reach = max(1, round(3 * sigma))
    offset = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    weights = (weights / weights.sum()).repeat(images.shape[1], 1)
    images = F.pad(images, (reach,) * 4, mode="replicate")
    images = F.conv2d(images, weights[:, None, :, None], groups=images.shape[1])
    return F.conv2d(images, weights[:, None, None, :], groups=images.shape[1])
