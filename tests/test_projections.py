"""Maps: principal components and measures against scikit-learn, t-SNE against openTSNE's own loop."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import nothing_left_behind
from torch import nn

import vizwidgets as vw
from vizwidgets.methods import projections

tsne_module = sys.modules["vizwidgets.methods.tsne"]  # the function of that name hides it


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def groups(n: int = 90, length: int = 12, kinds: int = 3) -> vw.Features:
    """Groups of vectors far apart."""
    labels = torch.arange(n) % kinds
    return vw.Features((random(n, length) + 12 * random(kinds, length, seed=1)[labels]).float(), labels=labels)


@pytest.mark.parametrize("shape", [(60, 5), (20, 40), (7, 7)])
def test_pca_is_scikit_learns(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA

    vectors = random(*shape) @ random(shape[1], shape[1], seed=1) + 3
    theirs = PCA(3, svd_solver="full").fit(vectors)
    ours = vw.pca(vw.Features(vectors), 3)
    np.testing.assert_allclose(ours.points, theirs.transform(vectors), atol=1e-4)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-9)
    new = random(4, shape[1], seed=2)
    np.testing.assert_allclose(ours.place(new), theirs.transform(new), atol=1e-4)
    np.testing.assert_allclose(ours.place(vw.Features(vectors)), ours.points, atol=1e-5)
    assert ours.caption.startswith("PCA, ")


def test_pca_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = vw.Features(random(50, 6))
    whole = vw.pca(features).points
    monkeypatch.setattr(projections, "BLOCK", 60)
    torch.testing.assert_close(vw.pca(features).points, whole)


def test_pca_of_equal_images_is_one_point() -> None:
    embedding = vw.pca(vw.Features(torch.ones(5, 3)))
    assert not embedding.points.any() and embedding.explained == (0, 0)
    with pytest.raises(ValueError, match="components from 1 to 3, not 4"):
        vw.pca(vw.Features(torch.rand(5, 3)), 4)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("k", [1, 5, 24])
def test_trustworthiness_is_scikit_learns(metric: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.manifold import trustworthiness

    monkeypatch.setattr(projections, "BLOCK", 400)
    vectors, points = random(51, 6), random(51, 2, seed=1)
    points[:, 0] += 3 * vectors[:, 0]
    theirs = trustworthiness(vectors, points, n_neighbors=k, metric={"l2": "euclidean", "cosine": "cosine"}[metric])
    assert vw.trustworthiness(vectors, points, k, metric=metric) == pytest.approx(theirs, abs=1e-12)
    assert vw.trustworthiness(vw.Features(vectors.float()), points.float(), k, metric=metric) == pytest.approx(theirs, abs=1e-5)


def test_neighborhood_hit_is_the_share_of_like_neighbours() -> None:
    from sklearn.neighbors import NearestNeighbors

    features, points = groups(40), random(40, 2)
    near = NearestNeighbors(n_neighbors=5).fit(points.numpy()).kneighbors(return_distance=False)
    labels = features.labels.numpy()
    assert vw.neighborhood_hit(features, points, 5) == pytest.approx((labels[near] == labels[:, None]).mean())


def test_measures_refuse_what_they_cannot_measure() -> None:
    features = vw.Features(torch.rand(9, 3))
    for call, message in (
        (lambda: vw.trustworthiness(features, torch.rand(9, 2), 5), "from 1 to 4 for 9 images, not 5"),
        (lambda: vw.trustworthiness(features, torch.rand(8, 2), 2), r"points are finite and \(9, 2\)"),
        (lambda: vw.trustworthiness(features, torch.full((9, 2), torch.nan), 2), "points are finite"),
        (lambda: vw.neighborhood_hit(features, torch.rand(9, 2), 2), "have none"),
        (lambda: vw.Embedding(torch.rand(8, 2), features), r"points are \(9, 2\)"),
        (lambda: vw.Embedding(torch.rand(9, 2), features).place(torch.rand(1, 3)), "no place for other images"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.isnan(vw.Embedding(torch.rand(2, 2), vw.Features(torch.rand(2, 3))).trustworthiness)
    assert vw.Embedding(torch.rand(9, 2), features).neighborhood_hit is None


def test_tsne_does_what_open_tsne_does() -> None:
    from openTSNE import TSNE
    from openTSNE.affinity import PerplexityBasedNN

    # In double precision: small differences grow from iteration to iteration.
    features = vw.Features(groups().vectors.double())
    run = vw.tsne(features, perplexity=8, steps=5)
    steps = list(run)
    affinities = PerplexityBasedNN(features.vectors.numpy(), 8, method="exact", n_jobs=1)
    start = tsne_module._start(features, "l2", 0)
    theirs = TSNE(perplexity=8, early_exaggeration_iter=30, n_iter=45).fit(affinities=affinities, initialization=start)
    np.testing.assert_allclose(steps[-1].points, theirs, atol=1e-4)
    assert len(steps) == len(run) == 7 and [s.index for s in steps] == list(range(1, 8))
    assert [s.phase for s in steps] == ["start", "neighbours", *["early exaggeration"] * 2, *["settling"] * 3]
    assert [s.iterations for s in steps] == [0, 0, 15, 30, 45, 60, 75]
    assert torch.isnan(steps[1].scores["KL"]).all() and not torch.isnan(steps[2].scores["KL"]).any()
    assert steps[-1].points.dtype == torch.float32 and steps[-1].picture().width == 360


def test_the_divergence_is_right_while_points_are_close() -> None:
    from openTSNE.affinity import PerplexityBasedNN

    features = groups()
    perplexity = len(features) // 3 - 1
    joint = PerplexityBasedNN(features.vectors.double().numpy(), perplexity, method="exact", n_jobs=1).P.toarray()
    for step in list(vw.tsne(vw.Features(features.vectors.double()), perplexity=perplexity, steps=6))[2:]:
        points = step.points.double().numpy()
        kernel = np.array([[0.0 if i == j else 1 / (1 + ((a - b) ** 2).sum()) for j, b in enumerate(points)] for i, a in enumerate(points)])
        wanted = sum(p * np.log(p / q) for p, q in zip(joint.flat, (kernel / kernel.sum()).flat, strict=True) if p > 0)
        assert step.scores["KL"].item() == pytest.approx(wanted, abs=1e-4) and wanted > 0


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_tsne_keeps_groups_together_and_places_new_ones_in_theirs(metric: str) -> None:
    features = groups()
    embedding = vw.tsne(features, perplexity=8, steps=20, metric=metric).result()
    assert embedding.neighborhood_hit > 0.99 and embedding.trustworthiness > 0.8
    middle = torch.stack([embedding.points[features.labels == k].mean(0) for k in range(3)])
    placed = embedding.place(features.vectors[:6] * 1.01)
    assert torch.cdist(placed, middle).argmin(1).tolist() == [0, 1, 2, 0, 1, 2]
    assert embedding.place(features.vectors[:6] * 1.01).equal(placed)


def test_rougher_forces_for_many_keep_groups_together_too(monkeypatch: pytest.MonkeyPatch) -> None:
    features = groups()
    plain = vw.tsne(features, perplexity=8, steps=6).result()
    monkeypatch.setattr(tsne_module, "MANY", 90)
    rough = vw.tsne(features, perplexity=8, steps=6).result()
    assert rough.neighborhood_hit > 0.99 and abs(rough.trustworthiness - plain.trustworthiness) < 0.03
    assert not rough.points.equal(plain.points)


def test_the_same_seed_gives_the_same_points_and_nothing_is_left_behind() -> None:
    features = groups(40)
    with nothing_left_behind(nn.Linear(1, 1), features.vectors):
        one, same = (vw.tsne(features, steps=4, seed=3).result() for _ in range(2))
    assert one.points.equal(same.points)
    assert not vw.tsne(features, steps=4, seed=4).result().points.equal(one.points)


def test_the_first_picture_needs_neither_neighbours_nor_open_tsne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsne_module, "nearest", None)
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    features = groups()
    run = vw.tsne(features)
    first = next(run)
    shape = torch.corrcoef(torch.stack([first.points[:, 0], vw.pca(features).points[:, 0]]))
    assert shape[0, 1] > 0.999
    stopped = run.so_far()
    with pytest.raises(ValueError, match="no place for other images"):
        stopped.place(features)


def test_neighbours_are_looked_up_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    features = groups()
    whole = vw.tsne(features, steps=2, perplexity=5).result()
    monkeypatch.setattr(tsne_module, "PRODUCTS", 2 * 90 * 12 * 32)
    run = vw.tsne(features, steps=2, perplexity=5)
    steps = list(run)
    assert [s.phase for s in steps].count("neighbours") == 3 and len(run) == len(steps) == 6
    assert steps[-1].points.equal(whole.points)


def test_stopped_gives_the_points_so_far_and_they_may_be_made_again(tmp_path: Path) -> None:
    features = groups(40)
    run = vw.tsne(features, steps=6, perplexity=5)
    for _ in range(5):
        step = next(run)
    so_far = run.so_far()
    next(run)
    assert so_far.points.equal(step.points) and so_far.place(features.vectors[:2]).shape == (2, 2)
    run.stop()
    stopped = run.result()
    assert stopped.points.equal(run.last.points) and not stopped.points.equal(step.points)
    assert vw.rerun(stopped.save(tmp_path / "map.png")).points.equal(stopped.points)
    assert vw.rerun(so_far).points.equal(so_far.points)


def test_pca_may_be_made_again_but_not_without_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    features = groups()
    again = vw.rerun(vw.pca(features))
    assert again.points.equal(vw.pca(features).points) and again.features.labels.equal(features.labels)
    monkeypatch.setattr("vizwidgets.methods.embedding.KEPT", 10)
    with pytest.raises(ValueError, match=r"too many for the recipe: pca\(features"):
        vw.rerun(vw.pca(features))


@pytest.mark.parametrize(("n", "options", "message"), [
    (2, {}, "at least 4 images"),
    (3, {}, "at least 4 images"),
    (31, {"perplexity": 11}, "of 31 images is from 1 to 10, a third of the others, not 11"),
    (31, {"perplexity": 0.5}, "not 0.5"),
    (31, {"perplexity": float("nan")}, "not nan"),
    (31, {"metric": "l1"}, "no metric 'l1'"),
    (31, {"steps": 0}, "steps is a whole number from 1"),
])  # fmt: skip
def test_tsne_says_what_it_takes(n: int, options: dict, message: str) -> None:
    with pytest.raises((ValueError, LookupError), match=message):
        vw.tsne(vw.Features(torch.rand(n, 3)), **options)


def test_plain_vectors_are_taken_and_a_run_is_not() -> None:
    features = groups(30)
    assert vw.pca(features.vectors).points.equal(vw.pca(features).points)
    assert vw.tsne(features.vectors.numpy(), steps=1).result().points.shape == (30, 2)
    for call in (vw.pca, vw.tsne, vw.umap, vw.agreement, lambda r: vw.neighbors(r, 0), lambda r: vw.neighborhood_hit(r, torch.rand(9, 2))):
        with pytest.raises(TypeError, match=r"not Run: its .result\(\) is"):
            call(vw.tsne(features))


@pytest.mark.parametrize("n", [4, 5, 31])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_few_or_equal_images_settle_too(n: int, metric: str) -> None:
    for vectors in (torch.ones(n, 3), torch.zeros(n, 3), random(n, 1), random(n, 3)):
        embedding = vw.tsne(vw.Features(vectors), metric=metric, steps=6).result()
        assert embedding.points.isfinite().all() and len(embedding.points.unique(dim=0)) == n
        assert embedding.picture().width == 480


def test_pictures() -> None:
    features = groups(60, kinds=17)
    embedding = vw.pca(features)
    drawn = {tuple(c) for c in np.asarray(embedding.picture()).reshape(-1, 3)}
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0)} <= drawn
    assert "trustworthiness 0." in embedding.caption and "neighbourhood hit" in embedding.caption
    ax = embedding.plot()
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == ["class 0", "class 1"] and len(ax.collections) == 17
    assert repr(embedding).startswith("Embedding(60 × 2, PCA, ")


def test_a_map_along_one_axis_and_names_that_are_no_formula() -> None:
    line = vw.pca(vw.Features(random(9, 3), labels=[0, 1, 2] * 3, classes=["$5$", "a\nb", "<script>"]), 1)
    assert line.picture().width > 480 and line.points.shape == (9, 1)
    line.plot().figure.canvas.draw()
    assert vw.image_grid(line, kind="assign").shown == 9


def test_points_are_drawn_where_they_are() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    pixels = np.asarray(vw.Embedding(points, vw.Features(points, labels=[0, 1, 2])).picture()).astype(int)[:480, :480]
    for colour, (y, x) in {(0, 114, 178): (1, 0), (213, 94, 0): (1, 1), (0, 158, 115): (0, 0)}.items():
        at = np.argwhere((pixels == colour).all(2)).mean(0) / 480
        assert np.abs(at - [y, x]).max() < 0.05  # y upwards


def test_umap_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        vw.umap(groups())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap() -> None:
    features = groups()
    with nothing_left_behind(nn.Linear(1, 1), features.vectors):
        embedding = vw.umap(features, k=10).result()
        again = vw.umap(features, k=10).result()
    assert embedding.neighborhood_hit > 0.99 and again.points.equal(embedding.points)
    middle = torch.stack([embedding.points[features.labels == k].mean(0) for k in range(3)])
    assert torch.cdist(embedding.place(features.vectors[:3] * 1.01), middle).argmin(1).tolist() == [0, 1, 2]
    for k in (1, 90):
        with pytest.raises(ValueError, match="from 2 to 89"):
            vw.umap(features, k=k)
