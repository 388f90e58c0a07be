"""A network with all that belongs to it: preprocessing, class names, layer table."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, isqrt
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .errors import unknown
from .hooks import first_tensor
from .layers import LayerTable, layer_table
from .modes import evaluating, first_weight, stamp

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_USUAL_SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 48, 16, 512)

# By module, never by Net: what is kept here must not keep the user's module alive.
_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_TABLES: WeakKeyDictionary[nn.Module, dict[Any, LayerTable]] = WeakKeyDictionary()
_SIZES: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()
_DIGESTS: WeakKeyDictionary[nn.Module, tuple[Any, str]] = WeakKeyDictionary()
_REFUSES_CHANNELS_LAST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_MAKE_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class Net:
    """A module that takes images in [0, 1] and gives class scores; made by `load` and `as_net`.

    ``net(x)`` takes images (B, C, H, W) in [0, 1], moves them to the module's device and dtype, normalises them and gives
    its output in float32 (float64 stays). It never resizes. Evaluation mode holds inside the call; the user's flags are
    put back.

    Attributes
    ----------
    module : torch.nn.Module
    mean, std : tuple of float
        Per channel, in units of [0, 1] pixels; 0 and 1 for a module that takes the pixels as they are.
    resize : int
        Length of an image's shorter side before the crop, in pixels.
    size : tuple of int
        Height and width of the crop: the images it was trained with.
    interpolation : str
        "bilinear" or "bicubic".
    channels : int
        Channels of an image.
    labels : tuple of str
        Class names; empty where there are none.
    layouts : mapping
        Layouts of layers that the user has set: "NCHW", "NHWC", "tokens" or "vector".
    name : str
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int
    size: tuple[int, int]
    interpolation: str = "bilinear"
    channels: int = 3
    labels: tuple[str, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __call__(self, images: Tensor) -> Tensor:
        """Class scores (B, classes) of images (B, C, H, W) in [0, 1]."""
        if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] != self.channels:
            came = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"{self.name or 'the network'} takes images (B, {self.channels}, H, W) in [0, 1], not {came}")
        if not images.is_floating_point():
            raise TypeError(f"images are floating-point numbers in [0, 1], not {images.dtype}: image.float() / 255, or vizwidgets.image")
        with self.lock, evaluating(self.module):
            x = self._normalised(images)
            try:
                return self._scores(self._output(x), len(x))
            except (RuntimeError, AssertionError) as e:
                size = (images.shape[2], images.shape[3])
                if size == self.size or "memory" in str(e):
                    raise
                raise ValueError(
                    f"{self.name or 'the network'} cannot take images of {size[0]}×{size[1]} pixels, its own size is "
                    f"{self.size[0]}×{self.size[1]}: {e}"
                ) from e

    def _output(self, x: Tensor) -> Any:
        if x.shape[1] == 1 or _REFUSES_CHANNELS_LAST.get(self.module, False):
            return self.module(x.contiguous())
        try:
            return self.module(x.contiguous(memory_format=torch.channels_last))
        except RuntimeError as e:
            # A module that flattens by `.view` cannot take the faster memory layout.
            if "view size is not compatible" not in str(e):
                raise
            _REFUSES_CHANNELS_LAST[self.module] = True
            return self.module(x.contiguous())

    def _normalised(self, images: Tensor) -> Tensor:
        parameter = first_weight(self.module)
        if parameter is None:
            parameter = images
        x = images.to(parameter.device, parameter.dtype) if parameter.is_floating_point() else images
        if any(self.mean) or any(s != 1 for s in self.std):
            mean, std = self._statistics(x)
            x = (x - mean).div_(std)
        return x

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kind = (x.dtype, x.device)
        if kind not in self._converted:
            with torch.inference_mode(False):  # they are kept for passes with gradients too
                mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1).to(x.device, x.dtype) for v in (self.mean, self.std))
            self._converted[kind] = mean, std
        return self._converted[kind]

    @cached_property
    def _converted(self) -> dict[Any, tuple[Tensor, Tensor]]:
        return {}

    def _scores(self, output: Any, batch: int) -> Tensor:
        if isinstance(output, dict):
            named = next((output[k] for k in ("logits", "out") if isinstance(output.get(k), Tensor)), None)
            tensors = [v for v in output.values() if isinstance(v, Tensor)]
            if named is None and len(tensors) != 1:
                raise TypeError(
                    f"{self.name or 'the network'} returns a dict with {', '.join(map(repr, output))}; none is called "
                    "'logits' or 'out'. Wrap it in a module that returns the class scores"
                )
            output = tensors[0] if named is None else named
        scores = first_tensor(output)
        if scores is None:
            raise TypeError(f"{self.name or 'the network'} returns {type(output).__name__}, not class scores (B, classes)")
        if scores.dim() > 2:
            scores = scores.flatten(2).mean(2)  # class maps: one score per class
        if scores.shape == (batch,):
            scores = scores[:, None]
        if scores.dim() != 2 or len(scores) != batch:
            raise ValueError(
                f"{self.name or 'the network'} returns {tuple(scores.shape)} for {batch} images, not class scores (B, classes)"
            )
        return scores if scores.dtype == torch.float64 else scores.float()

    @cached_property
    def layers(self) -> LayerTable:
        """Name, kind, output shape, parameters and receptive field of every layer; see `Layer`."""
        with self.lock, evaluating(self.module), torch.inference_mode(False):
            # A module whose structure has changed since gets a table of its own.
            key = (self.size, self.channels, tuple(self.layouts.items()), _structure(self.module))
            tables = _TABLES.setdefault(self.module, {})
            if key not in tables:
                try:
                    tables[key] = layer_table(self.module, self.size, self.channels, self.layouts)
                except (ValueError, LookupError):
                    raise
                except Exception as e:
                    raise RuntimeError(
                        f"{self.name or 'the network'} failed on an image ({self.channels}, {self.size[0]}, {self.size[1]}): "
                        f"{type(e).__name__}: {e}. If the size is wrong: as_net(module, size=...)"
                    ) from e
            return tables[key]

    @property
    def lock(self) -> Any:
        """Held for the length of a pass, so that two threads never run the same module at once."""
        found = _LOCKS.get(self.module)
        if found is None:
            with _MAKE_LOCK:
                found = _LOCKS.setdefault(self.module, threading.RLock())
        return found

    def label(self, index: int) -> str:
        """The name of class `index`."""
        return self.labels[index] if 0 <= index < len(self.labels) else f"class {index}"

    @property
    def sha256(self) -> str:
        """Digest of all weights and buffers; worked out again when one of them has changed."""
        now = stamp(self.module)
        known = _DIGESTS.get(self.module)
        if known is None or known[0] != now:
            digest = hashlib.sha256()
            for key, value in self.module.state_dict().items():
                if isinstance(value, Tensor):
                    digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
                    digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            known = _DIGESTS[self.module] = (now, digest.hexdigest())
        return known[1]

    def __repr__(self) -> str:
        size = "×".join(map(str, dict.fromkeys(self.size))) if self.size[0] != self.size[1] else str(self.size[0])
        classes = f", {len(self.labels)} classes" if self.labels else ""
        plain = "" if any(self.mean) or any(s != 1 for s in self.std) else ", not normalised"
        return f"Net({self.name or type(self.module).__name__}, {self.channels}×{size} px{classes}{plain})"


def as_net(
    module: nn.Module | Net,
    *,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
    channels: int | None = None,
    labels: Iterable[str] | None = None,
    layouts: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Net:
    """A `Net` from one's own module. What is not given is looked up in the module or, for `size`, tried out.

    torchvision's classifiers are known by their module, timm's by their ``pretrained_cfg``: their normalisation is used,
    and of timm's also size and class names.
    Any other module without `mean` and `std` is fed the pixels in [0, 1] as they are. DataParallel and compiled modules
    are unwrapped.

    Parameters
    ----------
    module : torch.nn.Module or Net
    size : int or (height, width)
        Of the images it was trained with, in pixels.
    mean, std : float or one per channel
        In units of [0, 1] pixels.
    resize : int
        Length of the shorter side before the crop; by default 256/224 of `size` where it is cropped at all.
    interpolation : {"bilinear", "bicubic"}
    channels : int
        Of an image; by default what the first convolution takes.
    labels : iterable of str
        Class names.
    layouts : mapping of layer name to {"NCHW", "NHWC", "tokens", "vector"}
        For layers whose layout is not recognised.
    name : str

    Raises
    ------
    TypeError, ValueError
        For what is not a module and for impossible options.

    Examples
    --------
    >>> as_net(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(2704, 10)))
    Net(Sequential, 1×28 px, not normalised)
    """
    given: dict[str, Any] = {"size": size, "mean": mean, "std": std, "resize": resize, "interpolation": interpolation,
             "channels": channels, "labels": labels, "layouts": layouts, "name": name}  # fmt: skip
    if isinstance(module, Net):
        if all(v is None for v in given.values()):
            return module
        given = {k: getattr(module, k) if v is None else v for k, v in given.items()}
        if size is not None and resize is None:
            given["resize"] = None
        return as_net(module.module, **given)
    if isinstance(module, type):
        raise TypeError(f"{module.__name__} is a class; give an instance: {module.__name__}()")
    if not isinstance(module, nn.Module):
        raise TypeError(f"a network is a torch.nn.Module or what load() gives, not {type(module).__name__}")
    module = _unwrapped(module)
    cfg = _known_preprocessing(module)
    channels = channels if channels is not None else cfg.get("channels") or _first_channels(module)
    for what, value in (("channels", channels), ("resize", resize)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{what} is a whole number from 1, not {value!r}")
    if isinstance(labels, str):
        raise TypeError(f"labels are class names, one each: ['rose', ...], not the text {labels!r}")
    if interpolation not in (None, "bilinear", "bicubic"):
        raise ValueError(f"interpolation: {unknown('interpolation', interpolation, ('bilinear', 'bicubic'))}")
    if size is not None:
        cfg.pop("resize", None)
    crop = _pair(size) if size is not None else cfg.get("size") or _tried_size(module, channels)
    return Net(
        module,
        _per_channel("mean", mean if mean is not None else cfg.get("mean", 0.0), channels),
        _per_channel("std", std if std is not None else cfg.get("std", 1.0), channels),
        resize or cfg.get("resize") or round(min(crop) * 256 / 224),
        crop,
        interpolation or cfg.get("interpolation", "bilinear"),
        channels,
        tuple(map(str, cfg.get("labels", ()) if labels is None else labels)),
        dict(layouts or {}),
        name or type(module).__name__,
    )


def check_finite(module: nn.Module, what: str) -> None:
    """Refuse weights that are not finite, naming the first such tensor."""
    for key, value in module.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise ValueError(f"{what}: {bad} of the {value.numel()} numbers in {key!r} are NaN or infinite")


def _unwrapped(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module  # type: ignore[assignment]
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def _known_preprocessing(module: nn.Module) -> dict[str, Any]:
    # Recognised by name, so that neither library need be installed.
    cfg = getattr(module, "pretrained_cfg", None)
    if isinstance(cfg, dict) and "mean" in cfg and "input_size" in cfg:
        c, h, w = cfg["input_size"]
        # timm leaves its entry as it is when a model is made for another size, or for other channels.
        h, w = getattr(getattr(module, "patch_embed", None), "img_size", None) or (h, w)
        if _first_channels(module) != c:
            return {"size": (h, w)}
        interpolation = cfg.get("interpolation", "bilinear")
        return {"mean": cfg["mean"], "std": cfg["std"], "size": (h, w), "channels": c,
                "resize": round(min(h, w) / cfg.get("crop_pct", 1.0)), "labels": _timm_labels(module, cfg),
                "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bilinear"}  # fmt: skip
    if type(module).__module__.startswith("torchvision.models.") and _first_channels(module) == 3:
        return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return {}


def _timm_labels(module: nn.Module, cfg: Mapping[str, Any]) -> Sequence[str]:
    """Class names of timm's own weights, unless the module has been made with other classes."""
    classes: Any = getattr(module, "num_classes", None)
    if classes != cfg.get("num_classes") or type(module).__module__.partition(".")[0] != "timm":
        return ()
    if cfg.get("label_names"):
        return cfg["label_names"]
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    if subset is None or not re.search(r"in\d+k", str(cfg.get("tag"))):
        return ()
    info = ImageNetInfo(subset)
    names = [info.index_to_description(i).partition(",")[0] for i in range(classes)]
    count = Counter(names)
    return [n if count[n] == 1 else f"{n} ({i})" for i, n in enumerate(names)]


def _first_channels(module: nn.Module) -> int:
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            return m.in_channels
        if isinstance(m, nn.Linear):
            for channels in (1, 3):
                if m.in_features % channels == 0 and isqrt(m.in_features // channels) ** 2 * channels == m.in_features:
                    return channels
    return 3


def _tried_size(module: nn.Module, channels: int) -> tuple[int, int]:
    if module in _SIZES:
        return _SIZES[module]
    with evaluating(module), torch.no_grad():
        parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        linear = next((m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))), None)
        flat = [isqrt(linear.in_features // channels)] if isinstance(linear, nn.Linear) else []
        errors = []
        for side in (*flat, *_USUAL_SIZES):
            try:
                module(torch.full((1, channels, side, side), 0.5, device=parameter.device, dtype=parameter.dtype))
            except Exception as e:
                errors.append(f"{type(e).__name__}: {e}")
            else:
                _SIZES[module] = (side, side)
                return side, side
    raise ValueError(
        f"{type(module).__name__} takes no image of a usual size ({', '.join(map(str, _USUAL_SIZES))} px); "
        f"give as_net(module, size=...). At 224 px it failed with {errors[len(flat)]}"
    )


def _structure(module: nn.Module) -> int:
    return hash(tuple(
        (n, type(m), getattr(m, "inplace", None), *(p.shape for p in m._parameters.values() if p is not None))
        for n, m in module.named_modules()
    ))  # fmt: skip


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or any(not isinstance(s, int) or isinstance(s, bool) or s < 1 for s in pair):
        raise ValueError(f"size is a number of pixels or (height, width), not {size!r}")
    return pair


def _per_channel(what: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    values = (float(value),) * channels if isinstance(value, (int, float)) else tuple(map(float, value))
    if len(values) != channels:
        raise ValueError(f"{what} has {len(values)} numbers for {channels} channels")
    if not all(isfinite(v) and (v > 0 or what == "mean") for v in values):
        raise ValueError(f"{what} must be {'positive' if what == 'std' else 'finite'}, not {value!r}")
    return values
