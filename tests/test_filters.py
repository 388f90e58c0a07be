"""Filters and weights, and what is measured of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import vizwidgets as vw
from vizwidgets.core.results import Filters


def gabor(degrees: float, colour: tuple[float, float, float] = (1, 1, 1), size: int = 9) -> torch.Tensor:
    """Stripes that run at this angle, counted from the horizontal, counter-clockwise as seen in the picture."""
    rows, columns = torch.meshgrid(*[torch.arange(size) - size // 2] * 2, indexing="ij")
    up, right = -rows.double(), columns.double()
    across = -math.sin(math.radians(degrees)) * right + math.cos(math.radians(degrees)) * up
    wave = torch.cos(2 * math.pi * across / 5) * torch.exp(-(up**2 + right**2) / 12)
    return torch.stack([c * wave for c in colour])


def made(*filters: torch.Tensor) -> Filters:
    return Filters(torch.stack(filters).float(), "conv")


def test_first_layer_filters_are_the_weights_of_the_first_convolution(flowers):
    result = vw.first_layer_filters(flowers)
    assert result.layer == "stem.conv"
    assert torch.equal(result.weights, flowers.module.stem.conv.weight)
    assert result.weights.data_ptr() != flowers.module.stem.conv.weight.data_ptr()
    assert not result.weights.requires_grad


def test_the_first_is_the_one_that_runs_first():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Conv2d(4, 2, 3), nn.Conv2d(3, 4, 5)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    assert vw.first_layer_filters(vw.as_net(Backwards(), size=16, channels=3)).layer == "first"


def test_layer_weights(flowers):
    result = vw.layer_weights(flowers, "stage2.0.conv1")
    assert torch.equal(result.weights, flowers.module.stage2[0].conv1.weight)
    head = vw.layer_weights(flowers, "head")
    assert torch.equal(head.weights[:, :, 0, 0], flowers.module.head.weight)


def test_a_layer_without_weights_says_where_there_are_some(flowers):
    with pytest.raises(LookupError, match="'stage2.0.conv1'"):
        vw.layer_weights(flowers, "stage2")
    with pytest.raises(LookupError, match="no weights of its own"):
        vw.layer_weights(flowers, "stem.relu")
    with pytest.raises(LookupError, match=r"did you mean 'stem.conv'"):
        vw.layer_weights(flowers, "stem.convv")
    with pytest.raises(ValueError, match="no convolution"):
        vw.first_layer_filters(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 110, 135, 160])
def test_orientation_of_stripes(degrees):
    angle, clarity = vw.orientation(made(gabor(degrees), gabor(degrees, (1, -1, 0))))
    for a in angle.tolist():
        assert abs((a - degrees + 90) % 180 - 90) < 2
    assert (clarity > 0.8).all()


def test_a_blob_and_a_flat_colour_have_no_direction():
    rows, columns = torch.meshgrid(*[torch.arange(9) - 4.0] * 2, indexing="ij")
    blob = torch.exp(-(rows**2 + columns**2) / 4).expand(3, 9, 9)
    _, clarity = vw.orientation(made(blob, torch.ones(3, 9, 9)))
    assert (clarity < 0.05).all()


def test_direction_agrees_with_the_gradients_of_the_filter(flowers):
    """The same quantity worked out in the picture: the axis along which the squared differences are least."""
    filters = vw.first_layer_filters(flowers)
    angle, clarity = vw.orientation(filters)
    agree = []
    for w, a, c in zip(filters.weights.double(), angle, clarity, strict=True):
        if c < 0.4:
            continue
        v = torch.linalg.svd(w.flatten(1), full_matrices=False)[2]
        f = np.pad(v[0].reshape(7, 7).numpy() - v[0].mean().item(), 12)
        dy, dx = np.gradient(f)
        steepest = 0.5 * math.atan2(2 * (-dy * dx).sum(), (dx * dx - dy * dy).sum())
        agree.append(abs((math.degrees(steepest) + 90 - a.item() + 90) % 180 - 90))
    assert len(agree) >= 5
    assert np.median(agree) < 4
    assert max(agree) < 15


def test_colour_opponency():
    wave = torch.ones(3, 3)
    grey, red, red_green = (torch.stack([c * wave for c in colour]) for colour in ((1, 1, 1), (1, 0, 0), (1, -1, 0)))
    torch.testing.assert_close(vw.colour_opponency(made(grey, red, red_green)), torch.tensor([0.0, 2 / 3, 1.0]))
    with pytest.raises(ValueError, match="three channels"):
        vw.colour_opponency(Filters(torch.ones(2, 4, 3, 3), "conv"))
    with pytest.raises(ValueError, match="no direction"):
        vw.orientation(Filters(torch.ones(2, 4, 1, 1), "conv"))


def test_one_colour_scale_for_all():
    weights = torch.zeros(2, 3, 3, 3)
    weights[0, 0, 0, 0], weights[1, 2, 1, 1] = -2.0, 1.0
    colours = Filters(weights, "conv").colours()
    assert colours[0, 0, 0].tolist() == [0, 128, 128]
    assert colours[1, 1, 1].tolist() == [128, 128, 191]
    assert colours[1, 0, 0].tolist() == [128, 128, 128]


def test_pictures_and_rerun(flowers, tmp_path):
    for result in (vw.first_layer_filters(flowers), vw.layer_weights(flowers, "stage3.0.conv2"), vw.layer_weights(flowers, "head")):
        assert np.asarray(result.picture()).std() > 5
        again = vw.rerun(result.save(tmp_path / "filters.png"), flowers)
        assert torch.equal(again.weights, result.weights)
        assert again.layer == result.layer


def test_grouped_convolutions_and_other_channels():
    net = vw.as_net(nn.Sequential(nn.Conv2d(5, 10, 3, groups=5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).half(), size=16)
    result = vw.first_layer_filters(net)
    assert result.weights.shape == (10, 1, 3, 3)
    assert result.weights.dtype == torch.float32
    assert result.picture().size[0] > 10
    with pytest.raises(ValueError, match="three channels"):
        result.colours()


def test_still_picture_shows_the_filters_the_selected_one_and_its_answer(flowers):
    x = vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers)
    alone = vw.FilterGrid(flowers).still()
    grid = vw.FilterGrid(flowers, x, target=vw.Channel("stem.conv", 5))
    still = np.asarray(grid.still())
    assert still.shape[0] == alone.height
    assert still.shape[1] > alone.width
    filters = vw.first_layer_filters(flowers)
    pixels = filters.picture().width + 16
    assert (still[0, pixels] == filters.colours()[5, 0, 0]).all()
    maps = vw.activation_maps(flowers, x, "stem.conv").maps[0, 5]
    corner = still[:192:4, -192::4].astype(int)  # 48 positions of 4 pixels; red where positive, blue where negative
    strong = maps.abs() > 0.3 * maps.abs().max()
    assert ((corner[..., 0] > corner[..., 2]) == (maps > 0).numpy())[strong].all()
