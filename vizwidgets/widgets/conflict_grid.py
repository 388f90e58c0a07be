"""Pictures whose shape says one thing and whose texture another, and by which of the two networks decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import traitlets
from anywidget import AnyWidget
from numpy.typing import NDArray
from PIL import Image as PILImage

from vizwidgets.core.errors import unknown
from vizwidgets.core.image import Image
from vizwidgets.methods.shapebias import ShapeBias, Stimuli

from .base import script, shows_errors, style
from .cards import Row, cards_sheet, reduced
from .gallery import Looks

KINDS = ("shape", "texture", "neither")
SHOWS = ("all", *KINDS, "differ")
SORTS = ("shape first", "texture first", "undecided first", "nets differ first", "as made")


class StimulusPictures:
    """The pictures of some `Stimuli`, for a page that shows many and asks for a few."""

    def __init__(self, stimuli: Stimuli) -> None:
        self.stimuli = stimuli

    def __len__(self) -> int:
        """Stimuli."""
        return len(self.stimuli)

    def name(self, row: int) -> str:
        """Both of its labels."""
        made = self.stimuli
        return f"{made.classes[int(made.shapes[row])]} with the texture of {made.classes[int(made.textures[row])]}"

    def image(self, row: int) -> Image:
        """The stimulus itself."""
        return Image(self.stimuli.images[row : row + 1], self.name(row))

    def thumbnail(self, row: int, side: int = 64) -> PILImage.Image:
        """The stimulus with at most `side` pixels on its longer side."""
        return reduced(self.image(row), side)


class ConflictGrid(Looks, AnyWidget):
    """Stimuli with two answers, one by their shape and one by their texture, sorted by how networks decide.

    Parameters
    ----------
    bias : ShapeBias, several, or a mapping of names to them
        Of `vizwidgets.shape_bias`; several are of the same stimuli and of different networks.
    show : str
        Which are shown: "all", those decided by "shape", by "texture" or "neither", or, of several networks, those by which
        they "differ".
    label : str
        Only stimuli with this class as their shape or as their texture; "" for every class.
    sort : str
        "shape first", "texture first", "undecided first" (by the probability of the shape's class minus that of the
        texture's), "nets differ first" (by how far apart this difference is between the networks), "as made".
    by : int
        The network whose decisions count for `show` and `sort`, from 0.
    index : int or None
        The chosen stimulus.

    Attributes
    ----------
    image : Image or None
        The chosen stimulus. It follows `index`; set from elsewhere, it stays what it is.
    rows : ndarray
        (shown,) int: numbers of the stimuli that are shown, in order.

    Raises
    ------
    TypeError, ValueError, LookupError, IndexError
        For what is no `ShapeBias`, other stimuli, and classes, networks and stimuli that there are not.

    References
    ----------
    Geirhos, Rubisch, Michaelis, Bethge, Wichmann, Brendel: ImageNet-trained CNNs are biased towards texture; increasing shape
    bias improves accuracy and robustness, 2019.

    Examples
    --------
    >>> stimuli = vizwidgets.drawn_conflicts(200)
    >>> ConflictGrid({n: vizwidgets.shape_bias(vizwidgets.load(n), stimuli) for n in ("flowers", "flowers-stylised")})
    ConflictGrid(200 stimuli; shape: flowers 92 %, flowers-stylised 98 %)
    """

    _esm = script("conflict_grid", "tiles", "thumbnails")
    _css = style()

    bias: Any = traitlets.Any(None, allow_none=True)
    show = traitlets.Enum(SHOWS, "all").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    sort = traitlets.Enum(SORTS, "shape first").tag(sync=True)
    by = traitlets.Int(0, min=0).tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)
    about: Any = traitlets.Dict(help="the stimuli, and what each network says of them").tag(sync=True)
    shown: Any = traitlets.Dict(help="which are shown, in order, and how many decide how").tag(sync=True)

    def __init__(self, bias: Any = None, **options: Any) -> None:
        self._nets: dict[str, ShapeBias] = {}
        self.rows: NDArray[np.intp] = np.arange(0)
        super().__init__(bias=bias, **options)
        self.on_msg(self._receive)
        self._take()
        self.observe(lambda _: self._take(), "bias")
        self.observe(lambda _: self._order(), ["show", "label", "sort", "by"])
        self.observe(lambda _: self._mark(), "index")

    @traitlets.validate("bias")
    def _of_one_kind(self, proposal: Any) -> dict[str, ShapeBias]:
        return _named(proposal.value)

    @traitlets.validate("label", "by")
    def _is_there(self, proposal: Any) -> Any:
        value, stimuli = proposal.value, self.stimuli
        if stimuli is not None and proposal.trait.name == "label" and value and value not in stimuli.classes:
            raise LookupError(unknown("class", value, stimuli.classes))
        if stimuli is not None and proposal.trait.name == "by" and value >= len(self._nets):
            raise IndexError(f"there is no network {value}: there are {len(self._nets)}, counted from 0")
        return value

    @property
    def stimuli(self) -> Stimuli | None:
        """What all the networks were asked about."""
        return next((b.stimuli for b in self._nets.values()), None)

    def _take(self) -> None:
        before, self._nets = self.stimuli, self.bias or {}
        stimuli = self.stimuli
        if stimuli is None:
            self._gallery, self.about, self.index = None, {}, None
            self._order()
            return
        self._gallery = StimulusPictures(stimuli)
        with self.hold_sync():  # the page gets an order and what it is an order of at once
            if before is not None:  # numbers and names of others mean nothing here
                self.by = min(self.by, len(self._nets) - 1)
                self.label = self.label if self.label in stimuli.classes else ""
                self.index = self.index if before is stimuli else None
            # What was set before there were stimuli is checked now.
            self.index, self.label, self.by = self.index, self.label, self.by
            self.about = {
                "count": len(stimuli), "classes": list(stimuli.classes),
                "shapes": _words(stimuli.shapes), "textures": _words(stimuli.textures),
                "nets": [_told(name, b) for name, b in self._nets.items()],
            }  # fmt: skip
            self._order()
        self._mark()

    def _order(self) -> None:
        """Find which stimuli are shown, and in which order."""
        self.rows, counts = np.arange(0), dict.fromkeys(SHOWS, 0)
        stimuli, kinds = self.stimuli, np.array([b.kinds for b in self._nets.values()])
        if stimuli is not None:
            margins = np.array([_margins(b) for b in self._nets.values()])
            own = margins[self.by]
            key = {"shape first": -own, "texture first": own, "undecided first": np.abs(own),
                   "nets differ first": -np.ptp(margins, axis=0), "as made": np.arange(len(own))}[self.sort]  # fmt: skip
            shapes, textures = np.asarray(stimuli.shapes), np.asarray(stimuli.textures)
            of = stimuli.classes.index(self.label) if self.label in stimuli.classes else None
            among = np.full(len(own), True) if of is None else (shapes == of) | (textures == of)
            which = {"all": among, **{kind: among & (kinds[self.by] == kind) for kind in KINDS}, "differ": among & (kinds != kinds[0]).any(0)}
            counts = {name: int(chosen.sum()) for name, chosen in which.items()}
            order = np.argsort(key, kind="stable")
            self.rows = order[which[self.show][order]]
        self.shown = {"rows": self.rows.astype("<i4").tobytes(), "counts": counts, "seq": self.shown.get("seq", 0) + 1}

    def _mark(self) -> None:
        self.picked, self.error = -1 if self.index is None else self.index, ""
        self.later(self._open)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command, name = content.get("cmd"), content.get("name")
        if command == "pick":
            self.index = content["value"]
        elif command == "set" and name in ("show", "label", "sort", "by"):
            self.set_trait(name, content["value"])
            self.error = ""
        elif command == "look":
            self._look(content)

    def still(self) -> PILImage.Image | None:
        """For each network some stimuli that it decides most by their shape, and most by their texture."""
        pictures = self._gallery
        if not isinstance(pictures, StimulusPictures):
            return None
        sheet: list[Row] = []
        for name, bias in self._nets.items():
            order = np.argsort(-_margins(bias), kind="stable")
            sheet.append((f"{name}: {_share(bias)}", []))
            for kind, rows in (("shape", order), ("texture", order[::-1])):
                chosen = [int(row) for row in rows if bias.kinds[row] == kind][:6]
                cards = [([pictures.thumbnail(row, 96)], _card(pictures.stimuli, row, bias)) for row in chosen]
                sheet.append((f"most by {kind}" if cards else f"none by {kind}", cards))
        return cards_sheet(sheet, side=112, columns=6)

    def describe(self) -> str:
        """How many stimuli, and the share of shape in each network's decisions."""
        stimuli = self.stimuli
        if stimuli is None:
            return ""
        shares = ", ".join(f"{name} {_percent(b.share)}" for name, b in self._nets.items())
        return f"{len(stimuli):,} stimuli; shape: {shares}"


def _named(bias: Any) -> dict[str, ShapeBias]:
    """Each with the name of its network; an error unless all are of the same stimuli."""
    if bias is None:
        return {}
    if isinstance(bias, Mapping):
        named = {str(name): b for name, b in bias.items()}
    else:
        several = [bias] if isinstance(bias, ShapeBias) or not isinstance(bias, Iterable) else list(bias)
        named = {}
        for b in several:
            name = getattr(b, "name", "") or "the network"
            again = 1 + sum(other == name or other.startswith(f"{name} (") for other in named)
            named[name if again == 1 else f"{name} ({again})"] = b
    for b in named.values():
        if not isinstance(b, ShapeBias):
            raise TypeError(f"a conflict grid shows a ShapeBias, not {type(b).__name__}: shape_bias(net, stimuli) makes one")
    first = next(iter(named.values()), None)
    for name, b in named.items():
        if first is not None and not _same(b.stimuli, first.stimuli):
            raise ValueError(f"all networks are to be asked about the same stimuli; {name} was asked about others")
    return named


def _same(one: Stimuli, other: Stimuli) -> bool:
    if one is other:
        return True
    return one.classes == other.classes and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("shapes", "textures", "images")
    )


def _cues(bias: ShapeBias) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a network gives for the class of the shape, and for that of the texture: (N,) each."""
    chances, rows = np.asarray(bias.probabilities, np.float32), np.arange(len(bias.kinds))
    return chances[rows, np.asarray(bias.stimuli.shapes)], chances[rows, np.asarray(bias.stimuli.textures)]


def _margins(bias: ShapeBias) -> NDArray[np.float32]:
    of_shape, of_texture = _cues(bias)
    return of_shape - of_texture


def _told(name: str, bias: ShapeBias) -> dict[str, Any]:
    """What the page is told of a network."""
    of_shape, of_texture = _cues(bias)
    decided = np.asarray(bias.decisions)
    of_decided = np.asarray(bias.probabilities, np.float32)[np.arange(len(decided)), decided]
    return {
        "name": name, "share": _number(bias.share), "interval": [_number(x) for x in bias.interval],
        "counts": bias.counts,
        "decisions": _words(decided), "kinds": bytes(KINDS.index(kind) for kind in bias.kinds),
        "chances": np.stack([of_shape, of_texture, of_decided], 1).astype("<f4").tobytes(),
    }  # fmt: skip


def _words(labels: Any) -> bytes:
    return np.asarray(labels).astype("<u2").tobytes()


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None  # JSON has no NaN: there is no share where nothing is decided


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "none"


def _share(bias: ShapeBias) -> str:
    if not np.isfinite(bias.share):
        return "no answer by shape or texture"
    low, high = bias.interval
    return f"shape {_percent(bias.share)} ({100 * low:.0f} to {100 * high:.0f} %)"


def _card(stimuli: Stimuli, row: int, bias: ShapeBias) -> str:
    shape, texture, said = (stimuli.classes[int(x)] for x in (stimuli.shapes[row], stimuli.textures[row], bias.decisions[row]))
    return f"{said}, not {texture if said == shape else shape}"
