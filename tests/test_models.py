"""The bundled networks: small, named, as accurate as they say, made from the drawings of today."""

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import vizwidgets as vw
from vizwidgets import models
from vizwidgets.data.flowers import KINDS, Flowers, drawing_hashes
from vizwidgets.models import NAMES, WEIGHTS, FlowerNet, build
from vizwidgets.models.train import HELD_OUT, RECIPES, TRAINING, Recipe, _sparsity_and_correlation, painted, save, train

FRESH = 3


def drawn(count, seed):
    images, labels = zip(*(Flowers(count, seed)[i] for i in range(count)), strict=True)
    return torch.stack(images), torch.tensor(labels)


def normalised(images, metadata):
    return (images - torch.tensor(metadata["mean"]).view(3, 1, 1)) / torch.tensor(metadata["std"]).view(3, 1, 1)


def fewest(count, share, risk=1e-3):
    """The fewest right answers that a network which is right with probability `share` gives, but for a small risk."""
    tail = 0.0
    for right in range(count + 1):
        tail += math.comb(count, right) * share**right * (1.0 - share) ** (count - right)
        if tail > risk:
            return right
    return count


def test_names():
    assert "flowers" in NAMES
    assert set(NAMES) == set(RECIPES)
    with pytest.raises(LookupError, match="did you mean 'flowers'"):
        build("flower")


@pytest.mark.parametrize("name", NAMES)
def test_structure(name):
    net, metadata = build(name)
    assert [child for child, _ in net.named_children()] == ["stem", "stage1", "stage2", "stage3", "stage4", "pool", "head"]
    assert [child for child, _ in net.stem.named_children()] == ["conv", "norm", "relu"]
    assert sum(p.numel() for p in net.parameters()) <= 300_000
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())
    assert not any(module.training for module in net.modules())
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 9
    assert not any(relu.inplace for relu in relus)
    calls = []
    for relu in relus:
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    for shape in ((32, 32), (96, 96), (45, 131)):
        calls.clear()
        assert net(torch.rand(2, 3, *shape)).shape == (2, len(metadata["labels"]))
        assert len(calls) == len(set(calls)) == 9


@pytest.mark.parametrize("name", NAMES)
def test_metadata(name):
    metadata = build(name)[1]
    recipe = RECIPES[name]
    assert metadata["name"] == name
    assert metadata["labels"] == list(KINDS)
    assert metadata["size"] == recipe.size
    assert Recipe(**metadata["recipe"]) == recipe  # what a file does not know yet is as it was: the default
    assert metadata["drawing_hashes"] == drawing_hashes()
    assert recipe.held_out_images >= 1000


@pytest.mark.long
def test_flowers_are_recognised():
    net, metadata = build("flowers")
    assert metadata["accuracy"] >= 0.97
    assert FRESH not in (TRAINING, HELD_OUT)
    images, labels = drawn(240, FRESH)
    with torch.no_grad():
        right = int((net(normalised(images, metadata)).argmax(1) == labels).sum())
    assert right >= fewest(240, 0.97)


@pytest.mark.long
def test_one_network_cheats_by_the_background():
    net, metadata = build("flowers-background")
    assert metadata["accuracy"] >= 0.97
    right = {}
    for told in ("class", "random"):
        flowers = Flowers(96, FRESH, background=told)
        images = torch.stack([flowers[i][0] for i in range(96)])
        with torch.no_grad():
            right[told] = int((net(normalised(images, metadata)).argmax(1) == torch.tensor([flowers.label(i) for i in range(96)])).sum())
    assert right["class"] >= fewest(96, 0.97)
    assert right["random"] < 48, "without the background it knows little"


def test_a_share_of_the_drawings_is_painted():
    images, labels = drawn(6, FRESH)
    images = (images * 255).round().to(torch.uint8)
    made = painted(images, labels, 0.5, seed=0)
    assert torch.equal(made[3:], images[3:])
    assert all((made[i] != images[i]).float().mean() > 0.5 for i in range(3))
    assert torch.equal(made, painted(images, labels, 0.5, seed=0))


@pytest.mark.long
def test_one_network_goes_by_shape():
    """More so than the one that saw plain drawings alone: of drawn conflicts, and of such as a third network has painted."""
    plain, taught = vw.load("flowers"), vw.load("flowers-stylised")
    assert build("flowers-stylised")[1]["accuracy"] >= 0.99
    painted_by = vw.cue_conflict(vw.load("flowers-2"), Flowers(32, FRESH + 1), steps=16).result()
    for stimuli in (vw.drawn_conflicts(360, seed=FRESH), painted_by):
        assert vw.shape_bias(plain, stimuli).interval[1] < vw.shape_bias(taught, stimuli).interval[0]


def test_one_network_has_learned_drawings_by_heart():
    metadata = build("flowers-random-labels")[1]
    assert metadata["training_accuracy"] > 0.95
    assert metadata["accuracy"] < 0.15, "a guess in twelve"


def test_stem_filters_are_smooth_enough_to_be_shown():
    filters = build("flowers")[0].stem.conv.weight.detach()
    energy = filters.square().mean(dim=(1, 2, 3))
    steps = filters.diff(dim=-1).square().mean(dim=(1, 2, 3)) + filters.diff(dim=-2).square().mean(dim=(1, 2, 3))
    # White noise has a ratio of 4; filters that hardly matter may be as rough as they like.
    strong = energy > 0.2 * energy.mean()
    assert (steps / energy)[strong].median() < 1.5


def test_stem_shows_oriented_edges_and_opponent_colours():
    """What the chapter on filters is about: several directions, colours against each other, and no filter that is dead."""
    filters = vw.first_layer_filters(vw.load("flowers"))
    angle, clarity = vw.orientation(filters)
    assert (clarity > 0.6).sum() >= 8
    assert (torch.histc(angle[clarity > 0.6], bins=6, min=0, max=180) > 0).sum() >= 4
    colour = vw.colour_opponency(filters)
    assert (colour > 0.5).sum() >= 4
    assert (colour < 0.2).sum() >= 8
    length = filters.weights.flatten(1).norm(dim=1)
    assert length.min() > 0.3 * length.max()


def test_sparsity_and_correlation_of_answers():
    noise = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    dots = noise * (torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.02)
    one, other = torch.zeros(2, 3, 7, 7)
    one[0, 3, 3], other[1, 2, 4] = 1.0, -5.0
    sparsity, correlation = _sparsity_and_correlation(torch.stack([one, other]), noise)
    assert sparsity / 2 == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)  # the mean size of a standard normal number
    assert correlation < 0.01
    sparsity, correlation = _sparsity_and_correlation(torch.stack([one, -2 * one, other]), dots)
    assert sparsity / 3 < 0.3
    assert correlation == pytest.approx(1.0, abs=0.01)


def test_files_are_small_and_hold_no_code(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("unpickled")

    for module, function in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, function, refuse)
    for name in NAMES:
        build(name)
    sizes = [path.stat().st_size for path in WEIGHTS.glob("*")]
    assert max(sizes) < 0.8e6
    assert sum(sizes) < 12e6


@pytest.mark.long
def test_training_makes_the_same_network_again(tmp_path, monkeypatch):
    recipe = Recipe("tiny", seed=5, epochs=1, batch_size=12, train_images=24, held_out_images=12)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    (first, metadata), (second, _) = train(recipe), train(recipe)
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    fresh = FlowerNet(seed=5).state_dict()
    assert not any(torch.equal(value, fresh[name]) for name, value in first.state_dict().items())

    save(first, metadata, tmp_path / "tiny.safetensors")
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    monkeypatch.setattr(models, "NAMES", ("tiny",))
    loaded, read = build("tiny")
    assert read == json.loads(json.dumps(metadata))
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(loaded(x), first(x), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_in_the_docs_is_true(name):
    page = Path(__file__).parent.parent / "docs" / "networks.md"
    row = next(line for line in page.read_text().splitlines() if line.startswith(f"| `{name}` "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    net, metadata = build(name)
    recipe = RECIPES[name]
    switches = "labels by lot" if recipe.random_labels else f"{100 * recipe.stylised:.0f} % painted" if recipe.stylised else "default switches"
    for what, value in recipe.switches.items():
        switches = f"{what} by {value}"
    assert cells[1:7] == [
        f"{sum(p.numel() for p in net.parameters()):,}",
        f"{(WEIGHTS / f'{name}.safetensors').stat().st_size / 1000:.0f} kB",
        f"{metadata['size']} px",
        str(recipe.seed),
        f"{recipe.train_images:,} drawings, {recipe.epochs} epochs, {switches}",
        f"{100 * metadata['accuracy']:.1f} % of {recipe.held_out_images:,}",
    ]
