"""The layer table against plain hooks and `named_modules`."""

from __future__ import annotations

import pytest
import torch
from nets import MATRIX, make, net, nothing_left_behind, picture, plain_outputs
from torch import nn

import vizwidgets as vw


@pytest.mark.parametrize("name", MATRIX)
def test_names_shapes_and_parameters(name: str) -> None:
    of = net(name)
    modules = {n: m for n, m in of.module.named_modules() if n}
    outputs, _ = plain_outputs(of, picture(of))
    table = of.layers
    assert list(dict.fromkeys(row.module_name for row in table.values())) == list(modules)
    assert set(table.order) == set(outputs)
    assert {n for n, row in table.items() if row.shape is not None} == set(outputs)
    for n, row in table.items():
        module = modules[row.module_name]
        assert (row.name, row.kind) == (n, type(module).__name__)
        assert row.parameters == sum(p.numel() for p in module.parameters())
        if row.layout is None:
            continue
        shape, (c, h, w) = tuple(outputs[n].shape), row.shape
        expected = {"NCHW": (1, c, h, w), "NHWC": (1, h, w, c), "vector": (1, c)}
        if row.layout == "tokens":
            assert (shape[0], shape[2]) == (1, c)
            assert 0 <= shape[1] - h * w <= 1
        else:
            assert shape == expected[row.layout], n


def layouts(name: str) -> dict[str, str | None]:
    return {n: row.layout for n, row in net(name).layers.items() if row.shape is not None}


@pytest.mark.parametrize("name", ["squeezenet", "resnet", "densenet", "googlenet", "mobilenet_v2", "mobilenet_v3",
                                  "efficientnet", "shufflenet", "in_place", "shared", "halved"])  # fmt: skip
def test_maps_are_channels_first(name: str) -> None:
    outputs, _ = plain_outputs(net(name), picture(net(name)))
    assert layouts(name) == {n: "NCHW" if outputs[n].dim() == 4 else "vector" for n in layouts(name)}


def test_convnext_is_channels_last_inside_its_blocks() -> None:
    for n, layout in layouts("convnext").items():
        place = n.split(".")
        inside = n.startswith(("features.1.0.block.", "features.3.0.block.")) and 1 <= int(place[4]) <= 5
        assert layout == ("NHWC" if inside else "vector" if n in ("classifier.1", "classifier.2", "classifier") else "NCHW"), n


def test_swin_is_channels_last_throughout() -> None:
    for n, layout in layouts("swin").items():
        first = {"features.0.0": "NCHW", "permute": "NCHW", "avgpool": "NCHW", "flatten": "vector", "head": "vector"}
        assert layout == first.get(n, "NHWC"), n


def test_few_channels_on_small_pictures_are_channels() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 5, 3))
    assert [row.shape for row in vw.as_net(module, size=20).layers.values()] == [(6, 16, 16), (6, 16, 16), (5, 14, 14)]


def test_vit_is_tokens() -> None:
    found = layouts("vit")
    assert found["conv_proj"] == "NCHW"
    assert found["encoder"] == found["encoder.layers.encoder_layer_1.mlp.0"] == "tokens"
    assert net("vit").layers["encoder.ln"].shape == (32, 4, 4)
    assert found["heads"] == "vector"


def test_what_runs_and_how_often() -> None:
    table = net("shared").layers
    assert list(table) == ["conv1", "twice:0", "twice:1", "relu:0", "relu:1", "relu:2", "fc"]
    assert table.order == ("conv1", "relu:0", "twice:0", "relu:1", "twice:1", "relu:2", "fc")
    assert table["relu:1"].call == 1
    assert table["conv1"].call is None
    assert "relu" not in table
    with pytest.raises(LookupError, match=r"'relu' runs 3 times in one pass; name the call: 'relu:0' \.\.\. 'relu:2'"):
        table["relu"]
    unused = net("dict").layers["unused"]
    assert unused.shape is None
    assert unused.parameters == 12
    assert "does not run" in repr(net("dict").layers)


def test_a_block_of_a_reused_module_counts_its_calls() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True))
    of = vw.as_net(nn.Sequential(block, block, nn.Flatten(), nn.Linear(3 * 64, 4)), size=8)
    # One module under two names: named_modules gives the first.
    assert list(of.layers) == ["0:0", "0:1", "0.0:0", "0.0:1", "0.1:0", "0.1:1", "2", "3"]
    expected, _ = plain_outputs(of, picture(of))
    with torch.no_grad(), vw.extract(of, "0.0:0", "0.0:1") as acts:
        of(picture(of))
    torch.testing.assert_close(acts["0.0:0"], expected["0.0:0"])
    torch.testing.assert_close(acts["0.0:1"], expected["0.0:1"])


@pytest.mark.parametrize(("asked", "near"), [
    ("layer2.0.con1", "layer2.0.conv1"), ("Layer3", "layer3"), ("layer1.0.relu:5", "layer1.0.relu:"), ("fcc", "fc"),
])  # fmt: skip
def test_unknown_names_get_the_nearest(asked: str, near: str) -> None:
    with pytest.raises(LookupError, match=f"no layer '{asked}'; did you mean .*'{near}"):
        net("resnet").layers[asked]


def test_a_name_far_from_all_gets_the_first_ones() -> None:
    with pytest.raises(LookupError, match=r"no layer 'zzz'; there are: conv1, bn1, .* \(47 in all\)"):
        net("resnet").layers["zzz"]


def test_a_changed_structure_gets_a_new_table() -> None:
    module = make("functional").eval()
    first = vw.as_net(module, size=32).layers
    assert vw.as_net(module, size=32).layers is first
    module.conv2 = nn.Conv2d(8, 5, 3)
    module.fc = nn.Linear(5, 10)
    assert vw.as_net(module, size=32).layers["conv2"].shape == (5, 30, 30)
    module.extra = nn.Identity()
    assert "extra" in vw.as_net(module, size=32).layers
    assert vw.as_net(module, size=48).layers["conv2"].shape == (5, 46, 46)


def test_in_place_operations_are_noticed_wherever_they_are() -> None:
    overwritten = {n for n, row in net("in_place").layers.items() if row.overwritten}
    assert overwritten == {"bn1", "conv2", "drop", "conv3", "conv4"}
    assert not any(row.overwritten for row in net("functional").layers.values())


def test_layouts_by_the_user() -> None:
    class Odd(nn.Module):
        """Rows in the batch: nobody can guess that."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.fc = nn.Identity(), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.inner(x.permute(0, 2, 3, 1)).mean((1, 2)))

    x = torch.rand(1, 3, 12, 12)
    for layout, shape in (("NHWC", (3, 12, 12)), ("NCHW", (12, 12, 3))):
        of = vw.as_net(Odd(), size=12, channels=3, layouts={"inner": layout})
        assert of.layers["inner"].shape == shape
        with vw.extract(of, "inner") as acts:
            of(x)
        assert acts["inner"].shape == (1, *shape)
    with pytest.raises(ValueError, match=r"layouts\['inner'\]: no layout 'nhwc'; did you mean 'NHWC'"):
        _ = vw.as_net(Odd(), size=12, channels=3, layouts={"inner": "nhwc"}).layers
    with pytest.raises(LookupError, match="layouts: no layer 'iner'; did you mean 'inner'"):
        _ = vw.as_net(Odd(), size=12, channels=3, layouts={"iner": "NHWC"}).layers
    with pytest.raises(ValueError, match=r"'inner'.*4 dimensions.*tokens"):
        _ = vw.as_net(Odd(), size=12, channels=3, layouts={"inner": "tokens"}).layers


def test_an_unknown_layout_says_how_to_name_it() -> None:
    of = vw.as_net(Windows(), size=16)
    with pytest.raises(ValueError, match=r"unknown way; say how with as_net\(module, layouts=.*NCHW, NHWC, tokens, vector"):
        vw.activation_maps(of, torch.rand(1, 3, 16, 16), "inner")


class Windows(nn.Module):
    """Moves positions into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.fc = nn.Identity(), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h = x.shape[0], x.shape[2]
        windows = self.inner(x.unflatten(2, (h // 4, 4)).permute(0, 2, 1, 3, 4).flatten(0, 1))
        return self.fc(windows.unflatten(0, (b, h // 4)).mean((1, 3, 4)))


def test_the_table_is_readable() -> None:
    lines = repr(net("squeezenet").layers).splitlines()
    assert lines[0].split() == ["layer", "kind", "shape", "parameters", "receptive", "field"]
    assert lines[2].split() == ["features.0", "Conv2d", "64×31×31", "1,792", "3×3"]


def test_making_the_table_leaves_nothing_in_inference_mode_either() -> None:
    module = make("in_place")
    with nothing_left_behind(module), torch.inference_mode():
        table = vw.as_net(module, size=32).layers
    assert table["conv2"].overwritten
    with torch.inference_mode():
        born_there = vw.as_net(make("in_place"), size=32)
        assert len(born_there.layers) == 8
        assert len(born_there.sha256) == 64
        assert born_there(torch.rand(1, 3, 32, 32)).shape == (1, 10)
