"""Random views: crops are exact, the folded resampling is what the transforms give one after the other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vizwidgets.core.transforms import TRANSFORMS, Blur, Jitter, Pad, RandomView, Rotate, Scale


def wave(h: int, w: int, batch: int = 1) -> torch.Tensor:
    """A smooth picture, whose resampled values can be worked out."""
    y, x = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    return (0.5 + 0.2 * torch.sin(x / 9 + 1) * torch.cos(y / 7)).expand(batch, 1, h, w).clone()


def test_jitter_is_a_crop_of_whole_pixels() -> None:
    x = torch.rand(6, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    seen = RandomView((Pad(3), Jitter(6)), seed=1)(x)
    padded = F.pad(x, (3,) * 4, value=0.5)
    places = set()
    for image, view in zip(padded, seen, strict=True):
        found = [(i, j) for i in range(7) for j in range(7) if torch.equal(image[:, i : i + 20, j : j + 24], view)]
        assert len(found) == 1
        places |= set(found)
    assert len(places) > 3


def test_every_shift_is_as_likely() -> None:
    view = RandomView((Pad(1), Jitter(2)), seed=0)
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    count = torch.zeros(5, 5)
    for _ in range(900):
        count += view(x)[0, 0] == 1
    assert (count[1:4, 1:4] - 100).abs().max() < 40
    assert count.sum() == 900


@pytest.mark.parametrize("degrees", [10.0, -25.0, 90.0])
def test_rotation_turns_counter_clockwise(degrees: float) -> None:
    x = torch.full((1, 1, 41, 41), 0.5)
    x[..., 20, 32] = 1  # right of the middle
    seen = RandomView([Rotate((degrees,))])(x)[0, 0]
    y, x_ = divmod(int(seen.argmax()), 41)
    angle = math.degrees(math.atan2(20 - y, x_ - 20))
    assert angle == pytest.approx(degrees, abs=4)


def test_scale_enlarges_about_the_middle() -> None:
    seen = RandomView([Scale((2.0,))])(wave(40, 40))
    # Pixel i of the view lies at 9.75 + i / 2 of the image.
    at = torch.arange(40).double() / 2 + 9.75
    expected = 0.5 + 0.2 * torch.sin(at / 9 + 1)[None] * torch.cos(at / 7)[:, None]
    torch.testing.assert_close(seen[0, 0], expected, atol=2e-3, rtol=0)


def test_folded_transforms_are_those_one_after_the_other() -> None:
    x = wave(64, 80, batch=4)
    transforms = (Pad(6), Jitter(4), Scale((0.9, 1.1)), Rotate((-8, 0, 8)), Jitter(8))
    seen = RandomView(transforms, seed=3)(x)
    random = [torch.Generator().manual_seed(3 + i) for i in range(4)]
    for i, g in enumerate(random):
        one = F.pad(x[i : i + 1], (6,) * 4, value=0.5)
        dx, dy = torch.randint(0, 5, (2,), generator=g).tolist()
        one = one[..., dy : dy + 72, dx : dx + 88]
        factor = (0.9, 1.1)[int(torch.randint(2, (), generator=g))]
        angle = math.radians((-8, 0, 8)[int(torch.randint(3, (), generator=g))])
        for matrix in ([[1 / factor, 0], [0, 1 / factor]], [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]):
            (a, b), (c, d) = matrix
            theta = torch.tensor([[[a, b * 72 / 88, 0], [c * 88 / 72, d, 0]]], dtype=torch.float64)
            grid = F.affine_grid(theta, [1, 1, 72, 88], align_corners=False)
            one = F.grid_sample(one - 0.5, grid, align_corners=False) + 0.5
        dx, dy = torch.randint(0, 9, (2,), generator=g).tolist()
        one = one[..., dy : dy + 64, dx : dx + 80]
        inner = (slice(None), slice(14, -14), slice(14, -14))
        torch.testing.assert_close(seen[i][inner], one[0][inner], atol=2e-3, rtol=0)


def test_what_comes_into_view_is_grey() -> None:
    white = torch.ones(1, 3, 48, 48)
    seen = RandomView([Rotate((45.0,))])(white)
    assert seen[0, :, 0, 0].tolist() == pytest.approx([0.5] * 3)
    assert seen[0, :, 24, 24].tolist() == pytest.approx([1.0] * 3)
    assert RandomView((Pad(8), Scale((0.5,))))(white)[0, 0, 0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("middle", [(), (Scale((1.0,)), Rotate((0.0,)))])
def test_a_larger_canvas_is_seen_at_the_scale_of_the_image(middle) -> None:
    x = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (6,) * 4, value=0.5)
    seen = RandomView((Pad(6), Jitter(4), *middle, Jitter(2)), seed=1)(x)
    crops = [padded[..., i : i + 20, j : j + 24] for i in range(13) for j in range(13)]
    assert sum(torch.allclose(crop, seen, atol=1e-5) for crop in crops) == 1


def test_a_smaller_canvas_is_enlarged() -> None:
    x = wave(40, 40).float()
    seen = RandomView((Jitter(8),), seed=1)(x)
    found = [F.interpolate(x[..., i : i + 32, j : j + 32], (40, 40), mode="bilinear") for i in range(9) for j in range(9)]
    assert min((f - seen)[..., 2:-2, 2:-2].abs().max().item() for f in found) < 2e-3


def test_blur_is_a_gaussian_and_keeps_the_mean() -> None:
    x = torch.zeros(1, 2, 41, 41)
    x[..., 20, 20] = 1
    seen = RandomView([Blur(2.0)])(x)[0, 0].double()
    offset = torch.arange(41).double() - 20
    assert seen.sum() == pytest.approx(1, abs=1e-5)
    assert (seen.sum(0) * offset.square()).sum() == pytest.approx(4.0, rel=0.05)
    assert RandomView([Blur(2.0)])(torch.full((1, 1, 9, 9), 0.3)).sub(0.3).abs().max() < 1e-6


@pytest.mark.parametrize("name", TRANSFORMS)
def test_views_belong_to_the_seed_and_to_the_place_in_the_batch(name: str) -> None:
    x = wave(32, 36, batch=3).float()
    before = torch.get_rng_state()
    view = RandomView(name, seed=4)
    first, second = view(x), view(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == x.shape
    again = RandomView(name, seed=4)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    torch.testing.assert_close(RandomView(name, seed=6)(x[2:]), first[2:])
    if name != "none":
        assert not torch.equal(first, second)
        assert not torch.equal(first[0], first[1])
    shared = RandomView(name, seed=4, shared=True)(x)
    torch.testing.assert_close(shared[2], first[0])


def test_gradients_pass() -> None:
    x = wave(24, 24).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: RandomView("default", seed=0)(x).square().sum(), (x,), fast_mode=True)


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(LookupError, match="default"):
        RandomView("defualt")
    with pytest.raises(TypeError, match="Pad, Jitter"):
        RandomView([8])
    with pytest.raises(ValueError, match="leaves nothing"):
        RandomView([Jitter(40)])(wave(32, 32))
