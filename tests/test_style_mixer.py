"""StyleMixer without a page: what it paints, what sliders and choices change, what is refused, what is left behind."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.optimize import Run
from vizwidgets.methods.style import style_transfer
from vizwidgets.widgets import knobs

STYLES = [vw.data.swatch(name, 48) for name in ("checkerboard", "knit", "bricks")]


@pytest.fixture(scope="module")
def net():
    net = vw.load("flowers")
    assert net.layers
    return net


@pytest.fixture(scope="module")
def content():
    return vw.data.photograph("china").resize((64, 48))


@pytest.fixture
def mixer(net, content):
    def make(style=STYLES[0], **options):
        made.append(vw.StyleMixer(net, content, style, **{"steps": 4, "size": 64, **options}))
        return made[-1]

    made: list[vw.StyleMixer] = []
    yield make
    for widget in made:
        widget.close()


def page(mixer):
    return Wire(mixer.player)


def picture(data):
    return np.asarray(PILImage.open(io.BytesIO(data)).convert("RGB"), float) / 255


def halted(mixer):
    assert mixer.wait(30) and mixer.error == ""


def test_it_paints_what_the_method_paints(mixer, net, content):
    widget = mixer()
    assert (repr(widget), widget.status, widget.image) == ("StyleMixer(your picture in the style of your style, 0 of 4)", "idle", None)
    page(widget).receive({"cmd": "play"})
    halted(widget)
    wanted = vw.style_transfer(net, content, STYLES[0], steps=4, size=64).result()
    assert (repr(widget), widget.status) == ("StyleMixer(your picture in the style of your style, 4 of 4)", "done")
    assert torch.equal(widget.image.pixels, wanted.image) and torch.equal(widget.result().image, wanted.image)
    assert np.abs(picture(widget.player.frame) - wanted.image[0].permute(1, 2, 0).numpy()).mean() < 0.03
    assert np.abs(picture(widget.player.before) - widget.run.controls.content_image[0].permute(1, 2, 0).numpy()).mean() < 0.02
    assert picture(widget.player.before).shape == picture(widget.player.frame).shape == (48, 64, 3)
    last = widget.run.last.scores
    assert {t["name"]: t["value"] for t in widget.player.live["terms"]} == {
        f"{name} error": pytest.approx(float(last[name]), rel=1e-6) for name in ("content", "style")}  # fmt: skip
    steps, errors = widget.player.curve.points("style error")
    assert list(steps) == [1, 2, 3, 4] and errors[-1] == pytest.approx(float(last["style"]), rel=1e-6) and errors[0] != errors[-1]


@pytest.mark.parametrize("options", [
    {"init": "noise", "seed": 3}, {"keep_colours": True}, {"levels": 2, "size": 96}, {"optimizer": "adam"}, {"pooling": "average"},
    {"content_layer": "stage2"}, {"style_weight": 200.0}, {"layer_weights": {"stage1": 0.0}},
])  # fmt: skip
def test_options_are_those_of_the_method(mixer, net, content, options):
    widget = mixer(**options)
    widget.play(block=True)
    given = dict(options)
    if "layer_weights" in given:
        given["style_layers"] = {"stage1": 0.0, "stage2": 1.0, "stage3": 1.0, "stage4": 1.0}
        del given["layer_weights"]
    wanted = style_transfer(net, content, STYLES[0], **{"steps": 4, "size": 64, **given}).result()
    assert torch.equal(widget.image.pixels, wanted.image)
    assert widget.result().recipe["options"] == wanted.recipe["options"]
    if "pooling" in options:      # this network has no max pooling
        return
    plain = style_transfer(net, content, STYLES[0], steps=4, size=64).result()
    assert wanted.image.shape != plain.image.shape or not torch.equal(wanted.image, plain.image)


def test_sliders_act_at_the_next_step_and_are_in_the_recipe(mixer, net):
    widget = mixer(STYLES[:2], steps=8)
    wire = page(widget)
    assert [(s["key"], s["value"], s["group"]) for s in widget.player.sliders] == [
        ("style_weight", 10, ""), ("mix 0", 1, "mix"), ("mix 1", 1, "mix"), *((f"layer stage{i}", 1, "layers") for i in (1, 2, 3, 4))]  # fmt: skip
    for _ in range(3):
        widget.step()
        assert widget.player.wait(10)
    wire.receive({"cmd": "turn", "name": "style_weight", "value": 400})
    wire.receive({"cmd": "turn", "name": "layer stage1", "value": 0})
    wire.receive({"cmd": "turn", "name": "mix 1", "value": 0.25})
    assert widget.run.controls.style_weight == 10      # paused: at the next step
    assert (widget.style_weight, widget.layer_weights, widget.mix) == (400, {"stage1": 0, "stage2": 1, "stage3": 1, "stage4": 1}, (1, 0.25))
    widget.play(block=True)
    result = widget.result()
    assert {(taken, name) for taken, name, _ in result.recipe["changes"]} == {(3, "style_weight"), (3, "layer_weights"), (3, "mix")}
    assert {name: value for _, name, value in result.recipe["changes"]}["mix"] == (1, 0.25)
    assert torch.equal(vw.rerun(result, net).image, result.image)
    plain = vw.style_transfer(net, widget.content, list(widget.style), steps=8, size=64).result()
    assert not torch.equal(plain.image, result.image)


def test_traits_move_the_sliders(mixer):
    widget = mixer(STYLES, mix=(3, 1, 1))
    values = lambda: {s["key"]: s["value"] for s in widget.player.sliders}      # noqa: E731
    assert [values()[f"mix {i}"] for i in range(3)] == [3, 1, 1]
    widget.style_weight = 50
    widget.layer_weights = {"stage2": 0.5, "stage3": 0.25}
    assert (values()["style_weight"], values()["layer stage2"], values()["layer stage3"]) == (50, 0.5, 0.25)
    assert widget.layer_weights == {"stage1": 1, "stage2": 0.5, "stage3": 0.25, "stage4": 1}
    widget.mix = (1, 0, 0)
    widget.mix = (0, 0, 1)      # never all 0 on the way
    assert [values()[f"mix {i}"] for i in range(3)] == [0, 0, 1]
    widget.step()
    halted(widget)
    controls = widget.run.controls
    assert (controls.style_weight, controls.mix, controls.layer_weights["stage2"]) == (50, (0, 0, 1), 0.5)


def test_traits_that_sliders_cannot_follow_are_refused(mixer):
    widget = mixer()
    for name, value, error, said in (("style_weight", 1e9, ValueError, "from 0.1 to 1000"), ("layer_weights", {"stage9": 1}, LookupError, "did you mean"),
                                     ("layer_weights", {"stage1": 3}, ValueError, "from 0 to 2"), ("mix", (1, 1), traitlets.TraitError, "each of 1 styles")):  # fmt: skip
        with pytest.raises(error, match=said):
            setattr(widget, name, value)
        assert (widget.style_weight, widget.layer_weights, widget.mix) == (10, dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), 1), ())


def test_what_cannot_be_turned_is_said_and_it_goes_on(mixer):
    widget = mixer(STYLES[:2], steps=8)
    wire = page(widget)
    widget.step()
    halted(widget)
    for name, value, said in (("style_weight", 1e9, "0, or from 0.1 to 1000"), ("layer stage9", 1, "did you mean 'layer stage4'"), ("mix 0", -1, "from 0 to 1")):
        wire.receive({"cmd": "turn", "name": name, "value": value})
        assert said in widget.error
        widget.error = ""
    wire.receive({"cmd": "turn", "name": "mix 0", "value": 0})
    wire.receive({"cmd": "turn", "name": "mix 1", "value": 0})
    assert "one style at least" in widget.error and widget.mix == (0, 1)
    wire.receive({"cmd": "turn", "name": "mix 1", "value": 0.5})
    assert (widget.error, widget.mix) == ("", (0, 0.5))
    widget.play(block=True)
    assert (widget.status, widget.run.controls.mix) == ("done", (0, 0.5))


def test_a_slider_moved_after_the_end_offers_another_start(mixer, net):
    widget = mixer(block=True)
    wire, player = page(widget), widget.player
    assert not player.settings["note"]
    wire.receive({"cmd": "turn", "name": "style_weight", "value": 300})
    assert "Play again" in player.settings["note"]
    first = widget.image
    wire.receive({"cmd": "play"})
    halted(widget)
    assert widget.status == "done" and widget.image != first
    recipe = widget.result().recipe
    assert (recipe["options"]["style_weight"], recipe["changes"]) == (300, [])
    assert not player.settings["note"]


def test_settings_count_from_the_next_start(mixer):
    widget = mixer()
    wire = page(widget)
    wire.receive({"cmd": "set", "name": "size", "value": "128"})
    assert widget.ready(10) and widget.run.controls.content_image.shape == (1, 3, 96, 128)      # nothing was being played: at once
    assert "seed" not in widget.player.settings      # where it begins with the content there is no chance
    wire.receive({"cmd": "set", "name": "init", "value": "noise"})
    wire.receive({"cmd": "set", "name": "steps", "value": "3"})
    assert widget.ready(10) and widget.player.settings["seed"] == 0
    widget.step()
    halted(widget)
    run = widget.run
    for name, value in (("keep_colours", "true"), ("levels", "2"), ("size", "192")):
        wire.receive({"cmd": "set", "name": name, "value": value})
    assert (widget.keep_colours, widget.levels, widget.size) == (True, 2, 192)
    assert widget.run is run and widget.player.settings["stale"]
    wire.receive({"cmd": "restart", "another": True})
    halted(widget)
    options = widget.result().recipe["options"]
    assert options | {"seed": 1, "keep_colours": True, "levels": 2, "size": 192, "init": "noise", "steps": 3} == options
    assert not widget.player.settings["stale"]
    for name, value, said in (("net", 1, "cannot set 'net'"), ("init", "photo", "photo"), ("size", "wide", "wide"), ("steps", "nrmal", "normal")):
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert said in widget.error
        widget.error = ""


def test_before_and_after(mixer):
    widget = mixer(split=0.3)
    assert (widget.player.split, widget.player.about["sides"]) == (0.3, ["content", "painted"])
    page(widget).receive({"cmd": "split", "value": 0.75})
    assert widget.split == 0.75
    page(widget).receive({"cmd": "split", "value": 7})
    assert widget.split == 1
    widget.split = 0
    assert widget.player.split == 0
    with pytest.raises(traitlets.TraitError):
        widget.split = 1.5


def test_a_file_can_be_made_while_it_runs(mixer, net, tmp_path):
    widget = mixer(steps=400)
    wire = page(widget)
    wire.receive({"cmd": "play"})
    until(lambda: widget.run.taken >= 2)
    wire.receive({"cmd": "turn", "name": "style_weight", "value": 100})
    until(lambda: widget.run.controls.changes)
    wire.receive({"cmd": "save", "kind": "png", "view": "a"})
    until(lambda: any("file" in m for m in wire.messages))
    assert widget.status == "running"
    wire.receive({"cmd": "stop"})
    content, buffers = next((d["content"], b) for d, b in wire.sent if "file" in d.get("content", {}))
    assert content["file"] == "your-picture-in-the-style-of-your-style.png"
    path = tmp_path / content["file"]
    path.write_bytes(buffers[0])
    again = vw.rerun(path, net)
    assert np.array_equal((again.image[0] * 255).round().permute(1, 2, 0).numpy(), picture(buffers[0]) * 255)
    assert [name for _, name, _ in again.recipe["changes"]] == ["style_weight"] and again.recipe["options"]["steps"] == 400
    halted(widget)
    assert widget.status == "stopped" and 0 < widget.index < 400
    assert torch.equal(widget.image.pixels, widget.run.last.image)


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"content": 3}, TypeError, "an image is a path"), ({"style": []}, ValueError, "no style"), ({"size": 8}, traitlets.TraitError, "size"),
    ({"style": [3]}, TypeError, "an image is a path"), ({"layer_weights": {"stage9": 1}}, LookupError, "stage"), ({"steps": "nrmal"}, LookupError, "did you mean 'normal'"),
    ({"mix": (1, 2)}, traitlets.TraitError, "each of 1 styles"), ({"mix": (0,)}, traitlets.TraitError, "not all 0"), ({"content_layer": "head"}, ValueError, "head"),
    ({"style_weight": -1}, ValueError, "style_weight"), ({"styles": 1}, TypeError, "no option 'styles'"), ({"init": "photo"}, traitlets.TraitError, "photo"),
])  # fmt: skip
def test_bad_input_is_refused_at_once(net, content, options, error, said):
    given = {"content": content, "style": STYLES[0], **options}
    with pytest.raises(error, match=said):
        vw.StyleMixer(net, **given)


def test_without_a_network_it_says_so():
    widget = vw.StyleMixer()
    assert (widget.run, widget.status) == (None, "idle") and "a network is needed" in widget.player.about["hint"]
    assert widget.body.children == (widget.player,), "nor is there a curve"
    page(widget).receive({"cmd": "play"})
    page(widget).receive({"cmd": "turn", "name": "style_weight", "value": 3})
    assert "no slider" in widget.error
    assert widget.still() is not None and repr(widget).startswith("StyleMixer(china in the style of")
    widget.error = ""
    widget.net = vw.load("flowers")
    assert widget.ready(30) and (widget.error, widget.status, len(widget.player.sliders)) == ("", "idle", 5)
    assert widget.body.children == (widget.player, widget.player.curve.figure)
    widget.net = None
    assert widget.ready(30) and widget.body.children == (widget.player,)


def test_what_cannot_be_painted_is_said_and_another_choice_helps(mixer, net):
    widget = mixer()
    bare = vw.as_net(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2)), size=8)
    widget.net = bare
    assert widget.ready(10)
    assert widget.run is None and widget.error and widget.player.about["hint"] == "This cannot be painted."
    widget.net = net
    assert widget.ready(10) and (widget.error, widget.run is None) == ("", False)


def test_a_run_that_fails_keeps_what_there_is(mixer, monkeypatch):
    def overflowing(*given, **options):
        run = style_transfer(*given, **options)

        def steps():
            yield from (next(run) for _ in range(3))
            raise ValueError("the numbers overflow in step 4")

        return Run(steps(), len(run), lambda last: last, run.controls)

    monkeypatch.setattr("vizwidgets.widgets.style_mixer.style_transfer", overflowing)
    widget = mixer(steps=8)
    widget.play()
    assert widget.wait(10)
    assert (widget.status, widget.index, widget.error) == ("failed", 3, "the numbers overflow in step 4")
    assert torch.equal(widget.image.pixels, widget.run.last.image) and widget.player.frame
    page(widget).receive({"cmd": "turn", "name": "style_weight", "value": 1})
    assert widget.error and widget.player.settings["note"]
    monkeypatch.undo()
    page(widget).receive({"cmd": "play"})
    halted(widget)
    assert (widget.status, widget.index) == ("done", 8)


def test_closing_while_it_runs_leaves_the_net_as_it_was(mixer, net):
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.module.modules()]
    state = torch.get_rng_state()
    widget = mixer(steps=400)
    widget.play()
    until(lambda: widget.run.taken >= 2)
    run = widget.run
    widget.close()
    assert widget.player.wait(10) and run.taken < 400
    assert [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.module.modules()] == flags
    assert all(p.grad is None for p in net.module.parameters()) and torch.equal(torch.get_rng_state(), state)


def test_still_picture_and_mime_bundle(mixer):
    widget = mixer(STYLES[:2], block=True)
    data, _ = widget._repr_mimebundle_()
    assert data["text/plain"] == "StyleMixer(your picture in the style of your style and your style, 4 of 4)"
    still = picture(data["image/png"])
    assert still.shape[1] > 4 * 190 and still.std() > 0.1
    shown = still[30 : 30 + 144, 8 + 3 * 200 : 8 + 3 * 200 + 192]      # the fourth: content, two styles, painted
    enlarged = PILImage.fromarray((widget.image.pixels[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).resize((192, 144), PILImage.Resampling.NEAREST)
    assert np.abs(shown - np.asarray(enlarged, float) / 255).mean() < 0.02


def test_block_paints_here(net, content):
    here, seen = threading.current_thread(), []
    widget = vw.StyleMixer(net, content, STYLES[0], steps=2, size=64)
    widget.player.observe(lambda _: seen.append(threading.current_thread()), "status")
    widget.play(block=True)
    assert set(seen) == {here} and widget.status == "done"


def test_knobs_of_a_style_transfer(net, content):
    controls = vw.style_transfer(net, content, STYLES[:2], size=64, steps=2).controls
    known = knobs.knobs(controls)
    assert knobs.values(controls).keys() == known.keys()
    assert not known["layer stage1"].off and known["layer stage1"].even and not known["style_weight"].even
    knobs.turn(controls, {"mix 0": 0.0, "mix 1": 0.5, "layer stage3": 2.0})
    assert (controls.mix, dict(controls.layer_weights), controls.style_weight) == ((0, 0.5), {"stage1": 1, "stage2": 1, "stage3": 2, "stage4": 1}, 10)
    assert knobs.knobs(object()) == {} and knobs.values(None) == {}


def test_the_canvas_has_the_sliders_of_a_style_transfer_too(net, content):
    canvas = vw.OptimizationCanvas(run=lambda seed: style_transfer(net, content, STYLES[:2], size=64, steps=3))
    page(canvas).receive({"cmd": "turn", "name": "mix 1", "value": 0.5})
    canvas.play(block=True)
    assert canvas.result().recipe["changes"] == [[0, "mix", (1, 0.5)]] and [t["name"] for t in canvas.player.live["terms"]] == ["content error", "style error"]
    canvas.play(block=True)      # sliders stay where they are
    assert canvas.result().recipe["changes"] == [[0, "mix", (1, 0.5)]] and canvas.player.before == b""
    canvas.close()
