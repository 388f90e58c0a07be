"""Neighbours, t-SNE and agreement with labels; each part is a section of its own: `python -m benchmarks embedding.neighbours`."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import torch
from torch import Tensor

import vizwidgets as vw

from .timing import side_by_side, table

PARTS = ("neighbours", "settling", "settling_many", "labels")
PERPLEXITY = 30


def neighbours(rows: int = 100_000, length: int = 512, k: int = 10) -> str:
    """A query, and a hundred, against a bare matrix product and top-k of vectors that are normalised already."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(rows, length, generator=generator)
    features = vw.Features(vectors)
    unit, halves = torch.nn.functional.normalize(vectors), vectors.square().sum(1) / 2
    lines = []
    for count in (1, 100):
        queries = torch.randn(count, length, generator=generator)
        for metric in ("cosine", "l2"):
            asked = torch.nn.functional.normalize(queries) if metric == "cosine" else queries

            def bare(metric: str = metric, asked: Tensor = asked) -> Tensor:
                product = asked @ (unit if metric == "cosine" else vectors).T
                return (product if metric == "cosine" else product - halves).topk(k).indices

            def ours(metric: str = metric, queries: Tensor = queries) -> Tensor:
                return vw.neighbors(features, queries, k=k, metric=metric).indices

            seconds = side_by_side({"bare": bare, "ours": ours}, rounds=15 if count == 1 else 5)
            exact = torch.cat([truth(vectors, q, k, metric) for q in queries[:10]])
            lines.append([str(count), metric, f"{1000 * seconds['bare']:.0f}", f"{1000 * seconds['ours']:.0f}",
                          f"{seconds['ours'] / seconds['bare']:.2f}", "1.50", "yes" if ours()[:10].equal(exact) else "NO"])  # fmt: skip
    head = ["queries", "metric", "matrix product and top-k, ms", "neighbors, ms", "ratio", "limit", "equal to brute force in double precision"]
    return f"## neighbours among {rows:,} × {length}\n\n{table(head, lines)}"


def truth(vectors: Tensor, query: Tensor, k: int, metric: str) -> Tensor:
    """Neighbours (1, k) by all distances in double precision."""
    distances = [
        (part - query.double()).norm(dim=1) if metric == "l2" else 1 - torch.cosine_similarity(part, query.double()[None])
        for part in (p.double() for p in vectors.split(10_000))
    ]
    return torch.cat(distances).argsort(stable=True)[None, :k]


def groups(count: int, length: int = 512, kinds: int = 17) -> vw.Features:
    """Vectors in 17 groups, each a curved sheet of eight dimensions, with noise in all directions; as a network's last layer is."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % kinds
    within = torch.randn(count, 8, generator=generator)
    sheets = torch.randn(kinds, 8, length, generator=generator)
    middles = 1.5 * torch.randn(kinds, length, generator=generator)
    vectors = middles[labels] + torch.einsum("nd,ndl->nl", within, sheets[labels]) + 0.5 * torch.randn(count, length, generator=generator)
    return vw.Features(vectors.relu(), labels=labels)


def settling(count: int = 5000, rounds: int = 3, least: float = 1.4) -> str:
    """t-SNE against scikit-learn's, with its defaults."""
    from sklearn.manifold import TSNE

    features = groups(count)
    array = features.vectors.numpy()
    maps: dict[str, Tensor] = {}
    firsts = []

    def theirs() -> None:
        found = TSNE(perplexity=PERPLEXITY, random_state=0, n_jobs=torch.get_num_threads()).fit_transform(array)
        maps["theirs"] = torch.from_numpy(found)

    def ours() -> None:
        began = time.perf_counter()
        run = vw.tsne(features, perplexity=PERPLEXITY)
        next(run).picture()
        firsts.append(time.perf_counter() - began)
        maps["ours"] = run.result().points

    vw.tsne(groups(60), steps=1).result()  # imports
    seconds = side_by_side({"theirs": theirs, "ours": ours}, rounds=rounds, warmup=0)
    trust = {name: vw.trustworthiness(features, points) for name, points in maps.items()}
    hits = {name: vw.neighborhood_hit(features, points) for name, points in maps.items()}
    line = [f"{count:,}", f"{seconds['theirs']:.1f}", f"{seconds['ours']:.1f}", f"{seconds['theirs'] / seconds['ours']:.2f}", f"{least:.1f}",
            f"{trust['theirs']:.4f}", f"{trust['ours']:.4f}", "0.005", f"{hits['theirs']:.3f}", f"{hits['ours']:.3f}",
            f"{max(firsts):.2f}", "2.0"]  # fmt: skip
    head = ["vectors of 512", "scikit-learn, s", "tsne, s", "ratio", "at least", "trustworthiness: scikit-learn", "tsne", "may differ by",
            "neighbourhood hit: scikit-learn", "tsne", "first picture after, s", "limit"]  # fmt: skip
    return f"## t-SNE of {count:,} images ({rounds} run{'s' if rounds > 1 else ''} each)\n\n{table(head, [line])}"


def settling_many() -> str:
    """The same with 20,000."""
    return settling(20_000, rounds=1, least=1.4)


def labels(k: int = 5) -> str:
    """Whether neighbours have the same label, by the network's features and by pixels, on photographs of 17 kinds of flowers."""
    title = "## neighbours of 1,360 photographs of flowers (17 kinds)"
    data = Path(os.environ.get("VIZWIDGETS_DATA", ""))
    weights, listed = data / "models" / "squeezenet1_1.safetensors", data / "flowers" / "labels.csv"
    if not (weights.is_file() and listed.is_file()):
        return f"{title}\n\nNot measured, for `VIZWIDGETS_DATA` names no folder with weights and photographs."
    with open(listed, encoding="utf-8") as file:
        photographs = list(csv.DictReader(file))
    names = {int(p["label"]): p["name"] for p in photographs}
    images = vw.image_set([data / "flowers" / p["path"] for p in photographs], labels=[int(p["label"]) for p in photographs],
                          classes=[names[i] for i in range(len(names))])  # fmt: skip
    net = vw.load("squeezenet1_1", weights=weights)
    spaces = {"penultimate (512)": None, "features.3 (128)": "features.3", "pixels (3072)": "input"}
    found = {name: vw.embed(net, images, layer).result() for name, layer in spaces.items()}
    pixels = {metric: vw.neighbors(found["pixels (3072)"], range(len(images)), k=k, metric=metric) for metric in ("cosine", "l2")}
    lines = []
    for name, features in found.items():
        near = {metric: vw.neighbors(features, range(len(features)), k=k, metric=metric) for metric in pixels}
        settled = vw.tsne(features).result()
        lines.append([name, *(f"{100 * near[m].agreement:.1f} %" for m in near), *(f"{100 * near[m].overlap(pixels[m]):.1f} %" for m in near),
                      f"{settled.trustworthiness:.3f}", f"{settled.neighborhood_hit:.3f}"])  # fmt: skip
    head = ["space", f"of {k} neighbours have the label: cosine", "L2", "are neighbours by pixels: cosine", "L2", "t-SNE: trustworthiness",
            "neighbourhood hit"]  # fmt: skip
    return f"{title}\n\nsqueezenet1_1; by chance {100 / len(names):.1f} %.\n\n{table(head, lines)}"
