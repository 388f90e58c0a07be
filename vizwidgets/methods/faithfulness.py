"""How right a map is: against the network, by deletion and insertion; against a known truth, by pointing."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor, nn

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image, pixels
from vizwidgets.core.memory import images_at_once
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import score
from vizwidgets.core.recipe import make_recipe
from vizwidgets.core.results import Result
from vizwidgets.core.targets import Target, of_image

from .occlusion import AT_ONCE, filling


@dataclass(frozen=True, eq=False, repr=False)
class PixelCurve(Result):
    """The score while pixels are deleted or inserted, the most important ones first.

    Attributes
    ----------
    shares : Tensor
        (S,): the share of the pixels deleted or inserted, from 0 to 1.
    scores : Tensor
        (S, B): the target's score.
    area : Tensor
        (B,): the area under each curve, which is the mean score on the way.
    kind : str
        "deletion" or "insertion".
    """

    shares: Tensor
    scores: Tensor
    area: Tensor
    kind: str

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve of each image, and their mean; gives the axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(layout="constrained")[1]
        (line,) = ax.plot(self.shares, self.scores.mean(1), label=f"{self.kind}, area {self.area.mean():.2f}")
        if self.scores.shape[1] > 1:
            ax.plot(self.shares, self.scores, color=line.get_color(), alpha=0.25, linewidth=0.8)
        ax.set_xlabel("share of pixels deleted or inserted")
        ax.set_ylabel("score")
        ax.legend()
        return ax

    def picture(self) -> PILImage.Image:
        """The plot."""
        from matplotlib.figure import Figure

        figure, file = Figure(figsize=(5, 3), dpi=90, layout="constrained"), io.BytesIO()
        self.plot(figure.subplots())
        figure.savefig(file)
        return PILImage.open(file).convert("RGB")


def deletion(
    net: Net | nn.Module, images: Tensor | Image, target: Target, map: Tensor, *, steps: int = 50,
    fill: str | float | Tensor | Image = "grey", seed: int = 0,
) -> PixelCurve:  # fmt: skip
    """The score while the pixels that a map finds most important are hidden, one share after the other.

    A small area speaks for the map: what it points at first was needed.

    Parameters
    ----------
    net : Net or torch.nn.Module
    images : Tensor or Image
        (B, C, H, W) in [0, 1].
    target : Target
        ``Probability("rose")`` keeps the curve within [0, 1].
    map : Tensor
        (B, H, W): the importance of each pixel, the highest first and signs respected; equal ones row by row.
    steps : int
        In which all pixels are reached.
    fill : str, float, Tensor or Image
        What hides, as of `occlusion`: "grey", "mean", "blur", "noise", a value, or another image.
    seed : int
        Of the noise.

    Returns
    -------
    PixelCurve

    Raises
    ------
    ValueError, LookupError, TypeError
        For a map that is not one of these images, or not finite, and an unknown fill.

    References
    ----------
    Petsiuk, Das, Saenko: RISE: Randomized input sampling for explanation, 2018.

    Examples
    --------
    >>> deletion(net, x, Probability("rose"), saliency(net, x, Logit("rose")).map, steps=10)
    PixelCurve(shares 11, scores 11×1, area 1, kind='deletion')
    """
    return _curve(net, images, target, map, steps, fill, seed, "deletion")


def insertion(
    net: Net | nn.Module, images: Tensor | Image, target: Target, map: Tensor, *, steps: int = 50,
    fill: str | float | Tensor | Image = "blur", seed: int = 0,
) -> PixelCurve:  # fmt: skip
    """The score while the pixels that a map finds most important are shown, one share after the other.

    A large area speaks for the map: what it points at first was enough. Parameters, returns and errors are as of `deletion`; by
    default the blurred image is what the pixels are put on, as in the paper.

    References
    ----------
    Petsiuk, Das, Saenko: RISE: Randomized input sampling for explanation, 2018.

    Examples
    --------
    >>> insertion(net, x, Probability("rose"), saliency(net, x, Logit("rose")).map, steps=10)
    PixelCurve(shares 11, scores 11×1, area 1, kind='insertion')
    """
    return _curve(net, images, target, map, steps, fill, seed, "insertion")


def pointing_game(map: Tensor, mask: Tensor | NDArray[Any], *, tolerance: float = 0) -> Tensor:
    """Whether the highest point of each map is within the mask.

    Parameters
    ----------
    map : Tensor
        (B, H, W). Where several pixels share the maximum, all of them must be within; a constant map so misses any mask but a
        full one.
    mask : Tensor or array
        (B, H, W), or (H, W) for all: true where the truth is.
    tolerance : float
        Pixels by which the point may miss the mask.

    Returns
    -------
    Tensor
        (B,), bool. A map that knows nothing hits as often as the mask is large.

    Raises
    ------
    ValueError
        For a mask of another size, an empty one, and a map that is not finite.

    References
    ----------
    Zhang, Lin, Brandt, Shen, Sclaroff: Top-down neural attention by excitation backprop, 2016.

    Examples
    --------
    >>> pointing_game(torch.eye(3)[None] * torch.arange(3), torch.eye(3))
    tensor([True])
    """
    map, mask = _checked(map, mask)
    hits = []
    for i, (m, truth) in enumerate(zip(map, mask, strict=True)):
        if not bool(truth.any()):
            raise ValueError(f"the mask of image {i} is empty")
        peaks, inside = ((v.nonzero()).double() for v in (m == m.max(), truth))
        apart = torch.cdist(peaks, inside, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        hits.append(bool(apart.max() <= tolerance))
    return torch.tensor(hits)


def share_inside(map: Tensor, mask: Tensor | NDArray[Any], *, kind: str = "positive") -> Tensor:
    """The share of each map that lies within the mask.

    Parameters
    ----------
    map : Tensor
        (B, H, W).
    mask : Tensor or array
        (B, H, W), or (H, W) for all.
    kind : str
        "positive", of what speaks for the target, or "absolute".

    Returns
    -------
    Tensor
        (B,), in [0, 1]; NaN for a map without anything of that kind. A map that knows nothing has the mask's own share.

    Raises
    ------
    ValueError, LookupError
        For a mask of another size, a map that is not finite, or an unknown kind.

    Examples
    --------
    >>> share_inside(torch.tensor([[[3.0, 1.0], [-1.0, 0.0]]]), torch.tensor([[1, 0], [1, 0]]))
    tensor([0.7500])
    """
    if kind not in ("positive", "absolute"):
        raise LookupError(unknown("kind", kind, ("positive", "absolute")))
    map, mask = _checked(map, mask)
    values = map.clamp(min=0) if kind == "positive" else map.abs()
    return (values * mask).sum((1, 2)) / values.sum((1, 2))


def _curve(
    net: Net | nn.Module, images: Tensor | Image, target: Target, map: Tensor, steps: int, fill: str | float | Tensor | Image,
    seed: int, kind: str,
) -> PixelCurve:  # fmt: skip
    net, x = as_net(net), pixels(images)
    if not isinstance(target, Target):
        raise TypeError(f"a target is one of vizwidgets' targets, not {target!r}: Probability({target!r}), say")
    target = target.resolve(net)
    if steps < 1:
        raise ValueError(f"there is at least one step, not {steps}")
    if not isinstance(map, Tensor) or map.shape != (len(x), *x.shape[2:]) or not bool(map.isfinite().all()):
        came = f"{tuple(map.shape)}" if isinstance(map, Tensor) else type(map).__name__
        raise ValueError(f"the map is finite numbers (B, H, W) for images {tuple(x.shape)}, not {came}")
    hidden = filling(x, fill, seed)
    before, after = (x, hidden) if kind == "deletion" else (hidden, x)
    places = map.flatten(1).sort(dim=1, descending=True, stable=True).indices.argsort(1).view_as(map)
    counts = (torch.linspace(0, 1, steps + 1, dtype=torch.float64) * map[0].numel()).round().long()
    at_once = min(AT_ONCE, images_at_once(net, (x.shape[2], x.shape[3])))
    scores = []
    for i in range(len(x)):
        aim = of_image(target, i)
        reached = places[i] < counts.view(-1, 1, 1)
        found = []
        for some in reached.split(at_once):
            with torch.no_grad():
                found.append(score(net, aim, torch.where(some[:, None], after[i], before[i])).cpu())
        scores.append(torch.cat(found))
    curves = torch.stack(scores, 1)
    shares = counts.to(curves.dtype) / map[0].numel()
    inputs = {"images": x, "map": map, **({"fill": hidden} if isinstance(fill, (Tensor, Image)) else {})}
    options = {"target": target, "steps": steps, "seed": seed, **({} if "fill" in inputs else {"fill": fill})}
    area = torch.trapezoid(curves, shares, dim=0)
    return PixelCurve(shares, curves, area, kind, recipe=make_recipe(net, kind, inputs, options))


def _checked(map: Tensor, mask: Tensor | NDArray[Any]) -> tuple[Tensor, Tensor]:
    truth = torch.as_tensor(mask) != 0
    truth = truth.expand_as(map) if truth.shape == map.shape[1:] else truth
    if map.ndim != 3 or truth.shape != map.shape:
        raise ValueError(f"the map is (B, H, W), and the mask as large or (H, W), not {tuple(map.shape)} and {tuple(truth.shape)}")
    if not bool(map.isfinite().all()):
        raise ValueError("the map has values that are NaN or infinite")
    return map, truth
