"""Maximally activating patches against all maps, computed one image at a time, and against where gradients are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nets import make, net, nothing_left_behind, plain_outputs, readable
from test_receptive_field import linear_copy, outputs, support
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core.ranking import ranked


def pictures(of: vw.Net, n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, of.channels, *of.size, generator=torch.Generator().manual_seed(seed))


def by_force(of: vw.Net, images: Tensor, layer: str) -> Tensor:
    """All maps (N, C, H, W), from hooks of our own, each image by itself."""
    return torch.cat([maps(of, x[None], layer) for x in images])


def maps(of: vw.Net, image: Tensor, layer: str) -> Tensor:
    """A layer's output as maps, rearranged by hand."""
    row, out = of.layers[layer], plain_outputs(of, image)[0][layer].float()
    channels, h, w = row.shape
    if row.layout == "NCHW":
        return out
    if row.layout == "NHWC":
        return out.permute(0, 3, 1, 2)
    return out[:, -h * w :].transpose(1, 2).reshape(1, channels, h, w) if row.layout == "tokens" else out[:, :, None, None]


def expected(values: Tensor, order: str, k: int) -> Tensor:
    """Images (C, k), sorted in plain Python: by value, then by number."""
    sign = 1 if order == "bottom" else -1
    found = []
    for column in values.T.tolist():
        ranks = sorted(range(len(column)), key=lambda i, column=column: (sign * column[i], i))
        k = min(k, len(ranks))
        found.append(ranks[:k] if order != "spread" else [ranks[round(j * (len(ranks) - 1) / max(1, k - 1))] for j in range(k)])
    return torch.tensor(found)


@pytest.mark.parametrize("name", ["squeezenet", "densenet", "vit", "swin", "half", "double", "functional", "shared"])
def test_equal_to_all_maps_one_image_at_a_time(name: str) -> None:
    of = net(name)
    layer = readable(of)[len(readable(of)) // 2]
    images = pictures(of, 5)
    table = vw.top_patches(of, images, layer, k=3, batch_size=2).result()
    whole = by_force(of, images, layer)
    values = whole.flatten(2).amax(2)
    tolerance = 2e-2 if name == "half" else 2e-4 * float(whole.abs().max()) + 1e-6
    assert table.scores.shape == (whole.shape[1], 3)
    # A batch rounds otherwise than one image: what is chosen may be others that are as high, within rounding.
    assert torch.allclose(table.scores, values.T.sort(1, descending=True).values[:, :3], atol=tolerance)
    for channel in range(0, whole.shape[1], 7):
        for i, score, (y, x) in zip(table.sources_index[channel], table.scores[channel], table.positions[channel].tolist(), strict=True):
            assert abs(float(whole[i, channel, y, x] - score)) <= tolerance
            assert abs(float(values[i, channel] - score)) <= tolerance
        assert len(set(table.sources_index[channel].tolist())) == 3


@pytest.mark.parametrize("order", ["top", "bottom", "spread"])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_the_earlier_image_wins_among_equals_whatever_the_batch(order: str, batch_size: int) -> None:
    conv = nn.Conv2d(3, 4, 1, bias=False)
    conv.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 0]])[:, :, None, None]
    of = vw.as_net(nn.Sequential(conv), size=4)
    levels = torch.randint(0, 3, (11, 3, 1, 1), generator=torch.Generator().manual_seed(3)) / 2
    images = levels.expand(11, 3, 4, 4).clone()  # many equal maxima, and all positions are equal
    table = vw.top_patches(of, images, "0", k=5, order=order, batch_size=batch_size).result()
    values = by_force(of, images, "0").flatten(2).amax(2)
    assert torch.equal(table.sources_index, expected(values, order, 5))
    assert torch.equal(table.scores, values.T.gather(1, table.sources_index))
    assert bool((table.positions == 0).all())


def test_ranking_of_any_numbers() -> None:
    values = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    values[::7, 2] = -0.0
    values[3::7, 2] = 0.0
    values[:, 4] = torch.linspace(-1e-38, 3e38, 500)
    for order in ("top", "bottom", "spread"):
        for k in (1, 9, 600):
            whole = [(0, values)]
            found, images = ranked(whole if order == "spread" else [(i, values[i : i + 64]) for i in range(0, 500, 64)], [], k, order)
            assert torch.equal(images, expected(values, order, k)), (order, k)
            assert torch.equal(found, values.T.gather(1, images))
    some = values.clone()
    some[[0, 100]] = torch.nan
    assert not torch.isin(ranked([(0, some)], [0, 100], 498)[1], torch.tensor([0, 100])).any()
    some[5, 0] = torch.nan
    for order in ("top", "bottom", "spread"):
        assert ranked([(0, some)], [0, 100], 498, order)[1][0, -1] == 5
    with pytest.raises(LookupError, match="did you mean 'bottom'"):
        ranked([(0, values)], [], 3, "botom")


@pytest.mark.parametrize("name", ["squeezenet", "resnet", "googlenet", "densenet", "functional"])
def test_boxes_are_where_the_gradient_of_the_position_is(name: str) -> None:
    module, size = make(name), 95 if name == "squeezenet" else 64  # an unpadded stride leaves pixels over unless it divides
    of = vw.as_net(module, size=size)
    rows = [r for r in of.layers.values() if r.layout == "NCHW" and r.shape[1] > 1 and r.receptive_field is not None]
    chosen = list({r.name: r for r in (rows[1], rows[len(rows) // 2], rows[-1])}.values())
    table = vw.top_patches(of, pictures(of, 6), [r.name for r in chosen], k=2).result()
    image = torch.rand(1, 3, size, size, dtype=torch.float64).requires_grad_()
    taken = outputs(linear_copy(module), image)
    for row in chosen:
        out = taken[row.module_name][row.call or 0]
        for channel in range(0, row.shape[0], max(1, row.shape[0] // 3)):
            for box, (y, x) in zip(table[row.name].boxes[channel].tolist(), table[row.name].positions[channel].tolist(), strict=True):
                assert tuple(box) == support(out, image, y, x)


def detector(pad: int = 1) -> vw.Net:
    """Channel 0 answers to a red cross of 3 pixels on black, channel 1 to brightness."""
    conv = nn.Conv2d(3, 2, 3, padding=pad, bias=False)
    cross = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0.0]])
    conv.weight.data = torch.stack([torch.stack([2 * cross - 1, -torch.ones(3, 3), -torch.ones(3, 3)]), torch.full((3, 3, 3), 0.1)])
    return vw.as_net(nn.Sequential(conv, nn.ReLU()), size=(12, 16))


def planted(y: int, x: int) -> tuple[Tensor, Tensor]:
    images = pictures(detector(), 20, seed=5) * 0.5
    cross = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0.0]])
    patch = torch.stack([cross, torch.zeros(3, 3), torch.zeros(3, 3)])
    images[13, :, y - 1 : y + 2, x - 1 : x + 2] = patch
    return images, patch


@pytest.mark.parametrize(("y", "x"), [(1, 1), (6, 9), (10, 14)])
def test_a_planted_patch_wins(y: int, x: int) -> None:
    images, patch = planted(y, x)
    best = vw.top_patches(detector(), images, "1", k=3).result()[0]
    assert best.indices[0] == 13
    assert best.sources[0] == "#13"
    assert best.scores[0] == 5
    assert best.positions[0].tolist() == [y, x]
    assert best.boxes[0].tolist() == [y - 1, x - 1, y + 2, x + 2]
    assert torch.equal(best.images[0], patch)
    assert bool((best.scores[1:] < 5).all())


def test_at_the_border_windows_are_cut_and_stay_in_place() -> None:
    images = torch.zeros(2, 3, 12, 16)
    images[0, :, 0, 0] = images[1, :, 11, 15] = 1
    images[:, :, 5, 5] = 0.2
    best = vw.top_patches(detector(2), images, "1", k=2).result()[1]
    # The pad of 2 has windows with a corner pixel only; the earliest of the equal positions is chosen.
    assert best.positions.tolist() == [[0, 0], [11, 15]]
    assert best.boxes.tolist() == [[0, 0, 1, 1], [9, 13, 12, 16]]
    corner = torch.full((3, 3, 3), 0.5)
    corner[:, 2, 2] = 1
    assert torch.equal(best.images[0], corner)
    assert torch.equal(best.images[1][:, 2, 2], torch.ones(3))
    assert float(best.images[1].sum()) == 3


def test_a_layer_that_sees_the_whole_image_gives_whole_images(flowers: vw.Net) -> None:
    images = vw.data.Flowers(6, seed=4)
    table = vw.top_patches(flowers, images, flowers.layers.order[-1], k=2).result()
    patches = table[1]
    assert patches.boxes.tolist() == [[0, 0, 96, 96]] * 2
    for x, i in zip(patches.images, patches.indices.tolist(), strict=True):
        assert torch.equal(x, images[i][0])


def test_masked_to_what_the_position_uses() -> None:
    # Dilated, so that of 5 × 5 pixels nine are used; one weight is zero.
    conv = nn.Conv2d(1, 1, 3, dilation=2, bias=False)
    conv.weight.data = torch.ones(1, 1, 3, 3)
    conv.weight.data[0, 0, 0, 0] = 0
    of = vw.as_net(nn.Sequential(conv), size=11)
    images = pictures(of, 3) * 0.4 + 0.55
    plain, masked = (vw.top_patches(of, images, "0", k=2, mask=m).result()[0] for m in (False, True))
    used = torch.zeros(5, 5, dtype=torch.bool)
    used[::2, ::2] = True
    used[0, 0] = False
    assert bool((plain.images > 0.5).all())
    assert torch.equal(masked.images, torch.where(used, plain.images, 0.5))


def test_orders_layers_and_what_a_table_says(flowers: vw.Net) -> None:
    images = vw.image_set(vw.data.Flowers(13, seed=8))
    tables = vw.top_patches(flowers, images, ["stage1", "stage3"], k=4, batch_size=7).result()
    assert list(tables) == ["stage1", "stage3"]
    table = tables["stage3"]
    assert (table.layer, table.channels, table.k, table.order, len(table)) == ("stage3", len(table.scores), 4, "top", table.channels)
    assert table.images is images
    values = by_force(flowers, torch.stack([images[i] for i in range(13)]), "stage3").flatten(2).amax(2)
    for order in ("top", "bottom", "spread"):
        other = table.ordered(order)
        assert other.ordered("top").sources_index.equal(table.sources_index)
        assert torch.allclose(other.scores, values.T.gather(1, expected(values, order, 4)), atol=1e-4)
    spread = table.ordered("spread")
    assert torch.equal(spread.scores[:, 0], table.scores[:, 0])
    assert torch.equal(spread.scores[:, -1], table.ordered("bottom").scores[:, 0])
    with pytest.raises(IndexError, match=f"stage3 has {table.channels}"):
        table[table.channels]
    with pytest.raises(LookupError, match="did you mean 'spread'"):
        vw.top_patches(flowers, images, "stage3", order="spraed")
    with pytest.raises(LookupError, match="stage3"):
        vw.top_patches(flowers, images, "stage33")
    few = vw.top_patches(flowers, vw.data.Flowers(2), "stage1", k=9).result()
    assert few.k == 2
    assert len(few[0]) == 2


def test_patches_are_made_again_from_their_recipe(flowers: vw.Net, tmp_path: Path) -> None:
    patches = vw.top_patches(flowers, vw.data.Flowers(8, seed=2), "stage2", k=5, order="spread", mask=True).result()[7]
    again = vw.rerun(patches.save(tmp_path / "patches.png"))
    for name in ("images", "scores", "boxes", "positions"):
        assert torch.allclose(getattr(again, name).float(), getattr(patches, name).float(), atol=1e-5), name
    assert again.channel == 7
    assert patches.picture().width > 90
    h, w = patches.images.shape[2:]
    assert repr(patches) == f"Patches(5 of {h}×{w} px, channel 7 of stage2)"


def test_a_run_can_be_stopped_and_looked_at_on_the_way() -> None:
    of = detector()
    images = pictures(of, 20)
    run = vw.top_patches(of, images, "1", k=30, batch_size=4)
    assert len(run) == 5
    with nothing_left_behind(of.module, images):
        step = next(run)
    assert (step.index, step.done) == (1, 4)
    assert step.picture().width > 16
    assert run.so_far().k == 4
    next(run)
    run.stop()
    assert run.result().k == 8
    assert vw.top_patches(of, images, "1", k=30, batch_size=4).result().k == 20


@pytest.mark.long
def test_photographs(shared_data: Path) -> None:
    squeezenet = vw.load("squeezenet1_1", weights=shared_data / "models" / "squeezenet1_1.safetensors")
    folder = next(p for p in (shared_data / "photos", shared_data / "flowers") if p.is_dir())
    paths = sorted(p for p in folder.rglob("*.jpg"))[:24]
    layer = "features.3"
    table = vw.top_patches(squeezenet, paths, layer, k=3).result()
    images = torch.cat([vw.image(p, squeezenet) for p in paths])
    values = by_force(squeezenet, images, layer).flatten(2).amax(2)
    assert torch.allclose(table.scores, values.T.sort(1, descending=True).values[:, :3], atol=1e-3)
