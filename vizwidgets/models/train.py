"""The recipes of the bundled networks, and their training: ``python -m vizwidgets.models.train NAME``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from vizwidgets.core.net import as_net
from vizwidgets.data.flowers import KINDS, Flowers, drawing_hashes
from vizwidgets.data.image_set import image_set
from vizwidgets.methods.stylising import stylised
from vizwidgets.models import WEIGHTS, build
from vizwidgets.models.flowernet import FlowerNet

# Drawings of other seeds belong to nobody: free for tests and notebooks.
TRAINING, HELD_OUT = 1, 2
PAINTER = "flowers"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a bundled network.

    Attributes
    ----------
    name : str
        Of the network and of its file.
    seed : int
        Of the initial weights, the order of the drawings and their crops.
    epochs, batch_size : int
    lr, weight_decay, smoothing : float
        Peak learning rate of a one-cycle schedule, AdamW's decay (of convolutions and head), label smoothing.
    stem_sparsity, stem_correlation : float
        How much it costs when the answers of the stem's filters are not sparse, and when they repeat each other.
    eps : float
        Train on images changed against the network by at most so much per pixel, in [0, 1] units; 0 for the images themselves.
    stylised : float
        The share of the training drawings, in [0, 1], that are painted with the textures of drawings of other kinds.
    augmented : bool
        Flip, shift, tint and roughen the training drawings by chance.
    random_labels : bool
        Train on labels drawn by lot: there is nothing to learn but the drawings themselves.
    train_images, held_out_images, size : int
        Number of drawings and their size in pixels.
    switches : mapping of str
        Switches of `Flowers` for both sets, where not the default.
    threads : int
        Threads of PyTorch and processes that draw; another number gives slightly other weights.
    """

    name: str
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    lr: float = 4e-3
    weight_decay: float = 0.5
    smoothing: float = 0.05
    stem_sparsity: float = 0.2
    stem_correlation: float = 0.02
    eps: float = 0.0
    stylised: float = 0.0
    augmented: bool = True
    random_labels: bool = False
    train_images: int = 6000
    held_out_images: int = 1200
    size: int = 96
    switches: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


RECIPES = {recipe.name: recipe for recipe in (
    Recipe("flowers", seed=1),
    Recipe("flowers-2", seed=2),
    Recipe("flowers-robust", seed=1, eps=4 / 255),
    Recipe("flowers-stylised", seed=1, stylised=0.5),
    Recipe("flowers-background", seed=1, switches={"background": "class"}),
    Recipe("flowers-random-labels", seed=1, epochs=50, train_images=1200, weight_decay=0.0, smoothing=0.0, augmented=False,
           random_labels=True),
)}


def drawings(recipe: Recipe, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Pixels (count, 3, H, W), uint8, and labels (count,) of the drawings of `seed`, drawn in parallel."""
    flowers = Flowers(count, seed, recipe.size, **dict[str, Any](recipe.switches))
    images, labels = torch.empty(count, 3, recipe.size, recipe.size, dtype=torch.uint8), torch.empty(count, dtype=torch.long)
    # A generator of its own: without one, a loader takes a number from the global one.
    loader = DataLoader(flowers, batch_size=50, num_workers=recipe.threads, generator=torch.Generator())
    done = 0
    for batch, names in tqdm(loader, desc=f"drawing seed {seed}"):
        images[done : done + len(batch)] = batch.mul(255.0).round_().to(torch.uint8)
        labels[done : done + len(batch)] = names
        done += len(batch)
    return images, labels


def painted(images: Tensor, labels: Tensor, share: float, seed: int) -> Tensor:
    """Images (N, 3, H, W), uint8, the first `share` of them with the textures of images of other kinds, by style transfer."""
    module, about = build(PAINTER)
    net = as_net(module, size=about["size"], resize=about["size"], mean=about["mean"], std=about["std"], labels=about["labels"])
    count = round(share * len(images))
    every, some = (image_set(images[:n], labels=labels[:n].tolist(), classes=KINDS) for n in (len(images), count))
    run = stylised(net, some, every, style_weight=5.0, content_layer="stage2", style_layers=("stem", "stage1", "stage2", "stage3"),
                   steps=16, batch_size=32, seed=seed)  # fmt: skip
    for _ in tqdm(run, desc=f"painting {count} drawings", mininterval=2.0):
        pass
    return torch.cat([run.so_far().images, images[count:]])


def _augmented(pixels: Tensor, random: torch.Generator, reach: int = 6) -> Tensor:
    """Images (B, 3, H, W), each flipped, shifted by at most `reach` pixels, tinted, turned grey and made noisy by chance.

    Grey images ask for edges rather than colours; noisy ones for filters that do not follow every pixel.
    """
    images = nn.functional.pad(pixels.to(torch.float32) / 255.0, (reach,) * 4, mode="reflect")
    count, (height, width) = len(images), pixels.shape[-2:]
    flips = torch.rand(count, generator=random) < 0.5
    shifts = torch.randint(0, 2 * reach + 1, (count, 2), generator=random).tolist()
    crops = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, shifts, strict=True)]
    images = torch.stack([crop.flip(-1) if flip else crop for crop, flip in zip(crops, flips, strict=True)])
    grey = torch.rand(count, 1, 1, 1, generator=random) < 0.3
    images = torch.where(grey, images.mean(1, keepdim=True), images)
    images = images * (0.75 + 0.5 * torch.rand(count, 3, 1, 1, generator=random))
    deviations = 0.06 * torch.rand(count, 1, 1, 1, generator=random)
    return images + deviations * torch.randn(images.shape, generator=random)


def _loss(net: nn.Module, loss_of: nn.Module, labels: Tensor, mean: Tensor, std: Tensor, images: Tensor) -> Tensor:
    return loss_of(net((images - mean) / std), labels)


def _attacked(images: Tensor, eps: float, random: torch.Generator, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Images changed by at most `eps` so that the loss grows: one signed step from a random place within the bound.

    Wong, Rice, Kolter: Fast is better than free, 2020.
    """
    change = eps * (2 * torch.rand(images.shape, generator=random) - 1)
    changed = (images + change).requires_grad_()
    (grad,) = torch.autograd.grad(loss(changed), changed)
    return images + (change + 1.25 * eps * grad.sign()).clamp(-eps, eps)


def _sparsity_and_correlation(filters: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """How far the answers of `filters` to `images` (B, C, H, W) are from sparse, and how much they repeat each other.

    The mean size of the answers in units of their standard deviation, summed over the filters (low where a filter is silent
    at most places and loud at a few), and the squared correlations, summed over all pairs. On natural images sparse answers
    alone make edge detectors: Olshausen and Field, Emergence of simple-cell receptive field properties, 1996.
    """
    answers = nn.functional.conv2d(images, filters, stride=4).transpose(0, 1).flatten(1)
    answers = answers - answers.mean(1, keepdim=True)
    answers = answers / answers.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)
    correlations = answers @ answers.T / answers.shape[1]
    return answers.abs().mean(1).sum(), correlations.triu(1).square().sum()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> float:
    """Share of `images` (N, 3, H, W), uint8, whose largest logit is that of their label."""
    net.eval()
    right = 0
    for part, truth in zip(images.split(200), labels.split(200), strict=True):
        right += int((net((part / 255.0 - mean) / std).argmax(1) == truth).sum())
    return right / len(labels)


def train(recipe: Recipe) -> tuple[FlowerNet, dict[str, Any]]:
    """Train a network from its recipe.

    Returns
    -------
    net : FlowerNet
        In evaluation mode; its weights are float32 numbers that float16 can hold.
    metadata : dict
        What `vizwidgets.models.build` returns besides the network.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        return _train(recipe)
    finally:
        torch.set_num_threads(threads)


def _train(recipe: Recipe) -> tuple[FlowerNet, dict[str, Any]]:
    images, labels = drawings(recipe, TRAINING, recipe.train_images)
    std, mean = (v.reshape(3, 1, 1).round(decimals=3) for v in torch.std_mean(images[:1000] / 255.0, dim=(0, 2, 3)))
    random = torch.Generator().manual_seed(recipe.seed)
    if recipe.stylised:
        images = painted(images, labels, recipe.stylised, recipe.seed)
    if recipe.random_labels:
        labels = labels[torch.randperm(len(labels), generator=random)]
    net = FlowerNet(len(KINDS), seed=recipe.seed).to(memory_format=torch.channels_last).train()
    weights, others = ([p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    steps = len(images) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(images), generator=random)[: steps * recipe.batch_size]
        bar = tqdm(order.split(recipe.batch_size), desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=2.0)
        for batch in bar:
            seen = _augmented(images[batch], random) if recipe.augmented else images[batch] / 255.0
            if recipe.eps:
                seen = _attacked(seen, recipe.eps, random, partial(_loss, net, loss_of, labels[batch], mean, std))
            x = ((seen - mean) / std).contiguous(memory_format=torch.channels_last)
            loss = loss_of(net(x), labels[batch])
            sparsity, correlation = _sparsity_and_correlation(net.stem.get_parameter("conv.weight"), x)
            total = loss + recipe.stem_sparsity * sparsity + recipe.stem_correlation * correlation
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    net.load_state_dict({name: _rounded(v).to(v.dtype) for name, v in net.state_dict().items()})
    learned = accuracy(net, images, labels, mean, std)
    measured = accuracy(net, *drawings(recipe, HELD_OUT, recipe.held_out_images), mean, std)
    print(f"{recipe.name}: {learned:.2%} of the training drawings, {measured:.2%} of {recipe.held_out_images} held-out ones")
    return net.eval(), {
        "format": 1,
        "name": recipe.name,
        "labels": list(KINDS),
        "size": recipe.size,
        "mean": [round(value, 3) for value in mean.flatten().tolist()],
        "std": [round(value, 3) for value in std.flatten().tolist()],
        "accuracy": measured,
        "training_accuracy": learned,
        "recipe": asdict(recipe),
        "drawing_hashes": drawing_hashes(),
    }


def _rounded(value: Tensor) -> Tensor:
    return value.to(torch.float16) if value.is_floating_point() else value


def save(net: nn.Module, metadata: Mapping[str, Any], path: Path) -> None:
    """Write weights as float16 and every entry of `metadata` as JSON."""
    tensors = {name: _rounded(value).contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, path, metadata={key: json.dumps(value) for key, value in metadata.items()})


def main(arguments: list[str] | None = None) -> None:
    """Train one network by name and write its weights."""
    parser = argparse.ArgumentParser(description="Train a bundled network again.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--folder", type=Path, default=WEIGHTS, help="where the weights go (default: the package)")
    options = parser.parse_args(arguments)
    net, metadata = train(RECIPES[options.name])
    options.folder.mkdir(parents=True, exist_ok=True)
    save(net, metadata, options.folder / f"{options.name}.safetensors")


if __name__ == "__main__":
    main()
