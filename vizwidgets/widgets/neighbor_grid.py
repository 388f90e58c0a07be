"""A picture and those nearest to it: as a network sees them, and pixel by pixel."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import torch
import traitlets
from anywidget import AnyWidget
from PIL import Image as PILImage

from vizwidgets.core.image import Image, open_image
from vizwidgets.core.optimize import Run
from vizwidgets.data.image_set import ImageSet
from vizwidgets.methods.embedding import INPUT, PENULTIMATE, EmbedStep, Features, class_name, embed
from vizwidgets.methods.neighbors import METRICS, Neighbors, neighbors

from .base import VizWidget, message, script, shows_errors, style
from .cards import Row, cards_sheet, reduced, shown
from .worker import worker

READY = 2.0  # seconds that it waits with being shown
PAUSE = 0.25  # seconds between two states of a pass that are shown
SIDE, QUERY = 112, 192  # pixels of the pictures in the rows, and of the one above them
MOST_BACK = 50
LAYERS = {"": "by the vectors given", PENULTIMATE: "by the last layer before the classes"}

Query = int | Image  # a row of the features, or an image from elsewhere


class NeighborGrid(VizWidget, AnyWidget):
    """A picture of a set, or another one, above those of the set that are nearest to it.

    One row by the vectors of a network's layer, one by pixels, with what both have to do with the class. A click makes a
    neighbour the query.

    Parameters
    ----------
    features : Features
        As `vizwidgets.embed` gives them.
    pixels : Features or False, optional
        The same images as pixels, ``vizwidgets.embed(net, images, "input").result()``; made by the widget itself, while it is
        shown, where not given. False leaves the row out.
    index : int, optional
        The query, a row of `features`; by default the first.
    image : Image, or anything that `vizwidgets.image` takes
        The query; one from elsewhere passes through the network.
    k : int
        Neighbours, as many as there are at most.
    metric : {"cosine", "l2"}

    Attributes
    ----------
    found : Neighbors or None
        Those by the features.
    found_by_pixels : Neighbors or None

    Raises
    ------
    TypeError
        For what are no features.

    Examples
    --------
    >>> NeighborGrid(features, k=5)
    NeighborGrid(penultimate, 5 nearest to #0)
    """

    _esm = script("neighbor_grid", "asking", "cards")
    _css = style()

    features: Any = traitlets.Any(None, allow_none=True)
    pixels: Any = traitlets.Any(None, allow_none=True)
    index = traitlets.Int(None, allow_none=True)
    image = traitlets.Instance(Image, allow_none=True)
    k = traitlets.Int(8, min=1).tag(sync=True)
    metric = traitlets.Enum(METRICS, METRICS[0]).tag(sync=True)
    frame: Any = traitlets.Dict().tag(sync=True)
    depth = traitlets.Int(0, help="queries that one can go back to").tag(sync=True)
    reading = traitlets.Unicode("", help="how far the pixels are").tag(sync=True)

    def __init__(self, features: Features | None = None, *, image: Any = None, **options: Any) -> None:
        self._asking = threading.Lock()
        self._past: list[Query] = []
        self._seq, self._told = 0, 0.0
        self._made: Features | None = None  # the pixels, where this widget has read them
        self._read_from: ImageSet | None = None
        self._run: Run[EmbedStep] | None = None
        self._opened: tuple[Any, Image | None] = (None, None)
        self._lost = ""  # why the picture of the query cannot be opened
        self.found: Neighbors | None = None
        self.found_by_pixels: Neighbors | None = None
        net = features.net if isinstance(features, Features) else None
        super().__init__(features=features, image=None if image is None else open_image(image, net), **options)
        self._asked: Query | None = self.image if self.index is None else self.index
        self.on_msg(self._receive)
        self.observe(self._ask, ["index", "image"])
        self.observe(self._others, "features")
        self.observe(lambda _: self.later(self._show), ["features", "pixels", "k", "metric"])
        self.now(self._show)

    @traitlets.validate("features", "pixels")
    def _known(self, proposal: Any) -> Any:
        value, name = proposal.value, proposal.trait.name
        if value is None or isinstance(value, Features) or (value is False and name == "pixels"):
            return value
        hint = ": a run gives them by .result()" if isinstance(value, Run) else ""
        raise TypeError(f"{name} are Features, as vizwidgets.embed(net, images).result() gives them, not {type(value).__name__}{hint}")

    @traitlets.validate("index")
    def _row(self, proposal: Any) -> int | None:
        value, features = proposal.value, self.features
        if value is None or value < 0:
            return None
        if features is not None and value >= len(features):
            raise IndexError(f"rows go from 0 to {len(features) - 1}; there is none {value}")
        return int(value)

    @shows_errors
    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        command, name, value = content.get("cmd"), content.get("name"), content.get("value")
        if command == "select":
            self.index = int(content["row"])
        elif command == "back":
            self.back()
        elif command == "set" and name in ("k", "metric"):
            self.set_trait(name, value)

    def _ask(self, change: Any) -> None:
        query = change.new
        with self._asking:  # linked widgets ask from the worker too
            asked = self._asked
            if query is None or query == asked or query == self._picture(asked):
                return
            if asked is not None and asked != self._picture(query):
                self._past = [*self._past, asked][-MOST_BACK:]
                self.depth = len(self._past)
            self._asked = query
        self.later(self._show)

    def back(self) -> None:
        """Ask for the query before."""
        if self._past:
            self._asked = self._past.pop()
            self.depth = len(self._past)
            self.later(self._show)

    def _others(self, change: Any) -> None:
        """The same picture is asked for among other features."""
        old, self._past, self.depth = change.old, [], 0
        if isinstance(self._asked, int):
            same = old is not None and change.new is not None and _of_the_same_images(old, change.new)
            row = _row_of(change.new, int(old.rows[self._asked])) if same else None
            self._asked = self.image if row is None else row

    def _picture(self, query: Query | None) -> Image | None:
        """The image of a query, prepared for the network; that of the last row is kept."""
        features = self.features
        if not isinstance(query, int) or features is None or features.images is None:
            return query if isinstance(query, Image) else None
        if self._opened[0] != (features, query):
            self._lost = ""
            try:
                image = features.images.image(int(features.rows[query]), features.net)
            except Exception as e:  # a file may have gone since
                image, self._lost = None, message(e)
            self._opened = (features, query), image
        return self._opened[1]

    # --- what is shown

    def _show(self) -> None:
        features, asked = self.features, self._asked
        if features is None:
            self.frame, self.found, self.found_by_pixels = {}, None, None
            return
        query = self._in_the_set(features, asked)
        pixels = self._pixels(features)
        self.found = self._nearest(features, query)
        self.found_by_pixels = None
        if pixels is not None:
            row = _row_of(pixels, int(features.rows[query])) if isinstance(query, int) else None
            self.found_by_pixels = self._nearest(pixels, query if isinstance(query, Image) else row)
        described = self._described(features, query)
        if self._asked != asked:
            return  # a newer query is on its way
        self._asked = query
        self._seq += 1
        self.frame = {**described, "most": len(features) - isinstance(query, int), "seq": self._seq}
        self.index = query if isinstance(query, int) else None
        self.image = self._picture(query) or self.image
        self.error = ""
        if self._run is not None:  # last of all: it ends in another thread
            worker.play(self, self._read)

    def _in_the_set(self, features: Features, query: Query | None) -> Query:
        """The query, or its row where the set has it."""
        if not isinstance(query, Image):
            return query or 0
        nearest = neighbors(features, query, k=1, metric="l2")
        row = int(nearest.indices[0, 0])
        alike = float(nearest.distances[0, 0]) <= 1e-3 * float(features.lengths[row])
        return row if alike and self._picture(row) == query else query

    def _nearest(self, features: Features, query: Query | None) -> Neighbors | None:
        most = len(features) - isinstance(query, int)
        return neighbors(features, query, k=min(self.k, most), metric=self.metric) if most and query is not None else None

    def _described(self, features: Features, query: Query) -> dict[str, Any]:
        own, picture = (query if isinstance(query, int) else None), self._picture(query)
        about = {"source": _source(features, own), "label": features.label_name(own)} if own is not None else {"source": picture.source, "label": None}  # type: ignore[union-attr]
        rows = [("As the network sees them", LAYERS.get(features.layer, f"by layer {features.layer}"), self.found)]
        if self.pixels is not False:
            rows.append(("Pixel by pixel", "", self.found_by_pixels))
        both = set.intersection(*(set(_images(found)) for *_, found in rows)) if len(rows) == 2 else set()
        return {
            "query": {
                **about, "note": "" if own is not None else "not of the set", "lost": "" if picture else self._lost,
                **({} if picture is None else shown(reduced(picture, QUERY))),
            },
            "rows": [{"name": name, "how": how, "cards": self._cards(features, found, own, both)} for name, how, found in rows],
            "says": self._says(features, own, both),
        }

    def _cards(self, features: Features, found: Neighbors | None, own: int | None, both: set[int]) -> list[dict[str, Any]]:
        cards = []
        for image, distance in zip(_images(found), [] if found is None else found.distances[0].tolist(), strict=True):
            row = _row_of(features, image)
            if row is None:
                continue
            label, picture = features.label_name(row), features.thumbnail(row, SIDE)
            cards.append({
                "row": row, "source": _source(features, row), "label": label, "distance": distance, "both": image in both,
                "same": None if own is None or label is None else label == features.label_name(own),
                **({} if picture is None else shown(picture)),
            })  # fmt: skip
        return cards

    def _says(self, features: Features, own: int | None, both: set[int]) -> str:
        if self.found is None:
            return "The set has no other picture to compare it with."
        told = []
        for start, found in (("", self.found), ("by pixels ", self.found_by_pixels)):
            if found is not None and found.features.labels is not None:
                labels = found.features.labels[found.indices[0]].tolist()
                if own is None:
                    label, count = Counter(labels).most_common(1)[0]
                    told.append(f"{start}{count} of {len(labels)} are {class_name(features.classes, label)}")
                else:
                    assert features.labels is not None
                    count = labels.count(int(features.labels[own]))
                    told.append(f"{start}{count} of {len(labels)}{'' if start else ' share its class'}")
        if self.found_by_pixels is not None:
            told.append(f"{len(both) or 'no'} picture{'s are' if len(both) > 1 else ' is'} in both rows")
        says = "; ".join(told)
        return says[:1].upper() + says[1:]

    # --- pixels, where none are given

    def _pixels(self, features: Features) -> Features | None:
        """Those of the same images; where they are not there yet they are read in turns of the worker."""
        pixels = self.pixels
        if isinstance(pixels, Features) and _of_the_same_images(features, pixels):
            return pixels
        if isinstance(pixels, Features) and pixels is not self._made:
            raise ValueError("the pixels are of other images than the features: give those of the same set, or none")
        if pixels is False or features.images is None or features.net is None:
            return None
        if self._read_from is not features.images:
            self._read_from, self._run = features.images, embed(features.net, features.images, INPUT)
        return None

    def _read(self) -> bool:
        run = self._run
        if run is None or self.pixels not in (None, self._made):
            return False
        if not self.active:  # it goes on when it is in view again
            self._postponed = self._show
            return False
        try:
            step = next(run)
        except StopIteration:
            self._made, self._run, self.reading = run.result(), None, ""
            self.pixels = self._made
            return False
        except Exception as e:
            self._run, self.reading = None, message(e)
            return False
        if time.monotonic() - self._told > PAUSE:
            self._told, self.reading = time.monotonic(), f"{step.done} of {len(self._read_from or ())} pictures read ..."
        return True

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for what is asked, but not for the pixels of a large set: they come while it is shown."""
        return self.wait(READY if timeout is None else min(timeout, READY))

    # --- for viewers without a kernel

    def still(self) -> PILImage.Image | None:
        """The query, and both rows."""
        features, query = self.features, self._asked
        if not self.frame or features is None:
            return None
        about, rows = self.frame["query"], list[Row]()
        picture = self._picture(query)
        rows.append((self.frame["says"], [([reduced(picture, QUERY)] if picture else [], " ".join(filter(None, (about["source"], about["label"]))))]))
        for row in self.frame["rows"]:
            pictures = [(c, features.thumbnail(c["row"], SIDE)) for c in row["cards"]]
            rows.append((f"{row['name']} {row['how']}", [([p] if p else [], f"{'= ' if c['same'] else ''}{c['label'] or c['source']} {c['distance']:.3g}") for c, p in pictures]))
        return cards_sheet(rows)

    def describe(self) -> str:
        """Layer, how many, and the query."""
        if not self.frame or self.features is None:
            return ""
        shown = len(self.frame["rows"][0]["cards"])
        return f"{self.features.layer or 'vectors'}, {shown} nearest to {self.frame['query']['source']}"


def _of_the_same_images(a: Features, b: Features) -> bool:
    if a.images is None or b.images is None:
        return torch.equal(a.rows, b.rows)  # type: ignore[arg-type]
    return a.images is b.images or a.images.sources == b.images.sources


def _row_of(features: Features, image: int) -> int | None:
    """The row of an image of the set."""
    found = (features.rows == image).nonzero()  # type: ignore[union-attr]
    return int(found[0]) if len(found) else None


def _images(found: Neighbors | None) -> list[int]:
    """Which images of the set the neighbours are."""
    return [] if found is None else found.features.rows[found.indices[0]].tolist()  # type: ignore[index]


def _source(features: Features, row: int) -> str:
    return features.sources[row] if features.sources else f"#{row}"
