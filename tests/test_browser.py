"""The widgets in a real JupyterLab in Chromium: clicks, keys, pixels, themes, reloads."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from lab import EXPLORER, grid_shows
from PIL import Image as PILImage

from vizwidgets.widgets import channel_grid, filter_grid, image_chooser, layer_picker, top_classes

pytestmark = pytest.mark.browser

STATE = "print(json.dumps([explorer.layer, repr(explorer.target), explorer.error or explorer.grid.error]))"


def pixels(page, selector):
    data = page.locator(selector).first.evaluate("(c) => c.toDataURL('image/png')")
    return np.asarray(PILImage.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"), float)


TILES, LARGE = ".vw-grid .vw-tiles canvas", ".vw-grid .vw-grid-detail canvas"


def click_tile(page, index, view=0):
    grid = page.locator(".vw-grid").nth(view)
    columns, tile = (int(grid.get_attribute(f"data-{k}")) for k in ("columns", "tile"))
    x, y = (2 + (i + 0.5) * (tile + 3) for i in (index % columns, index // columns))
    grid.locator(".vw-tiles canvas").click(position={"x": x, "y": y})


def test_pick_a_layer_click_a_channel(notebook):
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    before = pixels(page, TILES)
    assert before.std() > 20, "the grid is one flat colour"

    page.locator("[data-layer='stage3']").first.click()
    grid_shows(page, "stage3")
    assert book.python(STATE) == ["stage3", "None", ""]
    tiles, large = pixels(page, TILES), pixels(page, LARGE)
    assert tiles.shape != before.shape or np.abs(tiles - before).mean() > 5

    click_tile(page, 9)
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-grid-detail .vw-title').textContent === 'channel 9 (selected)'")
    assert book.python(STATE) == ["stage3", "Channel('stage3', 9)", ""]
    page.mouse.move(5, 5)
    assert np.abs(pixels(page, LARGE) - large).mean() > 2

    # The large view shows that channel's values, in the colours of the scale.
    maps = np.array(book.python("print(json.dumps(explorer.grid.maps.maps[0, 9].tolist()))"))
    large = pixels(page, LARGE)
    middles = ((np.arange(12) + 0.5) * len(large) / 12).astype(int)
    shown = large[np.ix_(middles, middles)].sum(-1)
    assert np.corrcoef(np.argsort(np.argsort(maps.ravel())), np.argsort(np.argsort(shown.ravel())))[0, 1] > 0.9

    # From Python to the page.
    book.python("explorer.target = vw.Channel('stage1', 3)")
    grid_shows(page, "stage1")
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-grid-detail .vw-title').textContent === 'channel 3 (selected)'")


def test_controls_keyboard_and_picture(notebook):
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    tiles = pixels(page, TILES)

    page.get_by_label("order of the channels").select_option("response")
    page.wait_for_timeout(300)
    by_response = pixels(page, TILES)
    assert np.abs(by_response - tiles).mean() > 3
    click_tile(page, 0)
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-grid-detail .vw-title').textContent.includes('(selected)')")
    strongest = book.python("print(json.dumps(int(explorer.grid.maps.maps[0].mean((1, 2)).argmax())))")
    assert book.python(STATE)[1] == f"Channel('stage2', {strongest})"
    assert book.python("print(json.dumps(explorer.grid.sort))") == "response"

    page.get_by_label("colour scale", exact=True).select_option("own")
    page.locator(".vw-grid input[type=checkbox]").check()
    page.wait_for_timeout(300)
    over = pixels(page, LARGE)
    assert len(np.unique(over.reshape(-1, 3), axis=0)) > 500, "the photograph is not under the map"
    assert book.python("print(json.dumps([explorer.grid.scale, explorer.grid.overlay]))") == ["own", True]

    page.locator(".vw-grid .vw-tiles").focus()
    for key in ("Home", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    columns = int(page.locator(".vw-grid").get_attribute("data-columns"))
    order = book.python("print(json.dumps(explorer.grid.maps.maps[0].mean((1, 2)).argsort(descending=True).tolist()))")
    assert book.python(STATE)[1] == f"Channel('stage2', {order[columns + 1]})"

    page.get_by_label("find a layer").fill("stage4")
    page.get_by_label("find a layer").press("Enter")
    page.keyboard.press("Enter")
    grid_shows(page, "stage4")
    page.get_by_label("find a layer").fill("")

    first = page.locator(".vw-classes").get_attribute("data-first")
    page.locator(".vw-thumbs button").nth(3).click()
    page.wait_for_function("(old) => document.querySelector('.vw-classes').dataset.first !== old", arg=first)
    assert book.python("print(json.dumps(explorer.image.source))") == page.locator(".vw-chooser .vw-dim").text_content()


def test_filters(notebook):
    book = notebook(EXPLORER, "grid = vw.FilterGrid(explorer.net, explorer.image, 'stage1.0.conv1')\ngrid")
    page = book.page
    grid_shows(page, "stage2")
    page.get_by_role("tab", name="Filters", exact=True).click()  # the notebook's own tab has the word in its name
    page.wait_for_function("() => document.querySelector('.vw-filters .vw-title').textContent === 'stage2.0.conv1'")
    book.python("explorer.layer = 'stem'")
    page.wait_for_function("() => document.querySelector('.vw-filters .vw-title').textContent === 'stem.conv'")
    page.wait_for_timeout(300)
    assert len(np.unique(pixels(page, ".vw-filters .vw-tiles canvas").reshape(-1, 3), axis=0)) > 200, "no colours"
    answer = ".vw-filters .vw-grid-detail canvas:nth-of-type(2)"
    before = pixels(page, answer)
    page.locator(".vw-filters .vw-tiles canvas").first.click(position={"x": 170, "y": 30})
    page.wait_for_function("() => document.querySelector('.vw-filters').dataset.index === '2'")
    assert book.python("print(json.dumps(repr(explorer.target)))") == "Channel('stem.conv', 2)"
    assert np.abs(pixels(page, answer) - before).mean() > 2
    note = page.locator(".vw-filters .vw-grid-detail .vw-dim").first.text_content()
    assert note == book.python("print(json.dumps(explorer.filters.frame['notes'][2]))")

    # The weights between two deeper layers, one channel at a time.
    deeper = page.locator(".vw-filters").nth(1)
    deeper.get_by_label("channel", exact=True).fill("5")
    deeper.get_by_label("channel", exact=True).press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.vw-filters')[1].dataset.index === '5'")
    assert book.python("print(json.dumps([grid.index, repr(grid.target), grid.error]))") == [5, "Channel('stage1.0.conv1', 5)", ""]


def test_a_file_of_ones_own_and_a_bad_one(notebook, tmp_path):
    good, bad = tmp_path / "<img src=x onerror=alert(1)>.png", tmp_path / "bad.png"
    PILImage.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 60).save(good)
    bad.write_bytes(b"this is no picture")
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    old = pixels(page, TILES)
    page.set_input_files(".vw-chooser input[type=file]", bad)
    page.wait_for_function("() => document.querySelector('.vw-chooser .vw-error').textContent.includes('not an image')")
    page.set_input_files(".vw-chooser input[type=file]", good)
    page.wait_for_function("(name) => document.querySelector('.vw-chooser .vw-dim').textContent.startsWith(name)", arg=good.name)
    page.wait_for_timeout(1000)
    assert page.locator(".vw-chooser .vw-error").text_content() == ""
    assert np.abs(pixels(page, TILES) - old).mean() > 3
    assert page.locator(".vw-chooser img[src=x]").count() == 0


def test_dark_theme_two_views_and_reload(notebook):
    book = notebook(EXPLORER, "explorer")
    page = book.page
    for view in (0, 1):
        grid_shows(page, "stage2", view)
    colour = "() => getComputedStyle(document.querySelector('.vw-title')).color"
    light = page.evaluate(colour)
    book.theme("JupyterLab Dark")
    try:
        page.wait_for_function(f"(old) => ({colour})() !== old", arg=light)
        shade = [int(v) for v in page.evaluate(colour).removeprefix("rgb(").removeprefix("rgba(").rstrip(")").split(",")[:3]]
        assert min(shade) > 150, "dark text on a dark page"
    finally:
        book.theme("JupyterLab Light")

    click_tile(page, 5, view=1)
    for view in (0, 1):
        page.wait_for_function(
            "(v) => document.querySelectorAll('.vw-grid .vw-grid-detail .vw-title')[v].textContent === 'channel 5 (selected)'", arg=view)
    page.locator(".vw-picker").nth(0).locator("[data-layer='stage1']").first.click()
    for view in (0, 1):
        grid_shows(page, "stage1", view)

    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    shown = pixels(page, TILES)
    book.open()  # the kernel lives on; nothing is run again
    for view in (0, 1):
        grid_shows(page, "stage1", view)
    assert np.abs(pixels(page, TILES) - shown).mean() < 1
    page.locator("[data-layer='stage3']").first.click()
    grid_shows(page, "stage3")
    assert book.python(STATE) == ["stage3", "Channel('stage2', 5)", ""]


LABELS = """
import torch, vizwidgets as vw
from torch import nn
module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
net = vw.as_net(module, size=32, labels=["<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>"])
explorer = vw.explore(net)
explorer
"""


def test_labels_are_text(notebook):
    page = notebook(LABELS).page
    page.wait_for_selector(".vw-bar-name")
    names = page.locator(".vw-bar-name").all_text_contents()
    assert sorted(names) == ["<img src=x onerror='window.hacked = 1'>", "<script>window.hacked = 1</script>"]
    assert page.evaluate("() => window.hacked") is None


def test_an_error_is_shown_and_the_rest_goes_on(notebook):
    book = notebook(EXPLORER)
    page = book.page
    grid_shows(page, "stage2")
    book.python("explorer.layer = 'stag2'")
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-error').textContent.includes(\"did you mean 'stage2'\")")
    page.locator("[data-layer='stage1']").first.click()
    grid_shows(page, "stage1")
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-error').textContent === ''")


@pytest.mark.parametrize("options", [{"viewport": {"width": 900, "height": 900}, "device_scale_factor": 2},
                                     {"viewport": {"width": 420, "height": 900}}], ids=["two-pixels", "narrow"])  # fmt: skip
def test_sharp_and_narrow_screens(notebook, options):
    page = notebook(EXPLORER, **options).page
    grid_shows(page, "stage2")
    size = page.locator(TILES).first.evaluate("(c) => [c.width, c.clientWidth, c.getBoundingClientRect().right]")
    assert size[0] == pytest.approx(size[1] * options.get("device_scale_factor", 1), abs=1)
    assert size[2] <= options["viewport"]["width"]
    spill = page.evaluate(
        "() => [...document.querySelectorAll('.vw')].map((e) => e.scrollWidth - e.clientWidth)"
        ".reduce((a, b) => Math.max(a, b), 0)")  # fmt: skip
    assert spill <= 1, "something is wider than its widget"


def test_real_weights_and_photographs(notebook, shared_data):
    photo = sorted((shared_data / "photos").glob("*"))[0]
    book = notebook(
        "import vizwidgets as vw\n"
        f"net = vw.load('squeezenet1_1', weights={str(shared_data / 'models' / 'squeezenet1_1.safetensors')!r})\n"
        f"explorer = vw.explore(net, {str(photo)!r}, layer='features.3')\nexplorer")
    page = book.page
    grid_shows(page, "features.3")
    page.locator(".vw-depth rect").nth(6).click()
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-title').textContent !== 'features.3'")
    layer = book.python(STATE)[0]
    grid_shows(page, layer)
    assert pixels(page, TILES).std() > 10
    click_tile(page, 20)
    page.wait_for_function("() => document.querySelector('.vw-grid .vw-grid-detail .vw-title').textContent === 'channel 20 (selected)'")
    assert book.python(STATE) == [layer, f"Channel('{layer}', 20)", ""]


PARTS = (channel_grid, filter_grid, image_chooser, layer_picker, top_classes)


def widget_class(name):
    return next(getattr(part, name) for part in PARTS if hasattr(part, name))


MODULES = ("ChannelGrid", "FilterGrid", "LayerPicker", "ImageChooser", "TopClasses")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_loads(browser, name):
    page = browser.new_page()
    page.goto("about:blank")
    kind = page.evaluate(
        "async (text) => { const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));"
        " return typeof (await import(url)).default.render; }", widget_class(name)._esm)  # fmt: skip
    page.close()
    assert kind == "function"
