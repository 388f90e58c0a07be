"""Images as users bring them, turned into tensors in [0, 1]; and `Image`, a picture that compares by its pixels."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import unknown
from .net import Net
from .picture import png, to_pixels

_OPENING = threading.Lock()  # filters of warnings belong to all threads: two that set and reset them would leave them changed
_LARGE = 16_000_000  # pixels; as numbers for a network a larger picture takes a gigabyte


@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """A picture ready for a network, with where it came from and what was done to it; equal by its pixels.

    Attributes
    ----------
    pixels : Tensor
        (1, C, H, W) in [0, 1], float32 (float64 stays); made from (C, H, W) too.
    source : str
        File name, or what kind of object it was.
    notes : tuple of str
        What was done on the way: "turned upright (EXIF)", "resized 4000×3000 to 128×96", ...
    """

    pixels: Tensor
    source: str = "tensor"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if isinstance(self.pixels, Tensor) and self.pixels.dim() == 3:
            object.__setattr__(self, "pixels", self.pixels[None])

    @cached_property
    def sha256(self) -> str:
        """Digest of shape and pixels."""
        data = self.pixels.detach().cpu().contiguous()
        return hashlib.sha256(f"{tuple(data.shape)}{data.dtype}".encode() + data.numpy().tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        """Whether the pixels are the same."""
        return isinstance(other, Image) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        """Of the pixels."""
        return hash(self.sha256)

    def __repr__(self) -> str:
        """Source, size and notes."""
        _, c, h, w = self.pixels.shape
        return f"Image({self.source}, {c}×{h}×{w}{''.join('; ' + n for n in self.notes)})"

    def picture(self) -> PILImage.Image:
        """The picture itself."""
        return PILImage.fromarray(to_pixels(self.pixels[0]))

    def _repr_png_(self) -> bytes:
        return png(self.picture())


def pixels(images: Any) -> Tensor:
    """The tensor (B, C, H, W) in an `Image` or tensor, or an error that says what was expected."""
    x = images.pixels if isinstance(images, Image) else images
    if not isinstance(x, Tensor):
        raise TypeError(
            f"images are a tensor (B, C, H, W) in [0, 1], not {type(x).__name__}; vizwidgets.image(source, net) makes one"
        )
    if x.dim() == 3:
        x = x[None]
    if x.dim() != 4 or 0 in x.shape:
        raise ValueError(f"images are a tensor (B, C, H, W), not {tuple(x.shape)}")
    return x if x.is_floating_point() else x.float() / 255


def finite_pixels(images: Any) -> Tensor:
    """`pixels`, or ValueError where one of them is no number."""
    x = pixels(images)
    if not isfinite(x.sum()):
        wrong = int((~x.isfinite()).any(1).sum())
        raise ValueError(f"pixels are numbers in [0, 1]; {wrong} of the image's are NaN or infinite")
    return x


def open_image(source: Any, net: Net | None = None, *, longest: int | None = None) -> Image:
    """`source` as an `Image`, prepared as `net` was trained; see `vizwidgets.image`, which gives its pixels.

    With `longest` it is whole, in the channels of `net`, and made smaller only if a side has more pixels than that.
    """
    if isinstance(source, Image) and longest is None:
        return source
    notes: list[str] = []
    enough = 4 * net.resize if net is not None and longest is None else longest and 2 * longest
    if isinstance(source, Image):
        name, x, notes = source.source, source.pixels, [*source.notes]
    elif isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        name, x = path.name, _from_pil(_opened(_read(path), path.name, enough, notes), notes, enough)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name, x = "bytes", _from_pil(_opened(bytes(source), "the bytes", enough, notes), notes, enough)
    elif isinstance(source, PILImage.Image):
        name, x = Path(getattr(source, "filename", "") or "picture").name, _from_pil(source, notes, enough)
    elif isinstance(source, np.ndarray):
        if source.dtype.kind not in "biuf":
            raise TypeError(f"an image array holds numbers or booleans, not {source.dtype}")
        native = np.array(source, dtype=source.dtype.newbyteorder("="), order="C")
        name, x = "array", _from_numbers(torch.from_numpy(native), notes, channels_last=True, net=net)
    elif isinstance(source, Tensor):
        if source.is_complex():
            raise TypeError(f"an image tensor holds numbers or booleans, not {source.dtype}")
        name, x = "tensor", _from_numbers(source.detach(), notes, channels_last=False, net=net)
    else:
        raise TypeError(f"an image is a path, bytes, PIL image, array or tensor, not {type(source).__name__}")
    if net is not None:
        x = _in_channels(x, net, notes)
        x = _prepared(x, net, notes) if longest is None else _whole(x, net, longest, notes)
    return Image(x, name, tuple(notes))


def read_picture(path: str | Path) -> PILImage.Image:
    """The picture in a file, as it is stored; the errors of `open_image`."""
    path = Path(path).expanduser()
    return _opened(_read(path), path.name, None, [])


def picture_in(file: Any) -> PILImage.Image:
    """What Pillow sees in a file without decoding it; of a suspicious size it says nothing yet."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", PILImage.DecompressionBombWarning)
        return PILImage.open(file)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not an image")
    if not path.exists():
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no image {str(path)!r}: there is no folder {str(path.parent)!r}")
        there = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in PILImage.registered_extensions())
        raise FileNotFoundError(f"{unknown('image', path.name, there)} (in {str(path.parent)!r})")
    return path.read_bytes()


def _opened(data: bytes, name: str, enough: int | None, notes: list[str]) -> PILImage.Image:
    if not data:
        raise ValueError(f"{name} is empty: 0 bytes")
    try:
        picture = picture_in(io.BytesIO(data))
        if enough and picture.width * picture.height > _LARGE:
            whole = picture.size
            picture.draft(None, (enough, enough))  # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size
            if picture.size != whole:
                notes.append(f"decoded at {picture.width}×{picture.height} instead of {whole[0]}×{whole[1]}")
        if PILImage.MAX_IMAGE_PIXELS and picture.width * picture.height > PILImage.MAX_IMAGE_PIXELS:
            raise PILImage.DecompressionBombError
        picture.load()
    except PILImage.DecompressionBombError as e:
        limit = (PILImage.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ValueError(
            f"{name} claims to have more than {limit:.0f} million pixels and was not decoded; scale it down first, or raise "
            f"PIL.Image.MAX_IMAGE_PIXELS if you trust it{'' if enough else ' (a large JPEG can be read with a network: image(path, net))'}"
        ) from e
    except UnidentifiedImageError:
        raise ValueError(f"{name} is not an image of a known format ({len(data):,} bytes, starting {data[:8]!r})") from None
    except Exception as e:  # decoders raise OSError, SyntaxError, struct.error and others
        raise ValueError(f"{name} is a damaged image: {e}") from e
    return picture


def _from_pil(picture: PILImage.Image, notes: list[str], enough: int | None) -> Tensor:
    # `enough` pixels along the shorter side will do: of a gigantic picture no more are made numbers of.
    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"first of {picture.n_frames} frames")  # type: ignore[attr-defined]
    if picture.getexif().get(0x0112) in range(2, 9):
        picture = ImageOps.exif_transpose(picture)
        notes.append("turned upright (EXIF)")
    block = min(picture.size) // enough if enough else 1
    if block > 1 and picture.width * picture.height > _LARGE and picture.mode in ("L", "RGB", "RGBA", "CMYK"):
        picture = picture.reduce(block)
        notes.append(f"averaged over {block}×{block} pixels")
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = torch.from_numpy(np.array(picture, dtype=np.float64))
        if not bool(torch.isfinite(values).all()):
            raise ValueError("the image has NaN or infinite values")
        if picture.mode == "F":
            top = 255.0 if values.max() > 1 else 1.0
        else:
            top = 65535.0 if picture.mode != "I" or values.max() > 255 else 255.0
        if top == 65535.0:
            notes.append("16 bit")
        notes.append("grey")
        return (values / top).float().clamp(0, 1)[None, None]
    if picture.mode in ("L", "1") and "transparency" not in picture.info:
        notes.append("grey")
        return _from_bytes(picture.convert("L"))[None, None]
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "La", "PA", "RGBa"):
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        if np.asarray(rgba)[..., 3].min() < 255:
            notes.append("transparent parts on white")
        picture = PILImage.alpha_composite(PILImage.new("RGBA", rgba.size, "white"), rgba)
    elif picture.mode != "RGB":
        notes.append(f"{'palette' if picture.mode == 'P' else picture.mode} to RGB")
    return _from_bytes(picture if picture.mode == "RGB" else picture.convert("RGB")).permute(2, 0, 1)[None]


def _from_bytes(picture: PILImage.Image) -> Tensor:
    # Of a camera's photograph each copy as numbers costs as much as decoding it.
    return torch.from_numpy(np.array(picture)).float().div_(255)


def _from_numbers(x: Tensor, notes: list[str], channels_last: bool, net: Net | None) -> Tensor:
    shape, known = tuple(x.shape), {1, 3, 4} | ({net.channels} if net else set())
    if x.dim() == 4 and x.shape[0] == 1:
        x = x[0]
    if x.dim() == 2:
        x = x[None]
    elif x.dim() == 3:
        last, first = x.shape[2] in known, x.shape[0] in known
        if not (first or last) and net is not None:
            raise ValueError(f"an image of {net.name} has {net.channels} channels; this has the shape {shape}")
        if (last or not first) if channels_last else (last and not first):
            x = x.permute(2, 0, 1)
    if x.dim() != 3 or 0 in x.shape:
        raise ValueError(f"an image is (H, W), (H, W, C) or (C, H, W), not {shape}")
    if x.dtype == torch.bool:
        x = x.float()
    elif not x.is_floating_point():
        values = x.double()
        top = 65535 if x.dtype == torch.uint16 or values.max() > 255 else 255
        if values.min() < 0 or values.max() > top:
            raise ValueError(f"whole-number images go from 0 to 255 or 65535; this one from {values.min():.0f} to {values.max():.0f}")
        if top == 65535:
            notes.append("16 bit")
        x = values.div(top).float()
    elif x.dtype != torch.float64:
        x = x.float()
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the image has NaN or infinite values")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"floating-point images are in [0, 1]; this one goes from {x.min():.3g} to {x.max():.3g}. "
            "Give uint8 for 0-255, and do not normalise: the network does that itself"
        )
    if x.shape[0] == 4 and (net is None or net.channels != 4):
        if x[3].min() < 1:
            notes.append("transparent parts on white")
        x = x[:3] * x[3:] + 1 - x[3:]
    return x[None].contiguous()


def _in_channels(x: Tensor, net: Net, notes: list[str]) -> Tensor:
    have, want = x.shape[1], net.channels
    if have != want:
        if have == 1:
            x = x.expand(-1, want, -1, -1)
            notes.append(f"grey repeated in {want} channels")
        elif want == 1 and have == 3:
            # ITU-R BT.601 luma, as PIL converts to grey.
            x = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
            notes.append("colour to grey")
        else:
            raise ValueError(f"{net.name} takes images of {want} channels; this one has {have}")
    return x


def _whole(x: Tensor, net: Net, longest: int, notes: list[str]) -> Tensor:
    h, w = x.shape[2:]
    if max(h, w) > longest:
        new = (max(1, round(h * longest / max(h, w))), max(1, round(w * longest / max(h, w))))
        x = F.interpolate(x, new, mode=net.interpolation, antialias=True, align_corners=False).clamp(0, 1)
        notes.append(f"resized {w}×{h} to {new[1]}×{new[0]}")
    return x.contiguous()


def _prepared(x: Tensor, net: Net, notes: list[str]) -> Tensor:
    h, w = x.shape[2:]
    if (h, w) == net.size:
        return x.contiguous()
    # What lies far outside the crop is not resized: a strip of pixels would become gigantic.
    longest = min(h, w) * 8 * ceil(max(net.size) / net.resize)
    if max(h, w) > longest:
        top, left = max(0, h - longest) // 2, max(0, w - longest) // 2
        x = x[:, :, top : h - top, left : w - left]
        notes.append(f"cut from {w}×{h} to {x.shape[3]}×{x.shape[2]}")
        h, w = x.shape[2:]
    new = tuple(max(s * net.resize // min(h, w), c) for s, c in zip((h, w), net.size, strict=True))
    if new != (h, w):
        # Decoded photographs are averaged over the area when made smaller, as in the networks' own training transforms.
        x = F.interpolate(x, new, mode=net.interpolation, antialias=True, align_corners=False).clamp(0, 1)
        notes.append(f"resized {w}×{h} to {new[1]}×{new[0]}")
    top, left = round((new[0] - net.size[0]) / 2), round((new[1] - net.size[1]) / 2)
    if new != net.size:
        notes.append(f"cropped to {net.size[1]}×{net.size[0]}")
    return x[:, :, top : top + net.size[0], left : left + net.size[1]].contiguous()
