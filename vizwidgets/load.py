"""Networks and images by name or file: the one place that knows torchvision, the bundled networks and weight files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vizwidgets import models as bundled
from vizwidgets.core.errors import unknown
from vizwidgets.core.image import open_image
from vizwidgets.core.net import Net, as_net, check_finite


def load(name: str, *, weights: str | Path | None = None, labels: Iterable[str] | None = None) -> Net:
    """A network by name, ready to look into.

    Parameters
    ----------
    name : str
        A bundled network ("flowers"; works offline) or any torchvision classifier ("resnet50", "vit_b_16", ...), which
        comes with its own weights, preprocessing and class names. Those weights are downloaded once, with progress.
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
    from torchvision import models as tv

    builders = tv.list_models(module=tv)
    if name not in builders:
        raise LookupError(unknown("network", name, [*bundled.NAMES, *builders]))
    about = _published(tv, name, weights)
    state = _downloaded(about) if weights is None else _read_state(Path(weights))
    module = _built(tv, name, about, state, Path(weights).name if weights else "the downloaded weights")
    check_finite(module, str(weights or name))
    preset = about.transforms()
    categories = about.meta["categories"]
    classes = len(next(reversed(module.state_dict().values())))
    if labels is None:
        labels = categories if classes == len(categories) else ()
    labels = tuple(labels)
    if labels and len(labels) != classes:
        raise ValueError(f"{len(labels)} labels for the {classes} classes of {weights or name}")
    return as_net(module, size=preset.crop_size[0], resize=preset.resize_size[0], mean=preset.mean, std=preset.std,
                  interpolation=preset.interpolation.value,
                  labels=labels, name=name)  # fmt: skip


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
    file, folder = about.url.rpartition("/")[2], Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return about.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as e:
        if (folder / file).is_file():
            raise ValueError(f"{folder / file} is damaged; delete it, and it is fetched again ({_first_line(e)})") from e
        if not isinstance(e, OSError):  # URLError is one
            raise
        raise ConnectionError(
            f"the weights cannot be downloaded ({e}). Fetch {about.url} where there is a network, and put it to "
            f"{folder / file}, or give it: load(..., weights={file!r})"
        ) from e


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {str(path)!r}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty: 0 bytes")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        hint = "" if path.suffix == ".safetensors" else (
            " Only tensors are read, never pickled code: save model.state_dict(), not the model."
        )  # fmt: skip
        raise ValueError(f"{path.name} is not a readable weights file: {_first_line(e)}.{hint}") from e
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path.name} holds no state dict (layer names with tensors)")
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in state.items()}


def _first_line(e: Exception) -> str:
    return (str(e) or type(e).__name__).splitlines()[0].rstrip(". ")


def _built(tv: Any, name: str, about: Any, state: dict[str, Tensor], source: str) -> nn.Module:
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # What their builders set for these weights: input as in their training, and the training heads in the file.
        options = {"transform_input": True, "init_weights": False, "aux_logits": any(k.startswith(("aux", "AuxL")) for k in state)}
    if name.startswith("vit_"):
        options["image_size"] = about.meta["min_size"][0]
    with torch.random.fork_rng(devices=[]):
        module = tv.get_model(name, weights=None, **options)
        last, value = next(reversed(module.state_dict().items()))
        if last in state and state[last].shape[1:] == value.shape[1:] and len(state[last]) != len(value):
            module = tv.get_model(name, weights=None, num_classes=len(state[last]), **options)  # weights of one's own classes
    own = module.state_dict()
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    other = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or extra or other:
        shown = "".join(
            f"; {len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (("missing", missing), ("not in it", extra), ("of another shape", other))
            if keys
        )
        raise ValueError(f"{source} does not belong to {name}: of its {len(own)} tensors{shown}")
    module.load_state_dict(state)
    return module.eval()
