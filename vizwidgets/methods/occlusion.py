"""Occlusion: what a score loses when a window of the image is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.copies import Folded
from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, finite_pixels, pixels
from vizwidgets.core.memory import images_at_once
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run, finite_scores, read
from vizwidgets.core.precision import check_precision, in_precision
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Attribution
from vizwidgets.core.targets import Each, Sum, Target, of_image
from vizwidgets.core.transforms import blurred

FILLS = ("grey", "mean", "blur", "noise")
FOLD_AFTER = 2  # steps, so that the first pictures do not wait for a faster copy of the network
AT_ONCE = 8  # windows in a pass: with 16 the maps of light networks no longer stay in the processor's own memory


@dataclass(frozen=True, eq=False)
class OcclusionStep:
    """The map after some windows.

    Attributes
    ----------
    index : int
        Steps so far, from 1.
    scores : dict of str to Tensor
        ``"score"`` (B,), of the whole images, and ``"largest drop"`` (B,), so far.
    done : float
        Share of the windows that are known, in (0, 1].
    drops : Tensor
        (B, rows, columns), a number for each window: what is known, and between that estimates.
    """

    index: int
    scores: dict[str, Tensor]
    done: float
    drops: Tensor
    _places: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @cached_property
    def map(self) -> Tensor:
        """(B, H, W): for each pixel the mean of the windows that cover it."""
        return _spread(self.drops, *self._places)

    def picture(self) -> PILImage.Image:
        """The maps side by side."""
        return Attribution(self.map, self.scores["score"]).picture()


def occlusion(
    net: Net | nn.Module, images: Tensor | Image, target: Target | Sequence[Target], *, window: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None, fill: str | float | Tensor | Image = "grey", only_window: bool = False, seed: int = 0,
    precision: str = "full",
) -> Run[OcclusionStep]:  # fmt: skip
    """The drop of the score when a window is hidden, averaged for each pixel over the windows that cover it.

    Positive is what supports the target. Windows far apart come first, then those where most is to be expected; the map of a
    step estimates the others, and the last one is exact.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target, or several
        Several take one image, and each gets a map; or one image for each.
    window : int or (int, int), optional
        Height and width in pixels; by default a seventh of the image.
    stride : int or (int, int), optional
        Distance between windows; by default a quarter of the window. Beyond the window it leaves pixels uncovered (NaN).
    fill : str, float, Tensor or Image
        What hides: "grey" (0.5), "mean" (the image's mean colour), "blur", "noise", a value, or another image.
    only_window : bool
        Hide all but the window; the map says then what the window alone brings.
    seed : int
        Of the noise.
    precision : {"full", "bfloat16"}
        "bfloat16" is about twice as fast on processors that have it, and gives nearly the same ranks: for previews.

    Returns
    -------
    Run
        Of `OcclusionStep`; its result is an `Attribution`.

    Raises
    ------
    ValueError, LookupError, TypeError
        For a window larger than the image, an unknown fill, and what the network does not have.

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks, 2014.

    Examples
    --------
    >>> occlusion(net, x, Logit("rose"), window=32, stride=16).result()
    Attribution(map 1×96×96, scores 1, values=None)
    """
    net, x = as_net(net), finite_pixels(images)
    check_precision(net, precision)
    cases = _cases(net, x, target)
    size = (x.shape[2], x.shape[3])
    window = _pair("window", window if window is not None else (max(1, size[0] // 7), max(1, size[1] // 7)))
    stride = _pair("stride", stride if stride is not None else (max(1, window[0] // 4), max(1, window[1] // 4)))
    if window[0] > size[0] or window[1] > size[1]:
        raise ValueError(f"the window is at most the image, {size[0]}×{size[1]} pixels, not {window[0]}×{window[1]}")
    cover = filling(x, fill, seed)
    counts = (ceil((size[0] - window[0]) / stride[0]) + 1, ceil((size[1] - window[1]) / stride[1]) + 1)
    boxes = [(i * stride[0], j * stride[1], i * stride[0] + window[0], j * stride[1] + window[1])
             for i in range(counts[0]) for j in range(counts[1])]  # fmt: skip
    at_once = min(AT_ONCE, images_at_once(net, size))
    total = ceil(len(boxes) / at_once)
    folded, whole = Folded(net, forward_only=at_once), Sum(tuple((1, t) for _, aims in cases for t in aims))

    def slide() -> Iterator[OcclusionStep]:
        scores, bare = (torch.cat([_scores(net, aims, v[i : i + 1], precision)[:, 0] for i, aims in cases]) for v in (x, cover))
        finite_scores(net, scores)
        base, sign = (bare, -1) if only_window else (scores, 1)
        drops = torch.full((len(base), len(boxes)), torch.nan, dtype=base.dtype)
        guess = _estimate(drops.view(-1, *counts))
        for index in range(1, total + 1):
            chosen = _next(drops, guess, at_once)
            found = []
            passes = folded.net(whole, x) if index > FOLD_AFTER and precision == "full" else net
            for i, aims in cases:
                shown, behind = (cover, x) if only_window else (x, cover)
                found.append(_scores(passes, aims, _hidden(shown[i], behind[i], [boxes[k] for k in chosen]), precision))
            drops[:, chosen] = sign * (base[:, None] - torch.cat(found))
            guess = _estimate(drops.view(-1, *counts))
            known = drops.nan_to_num(-torch.inf).amax(1)
            done = float((~drops[0].isnan()).float().mean())
            yield OcclusionStep(index, {"score": scores, "largest drop": known}, done, guess, (window, stride, size))

    options = {"target": target if isinstance(target, Target) else Each(tuple(target)), "window": window, "stride": stride,
               "only_window": only_window, "seed": seed, "precision": precision}  # fmt: skip
    inputs: dict[str, Tensor] = {"images": x}
    if isinstance(fill, (Tensor, Image)):
        inputs["fill"] = cover
    else:
        options["fill"] = fill

    def finish(last: OcclusionStep) -> Attribution:
        recipe = make_recipe(net, "occlusion", inputs, options)
        recipe["taken"] = last.index
        return Attribution(last.map, last.scores["score"], recipe=recipe)

    return Run(slide(), total, finish)


def filling(images: Tensor, fill: str | float | Tensor | Image, seed: int = 0) -> Tensor:
    """What hides the images, (B, C, H, W): see `occlusion`."""
    if isinstance(fill, str):
        if fill == "grey":
            return torch.full_like(images, 0.5)
        if fill == "mean":
            return images.mean((2, 3), keepdim=True).expand_as(images)
        if fill == "blur":
            return blurred(images, max(images.shape[2:]) / 16)
        if fill == "noise":
            noise = torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=images.dtype)
            return noise.expand_as(images)
        raise LookupError(unknown("fill", fill, FILLS))
    if isinstance(fill, (Tensor, Image)):
        other = pixels(fill).to(images)
        if other.shape[1:] != images.shape[1:] or len(other) not in (1, len(images)):
            raise ValueError(f"the image that hides is as large as the one hidden, {tuple(images.shape)}, not {tuple(other.shape)}")
        return other.expand_as(images)
    if not 0 <= float(fill) <= 1:
        raise ValueError(f"the value that hides is between 0 and 1, not {fill}")
    return torch.full_like(images, float(fill))


def _cases(net: Net, x: Tensor, target: Target | Sequence[Target]) -> list[tuple[int, list[Target]]]:
    """Images by number, and the targets of each."""
    aim = (target if isinstance(target, Target) else Each(tuple(target))).resolve(net)
    if isinstance(aim, Each) and len(x) == 1:
        return [(0, list(aim.targets))]
    if isinstance(aim, Each) and len(aim.targets) != len(x):
        raise ValueError(f"several targets take one image, or one for each: {len(aim.targets)} targets for {len(x)} images")
    return [(i, [of_image(aim, i)]) for i in range(len(x))]


@torch.no_grad()
def _scores(net: Net, targets: list[Target], images: Tensor, precision: str) -> Tensor:
    """Scores (targets, images), in one pass."""
    with in_precision(net, precision):
        acts = read(net, Sum(tuple((1, t) for t in targets)), images)
    return torch.stack([t(acts).cpu() for t in targets])


def _hidden(shown: Tensor, behind: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """An image (C, H, W) for each box, which shows there what is behind; laid out as networks on a CPU take it fastest."""
    images = shown[None].contiguous(memory_format=torch.channels_last).expand(len(boxes), -1, -1, -1)
    images = images.clone(memory_format=torch.channels_last)
    for image, (y0, x0, y1, x1) in zip(images, boxes, strict=True):
        image[:, y0:y1, x0:x1] = behind[:, y0:y1, x0:x1]
    return images


def _next(drops: Tensor, guess: Tensor, at_once: int) -> list[int]:
    """The windows to look at next: two grids, the coarser first, then those of which most is expected."""
    expected, counts = guess.abs(), guess.shape[1:]
    rank = (expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-30)).amax(0)
    for cells in (8, 4):
        distance = max(1, ceil(max(counts) / cells))
        rank[distance // 2 :: distance, distance // 2 :: distance] += 2
    unknown = drops[0].isnan()
    return rank.flatten().masked_fill(~unknown, -1).topk(min(at_once, int(unknown.sum()))).indices.tolist()


def _estimate(drops: Tensor) -> Tensor:
    """Drops (B, rows, columns) with those that are not known taken from their neighbours, near ones first."""
    known = ~drops.isnan()
    if bool(known.all()):
        return drops
    if not bool(known.any()):
        return torch.zeros_like(drops)
    found, reach = torch.where(known, drops, 0.0), 1
    filled = known.clone()
    while not bool(filled.all()):
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=drops.dtype) / (reach / 2)) ** 2)
        sums = torch.cat([known.to(drops.dtype), drops.nan_to_num(0)])[:, None]
        sums = F.conv2d(sums, kernel.view(1, 1, -1, 1), padding=(reach, 0))
        sums = F.conv2d(sums, kernel.view(1, 1, 1, -1), padding=(0, reach))
        weight, total = sums[:, 0].chunk(2)
        mean = total / weight.clamp(min=1e-30)
        found = torch.where(~filled & (weight > 0), mean, found)
        filled |= weight > 0
        reach *= 2
    return found


def _spread(drops: Tensor, window: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """For each pixel (B, H, W) the mean over the windows that cover it, NaN where none does."""
    down, across = (torch.ones(1, 1, *shape, dtype=drops.dtype) for shape in ((window[0], 1), (1, window[1])))
    sums = torch.cat([drops, torch.ones_like(drops[:1])])[:, None]
    sums = F.conv_transpose2d(sums, down, stride=(stride[0], 1))
    sums = F.conv_transpose2d(sums, across, stride=(1, stride[1]))[:, 0, : size[0], : size[1]]
    total, count = sums[:-1], sums[-1:]
    if total.shape[1:] != size:  # windows farther apart than they are large
        missing = (0, size[1] - total.shape[2], 0, size[0] - total.shape[1])
        total, count = F.pad(total, missing), F.pad(count, missing)
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)


def _pair(what: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in pair):
        raise ValueError(f"the {what} is a number of pixels from 1, or two of them (height, width), not {value!r}")
    return pair
