"""common_channels against scipy's standard scores, and what must not be found in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import zscore

import vizwidgets as vw


def vectors(count=70, length=9):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, length, generator=generator) * torch.arange(1, length + 1) + torch.linspace(-20, 300, length)


@pytest.mark.parametrize("rows", [[3], [0, 1, 2, 69], range(5, 40)])
def test_it_is_the_mean_of_standard_scores(rows):
    v = vectors()
    scores = zscore(v.double().numpy(), axis=0)[list(rows)].mean(0)
    wanted = [c for c in np.argsort(-scores) if scores[c] > 0][:4]
    found = vw.common_channels(vw.Features(v), rows, n=4)
    assert [c for c, _ in found] == wanted
    assert [s for _, s in found] == pytest.approx(scores[wanted])


def test_a_planted_channel_is_found():
    v = vectors()
    rows = torch.arange(0, 70, 7)
    v[rows, 6] += 4 * v[:, 6].std()
    (channel, above), *others = vw.common_channels(vw.Features(v), rows)
    assert channel == 6 and above > 1.5
    assert all(s < 0.8 for _, s in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_the_same_in_all_stands_out_nowhere(dtype):
    v = vectors().to(dtype)
    v[:, 2] = 0.1      # no binary fraction: the mean of it is off by a rounding
    v[:, 5] = 0
    assert {2, 5}.isdisjoint(c for c, _ in vw.common_channels(vw.Features(v), [4], n=9))
    assert len(vw.common_channels(vw.Features(v), [4], n=2)) == 2, "they take no place of others"
    assert vw.common_channels(vw.Features(v), range(70)) == []
    assert vw.common_channels(vw.Features(torch.ones(5, 3)), [0, 1]) == []


def test_many_rows_are_looked_at_in_parts(monkeypatch):
    v = vectors(100)
    whole = vw.common_channels(vw.Features(v), [4, 9, 80])
    monkeypatch.setattr("vizwidgets.methods.common._ROWS", 7)
    assert np.array(vw.common_channels(vw.Features(v), [4, 9, 80])) == pytest.approx(np.array(whole))


@pytest.mark.parametrize(("rows", "n", "error", "says"), [([], 5, ValueError, "no rows"), ([70], 5, IndexError, "no row 70: there are 70"),
                                                  ([-1], 5, IndexError, "no row -1"), ([1], 0, ValueError, "at least one"), ([1.5], 5, TypeError, "integer")])  # fmt: skip
def test_what_cannot_be(rows, n, error, says):
    with pytest.raises(error, match=says):
        vw.common_channels(vw.Features(vectors()), rows, n)
