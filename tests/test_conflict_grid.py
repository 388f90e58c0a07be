"""ConflictGrid without a page: order and filters against counting by hand, several networks, choosing, thumbnails, errors."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image as PILImage
from wire import Wire

import vizwidgets as vw

CLASSES = ("ash", "birch", "cedar", "elder")
# Stimulus: shape, texture, and what two networks give for the four classes.
TABLE = [
    (0, 1, (0.7, 0.1, 0.1, 0.1), (0.2, 0.6, 0.1, 0.1)),  # shape; texture
    (1, 0, (0.5, 0.3, 0.1, 0.1), (0.5, 0.3, 0.1, 0.1)),  # texture; texture
    (2, 3, (0.1, 0.1, 0.5, 0.3), (0.1, 0.1, 0.5, 0.3)),  # shape; shape
    (3, 0, (0.1, 0.6, 0.2, 0.1), (0.0, 0.1, 0.0, 0.9)),  # neither; shape
    (2, 1, (0.05, 0.9, 0.05, 0.0), (0.4, 0.2, 0.1, 0.3)),  # texture; neither
    (1, 3, (0.4, 0.3, 0.1, 0.2), (0.1, 0.2, 0.25, 0.45)),  # neither; texture
]


@pytest.fixture
def stimuli():
    shapes, textures = ([row[i] for row in TABLE] for i in (0, 1))
    colours = torch.rand(6, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    return vw.Stimuli(torch.nn.functional.interpolate(colours, (20, 30), mode="bicubic").clamp(0, 1), shapes, textures, CLASSES)


@pytest.fixture
def nets(stimuli):
    return [vw.ShapeBias(stimuli, torch.tensor([row[2 + i] for row in TABLE]), name) for i, name in enumerate(("mine", "yours"))]


def sent(grid):
    return np.frombuffer(grid.shown["rows"], "<i4").tolist()


def test_what_it_tells_of_a_network(nets):
    grid = vw.ConflictGrid(nets[0])
    told = grid.about["nets"][0]
    assert told["counts"] == {"shape": 2, "texture": 2, "neither": 2} and told["share"] == 0.5
    assert told["interval"] == list(nets[0].interval) and told["name"] == "mine"
    assert np.frombuffer(told["decisions"], "<u2").tolist() == [0, 0, 2, 1, 1, 0]
    assert list(told["kinds"]) == [0, 1, 0, 2, 1, 2]
    # Of the shape's class, of the texture's, of the answer.
    wanted = [[0.7, 0.1, 0.7], [0.3, 0.5, 0.5], [0.5, 0.3, 0.5], [0.1, 0.1, 0.6], [0.05, 0.9, 0.9], [0.3, 0.2, 0.4]]
    assert np.allclose(np.frombuffer(told["chances"], "<f4").reshape(6, 3), wanted)
    assert np.frombuffer(grid.about["shapes"], "<u2").tolist() == [0, 1, 2, 3, 2, 1]
    assert np.frombuffer(grid.about["textures"], "<u2").tolist() == [1, 0, 3, 0, 1, 3]
    assert (grid.about["count"], grid.about["classes"]) == (6, list(CLASSES))
    assert repr(grid) == "ConflictGrid(6 stimuli; shape: mine 50 %)"


@pytest.mark.parametrize(("sort", "by", "wanted"), [
    ("shape first", 0, [0, 2, 5, 3, 1, 4]), ("texture first", 0, [4, 1, 3, 5, 2, 0]), ("undecided first", 0, [3, 5, 1, 2, 0, 4]),
    ("shape first", 1, [3, 2, 4, 1, 5, 0]), ("nets differ first", 0, [0, 3, 4, 5, 1, 2]), ("as made", 1, [0, 1, 2, 3, 4, 5]),
])  # fmt: skip
def test_the_order(nets, sort, by, wanted):
    grid = vw.ConflictGrid(nets, sort=sort, by=by)
    assert grid.rows.tolist() == sent(grid) == wanted


@pytest.mark.parametrize(("show", "label", "by", "wanted"), [
    ("shape", "", 0, [0, 2]), ("texture", "", 0, [1, 4]), ("neither", "", 0, [5, 3]), ("neither", "", 1, [4]), ("differ", "", 0, [0, 5, 3, 4]),
    ("all", "cedar", 0, [2, 4]), ("all", "elder", 0, [2, 5, 3]), ("shape", "birch", 0, [0]), ("texture", "elder", 0, []),
])  # fmt: skip
def test_filters(nets, show, label, by, wanted):
    grid = vw.ConflictGrid(nets, show=show, label=label, by=by)
    assert grid.rows.tolist() == sent(grid) == wanted


def test_the_counts_are_those_of_the_class_and_the_network(nets):
    grid = vw.ConflictGrid(nets)
    assert grid.shown["counts"] == {"all": 6, "shape": 2, "texture": 2, "neither": 2, "differ": 4}
    grid.label = "elder"  # rows 2, 3 and 5
    assert grid.shown["counts"] == {"all": 3, "shape": 1, "texture": 0, "neither": 2, "differ": 2}
    grid.show, grid.by = "texture", 1
    assert grid.shown["counts"] == {"all": 3, "shape": 2, "texture": 1, "neither": 0, "differ": 2} and sent(grid) == [5]


def test_the_page_chooses_sorts_and_filters(nets, stimuli):
    grid = vw.ConflictGrid(nets)
    wire = Wire(grid)
    wire.receive({"cmd": "pick", "value": 3})
    assert grid.wait(10) and (grid.index, grid.picked) == (3, 3)
    assert torch.equal(grid.image.pixels[0], stimuli.images[3]) and grid.image.source == "elder with the texture of ash"
    for name, value in (("sort", "texture first"), ("show", "texture"), ("by", 1), ("label", "ash")):
        wire.receive({"cmd": "set", "name": name, "value": value})
    assert grid.error == "" and sent(grid) == [0, 1]
    wire.receive({"cmd": "set", "name": "label", "value": "elm"})
    assert "no class 'elm'" in grid.error and grid.label == "ash"
    wire.receive({"cmd": "set", "name": "by", "value": 2})
    assert "no network 2: there are 2" in grid.error and grid.by == 1
    wire.receive({"cmd": "pick", "value": 6})
    assert "no row 6: there are 6" in grid.error and grid.index == 3
    wire.receive({"cmd": "pick", "value": -1})
    assert grid.wait(10) and grid.index is None and grid.image is None and grid.error == ""


def test_thumbnails_have_the_pixels_of_the_stimuli(nets, stimuli):
    grid = vw.ConflictGrid(nets[0])
    wire = Wire(grid)
    wire.receive({"cmd": "look", "rows": [4, 1], "side": 96})
    wire.receive({"cmd": "look", "rows": [2], "side": 15})
    assert grid.wait(10) and grid.error == ""
    answers = {m["look"]: (m, b) for (d, b) in wire.sent if d["method"] == "custom" for m in [d["content"]]}
    assert answers[96][0]["rows"] == [4, 1] and answers[96][0]["names"] == ["cedar with the texture of birch", "birch with the texture of ash"]
    for data, row, another in zip(answers[96][1], (4, 1), (1, 4), strict=True):
        pixels = np.asarray(PILImage.open(io.BytesIO(data)), float)
        assert pixels.shape == (20, 30, 3), "small ones are not enlarged"
        mine, other = (np.abs(pixels - 255 * stimuli.images[i].permute(1, 2, 0).numpy()).mean() for i in (row, another))
        assert mine < 8 < 30 < other
    assert PILImage.open(io.BytesIO(answers[15][1][0])).size == (15, 10)


def test_names_of_networks(nets, stimuli):
    named = vw.ConflictGrid({"a": nets[0], "b": nets[1]})
    assert [n["name"] for n in named.about["nets"]] == ["a", "b"]
    twice = vw.ConflictGrid([nets[0], nets[0], replace(nets[1], name="")])
    assert [n["name"] for n in twice.about["nets"]] == ["mine", "mine (2)", "the network"]


def test_another_bias(nets, stimuli):
    grid = vw.ConflictGrid(nets, index=2, by=1, label="cedar")
    grid.bias = nets[0]
    assert (grid.index, grid.by, grid.label) == (2, 0, "cedar") and sent(grid) == [2, 4]
    other = vw.Stimuli(stimuli.images[:2], [0, 1], [1, 0], CLASSES[:2])
    grid.bias, grid.by = nets, 1
    wire = Wire(grid)
    grid.bias = vw.ShapeBias(other, torch.eye(2), "mine")
    assert (grid.index, grid.label, grid.by) == (None, "", 0) and sent(grid) == [0, 1]
    assert [{"about", "shown"} <= set(state) for state in wire.states if "about" in state] == [True], "an order of other stimuli would be drawn"
    grid.bias = None
    assert grid.about == {} and sent(grid) == [] and repr(grid) == "ConflictGrid()" and grid.still() is None


def test_nothing_decided_has_no_share(stimuli):
    undecided = torch.zeros(6, 4)
    for row, (shape, texture, *_) in enumerate(TABLE):
        undecided[row, next(i for i in range(4) if i not in (shape, texture))] = 1
    grid = vw.ConflictGrid(vw.ShapeBias(stimuli, undecided, "mine"))
    assert grid.about["nets"][0]["share"] is None and grid.about["nets"][0]["interval"] == [None, None]
    assert repr(grid) == "ConflictGrid(6 stimuli; shape: mine none)" and grid.still().width > 200


def test_what_it_does_not_take(nets, stimuli):
    other = vw.Stimuli(1 - stimuli.images, stimuli.shapes, stimuli.textures, CLASSES)
    with pytest.raises(ValueError, match="the same stimuli; yours was asked about others"):
        vw.ConflictGrid([nets[0], replace(nets[1], stimuli=other)])
    equal = vw.Stimuli(stimuli.images.clone(), stimuli.shapes, stimuli.textures, CLASSES)
    assert len(vw.ConflictGrid([nets[0], replace(nets[1], stimuli=equal)]).about["nets"]) == 2
    for wrong in (stimuli, 3, [nets[0], "yours"]):
        with pytest.raises(TypeError, match="shows a ShapeBias, not"):
            vw.ConflictGrid(wrong)
    with pytest.raises(IndexError, match="no row 6: there are 6"):
        vw.ConflictGrid(nets[0], index=6)
    with pytest.raises(IndexError, match="no network 1: there are 1"):
        vw.ConflictGrid(nets[0], by=1)
    with pytest.raises(LookupError, match="no class 'birh'; did you mean 'birch'"):
        vw.ConflictGrid(nets[0], label="birh")
    with pytest.raises(TypeError, match="no option 'sorted'"):
        vw.ConflictGrid(nets[0], sorted="as made")


def test_the_still_picture_shows_both_kinds(nets, stimuli):
    still = vw.ConflictGrid(nets).still()
    one = vw.ConflictGrid(nets[0]).still()
    assert still.height > 1.8 * one.height and one.width > 2 * 112, "two cards beside each other at least, for each network"
    assert len(np.unique(np.asarray(one).reshape(-1, 3), axis=0)) > 500


def test_linked_grids_choose_together(nets):
    one, other = vw.ConflictGrid(nets[0]), vw.ConflictGrid(nets[1])
    traitlets.link((one, "index"), (other, "index"))
    Wire(one).receive({"cmd": "pick", "value": 5})
    assert one.wait(10) and other.wait(10) and other.index == 5 and torch.equal(other.image.pixels, one.image.pixels)
