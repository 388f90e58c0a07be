"""Shape bias: decisions by hand, intervals by their definition, nets that read one cue alone, stimuli that contradict themselves."""

from __future__ import annotations

import json
from math import isnan
from statistics import NormalDist

import pytest
import torch
from nets import nothing_left_behind
from scipy.stats import binomtest
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.data.flowers import KINDS, TEXTURES, Flowers
from vizwidgets.methods.shapebias import wilson

ABC = ("a", "b", "c")


def made(shapes: list[int], textures: list[int], classes: tuple[str, ...] = ABC, **sources: tuple[str, ...]) -> vw.Stimuli:
    return vw.Stimuli(torch.zeros(len(shapes), 3, 8, 8), torch.tensor(shapes), torch.tensor(textures), classes, **sources)


def answering(stimuli: vw.Stimuli, answers: list[int]) -> vw.ShapeBias:
    return vw.ShapeBias(stimuli, torch.nn.functional.one_hot(torch.tensor(answers), len(stimuli.classes)).float(), "net")


class Reads(nn.Module):
    """Answers the class that is written in the first pixel of the red (shape) or green (texture) plane."""

    def __init__(self, plane: int, classes: int) -> None:
        super().__init__()
        self.plane, self.classes, self.scale = plane, classes, nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        wanted = (x[:, self.plane, 0, 0, None] * self.classes).round()
        return -9 * self.scale * (torch.arange(self.classes) - wanted).abs()


def written(shapes: Tensor, textures: Tensor, classes: tuple[str, ...]) -> vw.Stimuli:
    images = torch.full((len(shapes), 3, 16, 16), 0.5)
    images[:, 0], images[:, 1] = (labels[:, None, None] / len(classes) for labels in (shapes, textures))
    return vw.Stimuli(images, shapes, textures, classes)


def test_decisions_by_hand():
    stimuli = made([0, 0, 1, 2, 2], [1, 2, 0, 0, 1])
    bias = vw.ShapeBias(stimuli, torch.tensor([
        [0.6, 0.3, 0.1],  # shape
        [0.1, 0.2, 0.3],  # texture
        [0.1, 0.1, 0.2],  # neither
        [0.2, 0.1, 0.2],  # equal: the first, texture
        [0.0, 0.1, 0.9],  # shape
    ]))  # fmt: skip
    assert bias.kinds == ("shape", "texture", "neither", "texture", "shape")
    assert bias.decisions.tolist() == [0, 2, 2, 0, 2]
    assert bias.counts == {"shape": 2, "texture": 2, "neither": 1}
    assert bias.share == 0.5
    assert bias.answered == pytest.approx(0.8)
    assert bias.per_class["a"] == bias.per_class["c"] == 0.5
    assert isnan(bias.per_class["b"])


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (7, 7), (1, 2), (37, 100), (551, 600)])
def test_interval_is_wilsons(hits, of):
    """Its ends are the shares from which what was found is 1.96 standard deviations away."""
    bias = answering(made([0] * of, [1] * of), [0] * hits + [1] * (of - hits))
    assert bias.interval == wilson(hits, of)
    for end in bias.interval:
        away, deviation = hits / of - end, (end * (1 - end) / of) ** 0.5
        assert abs(away) == pytest.approx(NormalDist().inv_cdf(0.975) * deviation, abs=1e-12)
    assert bias.interval[0] <= hits / of <= bias.interval[1] and bias.interval[0] < bias.interval[1]


def test_stimuli_of_few_sources_tell_less():
    """Twenty pictures, each with ten textures: the net has made up its mind for each picture, so there are twenty answers, not 200."""
    shapes = tuple(f"picture {i // 10}" for i in range(200))
    textures = tuple(f"texture {i % 10}" for i in range(200))
    answers = [0 if i // 10 < 12 else 1 for i in range(200)]
    bias = answering(made([0] * 200, [1] * 200, shape_sources=shapes, texture_sources=textures), answers)
    low, high = bias.interval
    one, other = binomtest(12, 20).proportion_ci(0.95, "wilson")
    assert low == pytest.approx(one, abs=0.05)
    assert high == pytest.approx(other, abs=0.05)
    swapped = answering(made([0] * 200, [1] * 200, shape_sources=textures, texture_sources=shapes), answers)
    assert swapped.interval == pytest.approx((low, high), abs=0.02)
    assert bias.interval == answering(bias.stimuli, answers).interval, "by chance, but always the same"


def test_where_all_are_alike_resampling_is_no_wider_than_wilson():
    bias = answering(made([0] * 9, [1] * 9, shape_sources=("one",) * 9), [0] * 9)
    assert bias.interval == wilson(9, 9)


def test_confusion_by_a_loop():
    random = torch.Generator().manual_seed(0)
    shapes = torch.randint(0, 3, (60,), generator=random)
    textures = (shapes + torch.randint(1, 3, (60,), generator=random)) % 3
    answers = torch.randint(0, 3, (60,), generator=random)
    bias = answering(made(shapes.tolist(), textures.tolist()), answers.tolist())
    for labels, found in ((shapes, bias.confusion), (textures, bias.texture_confusion)):
        by_hand = torch.zeros(3, 3, dtype=torch.long)
        for label, answer in zip(labels, answers, strict=True):
            by_hand[label, answer] += 1
        assert torch.equal(found, by_hand)


@pytest.mark.parametrize(("plane", "share"), [(0, 1.0), (1, 0.0)])
def test_nets_that_read_one_cue_alone(plane, share):
    random = torch.Generator().manual_seed(1)
    shapes = torch.randint(0, 5, (50,), generator=random)
    stimuli = written(shapes, (shapes + torch.randint(1, 5, (50,), generator=random)) % 5, tuple("abcde"))
    net = vw.as_net(Reads(plane, 5), size=16, labels=list("abcde"))
    with nothing_left_behind(net.module, stimuli.images):
        bias = vw.shape_bias(net, stimuli, batch_size=7)
    assert bias.share == share
    assert bias.answered == 1
    torch.testing.assert_close(bias.probabilities, net(stimuli.images).softmax(1).detach())


def test_answers_by_lot_are_shape_as_often_as_texture():
    random = torch.Generator().manual_seed(2)
    shapes = torch.randint(0, 4, (4000,), generator=random)
    bias = answering(made(shapes.tolist(), ((shapes + 1) % 4).tolist(), tuple("abcd")), torch.randint(0, 4, (4000,), generator=random).tolist())
    assert bias.interval[0] < 0.5 < bias.interval[1]
    assert bias.answered == pytest.approx(0.5, abs=0.03)


def test_groups_average_probabilities_and_order_is_that_of_the_stimuli():
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([0.2, 0.3, 0.35, 0.15]).log().expand(len(x), -1)

    net = vw.as_net(Fixed(), size=16, labels=["w", "x", "y", "z"])
    stimuli = written(torch.tensor([0, 1]), torch.tensor([1, 0]), ("one", "other"))
    bias = vw.shape_bias(net, stimuli, groups={"other": [0, "x"], "one": ["y", 3], "more": [0]})
    torch.testing.assert_close(bias.probabilities, torch.tensor([[0.25, 0.25]] * 2))  # by sum as well as by mean
    bias = vw.shape_bias(net, stimuli, groups={"one": ["z", "w", "x"], "other": ["y"]})
    torch.testing.assert_close(bias.probabilities, torch.tensor([[0.65 / 3, 0.35]] * 2))
    assert bias.kinds == ("texture", "shape")
    assert vw.shape_bias(net, made([0], [2], ("Z", "w", "y"))).probabilities[0].tolist() == pytest.approx([0.15, 0.2, 0.35])


def test_imagenets_sixteen_classes_are_what_they_are_called(shared_data):
    names = {int(k): v[1] for k, v in json.loads((shared_data / "imagenet_class_index.json").read_text()).items()}
    assert sum(map(len, vw.IMAGENET_16.values())) == len({i for group in vw.IMAGENET_16.values() for i in group}) == 207
    for group, words in {"airplane": "airliner", "bear": "bear", "keyboard": "keyboard", "clock": "clock", "elephant": "elephant"}.items():
        assert all(names[i].endswith(words) for i in vw.IMAGENET_16[group])
    assert {names[i] for i in vw.IMAGENET_16["knife"] + vw.IMAGENET_16["oven"]} == {"cleaver", "rotisserie"}
    assert {names[i] for i in vw.IMAGENET_16["car"]} == {"beach_wagon", "convertible", "sports_car"}
    assert names[min(vw.IMAGENET_16["dog"])] == "Japanese_spaniel"
    assert names[max(vw.IMAGENET_16["dog"])] == "Mexican_hairless"


def test_imagenets_sixteen_classes():
    assert len(vw.IMAGENET_16) == 16
    assert {k: len(v) for k, v in vw.IMAGENET_16.items()} == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6, "chair": 4, "clock": 3,
        "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
    }  # fmt: skip
    assert list(vw.IMAGENET_16) == sorted(vw.IMAGENET_16)


def test_drawn_conflicts_are_flowers_whose_shape_and_pattern_differ():
    stimuli = vw.drawn_conflicts(30, seed=8, size=32)
    assert len(stimuli) == 30
    assert stimuli.classes == KINDS
    flowers, at = Flowers(100, 8, 32, colour="random", texture="random"), iter(range(30))
    for i in range(100):
        parameters = flowers.parameters(i)
        if parameters["shape"] != KINDS[TEXTURES.index(parameters["texture"])]:
            j = next(at, None)
            if j is None:
                break
            assert stimuli.shape_sources[j] == f"#{i}"
            assert KINDS[stimuli.shapes[j]] == parameters["shape"]
            assert TEXTURES[stimuli.textures[j]] == parameters["texture"]
            assert torch.equal(stimuli.images[j], flowers[i][0])
    again = vw.rerun(stimuli)
    assert torch.equal(again.images, stimuli.images)
    assert torch.equal(vw.drawn_conflicts(12, seed=8, size=32).images, stimuli.images[:12])


def test_one_stimulus_and_none_answered():
    bias = answering(made([0], [1]), [2])
    assert isnan(bias.share)
    assert isnan(bias.interval[0])
    assert bias.answered == 0
    assert repr(bias) == "ShapeBias(net: none of 1 answered by shape or texture)"
    bias.picture()
    bias = answering(made([0], [1]), [0])
    assert (bias.share, bias.answered) == (1.0, 1.0)
    assert repr(bias) == "ShapeBias(net: 1.00 (0.21 to 1.00), 1 of 1 answered by shape or texture)"


def test_pictures_and_recipe(tmp_path):
    net = vw.as_net(Reads(0, 3), size=16, labels=list(ABC), name="reads")
    stimuli = written(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), ABC)
    bias = vw.shape_bias(net, stimuli)
    assert stimuli.picture().width == 3 * 96
    assert made([0] * 200, [1] * 200).picture().size == (7 * 96, 3 * 110)
    again = vw.rerun(bias.save(tmp_path / "bias.png"), net)
    assert torch.equal(again.probabilities, bias.probabilities)
    assert again.stimuli.classes == ABC
    with pytest.raises(ValueError, match="too many"):
        vw.rerun(vw.shape_bias(net, vw.Stimuli(torch.rand(9, 3, 400, 400), [0] * 9, [1] * 9, ABC)), net)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"image 1 is 'c' by both \(1 such"):
        made([0, 2], [1, 2])
    with pytest.raises(ValueError, match="2 whole numbers, one for each image"):
        vw.Stimuli(torch.rand(2, 3, 8, 8), torch.tensor([0, 1, 2]), torch.tensor([1, 2]), ABC)
    with pytest.raises(ValueError, match="textures are places in the 3 classes, from 0; they go from 1 to 3"):
        made([0, 0], [1, 3])
    with pytest.raises(ValueError, match="at least one"):
        vw.Stimuli(torch.rand(0, 3, 8, 8), [], [], ABC)
    with pytest.raises(ValueError, match="1 sources of shapes for 2 images"):
        made([0, 1], [1, 0], shape_sources=("one",))
    with pytest.raises(ValueError, match=r"probabilities are \(2, 3\)"):
        vw.ShapeBias(made([0, 1], [1, 0]), torch.rand(2, 2))
    with pytest.raises(ValueError, match="n is a number of stimuli from 1, not 0"):
        vw.drawn_conflicts(0)


def test_classes_that_the_net_does_not_have():
    flowers = vw.load("flowers")
    with pytest.raises(LookupError, match=r"no class 'ros'; did you mean 'rose'.*groups=\{class"):
        vw.shape_bias(flowers, made([0], [1], ("ros", "iris")))
    with pytest.raises(LookupError, match="groups=vizwidgets.IMAGENET_16"):
        vw.shape_bias(flowers, made([0], [1], ("cat", "oven")))
    with pytest.raises(LookupError, match=r"no group 'cot'; did you mean 'cat'"):
        vw.shape_bias(flowers, made([0], [1], ("cot", "oven")), groups=vw.IMAGENET_16)
    with pytest.raises(LookupError, match="no class 404"):
        vw.shape_bias(flowers, made([0], [1], ("airplane", "oven")), groups=vw.IMAGENET_16)
    with pytest.raises(ValueError, match="group 'a' is a list of at least one class"):
        vw.shape_bias(flowers, made([0], [1]), groups={"a": [], "b": [1], "c": [2]})
    nameless = vw.as_net(Reads(0, 4), size=16)
    with pytest.raises(ValueError, match="4 classes without names, the stimuli 3"):
        vw.shape_bias(nameless, made([0], [1]))
    assert vw.shape_bias(nameless, made([0], [1], tuple("wxyz"))).kinds == ("shape",)
    with pytest.raises(TypeError, match="Stimuli"):
        vw.shape_bias(flowers, torch.rand(2, 3, 96, 96))
    with pytest.raises(ValueError, match="batch_size is a whole number from 1, not 0"):
        vw.shape_bias(flowers, made([0], [1], ("rose", "iris")), batch_size=0)
    broken = Reads(0, 3)
    broken.scale.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        vw.shape_bias(vw.as_net(broken, size=16, labels=list(ABC)), made([0], [1]))


@pytest.mark.long
def test_the_bundled_networks_go_by_shape_and_the_one_that_cheats_less_so():
    stimuli = vw.drawn_conflicts(96)
    honest, cheats = (vw.shape_bias(vw.load(name), stimuli) for name in ("flowers", "flowers-background"))
    assert honest.share > 0.8
    assert honest.answered > 0.7
    assert cheats.answered < honest.answered
