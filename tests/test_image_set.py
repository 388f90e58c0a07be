"""Sets of images: what is found in folders, lists, tensors and data sets, and what is no image there."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder

import vizwidgets as vw

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
NASTY = ["quote's \".png", "new\nline.png", "<script>alert(1)<.png", "spa ce & ümläut.png", "# %41.png"]


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (12, 8)) -> PILImage.Image:
    return PILImage.new("RGB", size, colour)


def net(size: int = 16, channels: int = 3) -> vw.Net:
    return vw.as_net(nn.Conv2d(channels, 2, 1), size=size)


def put(folder: Path, *names: str, colour: tuple[int, ...] = RED) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        plain(colour).save(folder / name)
    return folder


def test_a_folder_is_taken_with_all_within_it_in_order_of_paths(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a.jpg", "deep/er/c.webp", "Z.PNG", ".hidden.png", ".folder/x.png")
    (tmp_path / "notes.txt").write_text("no image")
    images = vw.image_set(str(tmp_path))
    assert images.sources == ("Z.PNG", "a.jpg", "b.png", "deep/er/c.webp")
    assert images.folder == tmp_path
    assert (images.labels, images.classes, images.label_name(0)) == (None, (), None)
    assert isinstance(images[1], PILImage.Image)
    assert repr(images) == f"ImageSet(4 images of {tmp_path.name})"
    assert vw.image_set(images) is images


def test_folders_within_are_classes_if_all_images_lie_in_one(tmp_path: Path) -> None:
    put(tmp_path, "tulip/1.png", "rose/2.png", "rose/new/0.png")
    images = vw.image_set(tmp_path)
    theirs = ImageFolder(tmp_path)
    assert images.sources == ("rose/2.png", "rose/new/0.png", "tulip/1.png")
    assert images.classes == ("rose", "tulip") == tuple(theirs.classes)
    assert images.labels == (0, 0, 1) == tuple(theirs.targets)
    assert images.label_name(2) == "tulip"
    assert vw.image_set(theirs).labels == (0, 0, 1)
    put(tmp_path, "top.png")
    assert vw.image_set(tmp_path).labels is None


def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    put(tmp_path, *NASTY)
    images = vw.image_set(tmp_path)
    assert sorted(images.sources) == sorted(NASTY)
    assert all(images.image(i, net()).source == images.sources[i] for i in range(len(images)))
    odd = tmp_path / "bytes"
    odd.mkdir()
    plain().save(io.BytesIO(), "png")
    (odd / "x.png").write_bytes((tmp_path / NASTY[3]).read_bytes())
    (odd / "x.png").rename(Path(str(odd) + "/\udcff.png"))
    assert vw.image_set(odd).sources == ("?.png",)
    assert vw.image_set(odd)[0].size == (12, 8)


@pytest.mark.parametrize(("files", "said"), [((), "it is empty"), (("a.txt", "b.csv"), "of its 2 files none is one of .jpg")])
def test_a_folder_without_images(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(LookupError, match=said):
        vw.image_set(tmp_path)


def test_what_is_no_set(tmp_path: Path) -> None:
    put(tmp_path, "flowers/a.png")
    with pytest.raises(FileNotFoundError, match="did you mean 'flowers'"):
        vw.image_set(tmp_path / "flower")
    with pytest.raises(ValueError, match=r"a.png is a file; .* list of paths"):
        vw.image_set(tmp_path / "flowers" / "a.png")
    with pytest.raises(ValueError, match="this list is empty"):
        vw.image_set([])
    with pytest.raises(ValueError, match="this Tensor is empty"):
        vw.image_set(torch.rand(0, 3, 8, 8))
    with pytest.raises(ValueError, match=r"tensor \(N, C, H, W\).*not \(3, 8, 8\)"):
        vw.image_set(torch.rand(3, 8, 8))
    for one in (plain(), vw.Image(torch.rand(1, 3, 8, 8)), b"bytes"):
        with pytest.raises(TypeError, match="this is one image"):
            vw.image_set(one)
    with pytest.raises(TypeError, match=r"list\(...\) makes a list"):
        vw.image_set(plain() for _ in range(3))
    with pytest.raises(TypeError, match="loader.dataset"):
        vw.image_set(DataLoader(FakeData(4)))
    for other in (3, None, {"a": 1}, net()):
        with pytest.raises(TypeError, match="a set of images is a folder"):
            vw.image_set(other)


def test_lists_hold_anything_that_is_an_image(tmp_path: Path) -> None:
    put(tmp_path, "a.png", colour=BLUE)
    array = np.full((8, 12, 3), BLUE, np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 255
    images = vw.image_set([tmp_path / "a.png", plain(BLUE), array, tensor, vw.Image(tensor), (tmp_path / "a.png").read_bytes()])
    assert images.sources == ("a.png", "#1", "#2", "#3", "#4", "#5")
    for i in range(len(images)):
        assert torch.equal(images.image(i).pixels, tensor[None])
        assert images.image(i, net()).pixels.shape == (1, 3, 16, 16)
    assert vw.image_set([(plain(), 2), (plain(), 0)]).labels == (2, 0)
    with pytest.raises(IndexError):
        images[6]


def test_lists_of_paths_are_named_from_their_common_folder(tmp_path: Path) -> None:
    put(tmp_path, "a/x.png", "b/x.png")
    images = vw.image_set([tmp_path / "b" / "x.png", str(tmp_path / "a" / "x.png")])
    assert images.sources == ("b/x.png", "a/x.png")
    assert images.folder == tmp_path
    assert images.labels is None


def test_tensors_are_prepared_as_images_are() -> None:
    x = torch.rand(3, 3, 20, 24)
    images = vw.image_set(x)
    assert torch.equal(images[2], x[2])
    assert torch.equal(images.image(1, net(16)).pixels, vw.image(x[1], net(16)))
    whole = vw.image_set((x * 255).to(torch.uint8))
    assert torch.equal(whole.image(0).pixels, (x[:1] * 255).to(torch.uint8) / 255)
    assert torch.equal(vw.image_set(x.permute(0, 2, 3, 1).numpy()).image(1).pixels, x[1:2])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        vw.image_set(x * 3).image(0)


class Own:
    """A data set that knows its labels only by reading its items."""

    def __init__(self, labels: list[object]) -> None:
        self.given, self.read = labels, 0

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, i: int) -> tuple[Tensor, object]:
        self.read += 1
        if self.given[i] == "broken":
            raise RuntimeError("no such item")
        return torch.full((3, 8, 8), i / 10), self.given[i]


def test_data_sets_and_where_their_labels_are() -> None:
    flowers = vw.data.Flowers(n=24, seed=3, size=32)
    images = vw.image_set(flowers)
    assert images.labels == tuple(flowers.label(i) for i in range(24))
    assert images.label_name(5) == flowers.flower(5).name
    assert torch.equal(images.image(5).pixels[0], flowers[5][0])
    part = vw.image_set(Subset(flowers, [7, 2]))
    assert part.labels == (flowers.label(7), flowers.label(2))
    assert part.classes == flowers.classes
    own = Own([1, 0, 2])
    assert vw.image_set(own).labels_at_hand is None
    assert own.read == 0
    assert vw.image_set(own).labels == (1, 0, 2)
    assert vw.image_set(Own([1, "broken", 2])).labels == (1, -1, 2)
    assert vw.image_set(Own([1, "broken", 2])).label_name(1) is None
    assert vw.image_set(Own([None, None])).labels is None
    assert vw.image_set(Own([torch.rand(4), torch.rand(4)])).labels is None
    assert vw.image_set(TensorDataset(torch.rand(2, 3, 8, 8), torch.tensor([4, 1]))).labels == (4, 1)
    assert vw.image_set(FakeData(5, image_size=(3, 8, 8))).image(4).pixels.shape == (1, 3, 8, 8)


class Stream(IterableDataset):
    """Items in their order only."""

    def __init__(self, n: int) -> None:
        self.n, self.started = n, 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        self.started += 1
        return ((torch.full((3, 8, 8), i / self.n), i % 3) for i in range(self.n))


def test_a_stream_is_read_once_from_beginning_to_end() -> None:
    data = Stream(600)
    images = vw.image_set(data)
    assert [image.source for image in images.some(3)] == ["#0", "#1", "#2"] and data.started == 1, "which takes no pass through all"
    found = torch.cat([b.pixels for b in images.batches(net(8), 16, threads=4)])
    assert torch.allclose(found[:, 0, 0, 0], torch.arange(600) / 600)
    assert data.started == 1
    assert float(images[0].mean()) == 0
    assert images.labels == tuple(i % 3 for i in range(600))
    short = Stream(5)
    short.__class__ = type("Short", (Stream,), {"__len__": lambda self: 9})
    with pytest.raises(IndexError, match="ended after 5 items"):
        vw.image_set(short)[7]


def test_labels_given() -> None:
    x = torch.rand(3, 3, 8, 8)
    assert vw.image_set(x, labels=torch.tensor([2, 0, 1])).labels == (2, 0, 1)
    named = vw.image_set(x, labels=["b", "a", "b"])
    assert (named.labels, named.classes) == ((1, 0, 1), ("a", "b"))
    assert vw.image_set(x, labels=["b", "a", "b"], classes=["b", "a"]).labels == (0, 1, 0)
    assert vw.image_set(named, classes=["x", "y"]).label_name(0) == "y"
    assert vw.image_set(x, labels=[7, 0, 1]).label_name(0) == "7"
    for labels, said in (([1, 2], "2 labels for 3 images"), ([0, -1, 2], "whole numbers from 0"), ([0.5, 1, 2], "whole numbers")):
        with pytest.raises(ValueError, match=said):
            vw.image_set(x, labels=labels)
    with pytest.raises(ValueError, match="label 2 of 2 classes"):
        vw.image_set(x, labels=[0, 1, 2], classes=["a", "b"])
    with pytest.raises(LookupError, match="did you mean 'rose'"):
        vw.image_set(x, labels=["roze", "rose", "rose"], classes=["rose"])


def test_the_digest_tells_sets_apart(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    digest = vw.image_set(tmp_path).digest
    assert vw.image_set(tmp_path).digest == digest
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    renamed = vw.image_set(tmp_path).digest
    plain(GREEN, (100, 100)).save(tmp_path / "c.png")
    assert len({digest, renamed, vw.image_set(tmp_path).digest}) == 3
    x = torch.rand(40, 3, 4, 4)
    changed = x.clone()
    changed[17, 0, 0, 0] += 0.01
    assert vw.image_set(x).digest == vw.image_set(x.clone()).digest != vw.image_set(changed).digest
    sets = [vw.data.Flowers(n, seed=seed, size=16) for n, seed in ((20, 1), (20, 2), (21, 1))]
    assert len({vw.image_set(s).digest for s in sets}) == 3
    assert vw.image_set(sets[0]).digest == vw.image_set(vw.data.Flowers(20, seed=1, size=16)).digest


def bomb() -> bytes:
    """A PNG that claims 60,000 × 60,000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def as_bytes(picture: PILImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def two_colours(mode: str) -> PILImage.Image:
    """Left red, right blue."""
    picture = plain(RED, (40, 20))
    picture.paste(BLUE, (20, 0, 40, 20))
    return picture.convert(mode)


def awkward(folder: Path) -> Path:
    """Files that other programs write: each shows red on the left and blue on the right, but those called "grey"."""
    exif = PILImage.Exif()
    exif[0x0112] = 6
    turned = two_colours("RGB").rotate(90, expand=True)
    alpha = two_colours("RGBA").quantize(8)
    frames = [two_colours("P"), plain(GREEN, (40, 20)).convert("P")]
    files = {
        "animated.gif": as_bytes(frames[0], "gif", save_all=True, append_images=frames[1:]),
        "exif.jpg": as_bytes(turned, "jpeg", exif=exif, quality=95, subsampling=0),
        "cmyk.jpg": as_bytes(two_colours("CMYK"), "jpeg", quality=95, subsampling=0),
        "palette.png": as_bytes(alpha, "png", transparency=255), "grey16.png": as_bytes(PILImage.fromarray(np.full((20, 40), 40_000, np.uint16)), "png"),
        "<script>.png": as_bytes(two_colours("RGBA"), "png"),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def broken(folder: Path) -> dict[str, str]:
    """Files that are no images, with what is said of them."""
    jpeg = as_bytes(two_colours("RGB").resize((200, 100)), "jpeg")
    for name, data in {"zero.jpg": b"", "truncated.jpg": jpeg[: len(jpeg) // 2], "bomb.png": bomb(), "text.png": b"no image"}.items():
        (folder / name).write_bytes(data)
    return {"zero.jpg": "0 bytes", "truncated.jpg": "damaged", "bomb.png": "million pixels", "text.png": "known format"}


def test_awkward_files_are_read_and_broken_ones_skipped(tmp_path: Path) -> None:
    awkward(tmp_path)
    reasons = broken(tmp_path)
    images = vw.image_set(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = list(images.batches(net(20), 5, threads=2))
    assert [(b.first, b.last) for b in batches] == [(0, 5), (5, 10)]
    skipped = {images.sources[i]: reason for b in batches for i, reason in b.skipped}
    assert skipped.keys() == reasons.keys()
    assert all(said in skipped[name] for name, said in reasons.items())
    for batch in batches:
        assert len(batch.pixels) == len(batch.indices)
        for x, i in zip(batch.pixels, batch.indices, strict=True):
            assert torch.equal(x[None], images.image(i, net(20)).pixels)
            if "grey" in images.sources[i]:
                assert torch.allclose(x, torch.tensor(40_000 / 65535), atol=1e-3)
            else:
                assert torch.allclose(x[:, :, 0].mean(1), torch.tensor([1.0, 0, 0]), atol=0.06), images.sources[i]
                assert torch.allclose(x[:, :, -1].mean(1), torch.tensor([0.0, 0, 1]), atol=0.06), images.sources[i]
    for i, name in enumerate(images.sources):
        thumbnail = images.thumbnail(i, 32)
        assert thumbnail.mode == "RGB"
        if name in reasons:
            assert thumbnail.size == (32, 32)
            assert thumbnail.getextrema() == ((128, 128),) * 3
            with pytest.raises(ValueError, match=reasons[name]):
                images.image(i)
        else:
            assert thumbnail.size == (32, 16), name
            if "grey" not in name:
                assert np.abs(np.subtract(thumbnail.getpixel((2, 8)), RED)).max() < 25, name
                assert np.abs(np.subtract(thumbnail.getpixel((29, 8)), BLUE)).max() < 25, name


def test_threads_leave_the_filters_of_warnings_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = vw.image_set(put(tmp_path, *(f"{i}.png" for i in range(12))))
    given, pil_open = list(warnings.filters), PILImage.open

    def slow(*a: object) -> PILImage.Image:
        time.sleep(0.003)
        return pil_open(*a)

    monkeypatch.setattr(PILImage, "open", slow)
    assert [len(b.indices) for b in images.batches(net(), 4, threads=4)] == [4, 4, 4]
    assert warnings.filters == given


def test_a_batch_of_broken_files_only(tmp_path: Path) -> None:
    broken(tmp_path)
    put(tmp_path, "~last.png")
    batches = list(vw.image_set(tmp_path).batches(net(), 4))
    assert batches[0].pixels is None
    assert batches[0].indices == ()
    assert len(batches[0].skipped) == 4
    assert batches[1].pixels.shape == (1, 3, 16, 16)
    assert [b.first for b in vw.image_set(tmp_path).batches(net(), 2, first=2)] == [2, 4]


def test_thumbnails_are_kept_and_large_files_made_small_first(tmp_path: Path) -> None:
    plain(RED, (3000, 1500)).save(tmp_path / "large.jpg")
    images = vw.image_set(tmp_path)
    thumbnail = images.thumbnail(0, 48)
    assert thumbnail.size == (48, 24)
    assert images.thumbnail(-1, 48) is thumbnail
    assert images.thumbnail(0, 16).size == (16, 8)
    given = plain(BLUE, (400, 200))
    assert vw.image_set([given]).thumbnail(0).size == (64, 32)
    assert given.size == (400, 200)
    assert vw.image_set(torch.rand(1, 1, 4, 8)).thumbnail(0, 32).size == (32, 16)


def test_loading_ahead_is_bounded_and_ends_with_the_loop() -> None:
    own = Own(list(range(200)))
    batches = vw.image_set(own).batches(net(8), 4, threads=1)
    next(batches)
    batches.close()
    assert own.read <= 16
