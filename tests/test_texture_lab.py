"""TextureLab without a page: both ways against their methods, one set of buttons, what starts which of them anew, rectangles."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from gated import deeper, until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.optimize import Run
from vizwidgets.core.picture import to_pixels
from vizwidgets.data import swatch

QUICK: dict[str, Any] = {"size": 20, "steps": 3}


@pytest.fixture
def net():
    return deeper()


@pytest.fixture
def sample():
    return vw.Image(swatch("bricks", 32), "bricks")


def done(lab, status="done"):
    assert lab.wait(20) and lab.error == "" and lab.status == status, (lab.status, lab.error, lab.copying.error, lab.gram.error)


def pixels(data):
    return np.asarray(PILImage.open(io.BytesIO(data)).convert("RGB"))


def desk(lab):
    return Wire(lab.desk)


@dataclass(frozen=True)
class Step:
    index: int
    scores: dict[str, torch.Tensor]
    image: torch.Tensor

    def picture(self):
        return PILImage.fromarray(to_pixels(self.image[0]))

    @property
    def texture(self):
        return SimpleNamespace(origin=torch.zeros(4, 4, 2, dtype=torch.long))


@pytest.fixture
def gate(monkeypatch):
    """Runs in place of both methods, which take turns of one step; each step waits until it may be taken."""
    gate, made, lengths = threading.Semaphore(0), [], {"copying": 5, "gram": 5}

    def run(name, seed):
        total = lengths[name]

        def steps():
            for i in range(1, total + 1):
                gate.acquire()
                scores = {"filled": torch.tensor([i / total])} if name == "copying" else {"style": torch.tensor([1 / i])}
                yield Step(i, scores, torch.full((1, 3, 4, 4), seed / 10))

        made.append(name)
        return Run(steps(), total)

    lab = "vizwidgets.widgets.texture_lab."
    monkeypatch.setattr(lab + "efros_leung", lambda sample, size, window, *, order, seed: run("copying", seed))
    monkeypatch.setattr(lab + "gram_texture", lambda net, sample, **options: run("gram", options["seed"]))
    monkeypatch.setattr("vizwidgets.widgets.worker.TURN", 0)
    yield SimpleNamespace(go=gate.release, made=made, lengths=lengths)
    gate.release(1000)


def taken(lab):
    return lab.copying.run.taken, lab.gram.run.taken


def begun(sample, net, gate, *steps):
    """A lab whose two ways have taken so many steps."""
    lab = vw.TextureLab(sample, net)
    lab.play()
    gate.go(sum(steps))
    until(lambda: taken(lab) == steps)
    return lab


def test_both_are_what_their_methods_make(net, sample):
    lab = vw.TextureLab(sample, net, window=5, order="scanline", seed=3, layers=["0", "2"], block=True, **QUICK)
    done(lab)
    copied = vw.efros_leung(sample, 20, 5, order="scanline", seed=3).result()
    made = vw.gram_texture(net, sample.pixels, layers=["0", "2"], steps=3, size=20, seed=3).result()
    assert torch.equal(lab.image.pixels, copied.image) and torch.equal(lab.statistics.pixels, made.image)
    assert np.array_equal(pixels(lab.copying.frame), to_pixels(copied.image[0])), "every pixel as it is"
    assert np.array_equal(pixels(lab.gram.frame), to_pixels(made.image[0]))
    assert np.array_equal(np.frombuffer(lab.copying.origin, "<i2").reshape(20, 20, 2), copied.origin.numpy()) and lab.gram.origin == b""
    results = lab.results
    assert torch.equal(results["copied"].origin, copied.origin) and torch.equal(results["statistics"].image, made.image)
    assert repr(lab) == "TextureLab(bricks, 32×32; window 5, 100 % filled; trees, 3 of 3)"


def test_one_set_of_buttons(net, sample, gate):
    gate.lengths["copying"] = 3
    lab = vw.TextureLab(sample, net)
    wire = desk(lab)
    assert lab.status == lab.desk.status == "idle" and gate.made == ["copying", "gram"]
    wire.receive({"cmd": "play"})
    gate.go(4)
    until(lambda: taken(lab) == (2, 2))
    assert lab.status == lab.desk.status == "running"
    wire.receive({"cmd": "pause"})
    gate.go(1)  # the step that is under way
    done(lab, "paused")
    assert lab.copying.status == lab.gram.status == lab.desk.status == "paused" and taken(lab) == (3, 2)
    wire.receive({"cmd": "play"})
    gate.go(1)
    until(lambda: taken(lab) == (3, 3))
    until(lambda: lab.copying.status == "done")
    assert lab.status == "running" and lab.gram.status == "running", "one may be done before the other"
    wire.receive({"cmd": "stop"})
    gate.go(1)
    done(lab, "stopped")
    assert (lab.copying.status, lab.gram.status) == ("done", "stopped") and taken(lab) == (3, 4)
    wire.receive({"cmd": "play"})  # both from their beginning
    gate.go(8)
    done(lab)
    assert gate.made == ["copying", "gram"] * 2 and taken(lab) == (3, 5)


def test_stop_ends_both(net, sample, gate):
    lab = begun(sample, net, gate, 1, 1)
    lab.stop()
    gate.go(1)
    done(lab, "stopped")
    assert lab.copying.status == lab.gram.status == "stopped" and taken(lab) == (2, 1)


def test_each_says_how_far_it_is(net, sample, gate):
    lab = begun(sample, net, gate, 3, 2)
    lab.pause()
    gate.go(1)
    done(lab, "paused")
    assert (lab.copying.said, lab.gram.said) == ("60 % filled", "step 3 of 5, error 0.33")
    assert (lab.copying.share, lab.gram.share) == pytest.approx((0.6, 0.6))
    assert lab.copying.tells_origins and not lab.gram.tells_origins


def test_the_time_left_goes_by_what_is_filled(net, sample):
    lab = vw.TextureLab(sample, net, **QUICK)
    pane = lab.copying
    next(pane.run)
    pane._busy_seconds = 2.0
    pane._count(pane.run)
    filled = float(pane.run.last.scores["filled"][0])
    assert 0 < filled < 1 / len(pane.run) < 0.5, "the first ring is short"
    assert pane.remaining == pytest.approx(2 / filled * (1 - filled), abs=0.1)


@pytest.mark.parametrize(("name", "value", "anew"), [
    ("window", 7, ["copying"]), ("order", "scanline", ["copying"]), ("steps", 4, ["gram"]), ("layers", ["0"], ["gram"]),
    ("size", 24, ["copying", "gram"]), ("seed", 1, ["copying", "gram"]), ("sample", vw.Image(swatch("grass", 24), "grass"), ["copying", "gram"]),
])  # fmt: skip
def test_what_starts_which_anew(net, sample, gate, name, value, anew):
    lab = vw.TextureLab(sample, net)
    gate.go(1000)
    for playing in (False, True):
        if playing:
            lab.play()
            done(lab)
        runs, count = (lab.copying.run, lab.gram.run), len(gate.made)
        before = getattr(lab, name)
        setattr(lab, name, value if not playing else {"window": 9, "order": "onion", "steps": 5, "layers": None, "size": 20, "seed": 2,
                                                      "sample": vw.Image(swatch("waves", 24), "waves")}[name])  # fmt: skip
        assert getattr(lab, name) != before
        done(lab, "done" if playing else "idle")
        assert gate.made[count:] == anew
        assert (lab.copying.run is not runs[0], lab.gram.run is not runs[1]) == ("copying" in anew, "gram" in anew)
        assert lab.copying.index == lab.gram.index == (5 if playing else 0), "what was done is made anew to its end, what waits goes on waiting"


def test_another_window_while_it_runs(net, sample, gate):
    lab = begun(sample, net, gate, 2, 2)
    other = lab.gram.run
    desk(lab).receive({"cmd": "set", "name": "window", "value": 15})
    gate.go(1)
    until(lambda: gate.made == ["copying", "gram", "copying"])
    gate.go(10)
    done(lab)
    assert lab.window == 15 and lab.gram.run is other and lab.copying.run.taken == other.taken == 5


def test_paused_it_does_not_begin_by_itself(net, sample, gate):
    lab = begun(sample, net, gate, 1, 1)
    lab.pause()
    gate.go(1)
    done(lab, "paused")
    lab.window = 5
    gate.go(1000)
    done(lab, "paused")
    assert lab.copying.status == "idle" and lab.copying.run.taken == 0 and lab.image is None
    lab.play()
    done(lab)
    assert lab.copying.run.taken == lab.gram.run.taken == 5


def test_start_again_with_another_seed(net, sample, gate):
    lab = vw.TextureLab(sample, net, seed=4)
    gate.go(1000)
    wire = desk(lab)
    wire.receive({"cmd": "restart", "another": True})
    done(lab)
    assert lab.seed == 5 == lab.desk.settings["seed"] and lab.image.pixels.max() == 0.5
    wire.receive({"cmd": "restart"})
    done(lab)
    assert lab.seed == 5 and gate.made == ["copying", "gram"] * 3


def test_out_of_view_both_halt(net, sample, gate):
    lab = begun(sample, net, gate, 1, 1)
    lab.active = False
    gate.go(1)
    done(lab, "paused")
    lab.active = True
    gate.go(10)
    done(lab)


def test_a_rectangle_of_a_picture(net):
    picture = torch.rand(1, 3, 120, 200, generator=torch.Generator().manual_seed(0))
    lab = vw.TextureLab(picture, net, **QUICK)
    assert lab.box == (28, 68, 92, 132) and torch.equal(lab.sample.pixels, picture[:, :, 28:92, 68:132])
    assert lab.desk.box == [28, 68, 92, 132] and not lab.desk.picture["whole"] and lab.desk.picture["size"] == [120, 200]
    assert np.array_equal(pixels(lab.desk.picture["png"]), to_pixels(picture[0]))
    wire = desk(lab)
    wire.receive({"cmd": "set", "name": "box", "value": [3, 5, 23, 41]})
    done(lab, "idle")
    assert torch.equal(lab.sample.pixels, picture[:, :, 3:23, 5:41]) and lab.desk.settings["caption"] == "your picture: 36 × 20 pixels"
    lab.play()
    done(lab)
    assert torch.equal(lab.image.pixels, vw.efros_leung(picture[:, :, 3:23, 5:41], 20).result().image)
    for wrong in ([3, 5, 10, 41], [100, 5, 121, 41], [-1, 0, 30, 30], [0, 190, 30, 201]):
        wire.receive({"cmd": "set", "name": "box", "value": wrong})
        assert "within 120×200 pixels" in lab.error and lab.box == (3, 5, 23, 41)


def test_a_given_rectangle_and_a_small_picture(net, sample):
    picture = torch.rand(1, 3, 100, 120)
    assert torch.equal(vw.TextureLab(picture, net, box=(0, 10, 20, 40)).sample.pixels, picture[:, :, :20, 10:40])
    with pytest.raises(ValueError, match="within 100×120 pixels"):
        vw.TextureLab(picture, net, box=(0, 10, 20, 140))
    lab = vw.TextureLab(sample, net)
    assert lab.box == (0, 0, 32, 32) and lab.sample == sample and lab.desk.picture["whole"]


def test_large_strange_and_tiny_pictures(net):
    lab = vw.TextureLab(torch.rand(3, 100, 1000), net)
    assert lab.picture.pixels.shape == (1, 3, 26, 256) and lab.sample.pixels.shape == (1, 3, 26, 26)
    with pytest.raises(ValueError, match="at least 16 pixels along a side, and your picture has 40×9"):
        vw.TextureLab(torch.rand(3, 9, 40), net)
    lab.strip._take(vw.Image(swatch("waves", 32), "waves"))
    assert lab.sample.source == "waves" and lab.box == (0, 0, 32, 32)
    png = io.BytesIO()
    PILImage.new("RGB", (12, 12)).save(png, "PNG")
    Wire(lab.strip).receive({"cmd": "file", "name": "tiny.png"}, png.getvalue())
    assert "tiny.png has 12×12" in lab.strip.error and lab.sample.source == "waves"


@pytest.mark.parametrize("kind", ["grey", "alpha", "constant"])
def test_grey_transparent_and_constant_samples(net, kind):
    picture = {"grey": PILImage.effect_noise((24, 20), 60), "alpha": PILImage.effect_noise((24, 20), 60).convert("RGBA"),
               "constant": PILImage.new("RGB", (24, 20), (90, 120, 40))}[kind]  # fmt: skip
    if kind == "alpha":
        picture.putalpha(PILImage.effect_noise((24, 20), 90))
    lab = vw.TextureLab(picture, net, window=5, block=True, **QUICK)
    assert lab.status == "done" and (lab.copying.error, lab.gram.error) == ("", "")
    wanted = vw.efros_leung(picture, 20, 5).result()
    assert torch.equal(lab.image.pixels, wanted.image) and lab.statistics.pixels.shape == (1, 3, 20, 20)
    assert lab.statistics.pixels.isfinite().all()


def test_one_that_fails_does_not_hold_the_other(net):
    lab = vw.TextureLab(torch.rand(3, 20, 30), net, window=23, **QUICK)
    assert lab.copying.status == "failed" and "at most 19, not 23" in lab.copying.error and lab.status == "idle" and lab.error == ""
    lab.play()
    done(lab)
    assert lab.gram.status == "done" and lab.image is None and lab.statistics is not None
    lab.window = 5
    done(lab)
    assert lab.copying.status == "done" and lab.copying.error == "" and lab.image is not None
    lab.layers = ["no such layer"]
    done(lab)
    assert lab.gram.status == "failed" and "no such layer" in lab.gram.error and lab.copying.status == "done"


def test_the_map_of_origins(net, sample):
    lab = vw.TextureLab(sample, net, window=5, **QUICK)
    wire = Wire(lab.copying)
    wire.receive({"cmd": "origins", "value": True})
    lab.play()
    done(lab)
    copied = vw.efros_leung(sample, 20, 5).result()
    assert lab.origins and np.array_equal(pixels(lab.copying.frame), np.asarray(copied.origin_picture()))
    assert np.array_equal(pixels(lab.desk.key), np.asarray(copied.key_picture()))
    assert torch.equal(lab.image.pixels, copied.image), "what is seen is another picture of the same"
    lab.origins = False
    done(lab)
    assert np.array_equal(pixels(lab.copying.frame), to_pixels(copied.image[0])) and lab.desk.key == b""
    lab.origins = True
    done(lab)
    assert np.array_equal(pixels(lab.copying.frame), np.asarray(copied.origin_picture())) and lab.desk.key


def test_each_is_saved_with_its_recipe(net, sample, tmp_path):
    lab = vw.TextureLab(sample, net, window=5, **QUICK)
    wires = Wire(lab.copying), Wire(lab.gram)
    wires[0].receive({"cmd": "save", "view": "a"})
    until(lambda: wires[0].messages)
    assert wires[0].messages == [{"file": "", "view": "a"}] and "nothing to save" in lab.copying.error
    lab.copying.error = ""
    lab.play()
    done(lab)
    for wire, pane, name in zip(wires, (lab.copying, lab.gram), ("copied.png", "statistics.png"), strict=True):
        wire.sent.clear()
        wire.receive({"cmd": "save", "view": "a"})
        until(lambda wire=wire: wire.messages)
        assert wire.messages == [{"file": name, "view": "a"}] and pane.error == ""
        data = wire.sent[0][1][0]
        assert np.array_equal(pixels(data), to_pixels(pane.image.pixels[0]))
        (tmp_path / name).write_bytes(data)
    assert torch.equal(vw.rerun(tmp_path / "copied.png").image, lab.image.pixels)
    assert torch.equal(vw.rerun(tmp_path / "statistics.png", net).image, lab.statistics.pixels)


def test_what_it_does_not_take(net, sample):
    for wrong in ({"window": 4}, {"window": 25}, {"window": 1}, {"order": "spiral"}, {"size": 8}, {"seed": -1}, {"steps": "many"}):
        with pytest.raises((traitlets.TraitError, ValueError, LookupError)):
            vw.TextureLab(sample, net, **wrong)
    with pytest.raises(TypeError, match="no option 'windo'; did you mean 'window'"):
        vw.TextureLab(sample, net, windo=5)
    with pytest.raises(TypeError, match="an image is a path"):
        vw.TextureLab({})
    lab = vw.TextureLab(sample, net, **QUICK)
    wire = desk(lab)
    for name, value, says in (("window", 8, "its side is odd"), ("window", 99, "99"), ("order", "spiral", "spiral"), ("size", 4, "4")):
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert says in lab.error == lab.desk.error
    assert (lab.window, lab.order, lab.size) == (11, "onion", 20)
    wire.receive({"cmd": "play"})
    done(lab)


def test_by_default_swatches_and_the_bundled_network():
    lab = vw.TextureLab(size=20, steps=2)
    assert lab.net.name == "flowers" and lab.sample.source == "bricks" and lab.sample == vw.Image(swatch("bricks", 64))
    names = [choice["name"] for choice in lab.strip.choices]
    assert names[: len(vw.data.SWATCHES)] == list(vw.data.SWATCHES) and "grass" in names
    Wire(lab.strip).receive({"cmd": "choose", "index": 1})
    done(lab, "idle")
    assert lab.sample == vw.Image(swatch(vw.data.SWATCHES[1], 64))
    photograph = names.index("coffee")
    Wire(lab.strip).receive({"cmd": "choose", "index": photograph})
    done(lab, "idle")
    assert max(lab.picture.pixels.shape[2:]) == 256 and lab.sample.pixels.shape[2:] == (64, 64)


def test_a_sample_from_elsewhere(net, sample):
    lab = vw.TextureLab(torch.rand(1, 3, 120, 120), net, **QUICK)
    picture, box = lab.picture, lab.box
    lab.sample = sample
    assert lab.picture == sample and lab.box == (0, 0, 32, 32) and lab.strip.images == (sample,)
    lab.sample = picture
    assert lab.box == box and lab.sample.pixels.shape[2:] == (64, 64)
    lab.sample = vw.Image(torch.rand(1, 3, 20, 20))
    assert lab.sample.source == lab.strip.caption == "your picture", "what has no name"
    lab.sample = picture
    lab.sample = picture  # the whole of what its rectangle is in
    assert lab.box == box and lab.sample.pixels.shape[2:] == (64, 64)


def test_the_still_picture(net, sample):
    lab = vw.TextureLab(sample, net, **QUICK)
    alone = lab.still().width
    lab.play()
    done(lab)
    assert lab.still().width > alone and lab.still().width >= 3 * 192


def test_closing_ends_both(net, sample, gate):
    lab = begun(sample, net, gate, 1, 1)
    runs = lab.copying.run, lab.gram.run
    lab.close()
    gate.go(10)
    assert lab.wait(10) and all(next(run, None) is None for run in runs)


def test_the_notebooks_interrupt_stops_both(net, sample, gate, monkeypatch):
    def interrupted():
        yield Step(1, {"filled": torch.tensor([0.2])}, torch.zeros(1, 3, 4, 4))
        raise KeyboardInterrupt

    monkeypatch.setattr("vizwidgets.widgets.texture_lab.efros_leung", lambda *_, **__: Run(interrupted(), 5))
    gate.go(1000)
    lab = vw.TextureLab(sample, net, block=True)
    assert lab.copying.status == "stopped" and lab.copying.run.taken == 1 and lab.image is not None
    assert lab.gram.status == "idle" and lab.gram.run.taken == 0
