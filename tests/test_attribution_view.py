"""What AttributionViewer makes of an attribution: its signs, its scale, what is marked, how much of it travels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vizwidgets as vw
from vizwidgets.core.results import Attribution
from vizwidgets.widgets.attribution_view import LONGEST, drawn, ends, packed, reading, scale_text


def test_the_scale_ends_at_the_percentile():
    values = torch.linspace(0, 1, 1000).reshape(20, 50)
    for percentile in (90, 92.5, 99.5, 100):
        low, high = ends(values, percentile)
        assert low == 0 and high == pytest.approx(np.percentile(values.numpy(), percentile, method="inverted_cdf"))
        assert int((values <= high).sum()) == 10 * percentile
    assert scale_text(values, 100) == "0 to 1"
    assert scale_text(values, 90) == "0 to 0.9 and beyond"
    assert ends(-values, 90) == (-ends(values, 90)[1], ends(values, 90)[1])
    assert scale_text(values - 0.5, 100) == "-0.5 to 0.5"
    odd = values.clone()
    odd[0, :10], odd[5, 5] = float("nan"), float("inf")
    assert ends(odd, 100) == (0, 1)
    peak = torch.zeros(20, 50)
    assert ends(peak, 95) == (0, 1)
    peak[3, 4] = 7
    assert ends(peak, 95) == (0, 7), "a scale of no length is none"
    assert ends(torch.full((5, 5), float("nan")), 99) == (0, 1)


def test_clipped_and_odd_values_are_marked():
    image = vw.Image(torch.full((1, 3, 10, 20), 0.5))
    values = torch.linspace(-1, 1, 200).reshape(10, 20)
    values[5, 5] = float("nan")
    pixels = np.asarray(drawn(values, image, 90, None, side=20))
    beyond = (values.abs() > ends(values, 90)[1] * 1.02).numpy()
    inside = (values.abs() <= ends(values, 90)[1]).numpy()
    assert beyond.sum() > 10 and (pixels[beyond] == 0).all() and (pixels[inside].max(1) > 0).all()
    assert tuple(pixels[5, 5]) == (255, 0, 255)
    assert (np.asarray(drawn(values.abs(), image, 90, None, side=20))[beyond] == 255).all()
    alone, over = (np.asarray(drawn(values, image, 100, opacity, side=20)).astype(int) for opacity in (None, 0.5))
    assert np.abs(over[4, 19] - 128).max() <= 12, "near 0 the picture is seen"
    assert np.abs(over[9, 19] - (alone[9, 19] + 128) / 2).max() <= 1


def test_signs_where_a_method_tells():
    values = torch.tensor([[[[3.0, -1.0]], [[-1.0, -1.0]]]])
    told = Attribution(torch.tensor([[[3.0, 1.0]]]), torch.zeros(1), values)
    assert reading(told, True).tolist() == [[2, -2]] and reading(told, False).tolist() == [[3, 1]]
    own = Attribution(torch.tensor([[[3.0, -1.0]]]), torch.zeros(1), values)
    assert reading(own, True).tolist() == [[3, -1]] and reading(own, False).tolist() == [[3, 1]]
    assert reading(told, None).tolist() == [[3, 1]] and reading(own, None).tolist() == [[3, -1]]
    assert (packed(told)["own"], packed(own)["own"]) == ("absolute", "signed")
    plain = Attribution(torch.tensor([[[3.0, 1.0]]]), torch.zeros(1))
    assert reading(plain, True).tolist() == [[3, 1]]


def test_large_maps_are_made_smaller():
    big = torch.randn(1, 2000, 3000, generator=torch.Generator().manual_seed(0))
    found = Attribution(big.abs(), torch.zeros(1), torch.stack([big, big], 1))
    state = packed(found)
    assert max(state["height"], state["width"]) <= LONGEST and len(state["signed"]) + len(state["absolute"]) < 8_000_000
    k = state["pooled"]

    def numbers(state, kind):
        return np.frombuffer(state[kind], "<f4").reshape(state["height"], state["width"])

    assert numbers(state, "signed")[3, 5] == pytest.approx(2 * big[0, 3 * k : 4 * k, 5 * k : 6 * k].mean().item(), abs=1e-5)
    assert numbers(state, "absolute")[3, 5] == pytest.approx(big[0, 3 * k : 4 * k, 5 * k : 6 * k].abs().mean().item(), abs=1e-5)
