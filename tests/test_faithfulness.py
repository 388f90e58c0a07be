"""Deletion, insertion, the pointing game and the share inside, on networks and maps that can be worked out by hand."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from nets import double, nothing_left_behind, picture
from torch import Tensor, nn

import vizwidgets as vw

SIDE = 8


@pytest.fixture
def linear() -> vw.Net:
    """One weight for each pixel and class."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3)).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.randn(3, SIDE * SIDE, generator=torch.Generator().manual_seed(0)))
    return vw.as_net(module, size=SIDE, channels=1)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def contributions(of: vw.Net, x: Tensor, label: int, fill: float = 0.5) -> Tensor:
    """What each pixel adds to the logit, compared with one of `fill`."""
    return (of.module[1].weight[label].detach().view(SIDE, SIDE) * (x - fill))[:, 0]


def by_hand(of: vw.Net, x: Tensor, label: int, map: Tensor, steps: int, kind: str, fill: float = 0.5) -> np.ndarray:
    """The curves, one pixel after the other, in numpy."""
    weight, bias = of.module[1].weight[label].detach().numpy(), of.module[1].bias[label].item()
    curves = []
    for image, m in zip(x.flatten(1).numpy(), map.flatten(1).numpy(), strict=True):
        order = sorted(range(len(m)), key=lambda p: (-m[p], p))
        scores = []
        for k in range(steps + 1):
            reached = order[: round(k / steps * len(m))]
            now = image.copy() if kind == "deletion" else np.full_like(image, fill)
            now[reached] = fill if kind == "deletion" else image[reached]
            scores.append(weight @ now + bias)
        curves.append(scores)
    return np.array(curves).T


@pytest.mark.parametrize("steps", [64, 10, 7, 1])
@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_curves_by_hand(linear, x, kind, steps):
    map = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64).mul(3).round()  # with ties
    found = getattr(vw, kind)(linear, x, vw.Logit(1), map, steps=steps, fill=0.5)
    expected = by_hand(linear, x, 1, map, steps, kind)
    assert found.kind == kind and found.scores.shape == (steps + 1, 3)
    assert np.allclose(found.scores, expected, atol=1e-12)
    shares = np.array([round(k / steps * 64) / 64 for k in range(steps + 1)])
    assert np.allclose(found.shares, shares, atol=1e-12)
    area = [sum((s1 + s0) / 2 * (a1 - a0) for s0, s1, a0, a1 in zip(c, c[1:], shares, shares[1:], strict=False)) for c in expected.T]
    assert np.allclose(found.area, area, atol=1e-12)


def test_of_a_linear_network_deletion_and_insertion_add_up_and_its_contributions_are_the_best_map(linear, x):
    target, best = vw.Logit(2), contributions(linear, x, 2)
    worse = [-best, best.abs(), torch.rand(3, SIDE, SIDE, dtype=torch.float64), best.flip(1)]
    both = [(vw.deletion(linear, x, target, m, fill="grey"), vw.insertion(linear, x, target, m, fill="grey")) for m in (best, *worse)]
    ends = vw.score(linear, target, x) + vw.score(linear, target, torch.full_like(x, 0.5))
    for down, up in both:
        assert torch.allclose(down.scores + up.scores, ends.detach().expand(51, 3), atol=1e-12)
    assert all((both[0][0].area < down.area).all() and (both[0][1].area > up.area).all() for down, up in both[1:])
    # Deleted from the least important one on, the curve is the other way round.
    assert torch.allclose(both[1][0].scores, both[0][1].scores.flip(0), atol=1e-12)


def test_what_hides(linear, x):
    map = contributions(linear, x, 0)

    def ends(kind, **options):
        return getattr(vw, kind)(linear, x, vw.Logit(0), map, steps=4, **options).scores[[0, -1]]

    whole = vw.score(linear, vw.Logit(0), x).detach()
    other = torch.rand(1, 1, SIDE, SIDE, dtype=torch.float64)
    for fill, hidden in (("grey", torch.full_like(x, 0.5)), (0.25, torch.full_like(x, 0.25)), (other, other.expand_as(x)),
                         ("mean", x.mean((2, 3), keepdim=True).expand_as(x))):  # fmt: skip
        empty = vw.score(linear, vw.Logit(0), hidden).detach()
        assert torch.allclose(ends("deletion", fill=fill), torch.stack([whole, empty]))
        assert torch.allclose(ends("insertion", fill=fill), torch.stack([empty, whole]))
    assert torch.equal(ends("insertion"), ends("insertion", fill="blur")) and torch.equal(ends("deletion"), ends("deletion", fill="grey"))
    assert not torch.allclose(ends("deletion", fill="noise"), ends("deletion", fill="noise", seed=1))
    assert torch.equal(ends("deletion", fill="noise", seed=1), ends("deletion", fill="noise", seed=1))


def test_an_image_each_with_a_target_of_its_own(linear, x):
    map = torch.rand(3, SIDE, SIDE, dtype=torch.float64)
    each = vw.Each((vw.Logit(2), vw.Logit(0), vw.Probability(1)))
    found = vw.deletion(linear, x, each, map, steps=5)
    for i in range(3):
        alone = vw.deletion(linear, x[i : i + 1], each.targets[i], map[i : i + 1], steps=5)
        assert torch.allclose(alone.scores[:, 0], found.scores[:, i], atol=1e-12)


def test_nothing_is_left_behind_and_a_batch_equals_one_by_one():
    of = double("in_place")
    images, map = picture(of, 2).double(), torch.rand(2, 32, 32)
    with nothing_left_behind(of.module, images, map):
        both = vw.insertion(of, images, vw.Probability(2), map, steps=20)
    for i in range(2):
        one = vw.insertion(of, images[i : i + 1], vw.Probability(2), map[i : i + 1], steps=20)
        assert torch.allclose(one.scores[:, 0], both.scores[:, i], rtol=1e-9)


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"map": torch.rand(3, SIDE, 7)}, ValueError, r"finite numbers \(B, H, W\) for images \(3, 1, 8, 8\), not \(3, 8, 7\)"),
    ({"map": torch.rand(1, SIDE, SIDE)}, ValueError, r"not \(1, 8, 8\)"),
    ({"map": torch.full((3, SIDE, SIDE), torch.nan)}, ValueError, "finite numbers"),
    ({"map": "saliency"}, ValueError, "not str"),
    ({"steps": 0}, ValueError, "at least one step"),
    ({"fill": "gray"}, LookupError, "did you mean 'grey'"),
    ({"fill": 2}, ValueError, "between 0 and 1"),
    ({"target": "rose"}, TypeError, "not 'rose'"),
    ({"target": vw.Logit(3)}, LookupError, "no class 3"),
])  # fmt: skip
def test_what_cannot_be_computed(linear, x, options, error, said):
    given = {"target": vw.Logit(0), "map": torch.rand(3, SIDE, SIDE), **options}
    with pytest.raises(error, match=said):
        vw.deletion(linear, x, given.pop("target"), given.pop("map"), **given)


def test_made_again_from_the_recipe(tmp_path):
    flowers = vw.load("flowers")
    x = torch.rand(1, 3, 48, 48)
    map = vw.saliency(flowers, x, vw.Logit("rose")).map
    for found in (vw.deletion(flowers, x, vw.Probability("rose"), map, steps=6, fill="noise", seed=2),
                  vw.insertion(flowers, x, vw.Probability("rose"), map, steps=6, fill=torch.zeros(1, 3, 48, 48))):  # fmt: skip
        again = vw.rerun(found.save(tmp_path / "curve.png"))
        assert torch.equal(again.scores, found.scores) and again.kind == found.kind


def test_pictures(linear, x):
    matplotlib.use("Agg")
    found = vw.deletion(linear, x, vw.Logit(0), contributions(linear, x, 0), steps=10)
    assert repr(found) == "PixelCurve(shares 11, scores 11×3, area 3, kind='deletion')"
    assert found.picture().size == (450, 270)
    ax = found.plot()
    assert np.allclose(ax.lines[0].get_ydata(), found.scores.mean(1)) and len(ax.lines) == 4
    assert ax.get_legend().get_texts()[0].get_text() == f"deletion, area {found.area.mean():.2f}"
    matplotlib.pyplot.close(ax.figure)


# --- against a known truth ----------------------------------------------------------------------------------------------


def at(*points: tuple[int, int]) -> Tensor:
    map = torch.rand(9, 12, generator=torch.Generator().manual_seed(0)) - 0.5
    for y, x in points:
        map[y, x] = 2
    return map


MASK = torch.zeros(9, 12)
MASK[2:5, 6:9] = 1


@pytest.mark.parametrize(("points", "tolerance", "hit"), [
    ([(2, 6)], 0, True), ([(4, 8)], 0, True), ([(5, 8)], 0, False), ([(4, 9)], 0, False), ([(6, 2)], 0, False),
    ([(5, 8)], 1, True), ([(6, 10)], 2, False), ([(6, 10)], 2 * 2**0.5 + 1e-9, True), ([(3, 11)], 3, True),
    ([(3, 7), (4, 8)], 0, True), ([(3, 7), (8, 0)], 0, False), ([(8, 0), (3, 7)], 0, False),
])  # fmt: skip
def test_pointing(points, tolerance, hit):
    assert vw.pointing_game(at(*points)[None], MASK, tolerance=tolerance).tolist() == [hit]


def test_pointing_at_several_and_at_nothing():
    maps = torch.stack([at((3, 7)), at((0, 0)), torch.zeros(9, 12)])
    assert vw.pointing_game(maps, MASK).tolist() == [True, False, False]
    each = torch.stack([MASK, 1 - MASK, torch.ones(9, 12)])
    assert vw.pointing_game(maps, each.numpy()).tolist() == [True, True, True]
    with pytest.raises(ValueError, match="the mask of image 1 is empty"):
        vw.pointing_game(maps, torch.stack([MASK, 0 * MASK, MASK]))


def test_share_inside():
    map = torch.zeros(3, 9, 12)
    map[0, 2, 6], map[0, 0, 0], map[0, 8, 8] = 3, 1, -4
    map[1, 3:5] = 1
    map[2, 3, 7] = -1
    assert vw.share_inside(map, MASK)[:2].tolist() == [0.75, 0.25] and vw.share_inside(map, MASK)[2].isnan()
    assert vw.share_inside(map, MASK, kind="absolute").tolist() == [0.375, 0.25, 1]
    noise = torch.rand(200, 9, 12, generator=torch.Generator().manual_seed(0))
    assert vw.share_inside(noise, MASK).mean().item() == pytest.approx(9 / 108, rel=0.02)
    with pytest.raises(LookupError, match="did you mean 'absolute'"):
        vw.share_inside(map, MASK, kind="absolut")


@pytest.mark.parametrize(("map", "mask", "said"), [
    (torch.rand(9, 12), MASK, r"the map is \(B, H, W\)"),
    (torch.rand(2, 9, 12), MASK.T, r"\(2, 9, 12\) and \(12, 9\)"),
    (torch.rand(2, 9, 12), MASK.expand(3, 9, 12), r"\(3, 9, 12\)"),
    (torch.full((1, 9, 12), torch.inf), MASK, "NaN or infinite"),
])  # fmt: skip
@pytest.mark.parametrize("judge", [vw.pointing_game, vw.share_inside])
def test_masks_that_do_not_fit(judge, map, mask, said):
    with pytest.raises(ValueError, match=said):
        judge(map, mask)
