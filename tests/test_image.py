"""Images as users bring them, against pixels worked out by hand and torchvision's own transforms."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import net
from PIL import Image as PILImage
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, Swin_T_Weights

import vizwidgets as vw

# Three rows of two colours: no turn or mirroring leaves it as it is.
COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]], [[255, 0, 255], [90, 60, 30]]], np.uint8)
EXPECTED = torch.from_numpy(COLOURS / 255).float().permute(2, 0, 1)[None]


def file_of(picture: PILImage.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def notes(x: Tensor) -> tuple[str, ...]:
    return x.notes


def plain(channels: int, size: int | tuple[int, int], **options: object) -> vw.Net:
    return vw.as_net(nn.Conv2d(channels, 2, 1), size=size, **options)


def test_every_kind_of_source(tmp_path: Path) -> None:
    path = tmp_path / "colours.png"
    path.write_bytes(file_of(PILImage.fromarray(COLOURS)))
    numbers = torch.from_numpy(COLOURS)
    sources = {
        "path": path, "str": str(path), "bytes": path.read_bytes(), "bytearray": bytearray(path.read_bytes()),
        "PIL": PILImage.fromarray(COLOURS), "lazy PIL": PILImage.open(path), "array": COLOURS, "float array": COLOURS / 255,
        "float32 array": (COLOURS / 255).astype(np.float32), "channels first": COLOURS.transpose(2, 0, 1),
        "big-endian": (COLOURS.astype(">u2") * 257), "mirrored twice": COLOURS[::-1][::-1], "int64": COLOURS.astype(int),
        "16 bit": COLOURS.astype(np.uint16) * 257, "tensor": numbers.permute(2, 0, 1),
        "batch of one": numbers.permute(2, 0, 1)[None], "float tensor": numbers.permute(2, 0, 1) / 255,
        "with gradient": (numbers.permute(2, 0, 1) / 255).requires_grad_(), "uint16 tensor": numbers.permute(2, 0, 1).int().mul(257).to(torch.uint16),
    }  # fmt: skip
    for name, source in sources.items():
        x = vw.image(source)
        assert x.shape == (1, 3, 3, 2), name
        assert not x.requires_grad
        torch.testing.assert_close(x.float(), EXPECTED, atol=1e-6, rtol=0, msg=name)
    assert vw.image(path).source == "colours.png"
    assert vw.image(sources["lazy PIL"]).source == "colours.png"
    assert vw.image(COLOURS).source == "array"
    assert notes(vw.image(path)) == ()
    assert vw.image(torch.rand(5, 4, 3)).shape == (1, 3, 5, 4)  # channels last, where it cannot be otherwise


# How an upright picture is stored under each value of the tag (Exif 2.3, 4.6.4 A): row 0, column 0 of what is stored is ...
STORED = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    large = COLOURS.repeat(16, 0).repeat(16, 1)
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    stored = STORED.get(orientation, STORED[1])(large)
    options = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {}
    data = file_of(PILImage.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    for source in (data, PILImage.open(io.BytesIO(data))):
        x = vw.image(source)
        assert x.shape == (1, 3, 48, 32)
        torch.testing.assert_close(x[:, :, 8::16, 8::16], EXPECTED, atol=0.03, rtol=0)
        assert notes(x) == (("turned upright (EXIF)",) if 2 <= orientation <= 8 else ())


def test_alpha_goes_on_white() -> None:
    alpha = np.array([[255, 0], [128, 255], [255, 51]], np.uint8)
    rgba = np.dstack([COLOURS, alpha])
    a = torch.from_numpy(alpha / 255).float()
    expected = EXPECTED * a + 1 - a
    for source in (PILImage.fromarray(rgba), file_of(PILImage.fromarray(rgba)), rgba, torch.from_numpy(rgba).permute(2, 0, 1)):
        x = vw.image(source)
        torch.testing.assert_close(x.float(), expected, atol=0.004, rtol=0)
        assert notes(x) == ("transparent parts on white",)
    opaque = np.dstack([COLOURS, np.full_like(alpha, 255)])
    assert notes(vw.image(opaque)) == notes(vw.image(PILImage.fromarray(opaque))) == ()
    four = vw.image(rgba, plain(4, (3, 2)))
    assert torch.equal(four[0, 3], a)


def test_grey_with_alpha() -> None:
    la = PILImage.new("LA", (2, 1))
    la.putdata([(100, 255), (100, 0)])
    torch.testing.assert_close(vw.image(la)[0, :, 0], torch.tensor([[100 / 255, 1.0]]).expand(3, 2), atol=1e-3, rtol=0)
    grey = PILImage.fromarray(np.array([[100, 7]], np.uint8))
    keyed = file_of(grey, transparency=7)
    assert vw.image(keyed)[0, :, 0].T.tolist() == [pytest.approx([100 / 255] * 3), [1, 1, 1]]
    for mode in ("La", "RGBa"):
        x = vw.image(PILImage.new(mode, (2, 2)))
        assert x.shape[2:] == (2, 2)
        assert x.min() == 1


def test_palettes() -> None:
    palette = PILImage.fromarray(COLOURS).convert("P", palette=PILImage.Palette.ADAPTIVE)
    torch.testing.assert_close(vw.image(file_of(palette)), EXPECTED, atol=0.02, rtol=0)
    assert notes(vw.image(file_of(palette))) == ("palette to RGB",)
    picture = PILImage.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    x = vw.image(file_of(picture, transparency=0))
    assert x[0, :, 0, 0].tolist() == [1, 1, 1]
    assert x[0, :, 0, 1].tolist() == pytest.approx([200 / 255, 100 / 255, 50 / 255])
    assert notes(x) == ("transparent parts on white",)


def test_grey_and_one_bit() -> None:
    grey = np.array([[0, 51], [102, 255]], np.uint8)
    x = vw.image(PILImage.fromarray(grey))
    assert x.shape == (1, 1, 2, 2)
    torch.testing.assert_close(x[0, 0], torch.from_numpy(grey / 255).float())
    assert notes(x) == ("grey",)
    bits = vw.image(file_of(PILImage.fromarray(grey > 60)))
    assert bits[0, 0].tolist() == [[0, 0], [1, 1]]
    assert vw.image(grey > 60)[0, 0].tolist() == [[0, 0], [1, 1]]
    assert vw.image(grey).shape == (1, 1, 2, 2)
    assert vw.image(grey[..., None]).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("top", [200, 255, 256, 65535])
def test_sixteen_bit(top: int) -> None:
    values = np.linspace(0, top, 12).astype(np.uint16).reshape(3, 4)
    expected = torch.from_numpy(values / 65535).float()
    for source in (file_of(PILImage.fromarray(values)), PILImage.fromarray(values), values, torch.from_numpy(values),
                   file_of(PILImage.fromarray(values), "tiff")):  # fmt: skip
        x = vw.image(source)
        torch.testing.assert_close(x[0, 0], expected, atol=1e-6, rtol=0)
        assert "16 bit" in notes(x)


def test_cmyk_and_other_modes() -> None:
    cmyk = PILImage.fromarray(COLOURS.repeat(16, 0).repeat(16, 1)).convert("CMYK")
    for kind in ("jpeg", "tiff"):
        options = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {}
        x = vw.image(file_of(cmyk, kind, **options))
        torch.testing.assert_close(x[:, :, 8::16, 8::16], EXPECTED, atol=0.03, rtol=0)
        assert notes(x) == ("CMYK to RGB",)
    hsv = vw.image(PILImage.fromarray(COLOURS).convert("HSV"))
    torch.testing.assert_close(hsv, EXPECTED, atol=0.03, rtol=0)
    floats = PILImage.fromarray(np.array([[0, 0.5]], np.float32))
    assert vw.image(floats)[0, 0].tolist() == [[0, 0.5]]
    with pytest.raises(ValueError, match="NaN"):
        vw.image(PILImage.fromarray(np.array([[np.nan, 0.5]], np.float32)))


def test_the_first_of_several_frames() -> None:
    frames = [PILImage.new("RGB", (4, 4), c) for c in ("red", "blue", "lime")]
    data = file_of(frames[0], "gif", save_all=True, append_images=frames[1:])
    x = vw.image(data)
    assert x[0, :, 0, 0].tolist() == [1, 0, 0]
    assert "first of 3 frames" in notes(x)


@pytest.mark.parametrize(("source", "message"), [
    (np.array([[0.0, 1.5]]), r"in \[0, 1\]; this one goes from 0 to 1\.5"),
    (np.array([[-0.1, 1.0]]), r"goes from -0\.1 to 1"),
    (np.array([[np.nan, 1.0]]), "NaN or infinite"),
    (torch.tensor([[0.5, torch.inf]]), "NaN or infinite"),
    (np.array([[-3, 4]]), "from -3 to 4"),
    (np.array([[0, 70000]]), "from 0 to 70000"),
    (np.zeros((2, 3, 8, 8)), r"not \(2, 3, 8, 8\)"),
    (np.zeros(5), r"not \(5,\)"),
    (np.zeros((0, 4)), r"not \(0, 4\)"),
    (b"", "0 bytes"),
    (b"plain text, no picture at all", r"not an image of a known format \(29 bytes, starting b'plain te'\)"),
])  # fmt: skip
def test_bad_values(source: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vw.image(source)


@pytest.mark.parametrize("source", [3, None, {"a": 1}, np.array([["a"]]), np.array([[1j]]), torch.tensor([[1j]]),
                                    np.array([[None]], dtype=object)])  # fmt: skip
def test_what_is_no_image(source: object) -> None:
    with pytest.raises(TypeError, match="image"):
        vw.image(source)


def test_damaged_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for kind in ("png", "jpeg", "webp", "gif", "tiff", "bmp"):
        data = file_of(PILImage.fromarray(noise), kind)
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match=rf"cut\.{kind} is (a damaged image|not an image)"):
            vw.image(path)
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.jpg is empty: 0 bytes"):
        vw.image(tmp_path / "empty.jpg")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        vw.image(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no image 'cutt\.png'; did you mean 'cut\.png'"):
        vw.image(tmp_path / "cutt.png")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        vw.image(tmp_path / "nowhere" / "a.png")


def test_a_bomb_is_not_decoded() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (10_000, 50_000):  # past the limit where Pillow warns, and past the one where it refuses
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match="more than 89 million pixels and was not decoded"):
                vw.image(data)


def photo(height: int, width: int) -> np.ndarray:
    """Smooth, with detail: something a resize can get wrong."""
    y, x = np.mgrid[:height, :width]
    parts = [np.sin(x / 9 + c) + np.cos(y / 7 - c) + np.sin((x + y) / 31) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.3, (height, width, 3))
    return ((np.dstack(parts) + noise) * 35 + 128).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(300, 400), (640, 427), (224, 500), (100, 120), (256, 256), (225, 224), (255, 1200), (2100, 700),
                                  (333, 999)])  # fmt: skip
@pytest.mark.parametrize("weights", [ResNet18_Weights.IMAGENET1K_V1, Swin_T_Weights.IMAGENET1K_V1])
def test_prepared_as_torchvision_does(size: tuple[int, int], weights: object) -> None:
    preset = weights.transforms()
    array = photo(*size)
    of = plain(3, preset.crop_size[0], resize=preset.resize_size[0], interpolation=preset.interpolation.value)
    x = vw.image(array, of)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preset.mean, preset.std))
    expected = preset(PILImage.fromarray(array)) * std + mean
    assert x.shape[1:] == expected.shape
    # Their path rounds to bytes on the way; a crop off by one pixel would give about 0.05.
    assert (x[0] - expected).abs().mean() < 0.003


def test_what_was_done_is_said() -> None:
    of = plain(3, 64)
    x = vw.image(photo(300, 400), of)
    assert x.shape == (1, 3, 64, 64)
    assert notes(x) == ("resized 400×300 to 97×73", "cropped to 64×64")
    same = photo(64, 64)
    assert torch.equal(vw.image(same, of)[0], torch.from_numpy(same).permute(2, 0, 1) / 255)
    assert notes(vw.image(same, of)) == ()
    assert vw.image(photo(9, 9), of).shape == (1, 3, 64, 64)
    assert vw.image(photo(1, 1), of).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("size", [(30, 3000), (3000, 30), (1, 100_000), (64, 9000)])
def test_strips_show_their_middle(size: tuple[int, int]) -> None:
    h, w = size
    ramp = np.broadcast_to(np.linspace(0, 1, max(size))[:, None] if h > w else np.linspace(0, 1, w)[None], size)
    x = vw.image(np.ascontiguousarray(ramp), plain(1, 64))
    assert x.shape == (1, 1, 64, 64)
    assert abs(float(x.mean()) - 0.5) < 0.01


def test_a_net_whose_images_are_not_square() -> None:
    of = plain(3, (64, 96))
    for size in ((200, 200), (500, 100), (96, 64), (20, 30)):
        assert vw.image(photo(*size), of).shape == (1, 3, 64, 96)


def test_channels() -> None:
    one, five = net("one_channel"), net("five_channels")
    x = vw.image(COLOURS.repeat(14, 0).repeat(14, 1)[:28, :28], one)
    assert x.shape == (1, 1, 28, 28)
    assert x[0, 0, 0, 0] == pytest.approx(0.299, abs=1e-3)
    assert "colour to grey" in notes(x)
    grey = vw.image(np.full((40, 40), 128, np.uint8), plain(3, 32))
    assert grey.shape == (1, 3, 32, 32)
    assert "grey repeated in 3 channels" in notes(grey)
    spectra = np.random.default_rng(0).random((32, 32, 5))
    expected = torch.from_numpy(spectra).permute(2, 0, 1)
    assert torch.equal(vw.image(spectra, five)[0], expected)
    assert torch.equal(vw.image(spectra)[0], expected)
    assert torch.equal(vw.image(expected, five)[0], expected)
    for source, of in ((spectra, plain(3, 32)), (COLOURS, five), (np.zeros((32, 32, 2)), plain(3, 32))):
        with pytest.raises(ValueError, match="channels"):
            vw.image(source, of)


def test_sources_stay_as_they_are() -> None:
    array = photo(40, 40) / 255
    array.flags.writeable = False
    tensor = torch.rand(3, 32, 32)
    kept = array.copy(), tensor.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = vw.image(array)
    x.mul_(0)
    vw.image(tensor, plain(3, 24))
    assert np.array_equal(array, kept[0])
    assert torch.equal(tensor, kept[1])


def test_images_compare_by_their_pixels() -> None:
    a, b = vw.Image(torch.zeros(1, 3, 4, 4), "a"), vw.Image(torch.zeros(1, 3, 4, 4), "b")
    assert a == b
    assert hash(a) == hash(b)
    assert a != vw.Image(torch.zeros(1, 3, 2, 8))
    assert a != vw.Image(torch.full((1, 3, 4, 4), 0.1))
    assert a != 3
    assert repr(vw.Image(torch.zeros(1, 3, 4, 5), "a.png", ("grey",))) == "Image(a.png, 3×4×5; grey)"
    assert PILImage.open(io.BytesIO(a._repr_png_())).size == (4, 4)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_very_large_picture_is_read_smaller(kind: str) -> None:
    # 20 million pixels: left dark, right bright, a bright strip on top; lies on its side by EXIF.
    pixels = np.full((4000, 5000, 3), 40, np.uint8)
    pixels[:, 2500:] = 160
    pixels[:400] = 240
    exif = PILImage.Exif()
    exif[0x0112] = 6  # what is on top belongs to the right
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, kind, exif=exif, **({"compress_level": 1} if kind == "png" else {"quality": 95}))
    net = vw.as_net(torch.nn.Conv2d(3, 2, 1), size=64, resize=64)
    x = vw.image(file.getvalue(), net)
    reduced = "decoded at 625×500 instead of 5000×4000" if kind == "jpeg" else "averaged over 15×15 pixels"
    assert x.notes[:2] == ((reduced, "turned upright (EXIF)") if kind == "jpeg" else ("turned upright (EXIF)", reduced))
    assert x.shape == (1, 3, 64, 64)
    # As if the whole picture had been resized; in the middle of the parts, and on average.
    whole = torch.from_numpy(np.rot90(pixels, -1).copy()).permute(2, 0, 1)[None].float() / 255
    expected = torch.nn.functional.interpolate(whole, (80, 64), mode="bilinear", antialias=True)[:, :, 8:72]
    assert (x - expected).abs().mean() < 0.005
    small = vw.image(PILImage.fromarray(pixels[::2, ::2]), net)
    assert all(note.startswith(("resized", "cropped")) for note in small.notes)


def test_a_large_jpeg_needs_a_network() -> None:
    file = io.BytesIO()
    PILImage.new("L", (10_000, 9_000), 100).save(file, "jpeg", quality=50)
    with pytest.raises(ValueError, match=r"was not decoded; .*a large JPEG can be read with a network: image\(path, net\)"):
        vw.image(file.getvalue())
    x = vw.image(file.getvalue(), vw.as_net(torch.nn.Conv2d(1, 2, 1), size=32))
    assert x.notes[0] == "decoded at 1250×1125 instead of 10000×9000"
    torch.testing.assert_close(x, torch.full((1, 1, 32, 32), 100 / 255))


def test_an_image_of_one_picture_without_a_batch():
    x = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0))
    assert vw.Image(x, "a rose").pixels.shape == (1, 3, 8, 9)
    assert vw.Image(x) == vw.Image(x[None])
