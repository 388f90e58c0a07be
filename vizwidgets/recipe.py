"""Making a result again from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from torch import nn

from vizwidgets.core.net import Net, as_net
from vizwidgets.core.optimize import Run
from vizwidgets.core.recipe import KEY, checked, loads
from vizwidgets.core.results import Result
from vizwidgets.load import load
from vizwidgets.methods import METHODS


def rerun(recipe: dict[str, Any] | str | Path | Result, net: Net | nn.Module | None = None) -> Result:
    """Make a result again: bit-equal on the same machine, threads and versions, close elsewhere.

    Parameters
    ----------
    recipe : dict, path or Result
        ``result.recipe``, or a PNG that ``result.save`` wrote.
    net : Net or torch.nn.Module, optional
        The network; by default the one of that name is loaded. Its weights must be those of the recipe.

    Raises
    ------
    ValueError
        For a picture without a recipe, a recipe of a newer format, or a network with other weights.

    Examples
    --------
    >>> rerun(activation_maps(net, x, "stage2").save("maps.png")).maps.shape
    torch.Size([1, 40, 24, 24])
    """
    if isinstance(recipe, Result):
        recipe = recipe.recipe
    if isinstance(recipe, (str, Path)):
        with PILImage.open(recipe) as picture:
            picture.load()
            text = picture.info.get(KEY) or picture.info.get("comment") or picture.info.get("xmp")
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not text.startswith("{"):
            raise ValueError(f"{Path(recipe).name} holds no recipe: it was not saved by vizwidgets, or was edited since")
        recipe = loads(text)
    wanted = checked(recipe)["net"]
    if recipe["method"] not in METHODS:
        raise ValueError(f"no method {recipe['method']!r} in this version; it has {', '.join(METHODS)}")
    of = None if wanted is None else _network(wanted, net)  # maps of vectors are made of numbers alone
    result = METHODS[recipe["method"]](of, **recipe["inputs"], **recipe["options"])
    if not isinstance(result, Run):
        return result
    changes = [tuple(change) for change in recipe["changes"]]
    for taken in range(recipe.get("taken", len(result))):
        for _, name, value in [c for c in changes if c[0] == taken]:
            setattr(result.controls, name, value)
        next(result)
    result.stop()
    return result.result()


def _network(wanted: dict[str, Any], net: Net | nn.Module | None) -> Net:
    """The network of a recipe, with the preprocessing that it had."""
    try:
        net = load(wanted["name"]) if net is None else as_net(net)
    except LookupError:
        raise LookupError(f"the recipe's network {wanted['name']!r} cannot be loaded by name: give it, rerun(..., net)") from None
    if net.sha256 != wanted["sha256"]:
        raise ValueError(f"{net.name} has other weights than the recipe's {wanted['name']} (sha256 {wanted['sha256'][:12]}...)")
    return as_net(net, mean=wanted["mean"], std=wanted["std"], layouts=wanted["layouts"])
