"""NeighborGrid without a page: both rows against brute force, words against counts, queries from elsewhere, history, errors."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import deeper, until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.methods import embedding

N, CLASSES = 17, ["oak", "pine", "yew"]


@pytest.fixture(scope="module")
def net():
    return deeper()


@pytest.fixture(scope="module")
def images():
    return torch.rand(N, 3, 20, 20, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def kinds(images):
    return vw.image_set(images, labels=[i % 3 for i in range(N)], classes=CLASSES)


@pytest.fixture(scope="module")
def features(net, kinds):
    return vw.embed(net, kinds, "3").result()


@pytest.fixture(scope="module")
def pixels(net, kinds):
    return vw.embed(net, kinds, "input").result()


def settled(grid):
    assert grid.wait(10)
    assert grid.error == ""
    return grid.frame


def by_hand(vectors, query, k, metric, own=None):
    """Rows and distances of the nearest, one by one."""
    a, b = np.asarray(vectors, float), np.asarray(query, float)
    if metric == "l2":
        distances = np.array([np.sqrt(((v - b) ** 2).sum()) for v in a])
    else:
        distances = np.array([1 - (v @ b) / np.sqrt((v @ v) * (b @ b)) for v in a])
    order = [i for i in distances.argsort(kind="stable").tolist() if i != own][:k]
    return order, distances[order]


def agrees(row, rows, distances):
    assert [c["row"] for c in row["cards"]] == rows
    assert [c["distance"] for c in row["cards"]] == pytest.approx(distances, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_both_rows_are_the_nearest(net, images, features, pixels, metric):
    grid = vw.NeighborGrid(features, pixels=pixels, index=4, k=5, metric=metric)
    frame = settled(grid)
    with torch.no_grad():
        seen = net.module[:4](images).mean((2, 3))
    near, far = by_hand(seen, seen[4], 5, metric, own=4)
    agrees(frame["rows"][0], near, far)
    flat = images.flatten(1)      # smaller than 32×32: the pixels as they are
    close, distances = by_hand(flat, flat[4], 5, metric, own=4)
    agrees(frame["rows"][1], close, distances)
    both = set(near) & set(close)
    for row, rows in zip(frame["rows"], (near, close), strict=True):
        for card, i in zip(row["cards"], rows, strict=True):
            assert (card["source"], card["label"], card["same"], card["both"]) == (f"#{i}", CLASSES[i % 3], i % 3 == 1, i in both)
            shown = np.asarray(PILImage.open(io.BytesIO(card["data"])))
            assert shown.shape == (112, 112, 3) and abs(shown.mean() / 255 - images[i].mean().item()) < 0.02
    count, by_pixels = (sum(i % 3 == 1 for i in rows) for rows in (near, close))
    pictures = {0: "no picture is", 1: "1 picture is"}.get(len(both), f"{len(both)} pictures are")
    assert frame["says"] == f"{count} of 5 share its class; by pixels {by_pixels} of 5; {pictures} in both rows"
    assert (frame["query"]["source"], frame["query"]["label"], frame["query"]["note"]) == ("#4", "pine", "")
    assert grid.index == 4 and torch.equal(grid.image.pixels[0], images[4])
    assert repr(grid) == "NeighborGrid(3, 5 nearest to #4)"


def test_pictures_in_both_rows_are_counted(images):
    vectors = torch.arange(6.0)[:, None]
    one = vw.Features(vectors, images=images[:6], labels=[0, 0, 1, 1, 0, 0])
    other = vw.Features(torch.tensor([0.0, 9, 1, 8, 7, 2])[:, None], images=images[:6])
    grid = vw.NeighborGrid(one, pixels=other, k=3, metric="l2")
    assert settled(grid)["says"] == "1 of 3 share its class; 1 picture is in both rows"
    assert [[c["row"] for c in r["cards"]] for r in grid.frame["rows"]] == [[1, 2, 3], [2, 5, 4]]
    assert [c["both"] for r in grid.frame["rows"] for c in r["cards"]] == [False, True, False, True, False, False]
    grid.k = 5
    assert settled(grid)["says"] == "3 of 5 share its class; 5 pictures are in both rows"
    grid.k = 1
    assert settled(grid)["says"] == "1 of 1 share its class; no picture is in both rows"


def test_a_click_asks_for_the_neighbour_and_back_goes_back(images, features, pixels):
    grid = vw.NeighborGrid(features, pixels=pixels)
    wire = Wire(grid)
    asked = [0]
    for place in (0, 3):
        asked.append(settled(grid)["rows"][place > 0]["cards"][place]["row"])
        wire.receive({"cmd": "select", "row": asked[-1]})
        assert settled(grid)["query"]["source"] == f"#{asked[-1]}" and grid.index == asked[-1]
        assert torch.equal(grid.image.pixels[0], images[asked[-1]])
    assert grid.depth == 2
    for row in (asked[1], asked[0]):
        wire.receive({"cmd": "back"})
        assert settled(grid)["query"]["source"] == f"#{row}" and grid.index == row and torch.equal(grid.image.pixels[0], images[row])
    wire.receive({"cmd": "back"})
    assert (grid.depth, settled(grid)["query"]["source"]) == (0, "#0")
    wire.receive({"cmd": "select", "row": 0})
    assert grid.depth == 0, "it is the query already"
    wire.receive({"cmd": "select", "row": 99})
    assert grid.error == "rows go from 0 to 16; there is none 99" and grid.index == 0
    wire.receive({"cmd": "set", "name": "k", "value": 3})
    wire.receive({"cmd": "set", "name": "metric", "value": "l2"})
    assert [len(r["cards"]) for r in settled(grid)["rows"]] == [3, 3] and grid.metric == "l2"


def test_an_image_from_elsewhere(net, images, features, pixels):
    other = vw.Image(torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(9)), "mine.png")
    grid = vw.NeighborGrid(features, pixels=pixels, k=4, index=2)
    grid.image = other
    frame = settled(grid)
    with torch.no_grad():
        seen, own = net.module[:4](images).mean((2, 3)), net.module[:4](other.pixels).mean((2, 3))[0]
    near, far = by_hand(seen, own, 4, "cosine")
    agrees(frame["rows"][0], near, far)
    close, distances = by_hand(images.flatten(1), other.pixels.flatten(), 4, "cosine")
    agrees(frame["rows"][1], close, distances)
    assert (grid.index, frame["query"]["source"], frame["query"]["note"]) == (None, "mine.png", "not of the set")
    assert {c["same"] for r in frame["rows"] for c in r["cards"]} == {None}
    counts = np.bincount([i % 3 for i in near])
    assert frame["says"].startswith(f"{counts.max()} of 4 are ") and CLASSES[int(counts.argmax())] in frame["says"]
    grid.back()
    assert settled(grid)["query"]["source"] == "#2" and grid.index == 2


def test_an_image_of_the_set_is_not_its_own_neighbour(images, features, pixels):
    grid = vw.NeighborGrid(features, pixels=pixels, image=vw.Image(images[7].clone(), "copy"))
    assert settled(grid)["query"]["source"] == "#7" and grid.index == 7 and grid.frame["query"]["label"] == "pine"
    assert 7 not in [c["row"] for r in grid.frame["rows"] for c in r["cards"]]
    grid.index = None
    assert settled(grid)["query"]["source"] == "#7"
    grid.image = vw.Image(images[3].clone())
    assert settled(grid)["query"]["source"] == "#3" and (grid.index, grid.depth) == (3, 1)


def test_linked_grids_follow_each_other(images, features, pixels):
    one, other = (vw.NeighborGrid(features, pixels=pixels) for _ in range(2))
    for name in ("index", "image", "k", "metric"):
        traitlets.link((one, name), (other, name))
    for row in (5, 11, 2):
        one.index = row
        assert [settled(g)["query"]["source"] for g in (one, other)] == [f"#{row}"] * 2
        assert other.wait(10) and one.wait(10) and one.index == other.index == row
    other.image = vw.Image(images[8].clone())
    for grid in (other, one):
        assert settled(grid)["query"]["source"] == "#8"
    assert one.index == other.index == 8 and (one.depth, other.depth) == (4, 4)


def test_pixels_are_read_while_it_is_shown(features, pixels, monkeypatch):
    gate, batches = threading.Semaphore(0), []

    def slow(net, images, layer):
        batches.append(len(images))
        gate.acquire()
        return embedding_vectors(net, images, layer)

    embedding_vectors = embedding.vectors_of
    monkeypatch.setattr(embedding, "vectors_of", slow)
    monkeypatch.setattr(embedding, "AT_ONCE", 8)
    monkeypatch.setattr("vizwidgets.widgets.neighbor_grid.PAUSE", 0)
    try:
        grid = vw.NeighborGrid(features)
        assert [len(r["cards"]) for r in grid.frame["rows"]] == [8, 0] and "pixels" not in grid.frame["says"]
        gate.release()
        until(lambda: grid.reading == "8 of 17 pictures read ..." and len(batches) == 2)
        grid.active = False
        gate.release()
        assert grid.wait(10) and grid.found_by_pixels is None and len(batches) == 2
        gate.release(10)
        grid.active = True
        assert [len(r["cards"]) for r in settled(grid)["rows"]] == [8, 8] and grid.reading == ""
        assert grid.frame["rows"][1] == settled(vw.NeighborGrid(features, pixels=pixels))["rows"][1]
        grid.k = 3
        assert len(settled(grid)["rows"][1]["cards"]) == 3 and batches == [8, 8, 1], "each is read once"
    finally:
        gate.release(1000)


def test_other_features_of_the_same_images(net, kinds, features, pixels, images):
    grid = vw.NeighborGrid(features, pixels=pixels, index=6)
    grid.features = vw.embed(net, kinds, "1").result()
    assert settled(grid)["query"]["source"] == "#6" and grid.frame["rows"][0]["how"] == "by layer 1"
    assert [c["row"] for c in grid.frame["rows"][1]["cards"]] == by_hand(images.flatten(1), images[6].flatten(), 8, "cosine", own=6)[0]
    grid.pixels = False
    assert len(settled(grid)["rows"]) == 1 and grid.frame["says"].endswith("share its class")
    grid.features = None
    assert grid.wait(10) and grid.frame == {}


def test_pixels_of_other_images_are_refused(net, features, images):
    with pytest.raises(ValueError, match="of other images"):
        vw.NeighborGrid(features, pixels=vw.embed(net, images[:9], "input").result())


def test_unreadable_images_and_odd_names(net, tmp_path, images):
    names = ["0 \"quoted\".png", "1 <script>.png", "2 two\nlines.png", "3 plain.png"]
    for i, name in enumerate(names):
        vw.Image(images[i]).picture().save(tmp_path / name)
    (tmp_path / "1 a broken.png").write_bytes(b"nothing")
    grid = vw.NeighborGrid(vw.embed(net, tmp_path).result(), index=3)
    frame = settled(grid)
    assert frame["query"]["source"] == names[3] and frame["query"]["label"] is None
    assert [{c["source"] for c in r["cards"]} for r in frame["rows"]] == [set(names[:3])] * 2
    assert frame["says"] == "3 pictures are in both rows", "k is as large as it can be"
    picked = next(c["row"] for c in frame["rows"][0]["cards"] if c["source"] == names[1])
    grid.index = picked
    assert settled(grid)["query"]["source"] == names[1] and grid.image.source == names[1]
    (tmp_path / names[2]).unlink()
    grid.index = next(c["row"] for c in grid.frame["rows"][0]["cards"] if c["source"] == names[2])
    frame = settled(grid)
    assert frame["query"]["source"] == names[2] and "no image" in frame["query"]["lost"] and len(frame["rows"][0]["cards"]) == 3
    assert grid.image.source == names[1], "the last one that could be opened"
    grid.index = 0
    assert settled(grid)["query"]["source"] == names[0]


def test_a_set_of_one_and_features_without_images(net, images):
    alone = vw.NeighborGrid(vw.embed(net, images[:1]).result())
    frame = settled(alone)
    assert frame["says"] == "The set has no other picture to compare it with." and [r["cards"] for r in frame["rows"]] == [[], []]
    assert alone.still() is not None
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    bare = vw.NeighborGrid(vw.Features(vectors), k=4)
    frame = settled(bare)
    assert [c["row"] for c in frame["rows"][0]["cards"]] == by_hand(vectors, vectors[0], 4, "cosine", own=0)[0]
    assert frame["rows"][0]["cards"][0]["source"].startswith("#") and "data" not in frame["rows"][0]["cards"][0]
    assert frame["says"] == "" and bare.still() is not None and bare.image is None
    bare.image = vw.Image(images[0])
    assert bare.wait(10) and "no network" in bare.error
    bare.index = 3
    assert settled(bare)["query"]["source"] == "#3"
    empty = vw.NeighborGrid()
    assert (empty.frame, repr(empty), empty.still()) == ({}, "NeighborGrid()", None)


def test_wrong_use(features):
    for wrong in (3, [1, 2], torch.rand(3, 4)):
        with pytest.raises(TypeError, match="embed"):
            vw.NeighborGrid(wrong)
        with pytest.raises(TypeError, match="pixels are Features"):
            vw.NeighborGrid(features, pixels=wrong)
    with pytest.raises(TypeError, match="by .result"):
        vw.NeighborGrid(vw.embed(features.net, features.images))
    with pytest.raises(IndexError, match="0 to 16"):
        vw.NeighborGrid(features, index=17)
    with pytest.raises(TypeError, match="metric"):
        vw.NeighborGrid(features, metrics="l2")
    with pytest.raises(traitlets.TraitError):
        vw.NeighborGrid(features, metric="l1")


def test_in_a_notebook(features, pixels):
    grid = vw.NeighborGrid(features, pixels=pixels, k=3)
    data, _ = grid._repr_mimebundle_()
    assert data["text/plain"] == repr(grid) == "NeighborGrid(3, 3 nearest to #0)"
    assert min(PILImage.open(io.BytesIO(data["image/png"])).size) > 200
    wire = Wire(grid)
    grid.index = 5
    settled(grid)
    assert 5_000 < wire.size < 200_000


def test_the_newest_query_wins(features, pixels, images, monkeypatch):
    gate, begun, made = threading.Semaphore(0), [], embedding.vectors_of

    def slow(net, pixels, layer):
        begun.append(layer)
        gate.acquire()
        return made(net, pixels, layer)

    grid = vw.NeighborGrid(features, pixels=pixels)
    monkeypatch.setattr(embedding, "vectors_of", slow)
    try:
        grid.image = vw.Image(torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(9)), "mine")
        until(lambda: begun)
        grid.index = 9      # while the image passes through the network
    finally:
        gate.release(100)
    assert settled(grid)["query"]["source"] == "#9" and grid.index == 9 and torch.equal(grid.image.pixels[0], images[9])
