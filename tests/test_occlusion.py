"""Occlusion against a loop written by hand and against Captum; its order, its fills, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from captum import attr
from nets import double, make, net, nothing_left_behind, picture
from scipy.stats import spearmanr
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core import precision
from vizwidgets.methods.occlusion import filling, occlusion

CLASS = vw.Logit(3)
SHAPES = [((8, 8), (4, 4)), ((6, 9), (4, 2)), ((7, 7), (6, 6)), ((32, 5), (1, 5))]


def by_hand(of: vw.Net, x: Tensor, cover: Tensor, window, stride, only_window: bool = False) -> Tensor:
    height, width = x.shape[2:]
    total, count = torch.zeros(height, width, dtype=x.dtype), torch.zeros(height, width, dtype=x.dtype)
    base = of(cover if only_window else x)[0, 3]
    for y in range(0, height - window[0] + stride[0], stride[0]):
        for left in range(0, width - window[1] + stride[1], stride[1]):
            here = (slice(y, y + window[0]), slice(left, left + window[1]))
            changed = cover.clone() if only_window else x.clone()
            changed[..., here[0], here[1]] = (x if only_window else cover)[..., here[0], here[1]]
            score = of(changed)[0, 3]
            total[here] += score - base if only_window else base - score
            count[here] += 1
    return total / count


@torch.no_grad()
@pytest.mark.parametrize(("window", "stride"), SHAPES)
@pytest.mark.parametrize("only_window", [False, True])
def test_it_is_the_loop_by_hand(window, stride, only_window: bool) -> None:
    of = double("functional")
    x = picture(of).double()
    found = occlusion(of, x, CLASS, window=window, stride=stride, only_window=only_window).result()
    expected = by_hand(of, x, torch.full_like(x, 0.5), window, stride, only_window)
    assert (found.map[0] - expected).abs().max() <= 1e-9 * expected.abs().max()
    assert torch.allclose(found.scores, of(x)[:, 3])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("window", "stride"), SHAPES)
def test_the_same_as_captum(window, stride, dtype, near, monkeypatch) -> None:
    of, module = (double if dtype == torch.float64 else net)("functional"), make("functional").to(dtype).eval()
    x = picture(of, batch=2).to(dtype)
    with monkeypatch.context() as m:
        m.setattr(Tensor, "float", lambda v: v.to(dtype))  # Captum rounds its sums to single precision
        peer = attr.Occlusion(module).attribute(x, (3, *window), strides=(3, *stride), target=3, baselines=0.5)[:, 0]
    mine = occlusion(of, x, CLASS, window=window, stride=stride).result().map
    assert mine.dtype == dtype and (mine - peer).abs().max() <= near * peer.abs().max()


def test_drops_of_a_tiling_add_up_for_a_linear_score() -> None:
    torch.manual_seed(0)
    of = vw.as_net(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).double(), size=16)
    x = picture(of).double()
    found = occlusion(of, x, CLASS, window=4, stride=4, fill=0.25).result().map[0, ::4, ::4].sum()
    change = vw.score(of, CLASS, x) - vw.score(of, CLASS, torch.full_like(x, 0.25))
    assert found.item() == pytest.approx(change.item(), abs=1e-9)


def test_several_targets_and_images_are_as_one_by_one() -> None:
    of = double("functional")
    x = picture(of, batch=2).double()
    targets = (CLASS, vw.Channel("conv2", 1), vw.Probability(0))
    together = occlusion(of, x[:1], targets, window=8, stride=8).result()
    for i, target in enumerate(targets):
        assert torch.allclose(together.map[i], occlusion(of, x[:1], target, window=8, stride=8).result().map[0], atol=1e-12)
    each = occlusion(of, x, vw.Each(targets[:2]), window=8, stride=8).result()
    for i in range(2):
        alone = occlusion(of, x[i : i + 1], targets[i], window=8, stride=8).result()
        assert torch.allclose(each.map[i], alone.map[0], atol=1e-12) and torch.allclose(each.scores[i], alone.scores[0])


def test_it_comes_from_coarse_to_fine() -> None:
    of, x = net("functional"), picture(net("functional"))
    steps = list(occlusion(of, x, CLASS, window=4, stride=1))
    assert len(steps) == -(-29 * 29 // 8) and steps[-1].done == 1
    assert all(s.map.isfinite().all() for s in steps), "an estimate for every pixel from the first step on"
    assert [s.done for s in steps] == sorted({s.done for s in steps})
    error = [(s.map - steps[-1].map).abs().mean().item() for s in steps]
    assert error[len(steps) // 2] < error[3] < error[0]
    assert steps[0].picture().size == (32, 32)


def test_what_no_window_covers_is_marked() -> None:
    of, x = net("functional"), picture(net("functional"))
    found = occlusion(of, x, CLASS, window=4, stride=7).result().map[0]
    rows = torch.zeros(32, dtype=torch.bool)
    for start in range(0, 32, 7):
        rows[start : start + 4] = True
    assert torch.equal(~found.isnan(), rows[:, None] & rows)


def test_fills() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filling(x, "grey"), torch.full_like(x, 0.5))
    assert torch.allclose(filling(x, "mean")[1, :, 3, 4], x[1].mean((1, 2)))
    blurred = filling(x, "blur")
    assert blurred.std() < 0.5 * x.std() and torch.allclose(blurred.mean(), x.mean(), atol=0.02)
    assert torch.equal(filling(x, "noise", 3), filling(x, "noise", 3)) and not torch.equal(filling(x, "noise", 3), filling(x, "noise", 4))
    assert torch.equal(filling(x, x[:1])[1], x[0])
    for bad, error, said in ((x[:, :, 1:], ValueError, "as large as"), (1.5, ValueError, "between 0 and 1"), ("gray", LookupError, "grey")):
        with pytest.raises(error, match=said):
            filling(x, bad)


def test_bad_input_is_refused_before_anything_is_computed() -> None:
    of, x = net("functional"), picture(net("functional"), batch=2)
    with pytest.raises(ValueError, match="at most the image, 32×32 pixels, not 40×8"):
        occlusion(of, x, CLASS, window=(40, 8))
    with pytest.raises(ValueError, match="stride is a number of pixels"):
        occlusion(of, x, CLASS, stride=0)
    with pytest.raises(ValueError, match="3 targets for 2 images"):
        occlusion(of, x, [CLASS, CLASS, CLASS])
    with pytest.raises(LookupError, match="conv2"):
        occlusion(of, x, vw.Channel("conv3", 0))
    with pytest.raises(ValueError, match="2048 of the image's are NaN or infinite"):
        occlusion(of, x / 0, CLASS)
    broken = make("functional")
    broken.fc.weight.data[3, 0] = torch.nan
    with pytest.raises(ValueError, match="its weights hold NaN"):
        occlusion(vw.as_net(broken, size=32), x, CLASS).result()


def test_a_grey_image_loses_nothing_behind_grey() -> None:
    of = net("functional")
    found = occlusion(of, torch.full((1, 3, 32, 32), 0.5), CLASS, window=8).result()
    assert (found.map == 0).all() and found.picture().size == (32, 32)


def test_a_target_of_one_place_sees_only_what_covers_its_field() -> None:
    of = double("functional")
    x = picture(of).double()
    found = occlusion(of, x, vw.Neuron("conv1", 2, 4, 5), window=2, stride=2).result().map[0]
    seen = torch.zeros(32, 32, dtype=torch.bool)
    top, left, bottom, right = of.layers["conv1"].receptive_field.box(4, 5, 32, 32)
    seen[top // 2 * 2 : -(-bottom // 2) * 2, left // 2 * 2 : -(-right // 2) * 2] = True
    assert (found[~seen] == 0).all() and (found[seen] != 0).any()


def test_fewer_bits_are_offered_and_leave_the_network_as_it_was(monkeypatch) -> None:
    of = vw.load("flowers")
    x = torch.as_tensor(vw.image(vw.data.Flowers(1, seed=7).flower(0).image, of))
    options = {"window": 24, "stride": 12}
    if not precision.has_bfloat16():
        with pytest.raises(ValueError, match="this processor has no bfloat16"):
            occlusion(of, x, CLASS, precision="bfloat16", **options)
        monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    full = occlusion(of, x, CLASS, **options).result().map
    with nothing_left_behind(of.module, x):
        rough = occlusion(of, x, CLASS, precision="bfloat16", **options).result().map
    assert rough.dtype == torch.float32 and not torch.equal(rough, full)
    assert spearmanr(rough.flatten(), full.flatten()).statistic > 0.9
    assert not torch.is_autocast_enabled("cpu")
    assert torch.equal(occlusion(of, x, CLASS, **options).result().map, full)
    with pytest.raises(LookupError, match="did you mean 'bfloat16'"):
        occlusion(of, x, CLASS, precision="float16")
