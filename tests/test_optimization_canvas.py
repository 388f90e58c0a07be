"""OptimizationCanvas without a page: what it plays, what the page can ask of it, what it leaves behind."""

from __future__ import annotations

import copy
import io
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import traitlets
from gated import until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.optimize import Run
from vizwidgets.core.recipe import KEY, loads
from vizwidgets.widgets import knobs
from vizwidgets.widgets.history import MOST_FRAMES, Frames
from vizwidgets.widgets.score_curve import MOST_POINTS, ScoreCurve, nice_ticks
from vizwidgets.widgets.top_classes import TopClasses


@pytest.fixture(scope="module")
def net():
    net = vw.load("flowers")
    assert net.layers
    return net


@dataclass
class Step:
    index: int
    scores: dict = field(default_factory=lambda: {"score": torch.tensor(1.0)})
    shade: int | None = 0

    def picture(self):
        return None if self.shade is None else PILImage.new("L", (16, 16), self.shade).convert("RGB")


def steps(count, gate=None, fail_at=None, **options):
    for i in range(1, count + 1):
        if gate is not None:
            gate.acquire()
        if i == fail_at:
            raise RuntimeError("the lamp went out")
        yield Step(i, **{"shade": i % 256, **options})


def page(canvas):
    return Wire(canvas.player)


def rose(net, **options):
    return vw.OptimizationCanvas(net, vw.Logit("rose"), **{"steps": 6, "size": 32, **options})


def test_it_plays_and_says_how_far_it_is(net):
    canvas = rose(net)
    assert (repr(canvas), canvas.status, canvas.image) == ("OptimizationCanvas(logit of rose, 0 of 6)", "idle", None)
    page(canvas).receive({"cmd": "play"})
    assert canvas.wait(30)
    assert (repr(canvas), canvas.status, canvas.error) == ("OptimizationCanvas(logit of rose, 6 of 6)", "done", "")
    wanted = vw.visualize(net, vw.Logit("rose"), steps=6, size=32).result()
    assert torch.equal(canvas.image, wanted.image)
    assert torch.equal(canvas.result().image, wanted.image)
    shown = PILImage.open(io.BytesIO(canvas.player.frame))
    assert np.abs(np.asarray(shown, float) - wanted.image[0].permute(1, 2, 0).numpy() * 255).mean() < 6
    assert canvas.player.live["terms"][0]["value"] == pytest.approx(wanted.scores[-1].item(), rel=1e-6)
    assert canvas.still().height > 320 and canvas.still().width == 320


def test_the_page_pauses_steps_and_stops():
    gate = threading.Semaphore(0)
    canvas = vw.OptimizationCanvas(run=Run(steps(50, gate), 50), title="lamp")
    wire = page(canvas)
    wire.receive({"cmd": "play"})
    gate.release(3)
    until(lambda: canvas.run.taken == 3)
    wire.receive({"cmd": "pause"})
    gate.release()
    until(lambda: canvas.status == "paused")
    wire.receive({"cmd": "step"})
    gate.release()
    until(lambda: (canvas.status, canvas.index) == ("paused", 5))
    wire.receive({"cmd": "play"})
    until(lambda: canvas.status == "running")
    wire.receive({"cmd": "stop"})
    gate.release()
    until(lambda: canvas.status == "stopped")
    assert (canvas.run.taken, repr(canvas)) == (6, "OptimizationCanvas(lamp, 6 of 50)")
    wire.receive({"cmd": "play"})
    assert "played once only" in canvas.error


def test_stop_comes_before_the_turns_of_others():
    gate, slow = threading.Semaphore(0), threading.Semaphore(0)
    mine = vw.OptimizationCanvas(run=Run(steps(50, gate), 50))
    others = [vw.OptimizationCanvas(run=Run(steps(50, slow), 50)) for _ in range(3)]
    for canvas in (others[0], mine, *others[1:]):
        canvas.play()
    until(lambda: others[0].status == "running")
    mine.stop()
    slow.release()      # one step of another, and no more
    until(lambda: mine.status == "stopped")
    assert sum(o.run.taken for o in others) == 1
    for canvas in others:
        canvas.close()
    slow.release(10)


def test_restart_with_the_same_and_with_another_seed(net):
    canvas = rose(net, batch=2)
    wire = page(canvas)
    canvas.play(block=True)
    first = canvas.image
    wire.receive({"cmd": "restart"})
    assert canvas.wait(30) and torch.equal(canvas.image, first)
    wire.receive({"cmd": "restart", "another": True})
    assert canvas.wait(30)
    assert canvas.seed == 2 == canvas.player.settings["seed"]      # two images: 0 and 1 have been
    assert torch.equal(canvas.image, vw.visualize(net, vw.Logit("rose"), steps=6, size=32, batch=2, seed=2).result().image)
    canvas.restart(seed=0)
    assert canvas.wait(30) and torch.equal(canvas.image, first)


def test_settings_count_from_the_next_start(net):
    canvas = rose(net)
    wire = page(canvas)
    wire.receive({"cmd": "set", "name": "steps", "value": "draft"})
    assert canvas.wait(10) and canvas.player.total == 64      # nothing was being played: at once
    wire.receive({"cmd": "set", "name": "steps", "value": "6"})
    wire.receive({"cmd": "step"})
    until(lambda: canvas.status == "paused")
    run = canvas.run
    wire.receive({"cmd": "set", "name": "preset", "value": "none"})
    wire.receive({"cmd": "set", "name": "seed", "value": "7"})
    assert canvas.run is run and canvas.player.settings["stale"]
    wire.receive({"cmd": "restart"})
    assert canvas.wait(30) and not canvas.player.settings["stale"]
    assert canvas.result().recipe["options"] | {"preset": "none", "seed": 7, "lr": 0.02} == canvas.result().recipe["options"]
    for name, value, said in (("preset", "nine", "no preset 'nine'"), ("batch", 2, "cannot set 'batch'"), ("seed", "x", "invalid literal")):
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert said in canvas.error
        canvas.error = ""


def test_sliders_act_at_the_next_step_and_are_in_the_recipe(net):
    canvas = rose(net, steps=40)
    wire = page(canvas)
    assert {s["key"]: s["value"] for s in canvas.player.sliders} == {"lr": 0.05, "total variation": 0, "L2": 0}
    wire.receive({"cmd": "play"})
    until(lambda: canvas.run.taken >= 2)
    wire.receive({"cmd": "turn", "name": "lr", "value": 0.2})
    wire.receive({"cmd": "turn", "name": "total variation", "value": 5})
    assert canvas.wait(30) and canvas.error == ""
    result = canvas.result()
    by_name = {name: (taken, value) for taken, name, value in result.recipe["changes"]}
    assert by_name["lr"][1] == 0.2 and by_name["target"][1] == vw.Logit("rose") - 5.0 * vw.TotalVariation()
    assert 2 <= by_name["lr"][0] < 40
    assert torch.equal(vw.rerun(result, net).image, result.image)
    plain = vw.visualize(net, vw.Logit("rose"), steps=40, size=32).result()
    assert not torch.equal(plain.image, result.image)
    assert [t["name"] for t in canvas.player.live["terms"]] == ["score", "logit of rose", "total variation"]
    score, logit, penalty = (t["value"] for t in canvas.player.live["terms"])
    assert score == pytest.approx(logit + penalty, abs=1e-4) and penalty < 0      # what each adds, weights included
    # They stay where they are in later runs, until another preset is chosen.
    wire.receive({"cmd": "restart"})
    assert canvas.wait(30)
    assert [c[:2] for c in canvas.result().recipe["changes"]] == [[0, "target"], [0, "lr"]]
    canvas.preset = "l2"
    wire.receive({"cmd": "restart"})
    assert canvas.wait(30)
    assert canvas.result().recipe["changes"] == []
    assert {s["key"]: s["value"] for s in canvas.player.sliders} == {"lr": 0.02, "total variation": 0, "L2": 100}
    for name, value, said in (("lr", 0, "from 0.0001 to 10"), ("contrast", 1, "no slider 'contrast'")):
        wire.receive({"cmd": "turn", "name": name, "value": value})
        assert said in canvas.error


def test_weights_of_regularisers():
    target = vw.Logit(0) - 30 * vw.TotalVariation(2.0)
    kind = vw.TotalVariation
    assert knobs.weight(target, kind) == 30
    assert knobs.weighted(target, kind, 5) == vw.Logit(0) - 5 * vw.TotalVariation(2.0)
    assert knobs.weighted(target, kind, 0) == vw.Logit(0)
    assert knobs.weighted(vw.Logit(0), vw.L2, 2) == vw.Logit(0) - 2 * vw.L2()
    with pytest.raises(ValueError, match="nothing is left"):
        knobs.weighted(-1 * vw.L2(), vw.L2, 0)


def test_looking_back():
    canvas = vw.OptimizationCanvas(run=Run(steps(500), 500), block=True)
    wire = page(canvas)
    for asked in (1, 250, 500):
        wire.receive({"cmd": "seek", "index": asked, "view": "a"})
        (sent, buffers) = wire.sent[-1]
        content = sent["content"]
        assert content["view"] == "a" and content["past"] <= asked
        assert asked - content["past"] < 500 / MOST_FRAMES * 2
        shade = np.asarray(PILImage.open(io.BytesIO(buffers[0]))).mean()
        assert shade == pytest.approx(content["past"] % 256, abs=3)


def test_what_is_kept_is_thinned_evenly():
    frames, curve = Frames(), ScoreCurve()
    for i in range(1, 5001):
        curve.add(i, {"score": float(i)})
        if frames.wants(i):
            frames.add(i, bytes([i % 256]))
        assert len(frames) <= MOST_FRAMES
    held = [frames.at(i)[0] for i in range(1, 5001)]
    kept = sorted(set(held))
    assert len(kept) > MOST_FRAMES / 2 - 1 and kept[0] == 1 and len(set(np.diff(kept))) == 1
    assert all(0 <= i - at < kept[1] - kept[0] for i, at in enumerate(held, 1) if i <= kept[-1])
    x, y = curve.points("score")
    assert MOST_POINTS / 3 < len(x) <= MOST_POINTS and x[-1] == 5000 and (x == y).all()
    with pytest.raises(LookupError, match="nothing has been shown"):
        Frames().at(1)


def test_no_axis_without_a_curve():
    curve = ScoreCurve()
    for values, seen in (({}, False), ({"score": 1.0}, False), ({"score": 2.0}, True)):
        if values:
            curve.add(int(values["score"]), values)
        curve.draw()
        assert [axis.visible for axis in curve.figure.axes] == [seen, seen] and bool(curve.figure.marks) == seen
    curve.clear(8)
    assert not any(axis.visible for axis in curve.figure.axes)


def test_a_run_without_a_score_shows_what_it_tells_first():
    canvas = vw.OptimizationCanvas(run=vw.efros_leung(vw.data.swatch("bricks", 24), 16, 5), block=True)
    steps, filled = canvas.player.curve.points("filled")
    assert list(steps) == list(range(1, canvas.run.taken + 1)) and filled[-1] == 1 and (np.diff(filled) > 0).all()
    assert [(t["name"], t["value"]) for t in canvas.player.live["terms"]] == [("filled", 1)] and len(canvas.player.curve.figure.marks) == 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (0.00012, 0.00015), (5, 5), (0, 0), (-1e9, 1)])
def test_ticks(low, high):
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 7 and ticks[0] <= low <= high <= ticks[-1] and len(set(np.diff(ticks).round(14))) <= 2


@pytest.mark.parametrize("kind", ["png", "gif", "webp"])
def test_a_file_can_be_made_while_it_runs(net, kind, tmp_path):
    canvas = rose(net, steps=400)
    wire = page(canvas)
    wire.receive({"cmd": "turn", "name": "L2", "value": 20})
    wire.receive({"cmd": "play"})
    until(lambda: canvas.run.taken >= 3)
    wire.receive({"cmd": "save", "kind": kind, "view": "a"})
    until(lambda: any("file" in m for m in wire.messages))
    assert canvas.status == "running"
    canvas.stop()
    content, buffers = next((d["content"], b) for d, b in wire.sent if "file" in d.get("content", {}))
    assert (content["file"], content["view"]) == (f"logit-of-rose.{kind}", "a")
    path = tmp_path / content["file"]
    path.write_bytes(buffers[0])
    again = vw.rerun(path, net)
    with PILImage.open(path) as picture:
        text = picture.info.get(KEY) or picture.info.get("comment") or picture.info["xmp"]
        recipe = loads(text if isinstance(text, str) else text.decode())
        assert 3 <= recipe["taken"] < 400 and recipe["changes"] == [[0, "target", vw.Logit("rose") - 20.0 * vw.L2()]]
        picture.seek(getattr(picture, "n_frames", 1) - 1)
        shown = np.asarray(picture.convert("RGB"), float)
    wanted = (again.image[0] * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(shown - wanted).max() <= (0 if kind != "gif" else 40)
    assert canvas.wait(30)


def test_what_cannot_be_saved_is_said(net):
    canvas = vw.OptimizationCanvas(run=Run(steps(3, shade=None), 3), title="points")
    wire = page(canvas)
    for kind, said in (("png", "before the first step"), ("bmp", "not as bmp")):
        wire.receive({"cmd": "save", "kind": kind, "view": "a"})
        until(lambda: wire.messages)
        assert said in canvas.error and wire.messages[-1]["file"] == ""
        wire.sent.clear()
    canvas.play(block=True)
    assert (canvas.status, canvas.player.about["frames"], canvas.player.frame) == ("done", False, b"")
    assert canvas.still() is not None
    endless = vw.OptimizationCanvas(run=vw.ImageOptimizer(net, vw.Logit("rose"), torch.rand(1, 3, 32, 32)))
    endless.step()
    assert endless.wait(30)
    assert (repr(endless), endless.player.total) == ("OptimizationCanvas(logit of rose, 1)", 0)
    for kind in ("png", "gif", "webp"):
        assert PILImage.open(io.BytesIO(endless.player.file(kind))).size == (32, 32)


def test_a_new_target_restarts_what_runs_and_waits_otherwise(net):
    canvas, other = rose(net, steps=400), TopClasses(net)
    traitlets.link((canvas, "target"), (other, "target"))
    other.target = vw.Logit("daisy")
    assert canvas.ready(10)
    assert (canvas.status, canvas.player.about["caption"]) == ("idle", "logit of daisy")
    canvas.play()
    until(lambda: canvas.run.taken >= 2)
    old = canvas.run
    canvas.target = vw.Channel("stage2", 3)
    until(lambda: canvas.run is not old and canvas.run.taken >= 1)
    assert canvas.player.about["caption"] == "channel 3 of stage2"
    taken = old.taken
    canvas.pause()
    assert canvas.wait(30) and old.taken == taken
    canvas.target = None
    assert canvas.ready(10)
    assert (canvas.status, canvas.run, repr(canvas)) == ("idle", None, "OptimizationCanvas()")
    assert "choose a class" in canvas.player.about["hint"]
    canvas.play()
    canvas.stop()
    assert canvas.wait(10) and canvas.status == "idle"
    canvas.target = vw.Channel("stage2", 3000)
    assert canvas.ready(10)
    assert "no channel 3000" in canvas.error
    canvas.target = vw.Channel("stage2", 3)
    assert canvas.ready(10)
    assert canvas.error == "" and canvas.player.total == 400


def test_several_targets_are_a_grid(net):
    canvas = vw.OptimizationCanvas(net, [vw.Channel("stage3", i) for i in range(3)], steps=2, size=32, block=True)
    about = canvas.player.about
    assert repr(canvas) == "OptimizationCanvas(3 channels of stage3, 2 of 2)"
    assert (about["count"], about["columns"], about["labels"]) == (3, 2, ["channel 0", "channel 1", "channel 2"])
    sheet = np.asarray(PILImage.open(io.BytesIO(canvas.player.frame)), float)
    assert sheet.shape == (2 * 32 + about["gap"], 2 * 32 + about["gap"], 3)
    third = sheet[34:66, 0:32] / 255
    assert np.abs(third - canvas.image[2].permute(1, 2, 0).numpy()).mean() < 0.04
    assert canvas.player.live["terms"][0]["name"] == "mean score of 3"
    mixed = vw.OptimizationCanvas(net, [vw.Logit("rose"), vw.Channel("stage3", 1)], steps=2)
    assert repr(mixed) == "OptimizationCanvas(2 targets, 0 of 2)"
    assert mixed.player.about["labels"] == ["logit of rose", "channel 1 of stage3"]
    assert rose(net, batch=2, seed=3).player.about["labels"] == ["seed 3", "seed 4"]


def test_a_failure_is_shown_and_what_there_is_kept():
    canvas = vw.OptimizationCanvas(run=Run(steps(10, fail_at=4), 10))
    canvas.play()
    assert canvas.wait(10)
    assert (canvas.status, canvas.index, canvas.error) == ("failed", 3, "the lamp went out")
    assert canvas.player.frame and canvas.result().index == 3


def test_a_callable_makes_runs(net):
    made = []
    canvas = vw.OptimizationCanvas(run=lambda seed: made.append(seed) or Run(steps(3), 3), seed=5)
    assert made == [5] and "menus" not in canvas.player.settings
    canvas.play()
    assert canvas.wait(10)
    canvas.restart()
    assert canvas.wait(10)
    assert made == [5, 5] and canvas.status == "done"


def test_closing_while_it_runs_leaves_the_net_as_it_was(net):
    module = net.module
    before = copy.deepcopy(module.state_dict())
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()]
    canvas = rose(net, steps=400)
    canvas.play()
    until(lambda: canvas.run.taken >= 2)
    run = canvas.run
    canvas.close()
    canvas.player.wait(10)
    taken = run.taken
    time.sleep(0.05)
    assert run.taken == taken < 400
    assert [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()] == flags
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_block_plays_here_and_an_interrupt_keeps_what_there_is():
    here = threading.current_thread()

    def interrupted():
        for step in steps(3):
            assert threading.current_thread() is here
            yield step
        raise KeyboardInterrupt

    canvas = vw.OptimizationCanvas(run=Run(interrupted(), 10), block=True)
    assert (canvas.status, canvas.index) == ("stopped", 3)
    assert canvas.player.frame


def test_out_of_view_nothing_is_computed(net):
    canvas = rose(net, steps=400, active=False)
    assert canvas.run is None
    canvas.active = True
    assert canvas.ready(10) and canvas.status == "idle"
    canvas.play()
    until(lambda: canvas.run.taken >= 2)
    canvas.active = False
    until(lambda: canvas.status == "paused")
    canvas.target = vw.Logit("daisy")
    run, taken = canvas.run, canvas.run.taken
    time.sleep(0.05)
    assert (canvas.run, canvas.run.taken) == (run, taken)
    canvas.active = True
    assert canvas.ready(10)
    assert (canvas.run is run, canvas.status) == (False, "idle")


def test_in_the_explorer(net):
    explorer = vw.Explorer(net)
    canvas = explorer.canvas
    assert "Visualize" in explorer.panels and canvas.run is None
    explorer.target = vw.Channel("stage2", 3)
    assert canvas.run is None
    explorer.tabs.index = list(explorer.panels).index("Visualize")
    assert explorer.wait(10)
    assert (canvas.status, canvas.caption, explorer.image is not None) == ("idle", "channel 3 of stage2", True)
    explorer.target = None
    assert explorer.wait(10) and "choose a class" in canvas.player.about["hint"]


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"target": vw.Logit("rse")}, LookupError, "did you mean 'rose'"), ({"target": "rose"}, TypeError, "targets, not 'rose'"),
    ({"preset": "furier"}, LookupError, "did you mean 'fourier'"), ({"steps": "norml"}, LookupError, "did you mean 'normal'"),
    ({"steps": 0}, ValueError, "a number from 1"), ({"seeds": 1}, TypeError, "no option 'seeds'"), ({"run": 3}, TypeError, "one or the other"),
    ({"size": 2}, ValueError, "at least 8×8"), ({"target": [vw.Logit(0), 3]}, TypeError, "vizwidgets' targets"),
])  # fmt: skip
def test_bad_input_is_refused_at_once(net, options, error, said):
    with pytest.raises(error, match=said):
        vw.OptimizationCanvas(net, **{"target": vw.Logit("rose"), **options})


def test_the_mime_bundle_does_not_wait_for_the_run(monkeypatch):
    gate = threading.Semaphore(0)
    canvas = vw.OptimizationCanvas(run=Run(steps(50, gate), 50), title="lamp")
    canvas.play()
    gate.release(2)
    until(lambda: canvas.run.taken == 2)
    monkeypatch.setattr(canvas.player, "wait", lambda timeout=None: pytest.fail("it waits for the run"))
    data, _ = canvas._repr_mimebundle_()
    assert "image/png" in data and data["text/plain"].startswith("OptimizationCanvas(lamp")
    canvas.close()
    gate.release(5)
