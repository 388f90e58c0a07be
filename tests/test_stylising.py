"""Painted sets: textures against Gram matrices by hand, pairs whose labels differ, batches, stops, and what a set may lack."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from nets import nothing_left_behind
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.methods.stylising import _pairs


def small_net() -> vw.Net:
    generator = torch.Generator().manual_seed(3)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
                           nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))  # fmt: skip
    for p in module.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator)
    return vw.as_net(module, size=24, labels=list("abcd"), name="small")


LAYERS = {"content_layer": "4", "style_layers": ["1", "4"], "steps": 12}


def pictures(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (24, 24), mode="bilinear") * 0.8 + 0.2 * torch.rand(n, 3, 24, 24, generator=generator)


def style_errors(net: vw.Net, images: Tensor, styles: Tensor, layer: str) -> Tensor:
    """|G - G'|² over |G'|², layer by layer and pair by pair."""
    body = net.module[: int(layer) + 1]
    found = []
    for x, s in zip(images, styles, strict=True):
        a, b = (torch.einsum("chw,dhw->cd", m, m) / m[0].numel() for m in (body(x[None])[0], body(s[None])[0]))
        found.append(((a - b).square().sum() / b.square().sum()).item())
    return torch.tensor(found)


def test_textures_come_near_and_shapes_are_kept():
    net, x = small_net(), pictures(6)
    labels = [0, 1, 2, 3, 0, 1]
    with nothing_left_behind(net.module, x):
        made = vw.stylised(net, vw.image_set(x, labels=labels), **LAYERS).result()
    assert made.images.shape == x.shape
    assert made.images.dtype == torch.uint8
    assert made.labels.tolist() == labels
    assert all(labels[j] != labels[i] for i, j in enumerate(made.styles.tolist()))
    for layer in ("1", "4"):
        before, after = (style_errors(net, images, x[made.styles], layer) for images in (x, made.images / 255))
        assert (after < before).all()
        assert after.mean() < 0.5 * before.mean()
    free = vw.stylised(net, vw.image_set(x, labels=labels), **LAYERS, style_weight=500).result()
    body = net.module[:5]
    kept, lost = ((body(of.images / 255) - body(x)).square().sum() for of in (made, free))
    assert kept < lost


def test_without_style_nothing_changes():
    x = pictures(2)
    made = vw.stylised(small_net(), x, style_weight=0, **LAYERS).result()
    assert (made.images / 255 - x).abs().max() < 1.5 / 255
    assert made.labels is None
    assert made.styles.tolist() == [1, 0], "an image is not painted with itself"


def test_batches_change_nothing_and_the_seed_decides():
    net, x = small_net(), vw.image_set(pictures(5), labels=[0, 1, 2, 3, 0])
    one, many, other = (vw.stylised(net, x, **LAYERS, batch_size=b, seed=s).result() for b, s in ((1, 4), (5, 4), (2, 5)))
    assert (one.images.int() - many.images.int()).abs().max() <= 2
    assert torch.equal(one.styles, many.styles)
    assert not torch.equal(one.styles, other.styles)
    assert torch.equal(many.images, vw.stylised(net, x, **LAYERS, batch_size=5, seed=4).result().images)


def test_a_set_to_train_on():
    x = vw.image_set(pictures(3), labels=["b", "a", "b"])
    made = vw.stylised(small_net(), x, vw.image_set(pictures(2, seed=9)), **(LAYERS | {"steps": 2})).result()
    image, label = made[2]
    assert torch.equal(image, made.images[2] / 255)
    assert (label, made.classes, len(made)) == (1, ("a", "b"), 3)
    images, labels = next(iter(torch.utils.data.DataLoader(made, batch_size=3)))
    assert images.shape == (3, 3, 24, 24)
    assert labels.tolist() == [1, 0, 1]
    assert vw.image_set(made).labels == (1, 0, 1)
    assert made.picture().size == (50, 50)


def test_stopped_in_the_middle_it_gives_what_is_finished():
    run = vw.cue_conflict(small_net(), vw.image_set(pictures(4), labels=[0, 1, 0, 1]), **LAYERS, batch_size=1)
    assert len(run) == 4 * 12
    for _ in range(12 + 5):
        step = next(run)
    assert step.done == 1
    assert step.picture().size == (24, 24)
    run.stop()
    assert len(run.result()) == 1
    short = vw.cue_conflict(small_net(), vw.image_set(pictures(2), labels=[0, 1]), **LAYERS)
    next(short)
    short.stop()
    with pytest.raises(ValueError, match="no image is finished after 1 of the 12 steps"):
        short.result()


def test_stimuli_have_the_labels_and_sources_of_both():
    shapes = vw.image_set(pictures(4), labels=[0, 1, 0, 2], classes=("a", "c", "d"))
    textures = vw.image_set(pictures(3, seed=5), labels=["c", "b", "a"])  # in another order, and a class of its own
    stimuli = vw.cue_conflict(small_net(), shapes, textures, pairs="all", **LAYERS).result()
    assert stimuli.classes == ("a", "c", "d", "b")
    named = {"shape": ["a", "c", "a", "d"], "texture": ["c", "b", "a"]}
    wanted = [(i, j) for i in range(4) for j in range(3) if named["shape"][i] != named["texture"][j]]
    assert [(s, t) for s, t in zip(stimuli.shape_sources, stimuli.texture_sources, strict=True)] == [(f"#{i}", f"#{j}") for i, j in wanted]
    assert [stimuli.classes[i] for i in stimuli.shapes] == [named["shape"][i] for i, _ in wanted]
    assert [stimuli.classes[j] for j in stimuli.textures] == [named["texture"][j] for _, j in wanted]
    errors = style_errors(small_net(), stimuli.images, textures._items[[j for _, j in wanted]], "4")
    others = style_errors(small_net(), stimuli.images, textures._items[[(j + 1) % 3 for _, j in wanted]], "4")
    assert errors.mean() < 0.5 * others.mean(), "each is painted with its own texture"
    bias = vw.shape_bias(small_net(), stimuli)
    assert len(bias.kinds) == len(wanted)


def test_pairs_are_drawn_evenly_and_never_of_one_class():
    shapes, textures = [0] * 6 + [1] * 3 + [-1], [0, 1, 2, 2]
    found = _pairs(14, shapes, textures, seed=0)
    assert len(set(found)) == 14
    assert all(shapes[i] != textures[j] and shapes[i] >= 0 for i, j in found)
    assert set(Counter(i for i, _ in found).values()) <= {1, 2}
    uses = Counter(j for _, j in _pairs(9, shapes, textures, seed=1))
    assert max(uses.values()) - min(uses.values()) <= 1
    assert _pairs(9, shapes, textures, seed=1) != _pairs(9, shapes, textures, seed=2)
    assert len(_pairs("all", shapes, textures, 0)) == 6 * 3 + 3 * 3
    assert _pairs([(0, 1)], shapes, textures, 0) == [(0, 1)]


def test_what_is_wrong_is_said_before_anything_is_computed():
    net, x = small_net(), pictures(3)
    with pytest.raises(ValueError, match=r"has no labels: image_set\(images, labels"):
        vw.cue_conflict(net, x)
    same = vw.image_set(x, labels=[1, 1, 1])
    with pytest.raises(ValueError, match="no two images with different labels"):
        vw.cue_conflict(net, same)
    with pytest.raises(ValueError, match="no style for the image '#0'"):
        vw.stylised(net, same)
    with pytest.raises(ValueError, match="no style for the image '#0'"):
        vw.stylised(net, x[:1])
    three = vw.image_set(x, labels=[0, 1, 1])
    with pytest.raises(ValueError, match=r"pair \(1, 2\) have the same label"):
        vw.cue_conflict(net, three, pairs=[(0, 1), (1, 2)])
    with pytest.raises(IndexError, match=r"no pair \(0, 3\): there are 3 shapes and 3 textures"):
        vw.cue_conflict(net, three, pairs=[(0, 3)])
    with pytest.raises(ValueError, match="there are 4 pairs with different labels, not 5"):
        vw.cue_conflict(net, three, pairs=5)
    for pairs in (0, True, 1.5, "some", []):
        with pytest.raises(ValueError, match="pairs"):
            vw.cue_conflict(net, three, pairs=pairs)
    with pytest.raises(LookupError, match="no layer"):
        vw.cue_conflict(net, three, style_layers=["nothing"])
    with pytest.raises(ValueError, match="no spatial extent"):
        vw.stylised(net, three, content_layer="7")
    with pytest.raises(ValueError, match="style_weight is a finite number from 0, not -1"):
        vw.stylised(net, three, style_weight=-1)
    with pytest.raises(ValueError, match="batch_size is a whole number from 1, not 0"):
        vw.stylised(net, three, batch_size=0)
    with pytest.raises(ValueError, match="same call with its options"):
        vw.rerun(vw.cue_conflict(net, three, **LAYERS).result(), net)


@pytest.mark.long
def test_a_network_goes_by_the_textures_that_were_painted_with_its_own_features():
    flowers = vw.data.Flowers(24, seed=71)
    stimuli = vw.cue_conflict(vw.load("flowers"), flowers, steps=24).result()
    own, other = (vw.shape_bias(vw.load(name), stimuli) for name in ("flowers", "flowers-robust"))
    assert own.share < 0.2
    assert other.share > 0.4
