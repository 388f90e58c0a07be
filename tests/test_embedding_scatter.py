"""EmbeddingScatter without a page: points on the wire, selections, links, a run that settles, what the page asks for, errors."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.optimize import Run
from vizwidgets.methods.scatter import COLOURS, SHAPES
from vizwidgets.widgets import embedding_scatter, scatter_view
from vizwidgets.widgets.worker import worker

COUNT, CLASSES = 60, ("ash", "<b>birch</b>", "cedar")


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.003)


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(COUNT) % 3
    vectors = torch.randn(COUNT, 8, generator=generator) + 4 * torch.eye(8)[labels]
    images = torch.rand(COUNT, 3, 1, 1, generator=generator) * torch.linspace(0.8, 1, 12)[:, None].expand(-1, 10)
    return vw.Features(vectors, labels=labels, classes=CLASSES, images=images, layer="pool")


@pytest.fixture
def embedding(features):
    return vw.pca(features)


@dataclass
class Settling:
    index: int
    points: torch.Tensor
    features: object
    scores: dict = field(default_factory=dict)
    phase: str = "settling"

    def picture(self):
        raise AssertionError("points are sent, not pictures")


def settling(features, count=6, gate=None, fail_at=None):
    def steps():
        for i in range(1, count + 1):
            if gate is not None and i > 1:
                gate.acquire()
            if i == fail_at:
                raise RuntimeError("the points ran away")
            points = torch.full((COUNT, 2), float(i)) + torch.arange(COUNT)[:, None] * torch.tensor([1.0, -2.0])
            yield Settling(i, points, features, {"KL": torch.tensor([7.0 / i])})

    return Run(steps(), count, lambda last: vw.pca(features).__class__(last.points, features, "t-SNE, perplexity 30"))


def points_of(data):
    return np.frombuffer(data, "<f4").reshape(-1, 2)


def test_an_embedding_is_one_buffer_of_points_and_one_of_classes(features, embedding):
    scatter = vw.EmbeddingScatter(embedding)
    assert scatter.wait(10)
    assert np.array_equal(points_of(scatter.player.frame), embedding.points.numpy())
    assert np.array_equal(np.frombuffer(scatter.player.groups, "<u2"), features.labels.numpy())
    about = scatter.player.about
    assert (about["count"], about["classes"], about["counts"]) == (COUNT, list(CLASSES), [20, 20, 20])
    assert (about["playable"], about["again"], about["pictures"]) == (False, False, True)
    assert repr(scatter) == "EmbeddingScatter(PCA of 60 images, 3 classes)"
    said = scatter.player.quality
    assert f"{embedding.trustworthiness:.2f}" in said and f"{round(100 * embedding.neighborhood_hit)} %" in said


def test_measures_that_take_long_wait_until_they_are_asked_for(embedding, monkeypatch):
    monkeypatch.setattr(scatter_view, "QUICK", 59)
    scatter = vw.EmbeddingScatter(embedding)
    assert scatter.wait(10) and scatter.player.quality == "" and "trustworthiness" not in vars(embedding)
    assert embedding.trustworthiness
    other = vw.EmbeddingScatter(embedding)
    assert other.wait(10) and other.player.quality.startswith("Trustworthiness")


def test_every_two_of_24_classes_differ(features):
    found = scatter_view.marks(24)
    assert len(set(found)) == 24
    assert {c for c, _ in found} == set(COLOURS) and {s for _, s in found} == set(SHAPES)
    # As people without one kind of cones see them (Machado, Oliveira, Fernandes 2009; severity 1), in linear RGB.
    blind = {
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for kind, matrix in blind.items():
        seen = (linear @ np.array(matrix).T).clip(0, 1)
        seen = seen @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]) / [0.9505, 1, 1.089]
        f = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(len(lab))
        assert distances.min() > 10, f"{kind}: two of the colours look alike"


def test_colours_by_something_else(features, embedding):
    scatter = vw.EmbeddingScatter(embedding, color=None)
    assert scatter.player.about["classes"] == [] and set(np.frombuffer(scatter.player.groups, "<u2")) == {65535}
    assert repr(scatter) == "EmbeddingScatter(PCA of 60 images)"
    scatter.color = ["late" if i < 40 else "early" for i in range(COUNT)]
    assert scatter.wait(10) and scatter.error == ""
    assert (scatter.player.about["classes"], scatter.player.about["counts"]) == (["early", "late"], [20, 40])
    assert list(np.frombuffer(scatter.player.groups, "<u2")) == [1] * 40 + [0] * 20
    scatter.color = torch.arange(COUNT) // 20
    assert scatter.wait(10)
    assert scatter.player.about["classes"] == ["class 0", "class 1", "class 2"]
    with pytest.raises(ValueError, match="each of the 60 rows, not 2"):
        vw.EmbeddingScatter(embedding, color=["a", "b"])
    with pytest.raises(LookupError, match="label"):
        vw.EmbeddingScatter(embedding, color="lable")


def test_the_page_picks_selects_and_hides(features, embedding):
    scatter = vw.EmbeddingScatter(embedding)
    wire = Wire(scatter.player)
    wire.receive({"cmd": "pick", "value": 7})
    assert scatter.wait(10) and scatter.index == 7
    assert torch.equal(scatter.image.pixels, features.images.image(7).pixels)
    rows = [9, 3, 58, 3]
    wire.receive({"cmd": "choose"}, np.array(rows, "<u4").tobytes())
    assert scatter.selection == (3, 9, 58) and scatter.wait(10)
    told = scatter.player.told
    assert told["count"] == 3 and told["classes"] == [("ash", 2), ("<b>birch</b>", 1)]
    found = vw.common_channels(features, (3, 9, 58))
    assert told["common"] == [(c, s) for c, s in found if s > 3 / 3**0.5] != found, "what may be chance is not said"
    scatter.selection = range(0, 60, 3)
    assert scatter.wait(10)
    assert [c for c, _ in scatter.player.told["common"]] == [0], "the channel that makes the class"
    scatter.selection = (3, 9, 58)
    assert list(np.frombuffer(scatter.player.chosen, "<u4")) == [3, 9, 58]
    wire.receive({"cmd": "hide", "value": [2, 0]})
    assert scatter.hidden == ("cedar", "ash") and scatter.player.hidden == [0, 2]
    wire.receive({"cmd": "pick", "value": -1})
    assert scatter.wait(10) and scatter.index is None and scatter.image is None and scatter.player.picked == -1
    assert scatter.error == ""


def test_a_channel_in_common_becomes_the_target(features, embedding):
    scatter = vw.EmbeddingScatter(embedding)
    assert scatter.player.told == {} and scatter._layer() == "", "these vectors are of no network"
    object.__setattr__(features, "net", vw.as_net(torch.nn.Conv2d(3, 8, 3), size=8))
    other = vw.EmbeddingScatter(embedding, selection=range(4))
    assert other.wait(10) and other.player.told["layer"] == "pool"
    Wire(other.player).receive({"cmd": "channel", "value": 5})
    assert other.target == vw.Channel("pool", 5)
    everything = vw.EmbeddingScatter(embedding, selection=range(COUNT))
    assert everything.wait(10) and everything.player.told["common"] == []


def test_thumbnails_and_names_are_sent_when_asked_for(features, embedding):
    scatter = vw.EmbeddingScatter(embedding)
    wire = Wire(scatter.player)
    wire.receive({"cmd": "look", "rows": [5, 41], "side": 24})
    assert scatter.wait(10)
    (message,) = wire.messages
    assert message == {"look": 24, "rows": [5, 41], "names": ["#5", "#41"]}
    (buffers,) = [b for d, b in wire.sent if d["method"] == "custom"]
    for row, data in zip((5, 41), buffers, strict=True):
        found = np.asarray(PILImage.open(io.BytesIO(data)), float)
        wanted = np.asarray(features.images.thumbnail(row, 24), float)
        assert found.shape == (24, 20, 3) and np.abs(found - wanted).mean() < 2
    bare = vw.EmbeddingScatter(vw.pca(vw.Features(features.vectors)))
    wire = Wire(bare.player)
    wire.receive({"cmd": "look", "rows": [2], "side": 24})
    assert bare.wait(10) and wire.messages == [{"look": 24, "rows": [2], "names": ["#2"]}] and wire.size == 0
    bare.index = 2
    assert bare.wait(10) and bare.image is None and bare.error == ""


def test_rows_are_those_of_the_features_not_of_the_set(features):
    left = torch.tensor([7, 2, 31])      # the others could not be read
    some = vw.Features(features.vectors[left], images=features.images, rows=left)
    scatter = vw.EmbeddingScatter(vw.Embedding(torch.rand(3, 2), some), index=2)
    wire = Wire(scatter.player)
    wire.receive({"cmd": "look", "rows": [0, 1, 2], "side": 24})
    assert scatter.wait(10) and wire.messages[0]["names"] == ["#7", "#2", "#31"]
    assert torch.equal(scatter.image.pixels, features.images.image(31).pixels)
    (buffers,) = [b for d, b in wire.sent if d["method"] == "custom"]
    found = np.asarray(PILImage.open(io.BytesIO(buffers[0])), float)
    assert np.abs(found - np.asarray(features.images.thumbnail(7, 24), float)).mean() < 2


def test_the_newest_wish_for_thumbnails_wins_and_none_takes_long(embedding, monkeypatch):
    scatter = vw.EmbeddingScatter(embedding)
    scatter.wait(10)
    wire, held = Wire(scatter.player), threading.Event()
    worker.submit("held", held.wait)
    for rows in ([1], [2, 3], list(range(4, 50))):
        wire.receive({"cmd": "look", "rows": rows, "side": 16})
    monkeypatch.setattr("vizwidgets.widgets.gallery.BUDGET", 0)
    held.set()
    assert scatter.wait(10)
    assert [m["rows"] for m in wire.messages] == [[4]], "the rest is for the next question"


def test_other_images_may_be_shown(features, embedding, tmp_path):
    for i in range(COUNT):
        PILImage.new("RGB", (8, 8), (4 * i, 0, 0)).save(tmp_path / f"{i:02} <script>.png")
    scatter = vw.EmbeddingScatter(vw.pca(vw.Features(features.vectors)), images=tmp_path)
    wire = Wire(scatter.player)
    wire.receive({"cmd": "look", "rows": [33], "side": 16})
    assert scatter.wait(10)
    assert wire.messages[0]["names"] == ["33 <script>.png"]
    scatter.index = 33
    assert scatter.wait(10)
    assert (scatter.image.pixels[0, 0] * 255).round().unique().tolist() == [132]


def test_a_run_settles_and_its_points_are_those_of_its_last_step(features):
    run = settling(features)
    scatter = vw.EmbeddingScatter(run)
    assert scatter.wait(10)
    assert (scatter.status, scatter.player.index, scatter.player.total, scatter.error) == ("done", 6, 6, "")
    assert np.array_equal(points_of(scatter.player.frame), run.last.points.numpy())
    assert np.array_equal(scatter.points, run.last.points.numpy())
    assert torch.equal(scatter.result().points, run.last.points)
    assert scatter.player.score == "KL divergence 1.167"
    steps, values = scatter.player.curve.points("KL")
    assert list(steps) == [2, 3, 4, 5, 6] and list(values) == pytest.approx([7 / i for i in range(2, 7)])
    assert scatter.player.quality.startswith("Trustworthiness")
    assert repr(scatter) == "EmbeddingScatter(t-SNE of 60 images, 3 classes)"
    assert scatter.children[0].children[1] is scatter.player.curve.figure
    scatter.error = ""
    Wire(scatter.player).receive({"cmd": "play"})
    assert "once only" in scatter.error


def test_frames_of_points_wait_for_the_page(features, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.playback.MAX_FPS", 1e6)
    monkeypatch.setattr("vizwidgets.widgets.playback.SILENCE", 60)
    gate = threading.Semaphore(0)
    scatter = vw.EmbeddingScatter(settling(features, 30, gate))
    wire = Wire(scatter.player)
    for taken in range(2, 12):
        gate.release()
        until(lambda taken=taken: scatter.player.run.taken == taken)
    until(lambda: len(wire.messages) == 2)
    sent = [points_of(b[0]) for d, b in wire.sent if d["method"] == "custom"]
    assert [s[0, 0] for s in sent] == [2, 3], "two frames are on their way, no more"
    wire.receive({"ack": 2})
    gate.release(2)
    until(lambda: len(wire.messages) >= 3)
    last = [points_of(b[0]) for d, b in wire.sent if d["method"] == "custom"][2]
    assert last[0, 0] >= 12, "the newest, not one that had to wait"
    gate.release(100)
    scatter.close()


def test_pause_step_and_stop(features):
    gate = threading.Semaphore(0)
    scatter = vw.EmbeddingScatter(settling(features, 30, gate))
    wire = Wire(scatter.player)
    gate.release(2)
    until(lambda: scatter.player.run.taken == 3)
    wire.receive({"cmd": "pause"})
    gate.release()
    until(lambda: scatter.status == "paused")
    assert scatter.player.index == 4 and points_of(scatter.player.frame)[0, 0] == 4
    scatter.selection = (1, 2)
    assert scatter.wait(10) and scatter.player.told["count"] == 2
    gate.release()
    wire.receive({"cmd": "step"})
    until(lambda: scatter.player.index == 5 and scatter.status == "paused")
    wire.receive({"cmd": "stop"})
    assert scatter.wait(10) and scatter.status == "stopped"
    assert scatter.result().points[0, 0] == 5 and scatter.player.quality == ""


def test_a_failed_run_leaves_the_points_and_says_why(features):
    scatter = vw.EmbeddingScatter(settling(features, fail_at=4))
    assert scatter.wait(10)
    assert (scatter.status, scatter.error) == ("failed", "the points ran away")
    assert points_of(scatter.player.frame)[0, 0] == 3
    scatter.index = 2
    assert scatter.wait(10) and scatter.image is not None, "the kernel goes on"


def test_features_are_laid_out_by_the_method_that_is_chosen(features, monkeypatch):
    asked = []

    def fake(given, *, perplexity, seed):
        asked.append((given is features, perplexity, seed))
        return settling(features)

    monkeypatch.setattr(embedding_scatter, "tsne", fake)
    scatter = vw.EmbeddingScatter(features, block=True, seed=3)
    assert asked == [(True, None, 3)] and scatter.status == "done"
    assert scatter.player.settings["perplexity"] == 19 and scatter.player.settings["most"] == 19
    scatter.selection = (4, 5)
    wire = Wire(scatter.player)
    wire.receive({"cmd": "perplexity", "value": 7})
    assert scatter.wait(10) and asked[-1] == (True, 7, 3) and scatter.status == "done"
    assert scatter.selection == (4, 5), "the same rows stay selected on the other map"
    wire.receive({"cmd": "restart"})
    assert scatter.wait(10) and len(asked) == 3
    wire.receive({"cmd": "play"})
    assert scatter.wait(10) and len(asked) == 4
    wire.receive({"cmd": "method", "value": "PCA"})
    assert scatter.wait(10) and scatter.status == "idle" and len(asked) == 4
    assert np.array_equal(points_of(scatter.player.frame), vw.pca(features).points.numpy())
    assert repr(scatter) == "EmbeddingScatter(PCA of 60 images, 3 classes)"
    assert len(scatter.children[0].children) == 1, "there is no curve"


def test_other_features_have_other_rows(features, embedding):
    scatter = vw.EmbeddingScatter(embedding, index=50, selection=(40, 50), hidden=("ash",))
    assert scatter.wait(10) and scatter.player.hidden == [0] and scatter.player.picked == 50
    scatter.source = vw.pca(vw.Features(features.vectors[:10]))
    assert scatter.wait(10) and scatter.error == ""
    assert (scatter.index, scatter.selection, scatter.hidden, scatter.player.told) == (None, (), (), {})
    scatter.source = None
    assert scatter.wait(10) and scatter.player.frame == b"" and "Nothing to show" in scatter.player.about["hint"]


def test_links_settle_at_once(embedding):
    a, b = vw.EmbeddingScatter(embedding), vw.EmbeddingScatter(embedding)
    said = []
    for name in ("index", "image", "selection"):
        traitlets.link((a, name), (b, name))
        b.observe(lambda change: said.append((change.name, change.new)), name)
    Wire(a.player).receive({"cmd": "pick", "value": 12})
    a.selection = [5, 2]
    for scatter in (a, b, a):
        assert scatter.wait(10)
    assert (b.index, b.selection, b.player.picked) == (12, (2, 5), 12) and b.image == a.image is not None
    assert [n for n, _ in said] == ["index", "selection", "image"] or [n for n, _ in said] == ["index", "image", "selection"]


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"index": 60}, IndexError, "no row 60: there are 60"), ({"selection": (3, -2)}, IndexError, "no row -2"), ({"index": "a"}, TypeError, "integer"),
    ({"hidden": ("elm",)}, LookupError, "elm"), ({"method": "tsne"}, LookupError, "t-SNE"), ({"perplxity": 4}, TypeError, "perplexity"),
    ({"mode": "dots"}, traitlets.TraitError, "thumbnails"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_once(embedding, options, error, says):
    with pytest.raises(error, match=says):
        vw.EmbeddingScatter(embedding, **options)


def test_wrong_sources_and_messages(embedding, features):
    with pytest.raises(TypeError, match="Embedding, of a Run that makes one, or of Features, not of Tensor"):
        vw.EmbeddingScatter(torch.rand(5, 2))
    with pytest.raises(ValueError, match="at least 4"):
        vw.EmbeddingScatter(vw.Features(torch.rand(2, 3)))
    net = vw.load("flowers")
    for run, what in ((vw.embed(net, torch.rand(2, 3, 96, 96)), "Features"), (vw.visualize(net, vw.Logit(0), steps=1, size=32), "Rendering")):
        with pytest.raises(TypeError, match=f"the result of a run of vizwidgets.tsne or umap; this run's is a {what}"):
            vw.EmbeddingScatter(run)
    scatter = vw.EmbeddingScatter(embedding)
    wire = Wire(scatter.player)
    for content in ({"cmd": "pick", "value": 999}, {"cmd": "look", "rows": [999], "side": 8}, {"cmd": "method", "value": "magic"}):
        scatter.error = ""
        wire.receive(content)
        assert scatter.error
    assert scatter.index is None


def test_a_still_picture_without_a_kernel(embedding, features):
    scatter = vw.EmbeddingScatter(embedding)
    data, _ = scatter._repr_mimebundle_()
    assert data["text/plain"] == repr(scatter)
    picture = PILImage.open(io.BytesIO(data["image/png"])).convert("RGB")
    assert picture.height > 400
    colours = {tuple(c) for c in np.asarray(picture).reshape(-1, 3).tolist()}
    assert {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in COLOURS[:3]} <= colours
    assert vw.EmbeddingScatter().still() is None and repr(vw.EmbeddingScatter()) == "EmbeddingScatter()"


def test_out_of_view_it_waits(features):
    gate = threading.Semaphore(0)
    scatter = vw.EmbeddingScatter(settling(features, 9, gate), active=False)
    assert scatter.status == "idle" and scatter.player.frame == b""
    scatter.active = True
    gate.release(100)
    until(lambda: scatter.status == "done")
    assert len(scatter.children[0].children) == 2
