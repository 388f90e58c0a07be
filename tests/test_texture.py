"""Texture by copying, against a search for each pixel written from the paper, and against what must come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vizwidgets as vw
from vizwidgets.methods import growing

NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def plainly(sample: np.ndarray, shape: tuple[int, int], window: int, order: str, seed: int, mask: np.ndarray | None = None):
    """Pixel by pixel, from the paper and the authors' own pages: where each (h, w) pixel was copied from, and when (-1 kept)."""
    channels, height, width = sample.shape
    reach, rng = window // 2, np.random.default_rng(seed)
    centres = [(y, x) for y in range(reach, height - reach) for x in range(reach, width - reach)
               if mask is None or not mask[y - reach : y + reach + 1, x - reach : x + reach + 1].any()]  # fmt: skip
    windows = np.array([sample[:, y - reach : y + reach + 1, x - reach : x + reach + 1] for y, x in centres])
    offsets = np.arange(window) - reach
    gauss = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (window / 6.4) ** 2))
    if mask is None:
        image, known = np.full((channels, *shape), np.nan), np.zeros(shape, bool)
        origin, when, copied = np.full((*shape, 2), -1), np.full(shape, -1), 9
        top, left = (0, 0) if order == "scanline" else ((shape[0] - 3) // 2, (shape[1] - 3) // 2)
        v, u = rng.integers(height - 2), rng.integers(width - 2)
        for i in range(9):
            y, x, b, a = top + i // 3, left + i % 3, v + i // 3, u + i % 3
            image[:, y, x], known[y, x], origin[y, x], when[y, x] = sample[:, b, a], True, (b, a), i
    else:
        image, known = np.where(mask, np.nan, sample), ~mask
        origin, when, copied = np.full((*shape, 2), -1), np.full(shape, -1), 0
    accepted = 0.3
    while not known.all():
        if order == "scanline":
            turn = [p for p in np.ndindex(shape) if not known[p]][:1]
        else:
            count = {}
            for y, x in np.ndindex(shape):
                around = [(y + i, x + j) for i, j in NEIGHBOURS if 0 <= y + i < shape[0] and 0 <= x + j < shape[1]]
                if not known[y, x] and any(known[p] for p in around):
                    count[y, x] = sum(known[p] for p in around)
            beside = list(count)
            turn = sorted([beside[i] for i in rng.permutation(len(beside))], key=lambda p: -count[p])
        progress = False
        for y, x in turn:
            there, weight = np.zeros((channels, window, window)), np.zeros((window, window))
            for i in range(window):
                for j in range(window):
                    b, a = y + i - reach, x + j - reach
                    if 0 <= b < shape[0] and 0 <= a < shape[1] and known[b, a]:
                        there[:, i, j], weight[i, j] = image[:, b, a], gauss[i, j]
            errors = (weight * ((windows - there) ** 2).mean(1)).sum((1, 2)) / max(weight.sum(), 1e-300)
            close = [k for k, e in enumerate(errors) if e <= 1.1 * errors.min() + 1e-10]
            chosen = close[int(rng.random() * len(close))]
            if order == "onion" and errors[chosen] >= accepted:
                continue
            image[:, y, x], known[y, x], origin[y, x] = sample[(slice(None), *centres[chosen])], True, centres[chosen]
            when[y, x], copied, progress = copied, copied + 1, True
        if not progress:
            accepted *= 1.1
    return image, origin, when


def grown(texture: vw.Texture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return texture.image[0].numpy(), texture.origin.numpy(), texture.order.numpy()


def agree(texture: vw.Texture, truth) -> None:
    image, origin, when = truth
    assert np.array_equal(texture.origin.numpy(), origin)
    assert np.array_equal(texture.order.numpy(), when)
    assert np.array_equal(texture.image[0].double().numpy(), image)
    assert not texture.empty.any()


CASES = {
    "colour": ("bricks", (16, 14), (13, 12), 5),
    "large window": ("mosaic", (17, 16), (9, 14), 11),
    "small window": ("waves", (16, 13), (15, 15), 3),
    "window of the sample's size": ("grass", (7, 9), (8, 8), 7),
    "ties": ("checkerboard", (16, 16), (12, 13), 5),
}


@pytest.mark.parametrize("order", ["onion", "scanline"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("case", CASES)
def test_it_equals_a_search_for_each_pixel(case: str, grey: bool, order: str) -> None:
    name, (h, w), shape, window = CASES[case]
    sample = vw.data.swatch(name, 24)[:, :, :h, :w]
    if grey:
        sample = sample[:, 1:2]
    texture = vw.efros_leung(sample, shape, window, order=order, seed=3).result()
    agree(texture, plainly(sample[0].double().numpy(), shape, window, order, 3))


@pytest.mark.parametrize("order", ["onion", "scanline"])
def test_a_hole_is_filled_as_by_a_search_for_each_pixel(order: str) -> None:
    sample = vw.data.swatch("knit", 24)
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[0:4, 0:5], mask[9:15, 11:16], mask[12, 12] = True, True, False
    texture = vw.efros_leung(sample, window=7, mask=mask, order=order, seed=1).result()
    agree(texture, plainly(sample[0].double().numpy(), (24, 24), 7, order, 1, mask.numpy()))
    assert texture.image[..., ~mask].equal(sample[..., ~mask])
    assert torch.equal(texture.order >= 0, mask)


def test_pixels_that_fit_too_badly_wait() -> None:
    """Black and white noise: hardly a window fits within 0.3, so passes end without a pixel and the bound rises."""
    sample = (torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    run = vw.efros_leung(sample, 12, 7, seed=2)
    steps = list(run)
    agree(run.so_far(), plainly(sample[0].double().numpy(), (12, 12), 7, "onion", 2))
    order = run.so_far().order
    ring = torch.stack([(i - 5.0).abs() for i in torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")]).amax(0)
    by_time = ring.flatten()[order.flatten().argsort()]
    assert (by_time.diff() < 0).any(), "no pixel had to wait: the case is too easy"
    assert len(steps) == len(run)


@pytest.mark.parametrize("order", ["onion", "scanline"])
def test_a_few_pixels_at_once_give_the_same(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = vw.data.swatch("pebbles", 24)
    whole = vw.efros_leung(sample, 24, 7, order=order).result()
    monkeypatch.setattr(growing, "AT_ONCE", 1)
    few = vw.efros_leung(sample, 24, 7, order=order)
    assert few.result().origin.equal(whole.origin) and few.result().order.equal(whole.order)
    assert few.taken > 24 and max(int((~s.texture.empty).sum()) for s in [next(vw.efros_leung(sample, 24, 7))]) == 25


def test_every_colour_is_one_of_the_sample_and_comes_from_where_it_says() -> None:
    sample = vw.data.swatch("strokes", 32)
    texture = vw.efros_leung(sample, (20, 31), 9).result()
    y, x = texture.origin.unbind(-1)
    assert texture.image.equal(sample[:, :, y, x])
    assert texture.order.flatten().sort().values.equal(torch.arange(20 * 31))
    inside = texture.origin[texture.order >= 9]
    assert inside.min() >= 4 and inside.max() <= 27, "middles of whole windows"


@pytest.mark.parametrize("order", ["onion", "scanline"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_checkerboard_goes_on_exactly(order: str, seed: int) -> None:
    sample = vw.data.swatch("checkerboard", 32)
    image = vw.efros_leung(sample, 33, 11, order=order, seed=seed).result().image[0]
    boards = F.pad(sample, (0, 8, 0, 8), mode="circular").unfold(2, 33, 1).unfold(3, 33, 1)[0].permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert (boards == image).flatten(1).all(1).any(), "one of the board's 64 places, to the last pixel"


def test_grey_is_treated_like_the_same_in_colour() -> None:
    grey = vw.data.swatch("bricks", 20)[:, :1]
    one, three = (vw.efros_leung(s, 20, 5).result() for s in (grey, grey.expand(-1, 3, -1, -1)))
    assert one.origin.equal(three.origin) and one.image.shape[1] == 1


def test_alpha_is_on_white_and_pictures_of_any_kind_are_taken() -> None:
    rgba = np.zeros((12, 12, 4), np.uint8)
    rgba[::2, :, :] = (200, 40, 40, 255)
    texture = vw.efros_leung(rgba, 9, 5).result()
    assert {tuple((255 * c).round().int().tolist()) for c in texture.image[0].flatten(1).T} == {(200, 40, 40), (255, 255, 255)}
    assert vw.efros_leung(vw.Image(vw.data.swatch("grass", 16)), 9, 5).result().image.shape == (1, 3, 9, 9)


def test_a_constant_sample_gives_the_same_constant() -> None:
    for order in ("onion", "scanline"):
        image = vw.efros_leung(torch.full((1, 3, 12, 12), 0.25), (9, 14), 5, order=order).result().image
        assert image.shape == (1, 3, 9, 14) and (image == 0.25).all()


def test_the_smallest_size_is_the_seed_itself() -> None:
    run = vw.efros_leung(vw.data.swatch("bricks", 16), 3, 5)
    texture = run.result()
    assert len(run) == run.taken == 1 and texture.verbatim == 1 and run.last.scores["filled"].item() == 1


def test_steps_are_rings_and_tell_how_far_it_is() -> None:
    sample = vw.data.swatch("mosaic", 24)
    run = vw.efros_leung(sample, 15, 7, seed=4)
    assert len(run) == 6
    for k, step in enumerate(list(run), 1):  # all of them first: none changes when the next is taken
        share = ((3 + 2 * k) ** 2 - 9) / (15**2 - 9)
        assert step.index == k and step.scores["filled"].item() == pytest.approx(share)
        empty = step.texture.empty
        assert (step.image[..., empty] == 0.5).all() and int(empty.sum()) == 225 - (3 + 2 * k) ** 2
        assert (step.texture.origin[empty] == -1).all() and (step.texture.order[empty] == -1).all()
        assert step.texture.order.max() + 1 == (3 + 2 * k) ** 2
        assert step.scores["filled"].shape == step.scores["error"].shape == (1,) and step.scores["error"] < 0.05
        assert step.picture().size == (15, 15)
    assert [len(vw.efros_leung(sample, (9, 15), 7, order="scanline"))] == [9]


def test_the_error_is_that_of_the_windows() -> None:
    """Weighted mean of squared differences at the moment of copying, by hand for the last row of a scanline."""
    sample = vw.data.swatch("pebbles", 20)
    run = vw.efros_leung(sample, (6, 12), 5, order="scanline")
    *_, last = run
    texture = last.texture
    offsets = torch.arange(5.0) - 2
    gauss = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / 2 / (5 / 6.4) ** 2).double()
    total = 0.0
    for x in range(12):
        y0, x0 = texture.origin[5, x].tolist()
        there = F.pad(texture.image, (2, 2, 2, 2))[0, :, 5:10, x : x + 5].double()
        weight = F.pad((texture.order < texture.order[5, x]).double(), (2, 2, 2, 2))[5:10, x : x + 5] * gauss
        apart = (sample[0, :, y0 - 2 : y0 + 3, x0 - 2 : x0 + 3] - there) ** 2
        total += float((weight * apart.mean(0)).sum() / weight.sum())
    assert last.scores["error"].item() == pytest.approx(total / 12, rel=1e-5)


def test_stopped_in_the_middle_it_keeps_what_there_is() -> None:
    run = vw.efros_leung(vw.data.swatch("grass", 24), 21, 7)
    next(run), next(run), run.stop()
    texture = run.result()
    assert texture.recipe["taken"] == 2 and int((~texture.empty).sum()) == 49
    again = vw.rerun(texture)
    assert again.image.equal(texture.image) and again.origin.equal(texture.origin)


def test_a_saved_picture_makes_it_again(tmp_path) -> None:
    sample = vw.data.swatch("waves", 20)
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:9, 5:9] = True
    for options in ({"size": (12, 9), "window": 5, "order": "scanline", "seed": 7}, {"window": 7, "mask": mask}):
        texture = vw.efros_leung(sample, **options).result()
        again = vw.rerun(texture.save(tmp_path / "texture.png"))
        assert again.image.equal(texture.image) and again.order.equal(texture.order)


def test_seeds_differ_and_nothing_global_is_touched() -> None:
    sample, before = vw.data.swatch("bricks", 20), torch.get_rng_state()
    kept, state = sample.clone(), np.random.get_state()[1].tolist()
    results = [vw.efros_leung(sample, 12, 5, seed=s).result().image for s in (0, 0, 1)]
    assert results[0].equal(results[1]) and not results[0].equal(results[2])
    assert sample.equal(kept) and torch.get_rng_state().equal(before) and np.random.get_state()[1].tolist() == state


def a_texture(origin: list[list[tuple[int, int]]], order: Tensor | None = None) -> vw.Texture:
    at = torch.tensor(origin)
    order = torch.arange(at.shape[0] * at.shape[1]).view(at.shape[:2]) if order is None else order
    return vw.Texture(torch.rand(1, 3, *at.shape[:2]), at, order, torch.zeros_like(order, dtype=torch.bool), torch.rand(1, 3, 9, 9))


def test_pieces_are_what_was_copied_as_it_stands() -> None:
    texture = a_texture([[(0, 0), (0, 1), (5, 5)], [(1, 0), (7, 7), (6, 5)], [(3, 3), (3, 4), (7, 5)]])
    assert texture.pieces.tolist() == [[0, 0, 1], [0, 2, 1], [3, 3, 1]]
    assert texture.verbatim == pytest.approx(5 / 12)
    colours = np.asarray(texture.origin_picture())
    flat = {tuple(colours[y, x]) for y, x in ((0, 0), (0, 1), (1, 0))}
    assert len(flat) == 1 and len({tuple(c) for c in colours.reshape(-1, 3)}) == 4
    copy = a_texture([[(y, x) for x in range(4)] for y in range(3)])
    assert copy.verbatim == 1 and int(copy.pieces.max()) == 0
    partly = a_texture([[(0, 0), (-1, -1)], [(1, 0), (-1, -1)]], torch.tensor([[0, -1], [1, -1]]))
    assert partly.verbatim == 1 and partly.pieces.tolist() == [[0, -1], [0, -1]]
    assert np.isnan(a_texture([[(0, 0)]]).verbatim)


def test_the_key_shows_the_colours_of_all_places() -> None:
    texture = a_texture([[(0, 8), (4, 4)]])
    key, shown = np.asarray(texture.key_picture()), np.asarray(texture.origin_picture())
    assert key.shape == (9, 9, 3) and len({tuple(c) for c in key.reshape(-1, 3)}) == 81
    assert abs(shown[0, 0] / key[0, 8] - 0.82).max() < 0.03, "its own colour, darker by as much as the first piece is"


BAD = {
    "window larger than the sample": ({"window": 17}, ValueError, "16×16 pixels: at most 15, not 17"),
    "even window": ({"window": 12}, ValueError, "odd number from 3, not 12"),
    "window of one": ({"window": 1}, ValueError, "odd number from 3"),
    "window that is no number": ({"window": 7.0}, ValueError, "not 7.0"),
    "order": ({"order": "onions"}, LookupError, "did you mean 'onion'"),
    "size": ({"size": 2}, ValueError, "from 3"),
    "sizes": ({"size": (9, 9, 9)}, ValueError, "height, width"),
    "seed": ({"seed": -1}, ValueError, "from 0"),
    "mask of another shape": ({"window": 5, "mask": torch.zeros(16, 15, dtype=torch.bool)}, ValueError, r"\(16, 16\), not \(16, 15\)"),
    "mask of numbers": ({"window": 5, "mask": torch.zeros(16, 16)}, TypeError, "booleans"),
    "mask without a hole": ({"window": 5, "mask": np.zeros((16, 16), bool)}, ValueError, "no hole"),
    "mask that is one hole": ({"window": 5, "mask": np.ones((16, 16), bool)}, ValueError, "not even one of 3×3"),
    "mask and size": ({"window": 5, "size": 16, "mask": np.eye(16, dtype=bool)}, ValueError, "not both"),
    "mask that leaves small windows": ({"window": 13, "mask": np.arange(256).reshape(16, 16) % 16 == 6}, ValueError, "largest that does has 9×9"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_said_before_anything_is_computed(case: str) -> None:
    options, error, text = BAD[case]
    with pytest.raises(error, match=text):
        vw.efros_leung(vw.data.swatch("bricks", 16), **options)


def test_a_photograph_of_4000_pixels_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="11,132,100 windows of 11×11.*at most 138,654.*382×382"):
        vw.efros_leung(torch.rand(3, 1, 1).expand(3, 2800, 4000))
    with pytest.raises(ValueError, match="200×200"):
        vw.efros_leung(torch.rand(3, 1, 1).expand(3, 201, 201), window=23)
    with pytest.raises(ValueError, match="too small for any"):
        vw.efros_leung(torch.rand(3, 2, 40), window=3)
    with pytest.raises(TypeError, match="not dict"):
        vw.efros_leung({})
