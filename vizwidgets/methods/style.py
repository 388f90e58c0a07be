"""Style transfer: what is in one picture, in the textures of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizwidgets.core.capture import activations
from vizwidgets.core.errors import unknown
from vizwidgets.core.image import pixels
from vizwidgets.core.memory import check_memory
from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.optimizer import ImageOptimizer, ImageStep
from vizwidgets.core.params import FourierImage
from vizwidgets.core.pooling import pooled
from vizwidgets.core.references import Distance, Reference
from vizwidgets.core.targets import Target, terms

from .gram import (
    DECAY,
    LONGEST,
    checked_layers,
    default_style_layers,
    gram_error,
    grams,
    learning_rate,
    noise,
    opened,
    style_scores,
    trunk,
    vgg_blocks,
)
from .presets import number_of_steps
from .rendering import best_so_far, rendering_run

# ITU-R BT.601, as where pictures are made grey.
LUMA = (0.299, 0.587, 0.114)
# Of the content's contrast at the start: colours at the very ends hardly change.
MUTED = 0.8
SMALLEST = 32  # pixels that the longest side of a picture has at least


def style_transfer(
    net: Net | nn.Module, content: Any, style: Any, *, content_layer: str | None = None,
    style_layers: Sequence[str] | Mapping[str, float] | None = None, style_weight: float = 10.0, mix: Sequence[float] | None = None,
    init: str = "content", keep_colours: bool = False, levels: int = 1, size: int | None = None, steps: int | str = "normal",
    optimizer: str = "lbfgs", pooling: str = "max", lr: float | None = None, seed: int = 0,
) -> Run[ImageStep]:  # fmt: skip
    """A picture with the content of one and the style of others.

    Minimises the distance of a deep layer's activations from those of the content, |F - F'|² over |F'|², plus `style_weight`
    times the error of the Gram matrices of several layers (`gram_texture`). So weights mean the same in every network.

    Parameters
    ----------
    net : Net or torch.nn.Module
    content, style : path, bytes, PIL image, array, tensor or Image
        Of any sizes, grey or colour. `style` may be a list of several: their Gram matrices are mixed.
    content_layer : str, optional
        A name from ``net.layers``, of maps; by default `default_content_layer`.
    style_layers : sequence of str, or mapping of str to float, optional
        Likewise, with weights if wanted; by default `default_style_layers`.
    style_weight : float
        Of the style beside the content, which has the weight 1.
    mix : sequence of float, optional
        How much of each style; only ratios count. By default equal.
    init : str
        "content" or "noise": what the picture is at the beginning.
    keep_colours : bool
        Keep those of the content: the style is compared in grey, with the brightness and contrast of the content.
    levels : int
        Sizes that the picture grows through, each twice the one before; `steps` are divided among them. Of a large picture a
        network sees only small parts at once: large forms change when it is small.
    size : int, optional
        Longest side of the picture, in pixels; by default that of the content, at most 512. Styles with a longer side are made
        smaller, to the same.
    steps : int or str
        Or an effort: "draft" (64), "normal" (256), "paper" (512).
    optimizer : str
        "lbfgs" or "adam".
    pooling : str
        "max", as the network does itself, or "average" in place of it.
    lr : float, optional
        By default 1 for L-BFGS and 0.02 for Adam.
    seed : int
        Of the noise.

    Returns
    -------
    Run
        Of `ImageStep`, whose image is the best of those scored so far (at its level), and whose scores are "score", and the
        errors "content", "style" and "style <layer>" without weights, small is good. ``run.controls`` is a `StyleControls`. The
        result is a `Rendering`.

    Raises
    ------
    LookupError, ValueError, TypeError
        For layers without maps, pictures that are none, or a size that does not fit into memory, before anything is computed.
        ValueError in a step where the numbers overflow: ``run.so_far()`` is the best until then.

    References
    ----------
    Gatys, Ecker, Bethge: Image style transfer using convolutional neural networks, 2016. Gatys, Bethge, Hertzmann, Shechtman:
    Preserving color in neural artistic style transfer, 2016.

    Examples
    --------
    >>> style_transfer(net, vizwidgets.data.photograph("chelsea"), vizwidgets.data.swatch("strokes"), size=96, steps=4).result()
    Rendering(image 1×3×64×96, scores 4×1)
    """
    net = as_net(net)
    if init not in ("content", "noise"):
        raise ValueError(f"init is 'content' or 'noise', not {init!r}")
    if keep_colours and net.channels != 3:
        raise ValueError(f"colours are kept in pictures of 3 channels; those of {net.name or 'this network'} have {net.channels}")
    weights = checked_layers(net, default_style_layers(net) if style_layers is None else style_layers)
    (layer,) = checked_layers(net, [default_content_layer(net) if content_layer is None else content_layer])
    total, rate = number_of_steps(steps), learning_rate(optimizer, lr)
    shown = _content(net, content, size)
    styles = _styles(net, style, max(shown.shape[2:]))
    check_memory(net, (shown.shape[2], shown.shape[3]), [*weights, layer])
    _check_levels(levels, total, shown)
    controls = StyleControls(shown, styles, style_weight, weights, [1] * len(styles) if mix is None else mix, rate)
    seen, *seen_styles = _grey(shown, styles) if keep_colours else (shown, *styles)

    def level(at: int, before: Tensor | None) -> _Level:
        x, *others = (_scaled(picture, 0.5 ** (levels - 1 - at)) for picture in (seen, *seen_styles))
        if before is not None:
            start = F.interpolate(before, x.shape[2:], mode="bicubic", align_corners=False).clamp(0, 1)
        elif init == "content":
            start = 0.5 + MUTED * (x - 0.5)
        else:
            start = noise(others[0], (x.shape[2], x.shape[3]), seed=seed)
        target = _Aim(content_target(net, x, layer, pooling=pooling), [grams(net, s, weights, pooling=pooling) for s in others])
        image = (_GreyImage if keep_colours else FourierImage)(start, decay=DECAY)
        machine = ImageOptimizer(net, target(controls), image, optimizer=optimizer, lr=controls.lr, redirect=0, pooling=pooling, seed=seed)
        return _Level(target, machine)

    first = level(0, None)

    def painted() -> Iterator[ImageStep]:
        index, last = 0, None
        for at in range(levels):
            aim, machine = level(at, last) if at else first
            colours = _scaled(shown, 0.5 ** (levels - 1 - at))
            steps_here = best_so_far(machine)
            for _ in range(total // levels + (at < total % levels)):
                if controls.note(index):
                    machine.target, machine.lr = aim(controls), controls.lr
                step = next(steps_here)
                index, last = index + 1, step.image
                image = _recoloured(last, colours) if keep_colours else last
                yield ImageStep(index, _scores(machine.target, step.scores), image)

    options = {
        "content_layer": layer, "style_layers": weights, "style_weight": float(style_weight), "mix": list(controls.mix), "init": init,
        "keep_colours": keep_colours, "levels": levels, "size": size, "steps": total, "optimizer": optimizer, "pooling": pooling, "lr": rate,
        "seed": seed,
    }  # fmt: skip
    return rendering_run(painted(), total, net, "style_transfer", {"content": shown, "style": styles}, options, controls)


class StyleControls:
    """What may be changed between two steps of a style transfer, by setting it; each change is written into the recipe.

    Attributes
    ----------
    style_weight, content_weight : float
        From 0.
    mix : tuple of float
        How much of each style; only ratios count.
    layer_weights : mapping of str to float
        Weights of the style's layers, from 0; set to a mapping of all or some.
    lr : float
    content_image : Tensor
        (1, C, H, W), as it is used; not to be set.
    style_images : tuple of Tensor
        Likewise.
    changes : list
        Of [steps taken before it, name, value].
    """

    CHANGEABLE = ("style_weight", "content_weight", "mix", "layer_weights", "lr")

    style_weight: float
    content_weight: float
    mix: tuple[float, ...]
    layer_weights: Mapping[str, float]
    lr: float
    content_image: Tensor
    style_images: tuple[Tensor, ...]
    changes: list[list[Any]]
    _noted: dict[str, Any]

    def __init__(
        self, content: Tensor, styles: Sequence[Tensor], style_weight: float, layer_weights: Mapping[str, float], mix: Sequence[float], lr: float
    ) -> None:
        vars(self).update(content_image=content, style_images=tuple(styles), layer_weights=MappingProxyType(dict(layer_weights)), changes=[])
        self.style_weight, self.content_weight, self.mix, self.lr = style_weight, 1.0, mix, lr  # type: ignore[assignment]
        vars(self)["_noted"] = self._now()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what may be changed, once it is known to make sense."""
        if name not in self.CHANGEABLE:
            raise AttributeError(unknown("control", name, self.CHANGEABLE))
        if name == "mix":
            mix = tuple(_number("a share of the mix", m) for m in value)
            if len(mix) != len(self.style_images) or not sum(mix):
                raise ValueError(f"mix has a share from 0 for each of {len(self.style_images)} styles, not all 0; this is {mix}")
            vars(self)[name] = mix
        elif name == "layer_weights":
            for layer in value:
                if layer not in self.layer_weights:
                    raise LookupError(unknown("style layer", layer, self.layer_weights))
            given = {layer: _number(f"the weight of {layer!r}", weight) for layer, weight in value.items()}
            vars(self)[name] = MappingProxyType({**self.layer_weights, **given})
        else:
            vars(self)[name] = _number(name, value, above=name == "lr")

    def note(self, index: int) -> bool:
        """Write down what was changed since the last time, `index` steps having been taken; whether anything was."""
        now = self._now()
        found = [[index, name, value] for name, value in now.items() if value != self._noted[name]]
        self.changes.extend(found)
        self._noted.update(now)
        return bool(found)

    def _now(self) -> dict[str, Any]:
        return {name: dict(v) if isinstance(v := getattr(self, name), Mapping) else v for name in self.CHANGEABLE}


def content_target(net: Net, content: Any, layer: str | None = None, *, pooling: str = "max") -> Target:
    """How far a layer's activations are from those of a picture (1, C, H, W), |F - F'|² over |F'|²; to be made small."""
    layer = default_content_layer(net) if layer is None else layer
    with net.lock, torch.no_grad(), pooled(pooling):
        reference = Reference(activations(net, pixels(content), layer)[layer])
    if not reference.mean_square:
        raise ValueError(f"layer {layer!r} sees nothing in the content: all is 0 there; take another content_layer")
    return Distance(layer, reference)


def style_target(
    net: Net, style: Any, layers: Sequence[str] | Mapping[str, float] | None = None, mix: Sequence[float] | None = None, *, pooling: str = "max"
) -> Target:
    """How far the Gram matrices of some layers are from those of a picture (1, C, H, W) or of a mix of some; to be made small."""
    weights = checked_layers(net, default_style_layers(net) if layers is None else layers)
    found = [grams(net, x, weights, pooling=pooling) for x in _styles(net, style, LONGEST)]
    return gram_error(_mixed(found, [1] * len(found) if mix is None else mix), weights)


def default_content_layer(net: Net | nn.Module) -> str:
    """The layer that says what is in a picture, unless another is named: the last one at about an eighth of the resolution.

    Of VGG the second convolution of the fourth block (Gatys).
    """
    net = as_net(net)
    if blocks := vgg_blocks(net):
        return blocks[min(3, len(blocks) - 1)][1]
    default_style_layers(net)  # says so where no layer has maps
    return min(reversed(trunk(net)), key=lambda row: abs(log(net.size[0] / (row.shape or (1, 1))[1] / 8))).name


class _Level(NamedTuple):
    aim: _Aim
    machine: ImageOptimizer


@dataclass(frozen=True)
class _Aim:
    """What is asked of a picture of one size, as the controls have it."""

    content: Target
    styles: list[dict[str, Reference]]

    def __call__(self, controls: StyleControls) -> Target:
        error = gram_error(_mixed(self.styles, controls.mix), controls.layer_weights)
        return -controls.content_weight * self.content - controls.style_weight * error


def _mixed(styles: list[dict[str, Reference]], mix: Sequence[float]) -> dict[str, Reference]:
    shares = [(m / sum(mix), found) for m, found in zip(mix, styles, strict=True) if m]
    if len(shares) == 1:
        return shares[0][1]
    return {name: Reference(torch.stack([m * found[name].values for m, found in shares]).sum(0)) for name in shares[0][1]}


def _scores(target: Target, scores: dict[str, Tensor]) -> dict[str, Tensor]:
    content = next(scores[repr(term)] for _, term in terms(target) if isinstance(term, Distance))
    return {"score": scores["score"], "content": content, **style_scores(target, scores)}


class _GreyImage(FourierImage):
    """A picture whose three channels are the same."""

    def __init__(self, init: Tensor, **options: Any) -> None:
        super().__init__(init[:, :1], **options)

    def __call__(self) -> Tensor:
        return super().__call__().expand(-1, 3, -1, -1)


def _luma(x: Tensor) -> Tensor:
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _grey(content: Tensor, styles: Sequence[Tensor]) -> list[Tensor]:
    """Content and styles in grey (1, 3, H, W), the styles with the mean and the contrast of the content."""
    y, *others = (_luma(x) for x in (content, *styles))
    matched = [((s - s.mean()) / s.std().clamp(min=1e-6) * y.std() + y.mean()).clamp(0, 1) for s in others]
    return [x.expand(-1, 3, -1, -1).contiguous() for x in (y, *matched)]


def _recoloured(grey: Tensor, colours: Tensor) -> Tensor:
    """The brightness of one picture with the colours of another: the same added to all three channels leaves the chroma alone."""
    return (colours + grey[:, :1] - _luma(colours)).clamp(0, 1)


def _content(net: Net, content: Any, size: int | None) -> Tensor:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < SMALLEST):
        raise ValueError(f"size is the longest side in pixels, from {SMALLEST}, not {size!r}")
    x = opened(net, content, size or LONGEST)
    if size is not None and max(x.shape[2:]) < size:
        x = _scaled(x, size / max(x.shape[2:]))
    return x


def _styles(net: Net, style: Any, longest: int) -> list[Tensor]:
    pictures = list(style) if isinstance(style, (list, tuple)) else [style]
    if not pictures:
        raise ValueError("there is no style")
    return [opened(net, s, longest) for s in pictures]


def _scaled(x: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return x
    size = tuple(max(1, round(n * scale)) for n in x.shape[2:])
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _check_levels(levels: int, steps: int, content: Tensor) -> None:
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= steps:
        raise ValueError(f"levels are a number from 1 to that of the steps ({steps}), not {levels!r}")
    height, width = (round(n * 0.5 ** (levels - 1)) for n in content.shape[2:])
    if levels > 1 and min(height, width) < SMALLEST:
        raise ValueError(f"the smallest of {levels} levels would be {width}×{height} pixels; take fewer")


def _number(what: str, value: Any, *, above: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0 or (above and not value):
        raise ValueError(f"{what} is a number {'above' if above else 'from'} 0, not {value!r}")
    return float(value)
