"""Everybody can use the widgets: axe-core, the keyboard alone, narrow cells, still and sharp screens."""

from __future__ import annotations

import pytest
from everybody import MISFITS, check_axe
from lab import EXPLORER, grid_shows

pytestmark = pytest.mark.browser

# Each in a cell of its own; `explorer` is in the first.
CELLS = (
    EXPLORER + "\nfrom vizwidgets.widgets.image_chooser import ImageChooser\n"
    "from vizwidgets.widgets.top_classes import TopClasses\nnet, x = explorer.net, explorer.image\nexplorer",
    "vw.LayerPicker(net, 'stage2')", "vw.ChannelGrid(net, x, 'stage2', overlay=True)", "vw.ChannelGrid(net, x, 'head')",
    "vw.FilterGrid(net, x, 'stem')", "vw.FilterGrid(net, x, 'stage2.0.conv1')", "ImageChooser(net)", "TopClasses(net, x)",
    "vw.ChannelGrid()", "vw.LayerPicker()", "vw.FilterGrid()", "TopClasses()", "vw.AdversarialSlider()",
    "vw.OcclusionSlider()", "patch = vw.OcclusionSlider(net, x, window=16, stride=24)\npatch.play(block=True)\npatch.error = 'no fill gray'\npatch",
    "flowers = vw.embed(net, vw.data.Flowers(40)).result()\nvw.EmbeddingScatter(vw.pca(flowers), selection=range(9), index=4)", "vw.EmbeddingScatter()",
    "vw.ImageGrid(vw.image_grid(vw.pca(flowers), kind='assign'), index=4)", "vw.ImageGrid()",
    "table = vw.top_patches(net, flowers.images, 'stage2').result()\npatches = vw.PatchGrid(table, target=vw.Channel('stage3', 1), show='guided backprop', index=0)\n"
    "patches.wait()\npatches.error = 'no layer stag2; did you mean stage2?'\npatches", "vw.PatchGrid()",
    "near = vw.NeighborGrid(flowers, k=5)\nnear.wait()\nnear.index = 7\nnear", "vw.NeighborGrid()",
    "bias = vw.shape_bias(net, vw.drawn_conflicts(40))\nvw.ConflictGrid([bias, bias], index=4)", "vw.ConflictGrid()", "lab = vw.TextureLab(vw.data.photograph('coffee'), net, size=32, steps=2, block=True)\nlab.error = 'no order onio; did you mean onion?'\nlab",
    "mixer = vw.StyleMixer(net, x, [vw.data.swatch('knit', 32), vw.data.swatch('bricks', 32)], size=64, steps=2, block=True)\nmixer.error = 'no layer stag2; did you mean stage2?'\nmixer", "vw.StyleMixer()",
    "slider = vw.AdversarialSlider(net, x, steps=2)\nslider.error = 'no class rse; did you mean rose?'\nslider.wait()\nslider",
    "grid = vw.ChannelGrid(net, x, 'stage3')\ngrid.error, grid.busy = 'There is no layer stag2; did you mean stage2?', True\ngrid",
)  # fmt: skip


def all_shown(page):
    page.wait_for_function("(n) => document.querySelectorAll('.jp-OutputArea-output > .lm-Widget').length === n", arg=len(CELLS))
    grid_shows(page, "stage2")
    page.wait_for_timeout(500)


def test_axe_finds_nothing(notebook):
    book = notebook(*CELLS, viewport={"width": 1300, "height": 14000})      # it looks at what is on the screen only
    all_shown(book.page)
    book.page.evaluate("() => document.querySelectorAll('.vw-curve').forEach((e) => e.replaceChildren())")      # bqplot's own affair
    unsure = [n["html"] + ": " + n["any"][0]["message"] for n in check_axe(book, contrasts=100, targets=40)
              if "vw-compare" not in str(n["target"])]      # words on a picture have a dark ground of their own
    assert [u for u in unsure if "too short" not in u] == []      # a single digit


# What has the focus: the kind of widget it is in, its role or tag, and its name.
FOCUS = """() => { const e = document.activeElement, home = e.closest('.vw');
  return home && [[...home.classList].find((c) => c.startsWith('vw-')), e.getAttribute('role') ?? e.tagName.toLowerCase(),
    e.getAttribute('aria-label') ?? e.closest('label')?.textContent ?? e.textContent]; }"""
OUTLINE = """() => { const s = getComputedStyle(document.activeElement);
  return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; }"""


def walk(page, key="Tab"):
    """Press Tab from where the focus is to the end of the Explorer: all that it stops at."""
    stops = []
    for _ in range(60):
        page.keyboard.press(key)
        at = page.evaluate(FOCUS)
        if at is None:
            return stops
        assert page.evaluate(OUTLINE), f"one cannot see that {at} has the focus"
        stops.append(tuple(at))
    raise AssertionError(f"Tab never leaves the widget: {stops[-8:]}")


def test_the_keyboard_goes_everywhere_and_out_again(notebook):
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    page.locator(".jp-CodeCell").first.focus()
    while page.evaluate(FOCUS) is None:      # past the buttons of the cell
        page.keyboard.press("Tab")
    first = tuple(page.evaluate(FOCUS))
    stops = [first, *walk(page)]
    assert [s[:2] for s in stops] == [
        *[("vw-chooser", "button")] * 9, *[("vw-classes", "button")] * 5, ("vw-picker", "input"), ("vw-picker", "tree"),
        ("vw-strip", "tab"), ("vw-grid", "select"), ("vw-grid", "select"), ("vw-grid", "input"), ("vw-grid", "listbox"),
        ("vw-grid", "img")]  # fmt: skip
    assert all(name.strip() for *_, name in stops), "something has no name"
    back = walk(page, "Shift+Tab")
    assert back == stops[::-1]


def test_every_action_by_keys_alone(notebook, tmp_path):
    from PIL import Image as PILImage

    picture = tmp_path / "mine.png"
    PILImage.effect_mandelbrot((96, 96), (-2, -1, 1, 1), 60).save(picture)
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    press = page.keyboard.press
    page.on("filechooser", lambda chooser: chooser.set_files(picture))      # from the start: it takes effect some time later

    def focus(selector, nth=0):
        page.locator(selector).nth(nth).focus()
        page.evaluate("() => { window.held = document.activeElement; }")

    def holds():
        page.wait_for_timeout(300)
        assert page.evaluate("() => document.activeElement === window.held && held.isConnected"), "the focus is lost"

    def shows(text):
        page.wait_for_function("(t) => document.querySelector('.vw-explorer').textContent.includes(t)", arg=text)

    focus(".vw-thumbs button", 1)
    press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.vw-thumbs button')[1].ariaPressed === 'true'")
    holds()
    focus(".vw-chooser button:has-text('Open')")
    press("Enter")
    shows("mine.png")
    holds()

    focus(".vw-classes button", 1)
    press("Space")
    page.wait_for_function("() => document.querySelectorAll('.vw-classes button')[1].ariaPressed === 'true'")
    holds()
    assert book.python("print(json.dumps(repr(explorer.target)))").startswith("Logit(")

    focus(".vw-picker input")
    page.keyboard.type("stage3")
    press("Enter")
    press("Enter")
    grid_shows(page, "stage3")
    assert page.evaluate("() => document.activeElement.role") == "tree"
    focus(".vw-picker input")
    press("Escape")      # first the search, then the widget
    assert page.locator(".vw-picker input").input_value() == ""

    focus(".vw-tree")
    for key in ("Home", "ArrowRight", "ArrowDown", "Enter"):
        press(key)
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-title').textContent.startsWith('stem.')")
    holds()

    focus(".vw-grid select")
    press("ArrowDown")
    holds()
    assert book.python("print(json.dumps(explorer.grid.sort))") == "response"
    focus(".vw-grid input[type=checkbox]")
    press("Space")
    holds()
    focus(".vw-grid input[type=range]")
    press("ArrowRight")
    assert page.locator(".vw-grid input[type=range]").input_value() == "81"

    focus(".vw-grid .vw-tiles")
    for key in ("End", "ArrowLeft", "Enter"):
        press(key)
    shows("(selected)")
    holds()
    focus(".vw-grid-detail canvas")
    press("ArrowRight")
    press("ArrowUp")
    shows("the frame is what it sees")
    page.wait_for_timeout(300)      # it stays when the tiles are drawn again
    accent = "(c) => new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer).filter((w) => w === 0xff005ed5).length"
    assert page.locator(".vw-grid-detail canvas").first.evaluate(accent) > 40, "there is no frame"

    focus(".vw-tabs button")
    press("ArrowRight")
    page.wait_for_selector(".vw-filters .vw-title:has-text('stem.conv')")
    assert page.evaluate("() => document.activeElement.textContent") == "Filters"
    press("Tab")
    assert page.evaluate(FOCUS)[0] == "vw-filters"


def test_letters_are_no_commands_and_escape_leaves(notebook):
    book = notebook(EXPLORER, "1 + 1")
    page = book.page
    grid_shows(page, "stage2")
    cells = """() => window.jupyterapp.shell.currentWidget.content.widgets.map((c) => [c.model.type, c.model.sharedModel.source])"""
    before = page.evaluate(cells)
    each = page.locator(".vw :is(button, select, input:not([type=file]), [tabindex='0']):visible")
    assert each.count() > 20
    for i in range(each.count()):
        each.nth(i).focus()
        for key in ("a", "b", "m", "x", "d", "d", "1", "Shift+M"):
            page.keyboard.press(key)
        assert page.evaluate(cells) == before, f"{each.nth(i).evaluate('(e) => e.outerHTML')[:200]} lets commands through"
        page.keyboard.press("Escape")
        if page.evaluate(FOCUS):      # a search first forgets its text
            page.keyboard.press("Escape")
        assert page.evaluate(FOCUS) is None
        assert page.evaluate("() => document.activeElement.classList.contains('jp-Cell')"), "not back in the notebook"


@pytest.mark.parametrize("width", [320, 480])
def test_narrow_cells(notebook, width):
    book = notebook(*CELLS)
    page = book.page
    all_shown(page)
    page.add_style_tag(content=f".jp-OutputArea-output > .lm-Widget {{ width: {width}px !important; }}")
    page.wait_for_timeout(700)
    page.evaluate("() => document.querySelectorAll('.vw-curve').forEach((e) => e.replaceChildren())")      # bqplot's own affair
    boxes = page.locator(".jp-OutputArea-output > .lm-Widget")
    assert {b.evaluate("(e) => e.clientWidth") for b in boxes.all()} == {width}
    assert {i: b.evaluate(MISFITS) for i, b in enumerate(boxes.all()) if b.evaluate(MISFITS)} == {}
    if width == 320:
        page.get_by_role("tab", name="Filters", exact=True).click()
        page.wait_for_selector(".vw-explorer .vw-filters .vw-title:has-text('stage2')")
        assert boxes.first.evaluate(MISFITS) == []


def test_two_device_pixels_and_no_motion(notebook):
    page = notebook(EXPLORER, viewport={"width": 1200, "height": 1000}, device_scale_factor=2, reduced_motion="reduce").page
    grid_shows(page, "stage2")
    for canvas in (".vw-grid .vw-tiles canvas", ".vw-grid .vw-grid-detail canvas"):
        size = page.locator(canvas).first.evaluate("(c) => [c.width, c.clientWidth, c.height, c.clientHeight]")
        assert size[0] == pytest.approx(2 * size[1], abs=2)
        assert size[2] == pytest.approx(2 * size[3], abs=2)
    moving = "() => [...document.querySelectorAll('.vw *')].filter((e) => parseFloat(getComputedStyle(e).transitionDuration) || getComputedStyle(e).animationName !== 'none').length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0, "there is nothing here that could move"
