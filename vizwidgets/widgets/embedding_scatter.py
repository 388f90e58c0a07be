"""A map of images: each a point, near what the network finds alike; to wander through, and to take parts of."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import traitlets
from ipywidgets import Box, VBox
from PIL import Image as PILImage

from vizwidgets.core.errors import unknown
from vizwidgets.core.optimize import Run
from vizwidgets.core.targets import Channel
from vizwidgets.data.image_set import image_set
from vizwidgets.methods.common import common_channels
from vizwidgets.methods.embedding import INPUT, PENULTIMATE, Features
from vizwidgets.methods.projections import Embedding, pca
from vizwidgets.methods.tsne import tsne, umap

from . import scatter_view as view
from .base import TargetTrait, message, shows_errors
from .gallery import Gallery, Picks, answer
from .playback import Plays
from .scatter_player import ScatterPlayer
from .stills import text_table
from .worker import worker

CHANCE = 3.0  # standard errors of a mean that some of a few hundred channels reach by chance
READY = 2.0  # seconds that it waits with being shown
METHODS = ("t-SNE", "PCA", "UMAP")
PERPLEXITY, LARGEST = 30, 100  # of `vizwidgets.tsne` by default; what the page offers at most
NOTHING = "Nothing to show yet: an embedding, a run that makes one, or features are needed."


class EmbeddingScatter(Picks, Plays, VBox):
    """The images of a set as points in a plane, as `vizwidgets.tsne` and its kin lay them out.

    A click takes an image (`index`, `image`), a lasso or rectangle several (`selection`): they are shown below, with their classes
    and the channels that they have in common, if any are further above the mean than chance would have it. Rows are those of the features.

    Parameters
    ----------
    source : Embedding, Run or Features
        A finished map; a run of `vizwidgets.tsne` or `vizwidgets.umap`, which is played; or features, of which the widget makes maps
        by itself, with controls for `method` and `perplexity`.
    images : anything that `vizwidgets.image_set` takes, optional
        In place of those that the features came from.
    color : str, sequence or None
        "label"; a class (name or number) for each row; or None: all points in one colour. 36 classes have marks of their own.
    mode : {"points", "thumbnails"}
    method : {"t-SNE", "PCA", "UMAP"}
        For features; the last if umap-learn is installed.
    perplexity : float, optional
        For t-SNE of features; by default 30, less for few images.
    seed : int
        For t-SNE and UMAP of features.
    block : bool
        Play to the end before it is shown, in the calling thread.

    Attributes
    ----------
    index : int or None
        The row that was clicked.
    image : Image or None
        Its image. It follows `index`; set from elsewhere, it stays what it is.
    selection : tuple of int
        Rows, ascending.
    hidden : tuple of str
        Classes that the legend has put away.
    target : Channel or None
        One of the channels that the selection has in common, once it is clicked.
    status : str
        Of the run; see `play`, `pause`, `stop` and `restart`.

    Raises
    ------
    IndexError, LookupError, TypeError, ValueError
        For rows, classes, colours and methods that there are not, and for what the method itself does not take.

    References
    ----------
    van der Maaten, Hinton: Visualizing data using t-SNE, 2008.

    Examples
    --------
    >>> scatter = EmbeddingScatter(vizwidgets.embed(net, images).result(), block=True)
    >>> scatter
    EmbeddingScatter(t-SNE of 240 images, 12 classes)
    >>> scatter.selection = range(20)
    >>> vizwidgets.common_channels(scatter.features, scatter.selection)
    [(12, 2.31), (40, 1.87), (3, 1.22), (88, 1.05), (61, 0.94)]
    """

    source = traitlets.Any(None, allow_none=True)
    images = traitlets.Any(None, allow_none=True)
    color = traitlets.Any("label", allow_none=True)
    mode = traitlets.Enum(["points", "thumbnails"], "points")
    method = traitlets.Unicode("t-SNE")
    perplexity = traitlets.Float(None, allow_none=True)
    seed = traitlets.Int(0)
    selection: Any = traitlets.Any(())
    hidden: Any = traitlets.Any(())
    _gallery: Gallery | None = None
    target = TargetTrait()

    def __init__(self, source: Any = None, *, block: bool = False, **options: Any) -> None:
        self._names: list[str] = []
        self._groups = np.zeros(0, np.uint16)
        self._embedding: Any = None
        # Owners of what is asked by hand, so that none drops another.
        self._slots = {name: object() for name in ("image", "selection", "look", "quality")}
        self.player = ScatterPlayer()
        super().__init__(source=source, **options)
        self.player.asked_for, self.player.settled = self._asked_for, self._settled
        traitlets.link((self.player, "error"), (self, "error"))
        traitlets.dlink((self.player, "status"), (self, "status"))
        traitlets.dlink((self, "mode"), (self.player, "mode"))
        self.add_class("vw-embedding")
        self.children = [Box([self.player]).add_class("vw-embedding-body")]
        self.now(lambda: self._prepare(not block))
        self.observe(lambda _: self.later(self._prepare), ["source", "images", "method", "perplexity", "seed"])
        self.observe(lambda _: self.later(self._colour), "color")
        self.observe(lambda change: self._mark(change.name), ["index", "selection", "hidden"])
        if block and self.player.run is not None:
            self.player.play(block=True)

    # --- what may be set

    @traitlets.validate("source")
    def _is_source(self, proposal: Any) -> Any:
        source = proposal.value
        if source is None or isinstance(source, (Embedding, Features, Run)):
            return source
        raise TypeError(f"a map is made of an Embedding, of a Run that makes one, or of Features, not of {type(source).__name__}")

    @traitlets.validate("method")
    def _is_method(self, proposal: Any) -> str:
        if proposal.value not in METHODS:
            raise LookupError(unknown("method", proposal.value, METHODS))
        if proposal.value not in installed():
            raise LookupError("UMAP needs the package umap-learn: pip install umap-learn")
        return str(proposal.value)

    @traitlets.validate("selection")
    def _are_rows(self, proposal: Any) -> tuple[int, ...]:
        return tuple(sorted(set(self._checked([] if proposal.value is None else proposal.value))))

    @traitlets.validate("hidden")
    def _are_classes(self, proposal: Any) -> tuple[str, ...]:
        wanted = proposal.value
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in names:
            if self._gallery is not None and name not in self._names:
                raise LookupError(unknown("class", name, self._names))
        return tuple(names)

    # --- what is shown

    def _prepare(self, play: bool = True) -> None:
        """Show the source, or begin to make a map of it."""
        source, player = self.source, self.player
        self._embedding = None
        if source is None:
            self._gallery, self._names, self._groups = None, [], np.zeros(0, np.uint16)
            player.unload()
            player.about, player.groups, player.settings = {"hint": NOTHING}, b"", {}
            return
        made = self._map(source)
        # The first step of a run tells what the points are, and where they begin.
        first = (made.last or next(made)) if isinstance(made, Run) else made
        embedding = made.so_far() if isinstance(made, Run) else made
        if not isinstance(embedding, Embedding):
            raise TypeError(f"a map is the result of a run of vizwidgets.tsne or umap; this run's is a {type(embedding).__name__}")
        features = embedding.features
        other = self._gallery is not None and self._gallery.features is not features
        self._gallery = Gallery(features, None if self.images is None else image_set(self.images))
        if other:  # rows of other features mean nothing here
            self.index, self.selection, self.hidden = None, (), ()
        self.index, self.selection = self.index, self.selection  # what was set before there were rows is checked now
        self._embedding = embedding
        if isinstance(made, Run):
            player.load(made)
            player.frame = view.packed(first.points)
        else:
            player.unload(made.points)
        self._colour()
        self._show_curve()
        if not isinstance(made, Run):
            self._soon("quality", self._judge)
        elif play:
            player.play()
        self.error = ""

    def _map(self, source: Any) -> Any:
        """An `Embedding`, or a run that makes one."""
        if not isinstance(source, Features):
            return source
        if self.method == "PCA":
            return pca(source)
        if self.method == "UMAP":
            return umap(source, seed=self.seed)
        return tsne(source, perplexity=self.perplexity, seed=self.seed)

    def _colour(self) -> None:
        if self._gallery is None:
            return
        new = not len(self._groups)
        self._names, self._groups = view.groups(self._gallery.features, self.color)
        gone = [name for name in self.hidden if name not in self._names]
        if new and gone:
            raise LookupError(unknown("class", gone[0], self._names))
        self.player.groups = self._groups.astype("<u2").tobytes()
        self.set_trait("hidden", tuple(name for name in self.hidden if name in self._names))
        self._tell(self._gallery)
        self._mark()

    def _tell(self, gallery: Gallery) -> None:
        """Say to the page what it shows."""
        count, own, names = len(gallery), isinstance(self.source, Features), self._names
        self.player.about = {
            "title": self.describe(), "hint": "", "count": count, "classes": names, "marks": [list(m) for m in view.marks(len(names))],
            "counts": np.bincount(self._groups, minlength=len(names)).tolist() if names else [], "pictures": gallery.images is not None,
            "playable": self.player.run is not None, "again": own,
        }  # fmt: skip
        most = max(1, min(LARGEST, (count - 1) // 3))
        self.player.settings = {} if not own else {
            "methods": installed(), "method": self.method, "most": most, "perplexity": self.perplexity or min(PERPLEXITY, most),
        }  # fmt: skip

    def _mark(self, changed: str = "") -> None:
        """Show what is picked, selected and hidden, and what there is to say of it."""
        player, row, rows = self.player, self.index, self.selection
        player.picked = -1 if row is None else row
        player.chosen = np.array(rows, "<u4").tobytes()
        player.hidden = [i for i, name in enumerate(self._names) if name in self.hidden]
        if changed in ("", "index"):
            self._soon("image", self._open)
        if changed in ("", "selection"):
            self._soon("selection", self._describe_selection)

    def _describe_selection(self) -> None:
        rows, gallery = self.selection, self._gallery
        if not rows or gallery is None:
            self.player.told = {}
            return
        whole = len(rows) == len(gallery) or gallery.features.layer == INPUT  # pixels are no channels
        chance = CHANCE / len(rows) ** 0.5
        common = [] if whole else [(channel, above) for channel, above in common_channels(gallery.features, rows) if above > chance]
        self.player.told = {
            "count": len(rows), "classes": view.tally(self._groups[list(rows)], self._names), "whole": whole,
            "common": common, "chance": chance, "layer": self._layer(),
        }  # fmt: skip

    def _settled(self) -> None:
        if self.player.run is not None and self.player.run.last is not None:
            self._embedding = self.player.run.so_far()
        self._soon("quality", self._judge)

    def _judge(self) -> None:
        """Say how good the finished map is."""
        embedding = self._embedding
        if embedding is not None and self.status in ("idle", "done"):
            said = view.quality(embedding)
            if embedding is self._embedding:
                self.player.quality = said

    @traitlets.observe("active")
    def _show_curve(self, _change: Any = None) -> None:
        # Not before it is in view: bqplot complains about a figure of no size.
        if self.active and self.children:
            curve = [self.player.curve.figure] if self.player.run is not None else []
            self.children[0].children = [self.player, *curve]

    # --- what the page asks for

    def _soon(self, slot: str, job: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                job()
            except Exception as e:
                self.error = message(e)

        worker.submit(self._slots[slot], guarded)

    @shows_errors
    def _asked_for(self, content: dict[str, Any], buffers: list[Any]) -> None:
        command, value = content.get("cmd"), content.get("value")
        if command == "pick":
            self.index = value
        elif command == "choose":
            self.selection = np.frombuffer(buffers[0], "<u4").tolist()
        elif command == "hide":
            self.hidden = [self._names[i] for i in value]  # type: ignore[union-attr]
        elif command == "look" and self._gallery is not None:
            gallery, rows, side = self._gallery, self._checked(content["rows"]), int(content["side"])
            self._soon("look", lambda: answer(gallery, self.player.send, rows, side))
        elif command == "channel" and self._gallery is not None:
            self.target = Channel(self._layer(), int(value))  # type: ignore[arg-type]
        elif command in ("mode", "method", "perplexity"):
            self.set_trait(command, value)
        elif command in ("restart", "play", "step"):
            self.restart()

    # --- playing

    def play(self, *, block: bool = False) -> None:
        """Go on, or begin again when it has ended; with ``block=True`` to the end, in the calling thread."""
        if self.status in ("stopped", "done", "failed"):
            if not block:
                self.restart()
                return
            self._once_only()
            self._prepare(play=False)
        self.player.play(block=block)

    def step(self) -> None:
        """Take one step, then halt."""
        self.player.step()

    def restart(self) -> None:
        """Begin anew; for features only, since a run is taken once."""
        self._once_only()
        self.later(self._prepare)

    def _once_only(self) -> None:
        if isinstance(self.source, Run):
            raise ValueError("this run can be played once only; given features, the widget makes runs by itself")

    @property
    def features(self) -> Any:
        """The features whose rows are shown."""
        return None if self._gallery is None else self._gallery.features

    @property
    def points(self) -> Any:
        """Where the points are by now, (N, 2), or None."""
        last = None if self.player.run is None else self.player.run.last
        held = self._embedding if last is None else last
        return None if held is None else np.asarray(held.points, np.float32)[:, :2]

    def _layer(self) -> str:
        """The layer whose channels the features are; "" if they are not those of one."""
        features = self.features
        if features is None or features.net is None or features.layer in (INPUT, PENULTIMATE):
            return ""
        return features.layer

    def result(self) -> Any:
        """The `Embedding` that there is by now; stops the run."""
        worker.wait(self)
        return self._embedding if self.player.run is None else self.player.result()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run halts and all that was asked for is shown."""
        return super().wait(timeout) and all(worker.wait(slot, timeout) for slot in self._slots.values())

    def ready(self, timeout: float | None = None) -> bool:
        """Wait for what is asked, but not for a long run: it goes on while it is shown."""
        return worker.wait(self, timeout) and self.player.wait(READY if timeout is None else min(timeout, READY))

    def still(self) -> PILImage.Image | None:
        """The map with its legend."""
        points = self.points
        if points is None:
            return text_table([(self.describe(), "")]) if self.describe() else None
        return view.still(points, self._groups, self._names, self.describe())

    def describe(self) -> str:
        """Method, how many images, how many classes."""
        if self._gallery is None:
            return ""
        classes = len(set(self._groups.tolist()) - {view.NO_CLASS})
        title = "" if self._embedding is None else self._embedding.title.partition(",")[0]
        return f"{title or 'Map'} of {len(self._gallery):,} images" + (f", {classes} classes" if classes else "")

    def close(self) -> None:
        """End everything with the widget."""
        for slot in self._slots.values():
            worker.drop(slot)
        super().close()


def installed() -> list[str]:
    """The methods that can be chosen here."""
    return [name for name in METHODS if name != "UMAP" or find_spec("umap") is not None]
