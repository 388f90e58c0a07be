"""What is chosen in StyleMixer: content, styles and networks, others while it runs, several, files of one's own."""

from __future__ import annotations

import io

import gated
import pytest
from gated import until
from PIL import Image as PILImage
from test_style_mixer import STYLES, halted, page
from wire import Wire

import vizwidgets as vw
from vizwidgets.widgets.picture_strip import LONGEST


@pytest.fixture
def mixer():
    def make(**options):
        made.append(vw.StyleMixer(vw.load("flowers"), vw.data.photograph("china").resize((64, 48)), STYLES[0], **{"steps": 4, "size": 64, **options}))
        return made[-1]

    made: list[vw.StyleMixer] = []
    yield make
    for widget in made:
        widget.close()


def as_bytes(picture, kind="png"):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def test_another_network_has_other_layers(mixer):
    widget = mixer(layer_weights={"stage1": 0.5})
    net = widget.net
    widget.net = gated.small(pool=2)
    assert widget.ready(10) and widget.error == ""
    assert list(widget.layer_weights) == list(vw.default_style_layers(widget.net)) and set(widget.layer_weights.values()) == {1}
    widget.net = net
    assert widget.ready(10) and widget.layer_weights == dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), 1)


def test_another_content_or_style_starts_anew_what_is_played(mixer):
    widget = mixer(steps=400)
    widget.play()
    until(lambda: widget.run.taken >= 2)
    old = widget.run
    Wire(widget.styles).receive({"cmd": "choose", "index": 1})
    until(lambda: widget.run is not old and widget.run.taken >= 2)
    name = widget.styles.choices[1]["name"]
    assert (widget.style[0].source, widget.styles.caption) == (name, name)
    old = widget.run
    Wire(widget.contents).receive({"cmd": "choose", "index": 1})
    until(lambda: widget.run is not old and widget.run.taken >= 2)
    widget.pause()
    halted(widget)
    assert widget.caption == f"{widget.contents.choices[1]['name']} in the style of {name}"
    old = widget.run
    widget.style = STYLES[:2]      # paused: it waits
    assert widget.ready(10) and widget.run is not old
    assert (widget.status, widget.run.taken, widget.styles.images) == ("idle", 0, widget.style)
    assert [c["name"] for c in widget.player.sliders if c["group"] == "mix"] == ["your style", "your style"]


def test_several_styles_are_chosen_in_the_page(mixer):
    widget = mixer()
    wire = Wire(widget.styles)
    names = [c["name"] for c in widget.styles.choices]
    assert sorted(names[: len(vw.data.SWATCHES)]) == sorted(vw.data.SWATCHES) and names[-1] == "your style"
    wire.receive({"cmd": "choose", "index": names.index("knit")})
    assert widget.styles.wait(10) and widget.styles.chosen == [names.index("knit")]
    wire.receive({"cmd": "mix", "on": True})
    wire.receive({"cmd": "choose", "index": names.index("bricks")})
    assert widget.ready(10)
    assert (widget.caption.partition(" in the style of ")[2], widget.mix) == ("knit and bricks", (1, 1))
    page(widget).receive({"cmd": "turn", "name": "mix 0", "value": 0.2})
    assert widget.mix == (0.2, 1)
    wire.receive({"cmd": "choose", "index": names.index("knit")})
    assert widget.ready(10) and [s.source for s in widget.style] == ["bricks"] and widget.mix == ()
    wire.receive({"cmd": "choose", "index": names.index("bricks")})      # the last one stays
    assert widget.ready(10) and [s.source for s in widget.style] == ["bricks"]
    wire.receive({"cmd": "choose", "index": names.index("waves")})
    assert widget.ready(10) and len(widget.style) == 2 and widget.mix == (1, 1)      # not that of the styles before
    wire.receive({"cmd": "mix", "on": False})
    assert widget.ready(10) and [s.source for s in widget.style] == ["bricks"] and not widget.styles.mixing


def test_files_from_the_page(mixer):
    widget = mixer()
    wire = Wire(widget.contents)
    known, count = widget.content, len(widget.contents.choices)
    for content, said in ((b"", "empty"), (b"no picture at all", "not an image"), (as_bytes(PILImage.new("RGB", (90, 90)))[:60], "damaged")):
        wire.receive({"cmd": "file", "name": "bad.png"}, content)
        assert said in widget.contents.error and "bad.png" in widget.contents.error and widget.content is known
    wire.receive({"cmd": "refused", "name": "film.mp4", "size": 4e9})
    assert "film.mp4 has 4000 MB" in widget.contents.error
    wide = PILImage.effect_noise((4000, 1000), 60)      # grey as well
    wire.receive({"cmd": "file", "name": "wide.jpg"}, as_bytes(wide, "jpeg"))
    assert widget.contents.error == "" and widget.ready(10)
    assert (widget.content.source, widget.content.pixels.shape[2:]) == ("wide.jpg", (LONGEST // 4, LONGEST))
    assert "resized 4000×1000" in widget.contents.caption
    assert widget.run.controls.content_image.shape == (1, 3, 16, 64)
    half = PILImage.new("RGBA", (60, 120), (255, 0, 0, 128))
    wire.receive({"cmd": "file", "name": "half.png"}, as_bytes(half))
    assert widget.ready(10) and widget.run.controls.content_image.shape == (1, 3, 64, 32)
    tiny = PILImage.new("RGB", (1, 1), "red")
    wire.receive({"cmd": "file", "name": "tiny.png"}, as_bytes(tiny))
    assert widget.ready(10)
    assert widget.run is None and "at least 16 pixels" in widget.error and widget.player.about["hint"] == "This cannot be painted."
    wire.receive({"cmd": "choose", "index": 0})
    assert widget.ready(10) and (widget.error, widget.run is None) == ("", False)
    assert [c["name"] for c in widget.contents.choices[count:]] == ["wide.jpg", "half.png", "tiny.png"]      # one can go back to them
    Wire(widget.styles).receive({"cmd": "file", "name": "mine.png"}, as_bytes(half))
    assert widget.style[0].source == "mine.png"
