"""OcclusionSlider without a page: the patch against pictures made by hand, the map against `occlusion`, playing it, errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import traitlets
from gated import LABELS, Gated, small, until
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw
from vizwidgets.core.picture import to_pixels
from vizwidgets.methods.occlusion import AT_ONCE
from vizwidgets.widgets import occlusion_view as view


@pytest.fixture
def net():
    return small(pool=3)


@pytest.fixture
def x():
    return torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def says(net, image):
    with torch.no_grad():
        return net(image)[0].softmax(0)


def agrees(slider, net, x, by_hand):
    """Both sides of every row, and the target's scores, are those of the image and of the one made by hand."""
    assert slider.ready(10) and slider.error == ""
    before, after = says(net, x), says(net, by_hand)
    for row in slider.patch["rows"]:
        assert (row["before"], row["after"]) == pytest.approx((before[row["index"]].item(), after[row["index"]].item()), abs=1e-6)
    assert slider.patch["first"] == [before.argmax(), after.argmax()]
    assert {int(before.argmax()), int(after.argmax())} <= {row["index"] for row in slider.patch["rows"]}


FILLS = {
    "grey": lambda x: torch.full_like(x, 0.5),
    "mean": lambda x: x.mean((2, 3), keepdim=True).expand_as(x),
    0.2: lambda x: torch.full_like(x, 0.2),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("only", [False, True])
def test_the_patch_hides_what_it_lies_on(net, x, fill, only):
    slider = vw.OcclusionSlider(net, x, window=(5, 7), fill=fill, only_window=only)
    for y0, x0 in ((0, 0), (19, 17), (3, 11)):
        slider.box = (y0, x0, y0 + 5, x0 + 7)
        under, over = (FILLS[fill](x), x) if only else (x, FILLS[fill](x))
        by_hand = under.clone()
        by_hand[:, :, y0 : y0 + 5, x0 : x0 + 7] = over[:, :, y0 : y0 + 5, x0 : x0 + 7]
        agrees(slider, net, x, by_hand)
        assert slider.patch["box"] == [y0, x0, y0 + 5, x0 + 7]


def test_another_image_hides_too(net, x):
    other = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(4))
    slider = vw.OcclusionSlider(net, x, window=8, fill=other)
    by_hand = x.clone()
    by_hand[:, :, 8:16, 8:16] = other[:, :, 8:16, 8:16]
    agrees(slider, net, x, by_hand)
    assert np.array_equal(np.frombuffer(slider.pictures["cover"], np.uint8), to_pixels(other[0]).ravel())
    assert np.array_equal(np.frombuffer(slider.pictures["photo"], np.uint8), to_pixels(x[0]).ravel())
    slider.play(block=True)
    assert torch.equal(slider.map.map, vw.occlusion(net, x, vw.Probability(slider.about["own"]), window=8, fill=other).result().map)


@pytest.mark.parametrize("only", [False, True])
def test_the_map_of_a_tiling_says_what_the_patch_says(net, x, only):
    slider = vw.OcclusionSlider(net, x, window=6, stride=6, only_window=only, target=vw.Logit("fir"))
    slider.play(block=True)
    found = torch.zeros(4, 4)
    bare = vw.score(net, vw.Logit("fir"), torch.full_like(x, 0.5)).item()
    for i in range(4):
        for j in range(4):
            slider.box = (6 * i, 6 * j, 6 * i + 6, 6 * j + 6)
            slider.ready()
            found[i, j] = slider.patch["after"] - bare if only else slider.patch["before"] - slider.patch["after"]
    torch.testing.assert_close(slider.map.map[0], found.repeat_interleave(6, 0).repeat_interleave(6, 1), rtol=0, atol=2e-5)


OPTIONS = [{}, {"window": 5, "stride": 2, "fill": "blur"}, {"window": (4, 9), "stride": (3, 4), "fill": "noise", "only_window": True},
           {"window": 4, "stride": 6, "target": vw.Logit("ash") - vw.Logit("fir")}, {"target": vw.Channel("0", 3)}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("block", [True, False])
def test_it_fills_the_map_of_occlusion(net, x, options, block):
    slider = vw.OcclusionSlider(net, x, **options)
    assert (slider.status, slider.index, slider.map) == ("idle", 0, None)
    own = vw.Probability(int(says(net, x).argmax()))
    run = vw.occlusion(net, x, **{"target": own, **options})
    slider.play(block=block)
    assert slider.wait(20) and slider.error == ""
    wanted = run.result()
    assert (slider.status, slider.index, slider.total) == ("done", len(run), len(run))
    assert torch.equal(slider.map.map.nan_to_num(7), wanted.map.nan_to_num(7))
    assert torch.equal(slider.map.scores, wanted.scores)
    made = wanted.recipe["options"]
    assert (slider.about["window"], slider.about["stride"]) == (list(made["window"]), list(made["stride"]))
    assert len(run) == -(-slider.about["windows"] // AT_ONCE)
    values = np.frombuffer(slider.frame, "<f4")
    assert np.array_equal(values[1:], wanted.map[0].numpy().ravel(), equal_nan=True)
    assert values[0] == pytest.approx(wanted.map[0][~wanted.map[0].isnan()].abs().max().item())
    assert torch.equal(slider.result().map.nan_to_num(7), wanted.map.nan_to_num(7))


@pytest.fixture
def gated(net, x):
    gated = Gated(net.module)
    made = vw.as_net(gated, size=24, labels=LABELS, name="trees")
    slider = vw.OcclusionSlider(made, x, window=6, stride=2)      # 100 windows: 2 passes and 7 steps
    gated.gate = threading.Semaphore(0)
    yield slider, gated
    gated.gate.release(10_000)
    slider.close()


def let(module, count):
    """Let so many passes go through, and wait until the next one stands at the gate."""
    passes = module.passes
    module.gate.release(count)
    until(lambda: module.passes == passes + count and module.begun == passes + count + 1)


def whole(net, x, **options):
    return vw.occlusion(net, x, vw.Probability(int(says(net, x).argmax())), **{"window": 6, "stride": 2, **options}).result().map


def test_the_newest_place_wins(gated, net, x):
    slider, module = gated
    sent, before = Wire(slider), module.passes
    for i in range(18):
        sent.receive({"cmd": "set", "name": "box", "value": [i, 2]})
    module.gate.release(10_000)
    by_hand = x.clone()
    by_hand[:, :, 17:23, 2:8] = 0.5
    assert slider.ready(10) and slider.box == (17, 2, 23, 8)
    assert module.passes - before <= 2, "old places were worked out"
    assert [list(s) for s in sent.states] in ([["patch"]], [["patch"], ["patch"]]), "a place is one message"
    assert sent.size == 0
    agrees(slider, net, x, by_hand)


def test_pause_go_on_and_stop(gated, net, x):
    slider, module = gated
    wire = Wire(slider)
    wire.receive({"cmd": "play"})
    let(module, 2 + 2)      # the image and what hides it, two steps; the third is under way
    assert slider._run.taken == 2 and slider.status == "running"
    wire.receive({"cmd": "pause"})
    module.gate.release(1)
    until(lambda: slider.status == "paused")
    assert (slider.index, slider.total) == (3, 13)
    half = slider.map.map
    assert slider.map.recipe["taken"] == 3
    module.gate.release(10_000)
    wire.receive({"cmd": "play"})
    assert slider.wait(10) and slider.status == "done"
    assert torch.equal(slider.map.map, whole(net, x)) and not torch.equal(half, slider.map.map)
    wire.receive({"cmd": "play"})      # from the beginning
    assert slider.wait(10) and slider.status == "done" and torch.equal(slider.map.map, whole(net, x))
    module.gate = threading.Semaphore(0)
    slider.play()
    let(module, 2 + 1)
    assert slider.map is None, "that of the run before"
    slider.stop()
    module.gate.release(1)
    until(lambda: slider.status == "stopped")
    assert slider.map.recipe["taken"] == slider.result().recipe["taken"] == 2
    module.gate.release(10_000)
    slider.play()
    assert slider.wait(10) and slider.status == "done"


def test_pictures_go_out_while_it_plays_and_more_when_they_were_seen(gated, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.playback.MAX_FPS", 1e9)
    monkeypatch.setattr("vizwidgets.widgets.playback.SILENCE", 1e9)
    slider, module = gated
    wire = Wire(slider)
    slider.play()
    let(module, 2 + 4)
    assert len(wire.messages) == 2      # as many as may be on their way
    first = next(b for d, b in wire.sent if d.get("method") == "custom")[0]
    assert len(first) == 4 * (1 + 24 * 24)
    wire.receive({"ack": 2})
    module.gate.release(10_000)
    assert slider.wait(10)
    assert len(wire.messages) == 4


def test_the_patch_can_be_moved_while_it_plays(gated, net, x):
    slider, module = gated
    slider.play()
    let(module, 2 + 1)
    slider.box = (0, 0, 6, 6)
    let(module, 2)      # the step that was under way, and the patch before the next
    assert slider.ready(10)
    assert (slider.patch["box"], slider.status, slider._run.taken) == ([0, 0, 6, 6], "running", 2)
    module.gate.release(10_000)
    assert slider.wait(10) and torch.equal(slider.map.map, whole(net, x))


def test_a_window_that_is_turned_on_is_not_turned_back(gated):
    slider, module = gated
    slider.window = 8
    until(lambda: module.begun == module.passes + 1)      # the patch of 8 pixels is under way
    slider.window = 10
    module.gate.release(10_000)
    assert slider.ready(10) and slider.window == 10 and slider.patch["box"] == [7, 7, 17, 17]


@pytest.mark.parametrize(("name", "value"), [("window", 8), ("stride", 5), ("fill", "mean"), ("only_window", True), ("target", vw.Logit("fir"))])
def test_another_option_ends_the_map(gated, net, x, name, value):
    slider, module = gated
    slider.play()
    let(module, 2 + 1)
    setattr(slider, name, value)
    module.gate.release(10_000)
    assert slider.wait(10)
    assert (slider.status, slider.index, slider.map, slider.frame, slider.about["lost"]) == ("idle", 0, None, b"", True)
    slider.play(block=True)
    options = {"window": 6, "stride": 2, "target": vw.Probability(slider.about["own"]), name: value}
    assert torch.equal(slider.map.map, vw.occlusion(net, x, **options).result().map)


def test_what_does_not_matter_to_the_map_leaves_it(net, x):
    slider = vw.OcclusionSlider(net, x, window=8)
    slider.play(block=True)
    kept = slider.map
    slider.opacity, slider.k, slider.box = 0.2, 3, (0, 0, 8, 8)
    assert slider.wait(10) and slider.map is kept and slider.frame and not slider.about["lost"]
    assert len(slider.patch["rows"]) == 3


def test_play_at_once_after_a_change_plays_the_new(net, x):
    slider = vw.OcclusionSlider(net, x, window=6, stride=2)
    for window in (8, 5, 9):
        slider.window = window
        slider.play()
        slider.box = (1, 1, 1 + window, 1 + window)      # a newer job in place of that which was to play
        assert slider.wait(10)
        assert torch.equal(slider.map.map, whole(net, x, window=window))
        assert slider.patch["box"] == [1, 1, 1 + window, 1 + window]


def test_what_the_page_sends(net, x):
    slider = vw.OcclusionSlider(net, x)
    wire = Wire(slider)
    own = slider.about["own"]
    for name, value, wanted in (("window", 7, 7), ("stride", 4, 4), ("fill", "noise", "noise"), ("only_window", True, True), ("opacity", 0.3, 0.3),
                                ("target", 5, vw.Probability(5)), ("target", None, None)):  # fmt: skip
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert getattr(slider, name) == wanted
        assert slider.ready(10) and slider.error == ""
    wire.receive({"cmd": "set", "name": "kind", "value": "logit"})
    assert slider.ready(10) and slider.target == vw.Logit(own) and slider.about["aim"] == f"logit of {LABELS[own]}"
    wire.receive({"cmd": "set", "name": "target", "value": 2})      # the kind stays
    assert slider.ready(10) and slider.target == vw.Logit(2)
    assert slider.patch["before"] == pytest.approx(vw.score(net, vw.Logit(2), x).item(), rel=1e-4)
    for content in ({"name": "window", "value": "x"}, {"name": "kind", "value": "odds"}, {"name": "opacity", "value": 3}, {"name": "box", "value": [1]}):
        slider.error = ""
        wire.receive({"cmd": "set", **content})
        assert slider.error
    wire.receive({"cmd": "set", "name": "net", "value": None})
    assert slider.net is net


def test_the_box(net, x):
    assert vw.OcclusionSlider(net, x, box=(1, 2, 9, 8)).patch["box"] == [1, 2, 9, 8]
    slider = vw.OcclusionSlider(net, x, window=8)
    assert slider.box == (8, 8, 16, 16), "in the middle at first"
    slider.box = [20, -3, 28, 5]      # partly outside
    assert slider.ready(10) and slider.box == (16, 0, 24, 8) == tuple(slider.patch["box"])
    slider.box = (2, 3, 8, 13)      # of another size: a window of that size
    assert slider.ready(10) and slider.patch["box"] == [2, 3, 8, 13] and slider.about["window"] == [6, 10]
    slider.window = 4      # around the same middle
    assert slider.ready(10) and slider.patch["box"] == [3, 6, 7, 10]
    for wrong in ((1, 2, 3), (5, 5, 5, 9), "abcd", (0.5, 0, 3, 3)):
        with pytest.raises(traitlets.TraitError, match="four whole numbers"):
            slider.box = wrong


@pytest.mark.parametrize(("target", "aim"), [(vw.Channel("0", 3), "channel 3 of 0"), (vw.Logit("ash") - vw.Logit("fir"), "logit of ash - logit of fir")])
def test_other_targets_are_told(net, x, target, aim):
    slider = vw.OcclusionSlider(net, x, target=target, window=8)
    assert (slider.about["aim"], slider.about["index"], slider.about["kind"]) == (aim, -1, "score")
    by_hand = x.clone()
    by_hand[:, :, 8:16, 8:16] = 0.5
    agrees(slider, net, x, by_hand)
    scores = [vw.score(net, target, image).item() for image in (x, by_hand)]
    assert [slider.patch["before"], slider.patch["after"]] == pytest.approx(scores, abs=1e-5)


def test_errors_stand_in_the_widget_and_go_again(net, x):
    slider = vw.OcclusionSlider(net, x, window=8)
    nan = x.clone()
    nan[0, 0, 3, 3] = torch.nan
    cases = [
        ("window", 25, "at most the image, 24×24 pixels, not 25×25", 8), ("stride", 0, "number of pixels from 1", None),
        ("target", vw.Logit("mapel"), "did you mean 'maple'", None), ("target", vw.Each((vw.Logit(1), vw.Logit(2))), "one target at a time, not 2", None),
        ("fill", "gray", "did you mean 'grey'", "grey"), ("fill", 1.5, "between 0 and 1, not 1.5", "grey"),
        ("fill", vw.Image(torch.rand(1, 3, 9, 9)), "as large as the one hidden", "grey"),
        ("image", vw.Image(torch.rand(2, 3, 24, 24)), "one image is looked at at a time, not 2", vw.Image(x)),
        ("image", vw.Image(nan), "trees gives NaN", vw.Image(x)), ("image", vw.Image(torch.rand(1, 1, 24, 24)), "takes images (B, 3, H, W)", vw.Image(x)),
        ("image", vw.Image(torch.zeros(1, 3, 3000, 4000)), "4000×3000 pixels is too large", vw.Image(x)),
    ]  # fmt: skip
    for name, wrong, text, right in cases:
        slider.play(block=True)
        assert slider.map is not None
        setattr(slider, name, wrong)
        assert slider.ready(10) and text in slider.error
        assert (slider.map, slider.frame, slider.status) == (None, b"", "idle"), "no map under options that are wrong"
        slider.play()
        assert slider.wait(10) and text in slider.error
        setattr(slider, name, right)
        assert slider.wait(10) and slider.error == "" and slider.status == "idle"


def test_scores_that_are_no_numbers(net, x):
    slider = vw.OcclusionSlider(net, x, window=8)
    with torch.no_grad():
        net.module[4].bias[0] = float("nan")
    slider.box = (0, 0, 8, 8)
    assert slider.ready(10) and "trees gives NaN" in slider.error
    slider.play()
    assert slider.wait(10) and "trees gives NaN" in slider.error
    with pytest.raises(ValueError, match="trees gives NaN"):
        vw.OcclusionSlider(net, x)


def test_a_network_that_fails_in_the_middle(gated):
    slider, module = gated

    def fail(*_):
        raise RuntimeError("the lamp went out")

    slider.play()
    let(module, 2 + 1)
    hook = module.module[0].register_forward_hook(fail)
    module.gate.release(1)
    until(lambda: slider.status == "failed")
    assert slider.error == "the lamp went out"
    hook.remove()
    module.gate.release(10_000)
    slider.play()
    assert slider.wait(10) and (slider.status, slider.error) == ("done", "")


def test_wrong_arguments_raise_at_once(net, x):
    for error, options, text in [
        (LookupError, {"target": vw.Logit("mapel")}, "did you mean 'maple'"), (TypeError, {"target": "maple"}, r"Logit\('maple'\), say"),
        (ValueError, {"window": 25}, "at most the image"), (LookupError, {"fill": "gray"}, "did you mean 'grey'"), (TypeError, {"fill": [1]}, "list"),
        (TypeError, {"windw": 3}, "did you mean 'window'"), (traitlets.TraitError, {"opacity": 2}, "opacity"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            vw.OcclusionSlider(net, x, **options)
    with pytest.raises(ValueError, match=r"\(2, 3, 24, 24\)"):
        vw.OcclusionSlider(net, torch.rand(2, 3, 24, 24))


def test_an_image_of_one_colour(net):
    slider = vw.OcclusionSlider(net, torch.full((1, 3, 24, 24), 0.25), window=8, fill="mean")
    slider.play(block=True)
    assert slider.error == "" and slider.patch["before"] == pytest.approx(slider.patch["after"])
    assert slider.map.map.abs().max() < 1e-6 and np.isfinite(np.frombuffer(slider.frame, "<f4")).all()
    assert slider.still() is not None


def test_windows_apart_leave_pixels_uncovered(net, x):
    slider = vw.OcclusionSlider(net, x, window=4, stride=8)
    slider.play(block=True)
    values = np.frombuffer(slider.frame, "<f4")[1:].reshape(24, 24)
    covered = np.isin(np.arange(24) % 8, range(4))
    assert np.array_equal(~np.isnan(values), covered[:, None] & covered[None])
    shown = view.shown_over(np.zeros((24, 24, 3), np.uint8), slider.map.map[0], 1.0)
    assert {tuple(c) for c in shown[~(covered[:, None] & covered[None])]} == {(0, 0, 0), view.HATCH}


def test_a_photograph_is_made_smaller_and_that_is_told(net):
    slider = vw.OcclusionSlider(net, PILImage.new("RGB", (4000, 3000), "teal"))
    assert any(note.startswith("resized 4000×3000 to") for note in slider.about["notes"])
    assert slider.pictures["size"] == [24, 24]


def test_a_large_image_goes_to_the_page_coarser(net, monkeypatch):
    monkeypatch.setattr(view, "MOST_VALUES", 1200)
    x = torch.rand(1, 3, 60, 81, generator=torch.Generator().manual_seed(1))
    slider = vw.OcclusionSlider(net, vw.Image(x), window=20, stride=10)
    slider.play(block=True)
    h, w = slider.pictures["height"], slider.pictures["width"]
    assert (h, w, slider.pictures["size"]) == (20, 27, [60, 81])
    assert len(slider.pictures["photo"]) == len(slider.pictures["cover"]) == 3 * h * w
    values = np.frombuffer(slider.frame, "<f4")[1:].reshape(h, w)
    assert np.array_equal(values, slider.map.map[0, ::3, ::3].numpy())
    assert np.frombuffer(slider.pictures["photo"], np.uint8)[0] == round(255 * x[0, 0, :3, :3].mean().item())


def test_nothing_that_goes_to_the_page_is_too_large():
    for h, w in ((24, 24), (700, 710), (1999, 2000), (1, 3_999_999)):
        step = view.coarser((h, w))
        assert -(-h // step) * -(-w // step) * 4 < 8e6


@pytest.mark.parametrize("channels", [1, 5])
def test_other_numbers_of_channels_and_no_labels(channels):
    net, x = small(channels, None, pool=3), torch.rand(1, channels, 24, 24, generator=torch.Generator().manual_seed(3))
    slider = vw.OcclusionSlider(net, x, window=6)
    assert slider.about["classes"] == [f"class {i}" for i in range(8)]
    assert slider.about["channels"] == channels
    slider.play(block=True)
    assert slider.status == "done" and slider.still().size[0] > 300


def test_before_there_is_an_image(net, x):
    slider = vw.OcclusionSlider(net)
    assert (slider.patch, slider.about, slider.still(), repr(slider), slider.map) == ({}, {}, None, "OcclusionSlider()", None)
    slider.play()
    assert slider.wait(10) and (slider.status, slider.error) == ("idle", "")
    with pytest.raises(ValueError, match="a network and an image are needed"):
        slider.play(block=True)
    with pytest.raises(ValueError, match="nothing has been started"):
        slider.result()
    slider.image = vw.Image(x)
    assert slider.ready(10) and slider.patch["seq"] == 1
    slider.play(block=True)
    slider.image = None
    assert slider.wait(10) and (slider.patch, slider.map, slider.status) == ({}, None, "idle")


def test_closed_in_the_middle(gated):
    slider, module = gated
    slider.play()
    let(module, 2 + 1)
    passes = module.passes
    slider.close()      # a step is under way
    module.gate.release(10_000)
    assert slider.wait(10)
    assert module.passes <= passes + 2
    assert not slider.error


def test_others_can_follow(net, x):
    slider, other, grid = vw.OcclusionSlider(net, x), vw.OcclusionSlider(net, x), vw.ChannelGrid(net, x, "0")
    for name in ("target", "box", "image"):
        traitlets.link((slider, name), (other, name))
    traitlets.link((slider, "target"), (grid, "target"))
    slider.target, slider.image, slider.box = vw.Channel("0", 3), vw.Image(1 - x), (0, 0, 9, 9)
    assert slider.ready(10) and other.ready(10)
    assert other.about["aim"] == "channel 3 of 0" and other.patch["box"] == [0, 0, 9, 9]
    assert other.patch["before"] == slider.patch["before"] == pytest.approx(vw.score(net, vw.Channel("0", 3), 1 - x).item(), abs=1e-6)
    with pytest.raises(traitlets.TraitError, match="read-only"):
        slider.map = None


def test_another_network(net, x):
    slider, other = vw.OcclusionSlider(net, x, window=8), small(pool=3)
    with torch.no_grad():
        other.module[4].weight.mul_(-1)
    slider.play(block=True)
    slider.net = other
    by_hand = x.clone()
    by_hand[:, :, 8:16, 8:16] = 0.5
    agrees(slider, other, x, by_hand)
    assert slider.map is None and not slider.about["lost"], "another network is another question"
    slider.play(block=True)
    assert torch.equal(slider.map.map, vw.occlusion(other, x, vw.Probability(slider.about["own"]), window=8).result().map)


def test_it_waits_until_it_is_in_view(net, x):
    slider = vw.OcclusionSlider(net, x, active=False)
    assert slider.patch == {}
    slider.active = True
    assert slider.ready(10) and slider.patch["seq"] == 1


def test_nothing_is_left_in_the_network(net, x):
    state = {k: v.clone() for k, v in net.module.state_dict().items()}
    net.module.train()
    noise = torch.get_rng_state()
    slider = vw.OcclusionSlider(net, x, fill="noise", target=vw.Channel("0", 1))
    slider.play(block=True)
    assert net.module.training and torch.equal(noise, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.module.modules())


def test_the_same_again(net, x):
    made = [vw.OcclusionSlider(net, x, window=6, fill="noise") for _ in range(2)]
    assert repr(made[0]) == repr(made[1])
    own = LABELS[made[0].about["own"]]
    assert repr(made[0]).startswith(f"OcclusionSlider({own} -> ") and repr(made[0]).endswith(", 6×6 at (9, 9))")
    for slider in made:
        slider.play(block=True)
    assert repr(made[0]).endswith(", 6×6 at (9, 9), map of 361 windows)")
    pictures = [np.asarray(s.still()) for s in made]
    assert np.array_equal(*pictures)
    made[0].box = (0, 0, 6, 6)
    assert made[0].ready(10) and not np.array_equal(np.asarray(made[0].still()), pictures[0])
