"""Neighbours: against every distance worked out by scipy in double precision."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import vizwidgets as vw
from vizwidgets.methods.neighbors import nearest

module = sys.modules["vizwidgets.methods.neighbors"]  # the function of that name hides it
METRIC = {"l2": "euclidean", "cosine": "cosine"}


def brute(vectors: torch.Tensor, queries: torch.Tensor, k: int, metric: str, own: object = None) -> tuple[np.ndarray, np.ndarray]:
    """Every distance in double precision, sorted; ties by row."""
    distances = cdist(queries.double().numpy(), vectors.double().numpy(), METRIC[metric])
    if own is not None:
        distances[np.arange(len(queries)), own] = np.inf
    order = np.argsort(distances, 1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


@pytest.mark.parametrize("metric", METRIC)
@pytest.mark.parametrize("block", [16_000_000, 700, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_to_brute_force(metric: str, block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    vectors = torch.randn(90, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    rows = [4, 0, 89, -3]
    found = vw.neighbors(vw.Features(vectors), rows, k=6, metric=metric)
    indices, distances = brute(vectors, vectors[rows], 6, metric, [4, 0, 89, 87])
    assert found.indices.tolist() == indices.tolist() and found.query.tolist() == [4, 0, 89, 87]
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4 if dtype == torch.float32 else 1e-9)
    assert found.agreement is None
    others = torch.randn(3, 7, generator=torch.Generator().manual_seed(2)).to(dtype)
    assert vw.neighbors(vw.Features(vectors), others, k=9, metric=metric).indices.tolist() == brute(vectors, others, 9, metric)[0].tolist()


def test_near_ones_far_from_zero_are_told_apart() -> None:
    # A product of vectors of length 10,000 is rounded to whole numbers in float32, their differences are not.
    vectors = 1e4 + torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).mul(8).round() / 8
    found = vw.neighbors(vw.Features(vectors), range(200), k=5, metric="l2")
    indices, distances = brute(vectors, vectors, 5, "l2", np.arange(200))
    assert found.indices.tolist() == indices.tolist()
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


@pytest.mark.parametrize("metric", METRIC)
def test_ties_go_by_row_and_equal_images_are_at_no_distance(metric: str) -> None:
    vectors = torch.randn(1, 33, generator=torch.Generator().manual_seed(1)).expand(50, -1).clone()
    found = vw.neighbors(vw.Features(vectors), [7, 0, 49], k=3, metric=metric)
    assert found.indices.tolist() == [[0, 1, 2], [1, 2, 3], [0, 1, 2]] and not found.distances.any()
    assert vw.neighbors(vw.Features(vectors), vectors[:1], k=50, metric=metric).indices.tolist() == [list(range(50))]


def test_a_vector_of_zeros_is_at_distance_one_from_all() -> None:
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [3.0, 3.0]])
    found = vw.neighbors(vw.Features(vectors), [0, 1], k=4)
    assert found.indices.tolist() == [[1, 2, 3, 4], [4, 0, 3, 2]]
    torch.testing.assert_close(found.distances, torch.tensor([[1.0] * 4, [1 - 0.5**0.5, 1, 1, 2]]))


def test_agreement_and_overlap_by_hand() -> None:
    features = vw.Features(torch.tensor([[0.0], [1.0], [2.1], [3.3], [9.0]]), labels=[0, 0, 1, 1, 0])
    found = vw.neighbors(features, [0, 3], k=2, metric="l2")
    assert found.indices.tolist() == [[1, 2], [2, 1]] and found.agreement == 0.5
    # The nearest of each: 1, 0, 1, 2, 3 with labels 0, 0, 0, 1, 1.
    assert vw.agreement(features, 1, metric="l2") == pytest.approx(3 / 5)
    other = vw.neighbors(vw.Features(torch.tensor([[0.0], [5.0], [1.0], [1.5], [2.0]])), [0, 3], k=2, metric="l2")
    assert other.indices.tolist() == [[2, 3], [2, 4]]
    assert found.overlap(other) == pytest.approx(2 / 4) and found.overlap(found) == 1
    # Rows of sets that were not read in full are told apart by the images that they are of.
    shifted = vw.Features(torch.tensor([[1.0], [2.1], [3.3]]), images=torch.rand(5, 3, 8, 8), rows=[1, 2, 3])
    assert found.overlap(vw.neighbors(shifted, torch.tensor([[0.0], [2.1]]), k=2, metric="l2")) == 1
    with pytest.raises(ValueError, match="as many"):
        found.overlap(vw.neighbors(features, [0, 3], k=3))


def test_a_query_by_image(flowers: vw.Net) -> None:
    drawings = vw.data.Flowers(24)
    features = vw.embed(flowers, drawings).result()
    found = vw.neighbors(features, vw.Image(drawings[5][0]), k=4)
    assert found.indices[0, 0] == 5 and found.distances[0, 0] < 1e-5 and found.query is None and found.agreement is None
    assert found.indices[0, 1:].tolist() == vw.neighbors(features, 5, k=3).indices[0].tolist()


@pytest.mark.parametrize("query", [3, [1, 2], torch.tensor([[0.1, 0.2]])])
def test_neighbours_are_found_again(query: object, tmp_path: Path) -> None:
    found = vw.neighbors(vw.Features(torch.rand(9, 2), labels=[0, 1, 2] * 3), query, k=4, metric="l2")
    again = vw.rerun(found.save(tmp_path / "near.png"))
    assert again.indices.equal(found.indices) and again.distances.equal(found.distances) and again.agreement == found.agreement


def test_pictures(flowers: vw.Net) -> None:
    features = vw.embed(flowers, vw.data.Flowers(24), "input").result()
    found = vw.neighbors(features, [3, 4], k=5)
    picture = found.picture()
    assert picture.width > 6 * 76 and picture.height == 2 * 122
    colours = {tuple(c) for c in np.asarray(picture).reshape(-1, 3)}
    same = features.labels[found.indices] == features.labels[[3, 4], None]
    assert ((0, 114, 178) in colours) == bool(same.any()) and ((213, 94, 0) in colours) == bool((~same).any())
    assert vw.neighbors(vw.Features(torch.rand(4, 2)), torch.rand(1, 2), k=2).picture().width == 2 * 96
    assert repr(found).startswith("Neighbors(2 × 5, cosine, agreement 0.")


@pytest.mark.parametrize(("query", "options", "error", "message"), [
    (0, {"k": 5}, ValueError, "from 1 to 4, for there are 5 images; not 5"),
    (0, {"k": 0}, ValueError, "from 1 to 4"),
    (0, {"k": True}, ValueError, "from 1 to 4"),
    (5, {}, IndexError, "from 0 to 4; there is none 5"),
    ([0, -6], {}, IndexError, "there is none -6"),
    (0, {"metric": "cosin"}, LookupError, "did you mean 'cosine'"),
    (torch.rand(1, 3), {}, ValueError, r"\(Q, 2\)"),
    (torch.tensor([[torch.nan, 1.0]]), {}, ValueError, "finite"),
    (0.5, {}, ValueError, "know no network"),
    (torch.rand(1, 3, 8, 8), {}, ValueError, "know no network"),
])  # fmt: skip
def test_wrong_queries(query: object, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vw.neighbors(vw.Features(torch.rand(5, 2)), query, **{"k": 2, **options})


def test_agreement_needs_labels() -> None:
    with pytest.raises(ValueError, match="these features have none"):
        vw.agreement(vw.Features(torch.rand(5, 2)))


def test_two_images_have_each_other() -> None:
    assert vw.neighbors(vw.Features(torch.rand(2, 4)), [0, 1], k=1).indices.tolist() == [[1], [0]]


@pytest.mark.parametrize("equal", [False, True])
def test_memory_does_not_grow_with_the_queries(equal: bool) -> None:
    vectors, held = torch.ones(1000, 4) if equal else torch.rand(1000, 4), []

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            held.extend(t.numel() for t in (found if isinstance(found, tuple) else [found]) if isinstance(t, torch.Tensor) and t.dim() <= 2)
            return found

    with pytest.MonkeyPatch.context() as patch, Watched():
        patch.setattr(module, "BLOCK", 20_000)
        found = nearest(vectors, vectors, 3, own=torch.arange(1000))[0]
    assert max(held) <= 20_000
    assert not equal or found[5].tolist() == [0, 1, 2]
