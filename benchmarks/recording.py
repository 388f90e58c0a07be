"""Passes over sets of images: speed against the bare pass, memory at any number of images, and being killed on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torchvision import models

import vizwidgets as vw

from .timing import side_by_side, table

PARTS = ["throughput", "memory", "killing"]
IMAGES, ROUNDS, BATCH = 192, 7, 16
LIMITS = {"resnet18": 90, "squeezenet1_1": 75}
WEIGHTS = Path(os.environ.get("VIZWIDGETS_DATA", "")) / "models" / "squeezenet1_1.safetensors"
COUNTS, KILLS, KILLED = (1_000, 10_000), 20, 400


class Noise:
    """As many pictures as one likes, made when they are asked for."""

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Tensor:
        return torch.rand(3, self.size, self.size, generator=torch.Generator().manual_seed(i))


def network(name: str) -> vw.Net:
    """squeezenet1_1 with its weights where they are there, others with random ones."""
    if name == "squeezenet1_1" and WEIGHTS.is_file():
        return vw.load(name, weights=WEIGHTS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return vw.as_net(getattr(models, name)(weights=None).eval(), size=224, name=name)


def convolutions(net: vw.Net) -> list[str]:
    """Names of all that run."""
    return [n for n, row in net.layers.items() if row.kind == "Conv2d" and row.shape is not None]


def photographs(folder: Path, n: int) -> Path:
    """JPEG files of 500 × 500 pixels."""
    drawings = [vw.data.Flowers(16, seed=9, size=500).flower(i).picture() for i in range(16)]
    for i in range(n):
        drawings[i % 16].rotate(i).save(folder / f"{i:04d}.jpg", quality=90)
    return folder


def passed(net: vw.Net, images: vw.ImageSet) -> None:
    """The bare pass on the same loader."""
    with torch.inference_mode():
        for batch in images.batches(net, BATCH):
            net(batch.pixels)


def recorded(net: vw.Net, images: vw.ImageSet, keep: str) -> None:
    """A store, and the best images of every channel."""
    store = vw.record(net, images, convolutions(net), keep=keep, batch_size=BATCH).result()
    for layer in store.layers:
        store.top(layer)


def throughput() -> str:
    """Images per second, in turns, as a Markdown section."""
    with TemporaryDirectory() as folder:
        rows = speed(photographs(Path(folder), IMAGES))
    head = ["network", "convolutions (channels)", "images from", "bare pass, images a second", "maxima and top patches",
            "means as well", "of the bare pass", "of the bare pass", "at least"]  # fmt: skip
    about = f"{IMAGES} images at 224 px, {BATCH} at a time, {torch.get_num_threads()} threads."
    return f"## record and top patches of every convolution\n\n{about}\n\n{table(head, rows)}"


def speed(folder: Path) -> list[list[str]]:
    """Lines of the table."""
    rows = []
    for name, limit in LIMITS.items():
        net = network(name)
        channels = sum(net.layers[n].shape[0] for n in convolutions(net))
        noise = torch.stack([Noise(IMAGES, 224)[i] for i in range(IMAGES)])
        for kind, images in {"JPEG files": vw.image_set(folder), "a tensor": vw.image_set(noise)}.items():
            _ = images.digest
            times = side_by_side({
                "bare": lambda net=net, images=images: passed(net, images),
                "maxima": lambda net=net, images=images: recorded(net, images, "maxima"),
                "pooled": lambda net=net, images=images: recorded(net, images, "pooled"),
            }, rounds=ROUNDS, warmup=1)  # fmt: skip
            rate = {what: len(images) / seconds for what, seconds in times.items()}
            rows.append([
                name, f"{len(convolutions(net))} ({channels:,})", kind, f"{rate['bare']:.1f}", f"{rate['maxima']:.1f}", f"{rate['pooled']:.1f}",
                f"{100 * rate['maxima'] / rate['bare']:.0f} %", f"{100 * rate['pooled'] / rate['bare']:.0f} %", f"{limit} %",
            ])  # fmt: skip
    return rows


PEAK = """
import resource, sys
import torch, vizwidgets as vw
from benchmarks.recording import Noise, convolutions
net = vw.load("flowers")
store = vw.record(net, Noise(int(sys.argv[1]), 96), convolutions(net)).result()
for layer in store.layers:
    store.top(layer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory() -> str:
    """The most that a process takes, for few and for many images, as a Markdown section."""
    rows = []
    for n in COUNTS:
        done = subprocess.run([sys.executable, "-c", PEAK, str(n)], capture_output=True, text=True, check=True)
        rows.append([f"{n:,}", f"{float(done.stdout):.0f}"])
    return "## memory of record\n\nEvery convolution of `flowers`, store and top patches.\n\n" + table(["images", "peak memory, MB"], rows)


KILL = """
import sys
import torch, vizwidgets as vw
from benchmarks.recording import Noise, convolutions
net = vw.load("flowers")
run = vw.record(net, Noise(int(sys.argv[1]), 96), convolutions(net), path=sys.argv[2], keep="position", batch_size=4)
print("begun", flush=True)
run.result()
"""


def contents(path: Path) -> dict[str, bytes]:
    """All files of a store."""
    return {p.name: p.read_bytes() for p in path.iterdir()}


def killing() -> str:
    """Stores of runs that were killed once, each at another moment, and then went on, as a Markdown section."""
    moments, net, same, at = random.Random(0), vw.load("flowers"), 0, []
    with TemporaryDirectory() as folder:
        def whole(path: Path) -> dict[str, bytes]:
            vw.record(net, Noise(KILLED, 96), convolutions(net), path=path, keep="position", batch_size=4).result()
            return contents(path)

        began = time.perf_counter()
        undisturbed = whole(Path(folder, "whole"))
        lasts = time.perf_counter() - began
        for i in range(KILLS):
            path = Path(folder, str(i))
            process = subprocess.Popen([sys.executable, "-c", KILL, str(KILLED), str(path)], stdout=subprocess.PIPE)
            process.stdout.readline()  # type: ignore[union-attr]
            time.sleep(moments.uniform(0, lasts))
            process.send_signal(signal.SIGKILL)
            process.wait()
            at.append(vw.Store.open(path).done)
            same += whole(path) == undisturbed
    shown = ", ".join(map(str, sorted(at)))
    about = f"{KILLS} runs over {KILLED} images, killed (SIGKILL) after {shown} images, then resumed"
    return f"## record killed and resumed\n\n{about}: {same} of {KILLS} stores are the same to the last bit as an undisturbed one."
