"""What is recorded against plain hooks; and that it survives stops, kills, other networks and full disks."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import MATRIX, make, net, nothing_left_behind, readable
from test_image_set import awkward, broken, put
from test_patches import by_force, expected, maps, pictures
from torch import Tensor, nn

import vizwidgets as vw
from vizwidgets.core.store import Rows


def small(seed: int = 0, size: int = 16) -> vw.Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return vw.as_net(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(5, 7, 3, stride=2)), size=size, name="small")


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}


@pytest.mark.parametrize("name", [n for n in MATRIX if n != "compiled"])  # compiling takes seconds
def test_every_layout_of_layers(name: str) -> None:
    of = net(name)
    x = pictures(of, 3)
    names = readable(of)
    names = [names[0], names[len(names) // 3], names[-1]]
    store = vw.record(of, x, names, keep="maps", batch_size=2).result()
    for layer in names:
        whole = by_force(of, x, layer)
        tolerance = {"atol": 2e-2 if name == "half" else 2e-4 * float(whole.abs().max()) + 1e-6, "rtol": 1e-3}
        for found, truth in ((store.maps(layer), whole), (store.pooled(layer), whole.mean((2, 3))), (store.maxima(layer), whole.amax((2, 3)))):
            assert found.dtype == np.float32
            torch.testing.assert_close(torch.from_numpy(np.array(found)), truth.float(), **tolerance)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    of, images = small(), vw.data.Flowers(10, seed=1, size=16)
    run = vw.record(of, images, ["0", "2"], path=tmp_path / "deep" / "store", k=4, batch_size=4)
    assert len(run) == 3
    steps = list(run)
    assert [(s.index, s.done, s.skipped) for s in steps] == [(1, 4, 0), (2, 8, 0), (3, 10, 0)]
    assert steps[0].scores["images per second"] > 0
    assert steps[0].picture().width > 16
    store = run.result()
    assert repr(store) == "Store(10 of 10 images, 2 layers of small, keep='pooled')"
    opened = vw.Store.open(store.path)
    for s in (store, opened):
        assert (s.layers, s.keep, s.done, len(s), s.skipped) == (("0", "2"), "pooled", 10, 10, ())
        assert s.sources == tuple(f"#{i}" for i in range(10))
        assert s.labels == tuple(images.label(i) for i in range(10))
        assert s.classes == images.classes
        assert (s.net_name, s.net_sha256) == ("small", of.sha256)
        assert not s.pooled("2").flags.writeable
    assert store.top("2").images.shape == (7, 4)
    assert opened.images is None
    with pytest.raises(LookupError, match="no layer '1'"):
        store.pooled("1")
    with pytest.raises(LookupError, match="keeps 'pooled', so it has no maps of '2'"):
        store.maps("2")


def test_top_bottom_and_spread_equal_sorting_all_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizwidgets.methods.store._SORTED", 100)  # two channels at a time
    of, x = small(), pictures(small(), 50)
    x[[3, 17, 40]] = x[5].clone()
    store = vw.record(of, x, "1", batch_size=8).result()
    values = torch.from_numpy(np.array(store.maxima("1")))
    whole = by_force(of, x, "1")
    for order in ("top", "bottom", "spread"):
        for k in (1, 6, 80):
            found = store.top("1", k=k, order=order)
            assert torch.equal(found.images, expected(values, order, k))
            assert torch.equal(found.values, values.T.gather(1, found.images))
            for channel in range(5):
                for i, value, (a, b) in zip(found.images[channel], found.values[channel], found.positions[channel].tolist(), strict=True):
                    assert torch.isclose(whole[i, channel, a, b], value, atol=1e-5)


def test_the_format_opens_without_us(tmp_path: Path) -> None:
    of, x = small(), pictures(small(), 6)
    store = vw.record(of, x, ["0", "2"], path=tmp_path / "s", keep="maps").result()
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    progress = json.loads((tmp_path / "s" / "progress.json").read_text())
    assert progress == {"done": 6, "skipped": []}
    assert manifest["format"] == 1
    assert set(contents(tmp_path / "s")) == {"manifest.json", "progress.json", *(f"{n}.npy" for n in manifest["arrays"])}
    for name, about in manifest["arrays"].items():
        array = np.load(tmp_path / "s" / f"{name}.npy")
        assert array.shape == (6, *about["shape"])
        assert array.dtype == about["dtype"]
        if about["holds"] == "maps":
            assert np.array_equal(array, store.maps(about["layer"]))
    maxima, places = np.load(tmp_path / "s" / "01.maximum.npy"), np.load(tmp_path / "s" / "01.position.npy")
    whole = np.load(tmp_path / "s" / "01.maps.npy")
    for i in range(6):
        for c in range(7):
            assert maxima[i, c] == whole[i, c].max() == whole[i, c, places[i, c, 0], places[i, c, 1]]


def test_random_positions_avoid_edges_and_do_not_depend_on_the_batch() -> None:
    of, x = small(), pictures(small(), 60)
    store = vw.record(of, x, ["0", "2"], keep="position", seed=3).result()
    other = vw.record(of, x, ["0", "2"], keep="position", seed=3, batch_size=7).result()
    for layer, side in (("0", 16), ("2", 7)):
        vectors, places = store.samples(layer)
        whole = by_force(of, x, layer)
        assert np.array_equal(places, other.samples(layer)[1])
        assert not np.array_equal(places, vw.record(of, x, layer, keep="position", seed=4).result().samples(layer)[1])
        assert places.min() == 1
        assert places.max() == side - 2
        assert len(np.unique(places, axis=0)) > 15
        for i, (y, z) in enumerate(places.astype(int)):
            torch.testing.assert_close(torch.from_numpy(vectors[i].copy()), whole[i, :, y, z], atol=1e-5, rtol=1e-5)


def test_bad_files_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "images")
    reasons = broken(folder)
    of = small(size=20)
    store = vw.record(of, folder, "2", path=tmp_path / "store", batch_size=4, k=99).result()
    assert store.done == 10
    skipped = dict(store.skipped)
    assert skipped.keys() == reasons.keys()
    assert all(said in skipped[name] for name, said in reasons.items())
    assert "4 skipped" in repr(store)
    missing = [store.sources.index(n) for n in reasons]
    pooled = store.pooled("2")
    assert np.isnan(pooled[missing]).all()
    assert np.isfinite(np.delete(pooled, missing, 0)).all()
    ranking = store.top("2")
    assert ranking.images.shape == (7, 6)
    assert not set(ranking.images.flatten().tolist()) & set(missing)
    features = vw.Store.open(tmp_path / "store", net=of).features("2")
    assert features.rows.tolist() == [i for i in range(10) if i not in missing]
    assert torch.isfinite(features.vectors).all()
    assert features.sources == tuple(s for s in store.sources if s not in reasons)
    assert len(store.patches("2")[0]) == 6


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    broken(tmp_path)
    with pytest.raises(ValueError, match=r"none of the 4 images could be read; the first, 'bomb.png'"):
        vw.record(small(), tmp_path, "2").result()
    with pytest.raises(ValueError, match=r"do not normalise"):
        vw.top_patches(small(), torch.randn(3, 3, 16, 16), "2").result()


@pytest.mark.parametrize("keep", ["maxima", "pooled", "position", "maps"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_store(tmp_path: Path, keep: str) -> None:
    of, images = small(), pictures(small(), 22)
    options = {"keep": keep, "batch_size": 4}
    vw.record(of, images, ["0", "2"], path=tmp_path / "whole", **options).result()
    run = vw.record(of, images, ["0", "2"], path=tmp_path / "parts", **options)
    next(run), next(run)
    run.stop()
    store = run.result()
    assert (store.done, len(store)) == (8, 22)
    assert store.maxima("0").shape == (8, 5)
    assert int(store.top("0").images.max()) < 8
    rest = vw.record(of, images, ["0", "2"], path=tmp_path / "parts", keep=keep)  # the size of the batch is remembered
    assert len(rest) == 4
    assert [s.done for s in rest] == [12, 16, 20, 22]
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    done = vw.record(of, images, ["0", "2"], path=tmp_path / "parts", keep=keep)
    assert [(s.done, s.picture()) for s in done] == [(22, None)]
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_rows_written_but_not_committed_are_written_again(tmp_path: Path) -> None:
    of, x = small(), pictures(small(), 12)
    vw.record(of, x, "2", path=tmp_path / "whole", batch_size=4).result()
    run = vw.record(of, x, "2", path=tmp_path / "parts", batch_size=4)
    next(run)
    Rows(tmp_path / "parts").write(4, {"00.pooled": np.full((3, 7), 9, np.float32), "00.position": np.full((2, 7, 2), 9, np.uint16)})
    (tmp_path / "parts" / "progress.json.new").write_text('{"done": 1')
    (tmp_path / "parts" / "00.maximum.npy").rename(tmp_path / "kept.npy")
    (tmp_path / "kept.npy").rename(tmp_path / "parts" / "00.maximum.npy")
    assert vw.record(of, x, "2", path=tmp_path / "parts").result().done == 12
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_killed_before_the_arrays_are_there(tmp_path: Path) -> None:
    of, x = small(), pictures(small(), 6)
    vw.record(of, x, "2", path=tmp_path / "whole").result()
    vw.record(of, x, "2", path=tmp_path / "parts")
    (tmp_path / "parts" / "00.pooled.npy").unlink()
    (tmp_path / "parts" / "00.pooled.npy.new").write_bytes(b"\x93NUMPY")
    vw.record(of, x, "2", path=tmp_path / "parts").result()
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "manifest.json.new").write_text("{")
    vw.record(of, x, "2", path=tmp_path / "new").result()
    assert contents(tmp_path / "whole") == contents(tmp_path / "new")


PROGRAM = """
import sys
import torch
import vizwidgets as vw

torch.set_num_threads(1)
with torch.random.fork_rng():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(5, 7, 3, stride=2))
net = vw.as_net(module, size=16, name="small")
run = vw.record(net, sys.argv[1], ["0", "2"], path=sys.argv[2], keep="maps", batch_size=4)
print("begun", flush=True)
for step in run:
    print(step.done, flush=True)
"""


def start(folder: Path, path: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[1])


@pytest.mark.long
def test_killed_at_random_moments_it_ends_with_the_same_store(tmp_path: Path) -> None:
    folder, drawings = tmp_path / "images", vw.data.Flowers(16, seed=5, size=24)
    folder.mkdir()
    for i in range(400):
        drawings.flower(i % 16).picture().save(folder / f"{i:03d}.png", compress_level=0)
    broken(folder)
    process = start(folder, tmp_path / "whole")
    process.communicate()
    assert process.returncode == 0
    moments, seen = random.Random(0), []
    for _ in range(3):
        process = start(folder, tmp_path / "parts")
        for _ in range(moments.randrange(2, 12)):  # as many steps, however long they take
            process.stdout.readline()
        time.sleep(moments.uniform(0, 0.004))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen.append(vw.Store.open(tmp_path / "parts").done)
    assert seen == sorted(seen)
    assert 0 < seen[0] < 404, "killed too early or too late to say anything"
    start(folder, tmp_path / "parts").communicate()
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert len(vw.Store.open(tmp_path / "parts").skipped) == 4


def test_another_stores_path_is_refused_with_what_differs(tmp_path: Path) -> None:
    of, images = small(), vw.data.Flowers(6, seed=2, size=16)
    vw.record(of, images, "2", path=tmp_path / "s").result()
    before = contents(tmp_path / "s")
    x = torch.stack([images[i][0] for i in range(6)])
    cases = {
        "weights was": (small(1), images, "2", {}),
        "network was 'small' and is 'other'": (vw.as_net(of, name="other"), images, "2", {}),
        "preprocessing was": (vw.as_net(of, mean=0.5), images, "2", {}),
        "number of images was 6 and is 7": (of, vw.data.Flowers(7, seed=2, size=16), "2", {}),
        "images was": (of, x, "2", {}),
        r"layers was \['2'\] and is \['0', '2'\]": (of, images, ["0", "2"], {}),
        "keep was 'pooled' and is 'maps'": (of, images, "2", {"keep": "maps"}),
        "batch_size was 16 and is 4": (of, images, "2", {"batch_size": 4}),
        "seed was 0 and is 1": (of, images, "2", {"seed": 1}),
    }
    for said, (other, others, layers, options) in cases.items():
        with pytest.raises(ValueError, match=f"made from something else: .*{said}"):
            vw.record(other, others, layers, path=tmp_path / "s", **options)
    assert contents(tmp_path / "s") == before
    with pytest.raises(ValueError, match="small has other weights"):
        vw.Store.open(tmp_path / "s", net=small(1))
    with pytest.raises(ValueError, match="not the images"):
        vw.Store.open(tmp_path / "s", images=x)


def test_changed_files_are_noticed(tmp_path: Path) -> None:
    folder = put(tmp_path / "images", "a.png", "b.png")
    of = small()
    vw.record(of, folder, "2", path=tmp_path / "s").result()
    opened = vw.Store.open(tmp_path / "s", net=of)
    assert opened.images.folder == folder
    assert opened.patches("2")[3].sources[0] in ("a.png", "b.png")
    put(folder, "b.png", colour=(0, 9, 0))
    os.utime(folder / "b.png", ns=(1, 1))
    with pytest.raises(ValueError, match="images was"):
        vw.record(of, folder, "2", path=tmp_path / "s")
    assert vw.Store.open(tmp_path / "s").images is None
    with pytest.raises(ValueError, match="images=..."):
        vw.Store.open(tmp_path / "s", net=of).patches("2")
    shutil.rmtree(folder)
    assert vw.Store.open(tmp_path / "s").images is None


def test_what_is_no_store(tmp_path: Path) -> None:
    of, x = small(), pictures(small(), 2)
    photos = put(tmp_path / "photos", "a.png")
    with pytest.raises(FileExistsError, match="holds something else"):
        vw.record(of, x, "2", path=photos)
    with pytest.raises(FileExistsError, match="holds something else"):
        vw.record(of, x, "2", path=photos / "a.png")
    for place in (photos, tmp_path / "nowhere", photos / "a.png"):
        with pytest.raises(FileNotFoundError, match="no store in"):
            vw.Store.open(place)
    assert [p.name for p in photos.iterdir()] == ["a.png"]
    vw.record(of, x, "2", path=tmp_path / "s").result()
    manifest = tmp_path / "s" / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="format 2; this version reads up to 1"):
        vw.Store.open(tmp_path / "s")
    manifest.write_text(text[:40])
    with pytest.raises(ValueError, match="damaged"):
        vw.record(of, x, "2", path=tmp_path / "s")


def test_wrong_options() -> None:
    of, x = small(), pictures(small(), 2)
    for layers, options, error, said in [
        ("conv", {}, LookupError, "layer"), ([], {}, ValueError, "at least one layer"),
        ("2", {"keep": "map"}, LookupError, "did you mean 'maps'"), ("2", {"k": 0}, ValueError, "k is a whole number from 1, not 0"),
        ("2", {"batch_size": True}, ValueError, "batch_size"), ("2", {"threads": 1.5}, ValueError, "threads"),
    ]:  # fmt: skip
        with pytest.raises(error, match=said):
            vw.record(of, x, layers, **options)


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, x = small(), pictures(small(), 12)
    vw.record(of, x, "2", path=tmp_path / "whole", batch_size=4).result()
    run = vw.record(of, x, "2", path=tmp_path / "parts", batch_size=4)
    next(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # what the system does then, at a size of our choosing
    try:
        with pytest.raises(OSError, match="the disk is full. The 4 images recorded in .* are kept"):
            next(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.result().done == 4
    assert np.array_equal(vw.Store.open(tmp_path / "parts").pooled("2"), vw.Store.open(tmp_path / "whole").pooled("2")[:4])
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=300))
        with pytest.raises(OSError, match="needs 0.000 GB more, and 0.000 GB are free"):
            vw.record(of, x, "2", path=tmp_path / "parts")
        patch.setattr(tempfile, "tempdir", str(tmp_path / "whole"))
        with pytest.raises(OSError, match="needs"):
            vw.top_patches(of, x, "2")
    vw.record(of, x, "2", path=tmp_path / "parts").result()
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_temporary_store_goes_with_its_object() -> None:
    store = vw.record(small(), pictures(small(), 2), "2").result()
    path = store.path
    assert path.is_dir()
    del store
    assert not path.exists()


def test_nothing_is_left_behind_when_stopped_or_broken() -> None:
    of = vw.as_net(make("in_place"), size=32)
    assert of.layers
    x = pictures(of, 6)
    with nothing_left_behind(of.module, x):
        run = vw.record(of, x, "conv3", batch_size=2)
        next(run)
        run.stop()
        assert run.result().done == 2

    def fails(_m: nn.Module, _i: object) -> None:
        raise KeyboardInterrupt

    run = vw.record(of, x, "conv3", batch_size=2)
    next(run)
    handle = of.module.conv3.register_forward_pre_hook(fails)
    with nothing_left_behind(of.module, x), pytest.raises(KeyboardInterrupt):
        next(run)
    handle.remove()
    assert run.result().done == 2


def test_maps_are_taken_before_they_are_written_over(flowers: vw.Net) -> None:
    of = net("in_place")
    x = pictures(of, 2)
    written = [r.name for r in of.layers.values() if r.overwritten]
    assert written
    store = vw.record(of, x, written, keep="maps").result()
    for layer in written:
        torch.testing.assert_close(torch.from_numpy(np.array(store.maps(layer))), torch.cat([maps(of, i[None], layer) for i in x]), atol=1e-5, rtol=1e-4)


def test_batches_are_let_go() -> None:
    alive: list[weakref.ref[Tensor]] = []
    for step in vw.record(small(), pictures(small(), 60), "2", batch_size=4):
        alive.append(weakref.ref(step.batch))
        assert sum(r() is not None for r in alive) <= 2
