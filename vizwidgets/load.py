"""Networks and images by name: the one place that knows torchvision, timm and the bundled networks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vizwidgets import models as bundled
from vizwidgets.core.errors import unknown
from vizwidgets.core.image import open_image
from vizwidgets.core.net import Net, as_net, check_finite
from vizwidgets.weights import class_names, fetched, first_line, fitted, read_state, unreachable


def load(name: str, *, weights: str | Path | None = None, labels: Iterable[str] | None = None) -> Net:
    """A network by name, ready to look into.

    Parameters
    ----------
    name : str
        A bundled network ("flowers"; works offline) or any torchvision classifier ("resnet50", "vit_b_16", ...), which
        comes with its own weights, preprocessing and class names; or "timm/" and a model of timm, where that is
        installed: "timm/resnet18", "timm/resnet18.a1_in1k". Those weights are downloaded once, with progress.
    weights : path, optional
        A local file with the weights instead: ``.safetensors``, or a state dict saved by ``torch.save``. Nothing in it is
        ever executed.
    labels : iterable of str, optional
        Class names; by default those of the weights.

    Returns
    -------
    Net
        In evaluation mode, on the CPU.

    Raises
    ------
    LookupError
        For an unknown name; the nearest ones are listed.
    FileNotFoundError, ValueError
        For a weights file that is missing, damaged, of another architecture, not plain tensors, or not finite.
    ImportError
        For a model of timm where timm is not installed.
    ConnectionError
        When weights must be downloaded and cannot be; it says which file to put where.

    Examples
    --------
    >>> load("flowers")
    Net(flowers, 3×96 px, 12 classes)
    """
    if not isinstance(name, str):
        raise TypeError(f"load takes a name; for a module of your own use as_net(module). Got {type(name).__name__}")
    if name in bundled.NAMES:
        if weights is not None:
            raise ValueError(f"{name!r} is bundled with its weights; for others, load them into a module: as_net(module)")
        flowers, about = bundled.build(name)
        return as_net(flowers, size=about["size"], resize=about["size"], mean=about["mean"], std=about["std"],
                      labels=labels or about["labels"], name=name)  # fmt: skip
    if name.startswith("timm/"):
        return _timm(name, weights, labels)
    from torchvision import models as tv

    builders = tv.list_models(module=tv)
    if name not in builders:
        raise LookupError(unknown("network", name, [*bundled.NAMES, *builders]) + _also_in_timm(name))
    about = _published(tv, name, weights)
    state = _downloaded(about) if weights is None else read_state(Path(weights))
    source = Path(weights).name if weights else "the downloaded weights"
    module = fitted(_builder(tv, name, about, state), state, source, name)
    check_finite(module, str(weights or name))
    preset = about.transforms()
    return as_net(module, size=preset.crop_size[0], resize=preset.resize_size[0], mean=preset.mean, std=preset.std,
                  interpolation=preset.interpolation.value, name=name,
                  labels=class_names(module, tuple(about.meta["categories"]), labels, str(weights or name)))  # fmt: skip


def image(source: Any, net: Net | nn.Module | None = None) -> Tensor:
    """An image from nearly anything, as the network was trained to see it.

    Rotation by EXIF is applied, transparency is put on white, grey, 16-bit, CMYK and palette images are converted. With a
    network the picture is resized, cropped and given its number of channels.

    Parameters
    ----------
    source : path, bytes, PIL.Image, numpy array, or tensor
        Arrays are (H, W) or (H, W, C), tensors (H, W) or (C, H, W): integers from 0 to 255 (or 65535), or floats in
        [0, 1].
    net : Net or torch.nn.Module, optional

    Returns
    -------
    Tensor
        (1, C, H, W) in [0, 1]. Its attribute ``notes`` is a tuple that says what was done, ``source`` where it came from.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        For what is missing, empty, damaged, suspiciously large, or no image.

    Examples
    --------
    >>> x = image(vizwidgets.data.photograph("china"), load("flowers"))
    >>> x.shape, x.notes
    (torch.Size([1, 3, 96, 96]), ('resized 640×427 to 143×96', 'cropped to 96×96'))
    """
    opened = open_image(source, None if net is None else as_net(net))
    x = opened.pixels
    x.source, x.notes = opened.source, opened.notes  # type: ignore[attr-defined]
    return x


def _published(tv: Any, name: str, weights: str | Path | None) -> Any:
    """Torchvision's entry for these weights: that of the file's name if it is one of theirs, or else its default."""
    enum = tv.get_model_weights(name)
    if weights is not None:
        for entry in enum:
            if entry.url.rpartition("/")[2] == Path(weights).name:
                return entry
    return enum.DEFAULT


def _downloaded(about: Any) -> dict[str, Tensor]:
    path = Path(torch.hub.get_dir()) / "checkpoints" / about.url.rpartition("/")[2]
    try:
        return about.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as e:
        if path.is_file():
            raise ValueError(f"{path} is damaged; delete it, and it is fetched again ({first_line(e)})") from e
        if not isinstance(e, OSError):  # URLError is one
            raise
        raise unreachable(e, about.url, path) from e


def _builder(tv: Any, name: str, about: Any, state: dict[str, Tensor]) -> Callable[..., nn.Module]:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # What their builders set for these weights: input as in their training, and the training heads in the file.
        options = {"transform_input": True, "init_weights": False, "aux_logits": any(k.startswith(("aux", "AuxL")) for k in state)}
    if name.startswith("vit_"):
        options["image_size"] = about.meta["min_size"][0]
    return partial(tv.get_model, name, weights=None, **options)


def _timm(name: str, weights: str | Path | None, labels: Iterable[str] | None) -> Net:
    try:
        timm = importlib.import_module("timm")
    except ImportError as e:
        raise ImportError(f"{name!r} is a model of timm, which is not installed: pip install timm") from e
    model = name.removeprefix("timm/")
    # The tag behind the point says which training; timm takes any when it builds without weights.
    known = timm.list_models() if "." not in model else timm.list_models(pretrained=True)
    if model not in known:
        raise LookupError(unknown("network", name, [f"timm/{n}" for n in known]))
    if weights is not None:
        module = fitted(partial(timm.create_model, model), read_state(Path(weights)), Path(weights).name, name)
    else:
        path = _of_timm(timm.get_pretrained_cfg(model), name)
        try:
            state = read_state(path)
        except ValueError as e:
            raise ValueError(f"{path} is damaged; delete it, and it is fetched again ({e})") from e
        # timm itself puts published weights in, for it knows how some have to be renamed or cut.
        with torch.random.fork_rng(devices=[]):
            module = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"state_dict": state}).eval()
        module.pretrained_cfg.pop("state_dict")  # it would keep the weights a second time
    check_finite(module, str(weights or name))
    return as_net(module, name=name, labels=None if labels is None else class_names(module, (), labels, str(weights or name)))


def _of_timm(about: Any, name: str) -> Path:
    """The file with timm's weights: from the cache that timm itself uses, or downloaded."""
    repository = about and about.hf_hub_id
    if not repository:
        raise ValueError(
            f"there are no weights of {name} to download; give a file, load({name!r}, weights=...), or look at it untrained: "
            f"as_net(timm.create_model({name.removeprefix('timm/')!r}))"
        )
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    file = "model.safetensors"
    cached = try_to_load_from_cache(repository, file)
    return Path(cached) if isinstance(cached, str) else fetched(
        hf_hub_url(repository, file), repository.replace("/", "-") + ".safetensors"
    )  # fmt: skip


def _also_in_timm(name: str) -> str:
    try:
        found = importlib.import_module("timm").is_model(name)
    except ImportError:
        return ""
    return f" timm has one of this name: 'timm/{name}'" if found else ""
