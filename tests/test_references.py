"""Targets that compare with given activations, and those of the picture: by hand, by gradient, as values."""

from __future__ import annotations

import pytest
import torch
from nets import net, picture
from torch import Tensor

import vizwidgets as vw
from vizwidgets.core.references import Direction, Distance, GramDistance, Reference, Similarity, gram
from vizwidgets.core.regularizers import L2, Diversity, Energy, LAlpha, TotalVariation

G = torch.Generator().manual_seed(0)
A = torch.randn(2, 3, 4, 5, generator=G, dtype=torch.float64)
REF = torch.randn(1, 3, 4, 5, generator=G, dtype=torch.float64)
V = torch.randn(3, generator=G, dtype=torch.float64)
X = torch.rand(2, 3, 6, 7, generator=G, dtype=torch.float64)
M = torch.randn(3, 3, generator=G, dtype=torch.float64)


def gram_by_hand(a: Tensor) -> list[list[float]]:
    c, h, w = a.shape
    return [[sum(float(a[i, y, x] * a[j, y, x]) for y in range(h) for x in range(w)) / (h * w) for j in range(c)] for i in range(c)]


def similarity(a: Tensor, power: float) -> float:
    dot = sum(float(p * q) for p, q in zip(a.flatten(), REF.flatten(), strict=True))
    lengths = [sum(float(p) ** 2 for p in t.flatten()) ** 0.5 for t in (a, REF)]
    return dot * max(0.1, dot / lengths[0] / lengths[1]) ** power


def variation(x: Tensor, beta: float) -> float:
    c, h, w = x.shape
    steps = [
        (float(x[k, i, j + 1] - x[k, i, j]) ** 2 + float(x[k, i + 1, j] - x[k, i, j]) ** 2) ** (beta / 2)
        for k in range(c) for i in range(h - 1) for j in range(w - 1)
    ]  # fmt: skip
    return sum(steps) / len(steps)


ROWS = {
    "direction": (Direction("a", V), lambda a, x: sum(float(V[c] * a[c].sum()) for c in range(3)) / 20),
    "distance": (Distance("a", REF), lambda a, x: sum(float(d) ** 2 for d in (a - REF[0]).flatten())
                 / sum(float(d) ** 2 for d in REF.flatten())),
    "similarity": (Similarity("a", REF, 2.0), lambda a, x: similarity(a, 2)),
    "product": (Similarity("a", REF, 0), lambda a, x: similarity(a, 0)),
    "gram": (GramDistance("a", M), lambda a, x: sum((gram_by_hand(a)[i][j] - float(M[i, j])) ** 2 for i in range(3) for j in range(3)) / 9),
    "energy": (Energy("a"), lambda a, x: sum(float(v) ** 2 for v in a.flatten()) / 60),
    "variation": (TotalVariation(), lambda a, x: variation(x, 1)),
    "smoothness": (TotalVariation(2), lambda a, x: variation(x, 2)),
    "l2": (L2(), lambda a, x: sum((float(v) - 0.5) ** 2 for v in x.flatten()) / 126),
    "l6": (LAlpha(6), lambda a, x: sum((float(v) - 0.5) ** 6 for v in x.flatten()) / 126),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_value_by_hand(row: str) -> None:
    target, by_hand = ROWS[row]
    expected = [by_hand(a, x) for a, x in zip(A, X, strict=True)]
    assert target({"a": A, "input": X}).tolist() == pytest.approx(expected, rel=1e-4 if row == "variation" else 1e-9)


@pytest.mark.parametrize("row", [*ROWS, "diversity"])
def test_gradient_against_finite_differences(row: str) -> None:
    target = Diversity("a") if row == "diversity" else ROWS[row][0]
    a, x = A.clone().requires_grad_(), X.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, x: target({"a": a, "input": x}), (a, x))


@pytest.mark.parametrize("row", ROWS)
def test_images_of_a_batch_do_not_influence_each_other(row: str) -> None:
    target = ROWS[row][0]
    together = target({"a": A, "input": X})
    assert target({"a": A[1:], "input": X[1:]}).tolist() == pytest.approx(together[1:].tolist(), rel=1e-12)


def test_flat_pictures_have_a_finite_gradient() -> None:
    x = torch.full((1, 3, 5, 5), 0.5, requires_grad=True)
    (grad,) = torch.autograd.grad(TotalVariation()({"input": x}).sum(), x)
    assert torch.equal(grad, torch.zeros_like(grad))


def test_a_direction_along_an_axis_is_that_channel() -> None:
    axis = torch.eye(3)[1]
    assert torch.allclose(Direction("a", axis)({"a": A}), vw.Channel("a", 1)({"a": A}))


def test_gram_matrix_does_not_see_positions() -> None:
    shuffled = A.flatten(2)[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(0))].view_as(A)
    torch.testing.assert_close(gram(shuffled), gram(A))
    torch.testing.assert_close(gram(A), torch.einsum("bihw,bjhw->bij", A, A) / 20)


def test_diversity_is_highest_for_channels_of_their_own() -> None:
    own, same = torch.zeros(2, 2, 3, 3), torch.zeros(2, 2, 3, 3)
    own[0, 0], own[1, 1] = 1, 1
    same[:, 0] = 1
    assert Diversity("a")({"a": own}).tolist() == [0, 0]
    assert Diversity("a")({"a": same}).tolist() == pytest.approx([-1, -1])
    assert Diversity("a")({"a": same[:1]}).tolist() == [0]


def test_references_compare_by_their_values() -> None:
    a, b = Distance("x", REF), Distance("x", REF.clone())
    assert a == b and hash(a) == hash(b) and a != Distance("x", REF + 1) and a != Distance("y", REF)
    assert a - L2() == b - L2()
    changed = REF.clone()
    held = Reference(changed)
    changed += 1
    assert torch.equal(held.values, REF), "a copy"
    assert repr(Reference(REF)).startswith("Reference(1×3×4×5, ")
    assert Distance("x", Reference(REF)) == a
    assert Distance("x", REF.contiguous(memory_format=torch.channels_last)) == a


def test_what_does_not_fit_is_refused() -> None:
    of = net("functional")
    layer = next(n for n in of.layers.order if of.layers[n].kind == "Conv2d")
    channels = of.layers[layer].shape[0]
    with pytest.raises(ValueError, match=f"needs a reference 1×{channels}×any×any, not 1×99×4×4"):
        Distance(layer, torch.zeros(1, 99, 4, 4)).resolve(of)
    with pytest.raises(ValueError, match=f"needs a reference {channels}, not {channels + 1}"):
        Direction(layer, torch.zeros(channels + 1)).resolve(of)
    with pytest.raises(ValueError, match="same size"):
        vw.score(of, Similarity(layer, torch.zeros(1, channels, 2, 2)), picture(of))
    with pytest.raises(LookupError):
        Energy("nowhere").resolve(of)
    assert vw.score(of, GramDistance(layer, torch.eye(channels)), picture(of)).shape == (1,)
