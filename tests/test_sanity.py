"""Sanity checks: which weights are random when, that the user's network stays as it is, and measures against others'."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import Saliency
from nets import double, make, net, nothing_left_behind, picture
from scipy.stats import spearmanr
from skimage.feature import hog
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core.results import Attribution
from vizwidgets.methods import sanity
from vizwidgets.methods.sanity import ORDERS, weighted_layers
from vizwidgets.methods.similarity import MEASURES

ABSOLUTE = "Spearman of absolute values"


def maps(batch: int = 2, side: int = 28, seed: int = 0) -> Tensor:
    """Smooth signed maps."""
    noise = torch.randn(batch, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.avg_pool2d(noise, 5, 1, 2)[:, 0]


def weights_of(of: vw.Net) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in of.module.state_dict().items()}


class Watch:
    """A method that keeps what it was given."""

    def __init__(self) -> None:
        self.nets: list[vw.Net] = []
        self.weights: list[dict[str, Tensor]] = []
        self.targets: list[vw.Target] = []

    def __call__(self, net: vw.Net, images: Tensor, target: vw.Target) -> Attribution:
        self.nets.append(net)
        self.weights.append(weights_of(net))
        self.targets.append(target)
        return vw.saliency(net, images, target)

    def changed(self) -> list[set[str]]:
        """Names of the tensors that differ from the first step's, in each step."""
        first = self.weights[0]
        return [{k for k, v in w.items() if not torch.equal(v, first[k])} for w in self.weights]


def watched(of: vw.Net | nn.Module, **options) -> tuple[Watch, object]:
    watch = Watch()
    return watch, vw.sanity_check(watch, of, picture(vw.as_net(of)), vw.Logit(2), **options).result()


# --- measures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties):
    a, b = maps(seed=0), maps(seed=1) + 0.5 * maps(seed=0)
    if ties:  # as of Grad-CAM, zero at many places
        a, b = a.clamp(min=0), (10 * b).round()
    found = vw.similarity(a, b)
    for i in range(2):
        assert found["Spearman"][i].item() == pytest.approx(spearmanr(a[i].flatten(), b[i].flatten()).statistic, abs=1e-12)
        sizes = spearmanr(a[i].abs().flatten(), b[i].abs().flatten()).statistic
        assert found[ABSOLUTE][i].item() == pytest.approx(sizes, abs=1e-12)
    assert (found["Spearman"] - found[ABSOLUTE]).abs().min() > 0.01


def test_ssim_is_that_of_the_formula():
    a, b = maps(seed=0), maps(seed=1) + 0.5 * maps(seed=0)
    u, v = (m.abs() / m.abs().amax((1, 2), keepdim=True) for m in (a, b))

    def mean(m: Tensor) -> Tensor:
        return F.avg_pool2d(m[:, None], 7, 1)[:, 0]

    c1, c2, unbiased = 0.01**2, 0.03**2, 49 / 48
    vu, vv, both = (unbiased * (mean(p * q) - mean(p) * mean(q)) for p, q in ((u, u), (v, v), (u, v)))
    ssim = (2 * mean(u) * mean(v) + c1) * (2 * both + c2) / ((mean(u) ** 2 + mean(v) ** 2 + c1) * (vu + vv + c2))
    assert torch.allclose(vw.similarity(a, b)["SSIM"], ssim.mean((1, 2)), atol=1e-9)


def test_hog_correlates_histograms_of_the_sizes():
    a, b = maps(seed=0), maps(seed=1) + 0.5 * maps(seed=0)
    found = vw.similarity(a, b)["HOG"]
    for i in range(2):
        features = [hog(m[i].abs().numpy() / m[i].abs().max().item(), pixels_per_cell=(2, 2)) for m in (a, b)]
        assert found[i].item() == pytest.approx(np.corrcoef(*features)[0, 1], abs=1e-9)


def test_what_the_measures_do_not_see():
    a = maps()
    for same in (a, 5 * a):
        assert all(torch.allclose(v, torch.ones_like(v)) for v in vw.similarity(a, same).values())
    turned = vw.similarity(a, -a)
    assert torch.allclose(turned["Spearman"], -torch.ones(2, dtype=torch.float64))
    assert all(torch.allclose(turned[m], torch.ones_like(turned[m])) for m in MEASURES[1:])
    cubed = vw.similarity(a, a**3)
    assert torch.allclose(cubed["Spearman"], torch.ones(2, dtype=torch.float64)) and (cubed["SSIM"] < 0.95).all()
    unrelated = vw.similarity(maps(40, 48, seed=2), maps(40, 48, seed=3))
    assert all(v.mean().abs() < 0.15 for v in unrelated.values())


def test_a_constant_map_is_not_compared():
    a = maps()
    b = a.clone()
    b[1] = 0
    for found in (vw.similarity(a, b), vw.similarity(b, a)):
        assert all(abs(v[0] - 1) < 1e-12 and v[1].isnan() for v in found.values())


@pytest.mark.parametrize(("a", "b", "said"), [
    (torch.rand(1, 9, 9), torch.rand(1, 9, 8), r"not \(1, 9, 9\) and \(1, 9, 8\)"),
    (torch.rand(9, 9), torch.rand(9, 9), r"maps to compare are \(B, H, W\)"),
    (torch.rand(1, 6, 9), torch.rand(1, 6, 9), "at least 7×7 pixels"),
    (torch.rand(1, 9, 9), torch.full((1, 9, 9), torch.nan), "NaN or infinite"),
])  # fmt: skip
def test_maps_that_cannot_be_compared(a, b, said):
    with pytest.raises(ValueError, match=said):
        vw.similarity(a, b)


# --- what is random, and when -------------------------------------------------------------------------------------------

LAYERS = ("0", "4", "8")  # of nets.small: a convolution with its normalisation, another one, a linear layer
OWN = {"0": {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}, "4": {"4.weight", "4.bias"},
       "8": {"8.weight", "8.bias"}}  # fmt: skip


@pytest.mark.parametrize(("order", "steps"), [
    ("cascading", ["", "8", "84", "840"]), ("bottom-up", ["", "0", "04", "048"]), ("independent", ["", "8", "4", "0"]),
])  # fmt: skip
def test_orders(order, steps):
    watch, report = watched(double("half"), order=order)
    assert watch.changed() == [set().union(*(OWN[n] for n in step)) for step in steps]
    assert report.layers == tuple(step[-1] for step in steps[1:])
    assert report.maps.shape == (4, 1, 32, 32) and all(v.shape == (4, 1) for v in report.similarity.values())
    assert set(report.similarity) == set(MEASURES)


def test_a_layer_gets_the_same_weights_in_any_order_and_another_with_another_seed():
    runs = {order: watched(double("half"), order=order)[0] for order in ORDERS}
    down, up, alone = (runs[order].weights for order in ("cascading", "bottom-up", "independent"))
    assert all(torch.equal(v, up[-1][k]) for k, v in down[-1].items())
    assert all(torch.equal(alone[1][k], down[-1][k]) for k in OWN["8"])
    assert all(torch.equal(alone[3][k], down[-1][k]) for k in OWN["0"])
    other = watched(double("half"), seed=1)[0].weights[-1]
    assert all(not torch.equal(v, other[k]) for k, v in down[-1].items() if v.ndim > 1)
    assert not torch.equal(down[-1]["8.weight"].flatten()[:5], down[-1]["4.weight"].flatten()[:5])


def test_the_distribution():
    module = nn.Sequential(nn.Conv2d(3, 300, 5, bias=True), nn.BatchNorm2d(300), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                           nn.Linear(300, 200), nn.PReLU(200))  # fmt: skip
    with torch.no_grad():
        module[6].weight.copy_(3 + 2 * torch.linspace(-1.73, 1.73, 200))  # a mean of 3, a standard deviation of 2
    last = watched(vw.as_net(module, size=16))[0].weights[-1]
    for key, fan_in in (("0.weight", 75), ("5.weight", 300)):  # He et al.: a variance of 2 / fan-in
        assert last[key].std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02) and abs(last[key].mean()) < 1e-2
    for key in ("0.bias", "1.bias", "1.running_mean", "5.bias"):
        assert not last[key].any()
    assert (last["1.weight"] == 1).all() and (last["1.running_var"] == 1).all()
    assert last["6.weight"].std().item() == pytest.approx(2, rel=0.2) and last["6.weight"].mean().item() == pytest.approx(3, rel=0.2)


def test_the_maps_are_those_of_a_network_with_these_weights():
    of = net("in_place")
    x = picture(of, 2)
    watch = Watch()
    report = vw.sanity_check(watch, of, x, vw.Logit(2)).result()
    first = vw.saliency(of, x, vw.Logit(2)).map
    for i, weights in enumerate(watch.weights):
        own = make("in_place")
        own.load_state_dict(weights)
        assert torch.equal(report.maps[i], vw.saliency(vw.as_net(own, size=32), x, vw.Logit(2)).map)
        assert all(torch.equal(v, report.similarity[m][i]) for m, v in vw.similarity(first, report.maps[i]).items())
    assert all(v[0].allclose(torch.ones(2)) for v in report.similarity.values())


@pytest.mark.parametrize("name", ["squeezenet", "densenet", "mobilenet_v3", "convnext", "swin", "vit", "shared", "tuple", "parallel"])
def test_every_weight_becomes_random_but_those_of_the_network_itself(name):
    of = net(name)
    groups = weighted_layers(of)
    members = [m for group in groups.values() for m in group]
    assert len(members) == len(set(members))
    own = {f"{m}.{k}" for m in members for k, _ in of.module.get_submodule(m).named_parameters(recurse=False)}
    assert own == {k for k, _ in of.module.named_parameters()} - {"class_token"}
    places = [max(i for i, n in enumerate(of.layers.order) if n.partition(":")[0] == g) for g in groups if g in of.layers.order]
    assert places == sorted(places) and next(reversed(groups)) in {"classifier.1", "classifier", "classifier.3",
                                                                   "classifier.2", "head", "heads.head", "fc", "unused", "8"}  # fmt: skip


def test_layers_by_name_stand_in_the_order_of_the_network():
    flowers = vw.load("flowers")
    found = weighted_layers(flowers, ["stem.conv", "head", "stage3", "stage2.0.norm1"])
    assert list(found) == ["stem.conv", "stage2.0.norm1", "stage3", "head"]
    assert found["stem.conv"] == ("stem.conv", "stem.norm") and found["stage2.0.norm1"] == ("stage2.0.norm1",)
    assert len(found["stage3"]) == 6 and "stage3.0.shortcut.2" in found["stage3"]
    beside = nn.Sequential()
    for name in ("block", "block2"):  # one name begins as the other
        beside.add_module(name, nn.Sequential(nn.Conv2d(3, 3, 1)))
    assert weighted_layers(vw.as_net(beside, size=8), ["block"]) == {"block": ("block.0",)}
    assert len(weighted_layers(flowers)) == 13 and len(weighted_layers(flowers, ["stage1", "stage2"])) == 2


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"method": "salient"}, LookupError, "did you mean 'saliency'"),
    ({"target": vw.Logit("rosa")}, LookupError, "did you mean 'rose'"),
    ({"target": "rose"}, TypeError, "a target is one of vizwidgets' targets, not 'rose'"),
    ({"order": "cascade"}, LookupError, "did you mean 'cascading'"),
    ({"layers": ["stge3"]}, LookupError, "did you mean 'stage3'"),
    ({"layers": ["head", "head"]}, ValueError, "layer 'head' is randomised twice"),
    ({"layers": ["stage3", "stage3.0.conv1"]}, ValueError, "twice: with 'stage3' already"),
    ({"layers": ["stem.conv", "stem.norm"]}, ValueError, "twice: with 'stem.conv' already"),
    ({"layers": ["pool"]}, ValueError, "layer 'pool' has no weights"),
    ({"layers": []}, ValueError, r"at least one: \['head'\], not \[\]"),
    ({"layers": "head"}, ValueError, "layers are names of modules"),
])  # fmt: skip
def test_what_cannot_be_checked_is_said_before_anything_runs(options, error, said):
    given = {"method": "saliency", "target": vw.Logit("rose"), **options}
    with pytest.raises(error, match=said):
        vw.sanity_check(given.pop("method"), vw.load("flowers"), torch.rand(1, 3, 32, 32), given.pop("target"), **given)


def test_networks_that_cannot_be_checked():
    with pytest.raises(ValueError, match="no layer with weights"):
        vw.sanity_check("saliency", vw.as_net(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=16, channels=3),
                        torch.rand(1, 3, 16, 16), vw.Logit(0))  # fmt: skip
    module = make("half").float()
    module.lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot be copied"):
        vw.sanity_check("saliency", vw.as_net(module, size=32), torch.rand(1, 3, 32, 32), vw.Logit(0))


def test_maps_that_are_not_finite_are_refused_with_the_layer():
    def breaks(net: vw.Net, images: Tensor, target: vw.Target) -> Attribution:
        random = (weights_of(net)["4.bias"] == 0).all()
        return Attribution(torch.full((1, 32, 32), torch.nan) if random else torch.rand(1, 32, 32), torch.zeros(1))

    run = vw.sanity_check(breaks, double("half"), torch.rand(1, 3, 32, 32), vw.Logit(0))
    with pytest.raises(ValueError, match="breaks gives values that are not finite, with '4' randomised"):
        run.result()
    assert run.taken == 2 and run.so_far().layers == ("8",)


# --- the user's network -------------------------------------------------------------------------------------------------


def test_a_function_gets_one_copy_with_the_same_preprocessing():
    of = vw.as_net(make("half").float(), size=32, mean=0.4, std=0.3, labels=map(str, range(10)), name="mine")
    watch, _ = watched(of)
    assert len({id(n.module) for n in watch.nets}) == 1 and watch.nets[0].module is not of.module
    assert all((n.mean, n.std, n.labels, n.name) == (of.mean, of.std, of.labels, "mine") for n in watch.nets)
    assert watch.targets == [vw.Logit(2)] * 4


def test_within_inference_mode():
    with torch.inference_mode():
        assert watched(net("in_place"))[1].maps.shape[0] == 6


def captums(of: vw.Net, after: Callable[[], object] = lambda: None) -> Callable[..., Tensor]:
    """Captum's saliency with signs; `after` is called in each of its calls."""
    method = Saliency(of)

    def signed(inputs: Tensor, target: int) -> Tensor:
        after()
        return method.attribute(inputs, target=target, abs=False)

    return signed


@pytest.mark.parametrize("order", ORDERS)
def test_in_captums_manner_the_maps_are_the_same(order):
    of = net("in_place")
    x = picture(of, 2)
    with nothing_left_behind(of.module, x):
        found = vw.sanity_check(captums(of), of, x, vw.Logit(2), order=order, seed=3).result()
    ours = vw.sanity_check(partial(vw.saliency, kind="signed"), of, x, vw.Logit(2), order=order, seed=3).result()
    assert torch.allclose(found.maps, ours.maps, atol=1e-5 * ours.maps.abs().max().item())
    assert found.layers == ours.layers and found.recipe == ours.recipe == {}


def test_in_captums_manner_the_weights_are_there_for_a_step_only():
    of = net("in_place")
    before, digest = weights_of(of), of.sha256
    places = {k: v.data_ptr() for k, v in of.module.state_dict().items()}
    seen = []
    run = vw.sanity_check(captums(of, lambda: seen.append(weights_of(of))), of, picture(of), vw.Logit(2))
    for _ in range(3):
        next(run)
        assert all(torch.equal(v, before[k]) for k, v in weights_of(of).items())
        assert {k: v.data_ptr() for k, v in of.module.state_dict().items()} == places and of.sha256 == digest
    assert torch.equal(seen[2]["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(seen[2]["conv4.weight"], before["conv4.weight"])
    run.stop()
    assert len(run.result().layers) == 2 and len(seen) == 3


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_in_captums_manner_weights_are_back_after_an_error(error):
    of = net("in_place")
    x, calls = picture(of), []

    def fails() -> None:
        calls.append(weights_of(of))
        if len(calls) == 3:
            raise error("in the middle")

    with nothing_left_behind(of.module, x), pytest.raises(error, match="in the middle"):
        vw.sanity_check(captums(of, fails), of, x, vw.Logit(2)).result()
    assert not torch.equal(calls[2]["conv4.weight"], of.module.conv4.weight)


def test_in_captums_manner_nobody_else_sees_the_random_weights(monkeypatch):
    of = net("in_place")
    free: list[bool] = []
    swapped = sanity._weights

    def tries() -> None:
        free.append(of.lock.acquire(blocking=False))
        if free[-1]:
            of.lock.release()

    @contextmanager
    def watched(module: nn.Module, values: dict[str, Tensor]) -> Iterator[None]:
        thread = threading.Thread(target=tries)
        thread.start()
        thread.join()
        with swapped(module, values):
            yield

    monkeypatch.setattr(sanity, "_weights", watched)
    vw.sanity_check(captums(of), of, picture(of), vw.Logit(2), layers=["fc"]).result()
    assert free == [False, False]


# --- results ------------------------------------------------------------------------------------------------------------


def test_made_again_from_the_recipe(tmp_path):
    flowers = vw.load("flowers")
    x = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    report = vw.sanity_check(vw.gradcam, flowers, x, vw.Logit("rose"), order="bottom-up", layers=["head", "stage1"], seed=5).result()
    assert report.layers == ("stage1", "head")
    again = vw.rerun(report.save(tmp_path / "report.png"))
    assert torch.equal(again.maps, report.maps) and again.layers == report.layers
    run = vw.sanity_check("saliency", flowers, x, vw.Logit("rose"))
    for step in run:
        assert bool(step.attribution.recipe) == (step.layer is None)
        if step.index == 3:
            break
    part = vw.rerun(run.so_far())
    assert part.layers == ("head", "stage4.0.shortcut.1") and torch.equal(part.maps, run.so_far().maps)
    assert vw.sanity_check(partial(vw.saliency, kind="signed"), flowers, x, vw.Logit("rose"), layers=["head"]).result().recipe == {}


def test_pictures():
    import matplotlib

    matplotlib.use("Agg")
    report = vw.sanity_check("saliency", vw.load("flowers"), torch.rand(2, 3, 48, 48), vw.Logit("rose")).result()
    assert report.picture().size == (14 * 48 + 13 * 2, 2 * 48 + 2)
    assert repr(report) == "SanityReport(13 layers, maps 14×2×48×48)"
    ax = report.plot()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["as it is", *report.layers]
    assert {line.get_label() for line in ax.lines} >= set(MEASURES)
    assert np.allclose(ax.lines[0].get_ydata(), report.similarity["Spearman"].mean(1))
    matplotlib.pyplot.close(ax.figure)
    step = next(vw.sanity_check("saliency", vw.load("flowers"), torch.rand(2, 3, 48, 48), vw.Logit("rose")))
    assert step.picture().size == (98, 48) and step.index == 1 and step.layer is None


def test_a_batch_equals_one_by_one():
    of = double("in_place")
    x = picture(of, 2).double()
    both = vw.sanity_check("saliency", of, x, vw.Logit(2)).result()
    for i in range(2):
        one = vw.sanity_check("saliency", of, x[i : i + 1], vw.Logit(2)).result()
        assert torch.allclose(one.maps[:, 0], both.maps[:, i], rtol=1e-9, atol=1e-12)
        assert all(torch.allclose(one.similarity[m][:, 0], both.similarity[m][:, i], atol=1e-6) for m in MEASURES)


# --- class sensitivity --------------------------------------------------------------------------------------------------


def test_class_sensitivity_of_a_linear_network():
    # The gradient of each class is its row of weights, whatever the image.
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).double()
    of = vw.as_net(module, size=8, channels=1)
    rows = module[1].weight.detach().abs().numpy()
    pairs = [spearmanr(rows[a], rows[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for method in ("saliency", partial(vw.saliency, kind="signed")):
        found = vw.class_sensitivity(method, of, x, [vw.Logit(i) for i in range(3)])
        assert found.tolist() == pytest.approx([1 - np.mean(pairs)] * 2, abs=1e-9)


def test_class_sensitivity_leaves_constant_maps_out():
    def method(net: vw.Net, images: Tensor, target: vw.Logit) -> Attribution:
        return Attribution({0: maps(), 1: -maps(), 2: torch.zeros(2, 28, 28), 3: maps(seed=1)}[target.index], torch.zeros(2))

    def found(*classes: int) -> Tensor:
        return vw.class_sensitivity(method, double("half"), torch.rand(2, 3, 28, 28), [vw.Logit(i) for i in classes])

    assert torch.allclose(found(0, 1, 2), torch.zeros(2, dtype=torch.float64))
    assert found(0, 2).isnan().all()
    assert torch.allclose(found(0, 1, 3), 2 / 3 * found(0, 3)) and found(0, 3).min() > 0.5
    with pytest.raises(ValueError, match="at least two targets"):
        found(0)


@pytest.mark.long
def test_guided_backprop_shows_the_picture_and_not_the_class():
    flowers = vw.load("flowers")
    drawings = vw.data.Flowers(24, seed=7)
    x = torch.stack([drawings[i][0] for i in range(2)])
    classes = [vw.Logit(i) for i in range(3)]
    guided, plain = (vw.class_sensitivity(m, flowers, x, classes) for m in ("guided backprop", "saliency"))
    assert guided.max() < 0.1 < 3 * guided.max() < plain.min()
    for m in ("guided backprop", "saliency"):
        report = vw.sanity_check(m, flowers, x, vw.Logit("rose"), layers=["head", "stage4", "stage3"]).result()
        alike = report.similarity[ABSOLUTE][-1].mean()
        assert alike > 0.75 if m == "guided backprop" else alike < 0.6


def test_a_copy_costs_no_memory_and_keeps_what_is_shared() -> None:
    module = make("resnet").eval()
    module.twin = module.fc
    copied = sanity._copy(vw.as_net(module, size=32)).module
    own, others = dict(module.named_parameters()), dict(copied.named_parameters())
    assert own.keys() == others.keys() and copied.twin is copied.fc and copied.fc is not module.fc
    assert all(others[n] is not p and others[n].data_ptr() == p.data_ptr() for n, p in own.items())
    before = module.fc.weight.clone()
    with sanity._weights(copied, {"fc.weight": torch.zeros_like(before)}):
        assert (copied.fc.weight == 0).all() and torch.equal(module.fc.weight, before)
