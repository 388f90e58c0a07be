"""AdversarialSlider without a page: what is shown against fgsm and pgd, the bound in levels, the newest wins, errors."""

from __future__ import annotations

import io
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
from vizwidgets.widgets.adversarial_view import class_rows, difference, eight_bit


@pytest.fixture
def net():
    return small()


@pytest.fixture
def x():
    levels = torch.randint(0, 256, (1, 3, 24, 24), generator=torch.Generator().manual_seed(3))
    return levels / 255


def seen(slider, name):
    frame = slider.frame
    return np.frombuffer(frame[name], np.uint8).reshape(frame["height"], frame["width"], 3)


def agrees(slider, net, x, wanted):
    """What is shown is the 8-bit picture of `wanted`, with the probabilities of just that picture."""
    assert slider.wait(10) and slider.error == ""
    assert np.array_equal(seen(slider, "original"), to_pixels(x[0]))
    assert np.array_equal(seen(slider, "changed"), to_pixels(wanted[0]))
    rounded = torch.from_numpy(to_pixels(wanted[0]).copy()).permute(2, 0, 1)[None] / 255
    assert torch.equal(slider.adversarial.pixels, rounded)
    with torch.no_grad():
        before, after = net(x)[0].softmax(0), net(rounded)[0].softmax(0)
    torch.testing.assert_close(slider.before, before)
    torch.testing.assert_close(slider.after, after)
    for row in slider.frame["rows"]:
        assert (row["before"], row["after"]) == pytest.approx((before[row["index"]].item(), after[row["index"]].item()), abs=1e-6)
    assert slider.frame["first"] == [before.argmax(), after.argmax()]
    assert slider.frame["done"]


@pytest.mark.parametrize("options", [{}, {"norm": "2", "eps": 1.3}, {"steps": 1}, {"seed": 4, "eps": 9 / 255, "steps": 3}], ids=str)
def test_it_shows_what_pgd_makes(net, x, options):
    own = int(net(x).argmax())
    slider = vw.AdversarialSlider(net, x, **options)
    agrees(slider, net, x, vw.pgd(net, x, -vw.Logit(own), **{"eps": 4 / 255, "steps": 10, **options}).result().image)
    slider.target = vw.Logit("maple")
    wanted = vw.pgd(net, x, vw.Logit("maple") - vw.Logit(own), **{"eps": 4 / 255, "steps": 10, **options}).result()
    agrees(slider, net, x, wanted.image)
    assert torch.equal(slider.result().image, wanted.image)
    if options == {"steps": 1}:
        assert torch.equal(wanted.image, vw.fgsm(net, x, vw.Logit("maple") - vw.Logit(own)).image)


def test_the_target_may_be_anything_that_can_rise(net, x):
    own = LABELS[int(net(x).argmax())]
    slider = vw.AdversarialSlider(net, x, target=vw.Channel("0", 3))
    agrees(slider, net, x, vw.pgd(net, x, vw.Channel("0", 3)).result().image)
    assert (slider.about["index"], slider.about["aim"]) == (-1, "channel 3 of 0")
    slider.target = vw.Probability(own)      # surer still of its own class
    agrees(slider, net, x, vw.pgd(net, x, vw.Logit(own)).result().image)
    slider.target = None
    agrees(slider, net, x, vw.pgd(net, x, -vw.Logit(own)).result().image)
    assert slider.about["aim"] == f"away from {own}"


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_the_bound_holds_in_levels(net, x, levels):
    slider = vw.AdversarialSlider(net, x, eps=levels / 255)
    slider.wait(10)
    change = seen(slider, "changed").astype(int) - seen(slider, "original")
    assert np.abs(change).max() == slider.frame["largest"] == levels
    assert slider.frame["share"] == pytest.approx((change != 0).any(2).mean())
    assert slider.frame["length"] == pytest.approx(np.linalg.norm(change / 255), rel=1e-5)
    for amplify in (4, 64):
        assert np.array_equal(difference(slider.frame, amplify), np.clip(128 + amplify * change, 0, 255))


def test_an_image_between_two_levels_is_rounded_first(net, x):
    between = (x * 254 + 0.5) / 255
    slider = vw.AdversarialSlider(net, between, eps=1 / 255)
    slider.wait(10)
    assert np.array_equal(seen(slider, "original"), to_pixels(between[0]))
    assert slider.frame["largest"] == 1
    agrees(slider, net, eight_bit(between), vw.pgd(net, eight_bit(between), -vw.Logit(slider.about["own"]), eps=1 / 255).result().image)


def test_no_change_at_all(net, x):
    slider = vw.AdversarialSlider(net, x, eps=0)
    agrees(slider, net, x, x)
    assert (slider.frame["largest"], slider.frame["taken"]) == (0, 0)
    with pytest.raises(ValueError, match="nothing has been changed"):
        slider.result()
    Wire(slider).receive({"cmd": "save", "view": "a"})
    slider.eps = 2 / 255
    assert slider.wait(10) and slider.frame["largest"] == 2
    slider.eps = 0
    agrees(slider, net, x, x)


def test_the_same_again(net, x):
    a, b = (vw.AdversarialSlider(net, x, seed=1) for _ in range(2))
    assert a.wait(10) and b.wait(10)
    assert a.frame["changed"] == b.frame["changed"]
    assert repr(a) == repr(b)
    assert repr(a).startswith("AdversarialSlider(") and repr(a).endswith(", eps 4/255)")
    b.seed = 2
    assert b.wait(10) and a.frame["changed"] != b.frame["changed"]


@pytest.fixture
def gated(net, x):
    gated = Gated(net.module)
    made = vw.as_net(gated, size=24, labels=LABELS, name="trees")
    slider = vw.AdversarialSlider(made, x, steps=20)
    assert slider.wait(10)
    gated.gate = threading.Semaphore(0)
    yield slider, gated
    gated.gate.release(10_000)
    slider.close()


def test_the_newest_value_wins(gated, net, x):
    slider, module = gated
    before, sent = module.passes, Wire(slider)
    for levels in range(1, 30):
        sent.receive({"cmd": "set", "name": "eps", "value": levels})
    module.gate.release(10_000)
    assert slider.wait(10)
    assert slider.eps == pytest.approx(29 / 255)
    agrees(slider, net, x, vw.pgd(net, x, -vw.Logit(slider.about["own"]), eps=29 / 255, steps=20).result().image)
    assert module.passes - before < 3 * 25, "old values were worked out to the end"


def test_a_slow_network_shows_how_far_it_is(gated, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.adversarial_slider.PAUSE", 0)
    slider, module = gated
    seen = []
    slider.observe(lambda c: seen.append((c.new["taken"], c.new["steps"], c.new["done"])), "frame")
    shown = slider.adversarial
    slider.steps = 3
    module.gate.release(3)      # the original, a step, and what that has made
    until(lambda: seen)
    assert seen == [(1, 3, False)]
    assert slider.adversarial is shown, "what is half done is not handed on"
    module.gate.release(100)
    assert slider.wait(10)
    assert seen == [(1, 3, False), (2, 3, False), (3, 3, True)]


def test_closed_in_the_middle(gated, monkeypatch):
    monkeypatch.setattr("vizwidgets.widgets.adversarial_slider.PAUSE", 1000.0)      # nothing is shown before the end
    slider, module = gated
    before, passes = slider.frame, module.passes
    slider.steps = 50
    module.gate.release(6)
    until(lambda: module.passes >= passes + 6)
    slider.close()      # a step is under way
    module.gate.release(10_000)
    assert slider.wait(10)
    assert slider.frame == before
    assert module.passes <= passes + 8
    assert not slider.error


def test_the_worker_is_free_between_steps(gated, net, x):
    slider, module = gated
    other = vw.AdversarialSlider(net, x, steps=1)
    passes, slider.steps = module.passes, 50
    module.gate.release(6)
    until(lambda: module.passes >= passes + 6)
    other.eps = 7 / 255
    module.gate.release(20)      # some steps, and then it halts again
    assert other.wait(5) and other.frame["largest"] == 7
    assert slider.frame["taken"] != 50
    module.gate.release(10_000)
    assert slider.wait(10) and slider.frame["taken"] == 50


def test_what_the_page_sends(net, x):
    slider = vw.AdversarialSlider(net, x)
    wire = Wire(slider)
    for name, value, wanted in (("eps", 7, 7 / 255), ("steps", 3, 3), ("amplify", 64, 64), ("target", 5, vw.Logit(5)), ("target", None, None)):
        wire.receive({"cmd": "set", "name": name, "value": value})
        assert getattr(slider, name) == wanted
    wire.receive({"cmd": "set", "name": "norm", "value": "2"})      # the slider stays where it is
    assert (slider.norm, slider.eps) == ("2", pytest.approx(0.7))
    wire.receive({"cmd": "set", "name": "norm", "value": "inf"})
    assert (slider.norm, slider.eps) == ("inf", pytest.approx(7 / 255))
    assert slider.wait(10) and slider.error == ""
    for content in ({"name": "steps", "value": 0}, {"name": "norm", "value": "7"}, {"name": "eps", "value": -1}, {"name": "eps", "value": "x"}):
        slider.error = ""
        wire.receive({"cmd": "set", **content})
        assert slider.error
    wire.receive({"cmd": "set", "name": "net", "value": None})
    assert (slider.net, slider.eps, slider.steps) == (net, pytest.approx(7 / 255), 3)


def test_pictures_and_classes_come_in_one_message(net, x):
    slider = vw.AdversarialSlider(net, x)
    slider.wait(10)
    wire = Wire(slider)
    slider.eps = 9 / 255
    assert slider.wait(10)
    states = [s for s in wire.states if "eps" not in s]
    assert [set(s) for s in states] == [{"frame"}]
    assert wire.size == 2 * 24 * 24 * 3


def test_the_file_holds_what_is_shown_and_its_recipe(net, x, tmp_path):
    slider = vw.AdversarialSlider(net, x, eps=5 / 255, target=vw.Logit("fir"))
    wire = Wire(slider)
    wire.receive({"cmd": "save", "view": "a"})
    until(lambda: wire.messages)
    (message,), data = wire.messages, next(b for d, b in wire.sent if d.get("method") == "custom")[0]
    assert message["view"] == "a"
    assert message["file"].endswith("-birch-eps-5-255.png")
    (tmp_path / "changed.png").write_bytes(data)
    pixels = np.asarray(PILImage.open(tmp_path / "changed.png"))
    assert np.array_equal(pixels, seen(slider, "changed"))
    assert np.abs(pixels.astype(int) - to_pixels(x[0])).max() == 5
    again = vw.rerun(tmp_path / "changed.png", net)
    assert torch.equal(again.image, slider.result().image)


def test_others_can_follow(net, x):
    slider, grid = vw.AdversarialSlider(net, x), vw.ChannelGrid(net, x, "0")
    traitlets.dlink((slider, "adversarial"), (grid, "image"))
    other = vw.Image(1 - x, "negative")
    traitlets.link((slider, "image"), (vw.ChannelGrid(net, x, "0"), "image"))
    slider.image = other
    assert slider.wait(10) and grid.wait(10)
    assert grid.image == slider.adversarial
    agrees(slider, net, 1 - x, vw.pgd(net, 1 - x, -vw.Logit(slider.about["own"])).result().image)
    with pytest.raises(traitlets.TraitError, match="read-only"):
        slider.adversarial = other


def test_nothing_is_left_in_the_network(net, x):
    state = {k: v.clone() for k, v in net.module.state_dict().items()}
    net.module.train()
    slider = vw.AdversarialSlider(net, x)
    slider.eps = 8 / 255
    assert slider.wait(10)
    assert net.module.training
    assert all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.module.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.module.modules())


@pytest.mark.parametrize("channels", [1, 5])
def test_other_numbers_of_channels_and_no_labels(channels):
    net = small(channels, labels=None)
    x = torch.randint(0, 256, (1, channels, 24, 24), generator=torch.Generator().manual_seed(3)) / 255
    slider = vw.AdversarialSlider(net, x, target=vw.Logit(6))
    assert slider.wait(10) and slider.error == ""
    assert slider.about["classes"] == [f"class {i}" for i in range(8)]
    assert (slider.frame["largest"], slider.frame["channels"]) == (4, channels)
    assert slider.still().size[0] > 300
    slider.target = vw.Logit(8)
    slider.wait(10)
    assert "no class 8; the network has 8" in slider.error
    slider.target = None
    assert slider.wait(10) and slider.error == ""


def test_errors_stand_in_the_widget(net, x):
    slider = vw.AdversarialSlider(net, x)
    assert slider.wait(10)
    shown = slider.frame
    slider.target = vw.Logit("mapel")
    slider.wait(10)
    assert "did you mean 'maple'" in slider.error
    slider.target = None
    assert slider.wait(10) and slider.error == ""
    slider.image = vw.Image(torch.rand(2, 3, 24, 24), "two")
    slider.wait(10)
    assert "one image is changed at a time, not 2" in slider.error
    slider.image = vw.Image(torch.rand(1, 1, 24, 24), "grey")
    slider.wait(10)
    assert "takes images (B, 3, H, W)" in slider.error
    slider.image = vw.Image(x)
    assert slider.wait(10) and slider.error == ""
    with torch.no_grad():
        net.module[4].bias[0] = float("nan")
    slider.eps = 5 / 255
    slider.wait(10)
    assert "trees gives NaN" in slider.error
    assert slider.frame["changed"] == shown["changed"]


def test_wrong_arguments_raise_at_once(net, x):
    with pytest.raises(LookupError, match="did you mean 'maple'"):
        vw.AdversarialSlider(net, x, target=vw.Logit("mapel"))
    with pytest.raises(TypeError, match=r"Logit\('maple'\), say"):
        vw.AdversarialSlider(net, x, target="maple")
    with pytest.raises(traitlets.TraitError, match="4 / 255, say"):
        vw.AdversarialSlider(net, x, eps=-1)
    with pytest.raises(traitlets.TraitError, match="4 / 255 perhaps"):
        vw.AdversarialSlider(net, x, eps=4)
    with pytest.raises(traitlets.TraitError, match="nan"):
        vw.AdversarialSlider(net, x, eps=float("nan"))
    with pytest.raises(TypeError, match="no option 'epsilon'; did you mean 'eps'"):
        vw.AdversarialSlider(net, x, epsilon=4 / 255)
    with pytest.raises(ValueError, match=r"\(2, 3, 24, 24\)"):
        vw.AdversarialSlider(net, torch.rand(2, 3, 24, 24))


def test_before_there_is_an_image(net, x):
    slider = vw.AdversarialSlider(net)
    assert (slider.frame, slider.still(), repr(slider), slider.before, slider.adversarial) == ({}, None, "AdversarialSlider()", None, None)
    with pytest.raises(ValueError, match="a network and an image are needed"):
        slider.result()
    slider.image = vw.Image(x)
    assert slider.wait(10) and slider.frame["largest"] == 4
    slider.image = None
    assert slider.wait(10)
    assert (slider.frame, slider.adversarial, slider.error) == ({}, None, "")


def test_a_class_keeps_its_row():
    before = torch.tensor([0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005])
    rows = class_rows([], before, before, -1, 4)
    assert rows == [0, 1, 2, 3]
    after = torch.tensor([0.02, 0.01, 0.01, 0.01, 0.01, 0.04, 0.3, 0.6])
    new = class_rows(rows, before, after, -1, 4)
    assert new == [0, 1, 6, 7] or new == [0, 1, 7, 6], "only the two least make room"
    assert class_rows(new, before, after.flip(0), -1, 4)[0] == 0
    assert class_rows(new, before, before, -1, 4) == new, "nobody leaves without need"
    assert 5 in class_rows(rows, before, before, 5, 4)
    after = torch.tensor([0.3, 0.05, 0.05, 0.05, 0, 0, 0, 0.55])
    assert class_rows([0, 1, 2, 5], before, after, 5, 4) == [0, 1, 7, 5], "the class to win stays, small as it is"
    assert class_rows([], before[:2], before[:2], 1, 4) == [0, 1]


def test_still_and_bundle(flowers):
    slider = vw.AdversarialSlider(flowers, vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers))
    data, _ = slider._repr_mimebundle_()
    still = np.asarray(PILImage.open(io.BytesIO(data["image/png"])))
    assert np.array_equal(still[24:232:2, 8:216:2][:50, :50], np.asarray(slider.image.picture().resize((208, 208), 0))[::2, ::2][:50, :50])
    assert data["text/plain"] == "AdversarialSlider(poppy -> daisy, eps 4/255)"
