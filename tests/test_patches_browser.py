"""PatchGrid, NeighborGrid and the Explorer's tabs about a set in JupyterLab: pixels, keys, clicks, axe, narrow cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from everybody import check_axe, check_keys, check_widths

import vizwidgets as vw

pytestmark = pytest.mark.browser

SETUP = (
    "import vizwidgets as vw\nnet = vw.load('flowers')\nimages = vw.image_set(vw.data.Flowers(72, seed=7))\n"
    "tables = vw.top_patches(net, images, ['stage1', 'stage2']).result()\n"
)
PIXELS = """(img, size) => { const c = document.createElement('canvas'); [c.width, c.height] = size;
  const g = c.getContext('2d'); g.drawImage(img, 0, 0); return [...g.getImageData(0, 0, ...size).data].filter((_, i) => i % 4 !== 3); }"""


def drawn(page, selector, size):
    """Pixels (H, W, 3) of a picture in the page, as it was sent."""
    page.wait_for_function("(s) => { const i = document.querySelector(s); return i?.complete && i.naturalWidth; }", arg=selector)
    found = page.locator(selector).first.evaluate(PIXELS, [size[1], size[0]])
    return np.array(found, np.uint8).reshape(*size, 3)


@pytest.fixture(scope="module")
def table(flowers):
    return vw.top_patches(flowers, vw.data.Flowers(72, seed=7), "stage2").result()


def wanted(table, channel, place):
    y0, x0, y1, x1 = table.boxes[channel, place].tolist()
    whole = table.images.image(int(table.sources_index[channel, place]), table.net).pixels[0]
    return (whole[:, y0:y1, x0:x1].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def test_patches(notebook, table):
    book = notebook(SETUP + "grid = vw.PatchGrid(tables, target=vw.Channel('stage2', 3))\ngrid")
    page, card = book.page, ".vw-card:nth-child({}) .vw-framed:nth-child({}) img"

    def shows(channel, place):
        page.wait_for_function("(c) => document.querySelector('.vw-patches .vw-title').textContent === `channel ${c} of stage2`", arg=channel)
        patch = wanted(table, channel, place)
        page.wait_for_timeout(200)
        return np.array_equal(drawn(page, card.format(place + 1, 1), patch.shape[:2]), patch)

    assert shows(3, 0) and shows(3, 8)
    page.get_by_label("channel").focus()
    page.keyboard.press("ArrowRight")
    assert shows(4, 0) and book.python("print(json.dumps(grid.target.index))") == 4

    # What is under the pointer, or has the focus, is told and shown large.
    page.locator(".vw-card").nth(1).hover()
    row, detail = int(table.sources_index[4, 1]), page.locator(".vw-patches .vw-grid-detail")
    assert detail.text_content().startswith(f"#{row}{table.images.label_name(row)}; activation {table.scores[4, 1]:.3g}"[:14])
    page.locator(".vw-card").first.focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("() => [...document.querySelectorAll('.vw-card')].indexOf(document.activeElement)") == 4
    row = int(table.sources_index[4, 4])
    assert f"#{row}" in detail.text_content()
    page.keyboard.press("Enter")
    page.wait_for_selector(".vw-card:nth-child(5)[aria-pressed=true]")
    assert book.python("print(json.dumps([grid.index, grid.image.source]))") == [row, f"#{row}"]

    # The frame lies where the patch is cut out; the projection is grey where the gradient is 0.
    page.get_by_label("what is shown").select_option("image")
    page.wait_for_selector(".vw-card:nth-child(1) .vw-frame:not([hidden])")
    y0, x0, y1, x1 = table.boxes[4, 0].tolist()
    outer, inner = (page.locator(f".vw-card:nth-child(1) {s}").first.bounding_box() for s in (".vw-framed > span", ".vw-frame"))
    found = [(inner["y"] - outer["y"]) / outer["height"], (inner["x"] - outer["x"]) / outer["width"], inner["height"] / outer["height"]]
    assert found == pytest.approx([y0 / 96, x0 / 96, (y1 - y0) / 96], abs=0.01)
    page.get_by_label("what is shown").select_option("guided backprop")
    page.wait_for_selector(".vw-patches[data-projected=true]")
    neuron = vw.Neuron("stage2", 4, *table.positions[4, 0].tolist())
    values = vw.guided_backprop(table.net, table.images.image(int(table.sources_index[4, 0]), table.net), neuron).values[0, :, y0:y1, x0:x1]
    projection = ((0.5 + 0.5 * values / values.abs().max()) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(drawn(page, card.format(1, 2), projection.shape[:2]) - projection).max() <= 1
    page.get_by_label("layer").select_option("stage1")
    page.wait_for_function("() => document.querySelector('.vw-patches .vw-note').textContent.includes('these are patches of stage1')")
    book.python("grid.target = vw.Channel('stage1', 99)")
    page.wait_for_selector(".vw-error:has-text('there is no channel 99')")
    assert page.problems == []


def test_neighbours(notebook, flowers):
    features = vw.embed(flowers, vw.data.Flowers(72, seed=7)).result()
    book = notebook(SETUP + "grid = vw.NeighborGrid(vw.embed(net, images).result(), index=2, k=6)\ngrid")
    page = book.page

    def shows(row):
        page.wait_for_function("(r) => document.querySelector('.vw-query .vw-title').textContent === `#${r}`", arg=row)
        near = vw.neighbors(features, row, k=6).indices[0].tolist()
        cards = page.locator(".vw-neighbors section").first.locator(".vw-card").all()
        assert [c.get_attribute("aria-label").split(",")[0] for c in cards] == [f"#{i}" for i in near]
        same = [i for i in near if features.label_name(i) == features.label_name(row)]
        assert [c.text_content().startswith("✓") for c in cards] == [i in same for i in near]
        assert page.locator(".vw-query [role=status]").text_content().startswith(f"{len(same)} of 6 share its class")
        return near

    page.wait_for_function("() => document.querySelectorAll('.vw-card').length === 12")      # the pixels have been read
    near = shows(2)
    before = drawn(page, ".vw-query img", (96, 96))
    page.locator(".vw-card").nth(1).click()
    shows(near[1])
    assert np.abs(drawn(page, ".vw-query img", (96, 96)).astype(int) - before).mean() > 5
    assert book.python("print(json.dumps(grid.index))") == near[1]
    page.get_by_role("button", name="← Back").press("Enter")
    shows(2)
    assert np.array_equal(drawn(page, ".vw-query img", (96, 96)), before)
    page.locator("section:nth-child(2) .vw-card").first.focus()
    page.keyboard.press("End")
    label = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert page.locator(".vw-pointed").text_content().startswith(label.split(":")[0].removesuffix(", another class").removesuffix(", the same class"))
    page.keyboard.press("Enter")
    page.wait_for_function("(s) => document.querySelector('.vw-query .vw-title').textContent === s", arg=label.split(",")[0])
    page.get_by_role("slider", name="neighbours").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelectorAll('.vw-card').length === 10")
    page.get_by_label("how near is measured").select_option("l2")
    page.wait_for_function("() => parseFloat(document.querySelectorAll('section .vw-card-words')[5].lastChild.textContent) > 0.3")
    assert book.python("print(json.dumps([grid.k, grid.metric]))") == [5, "l2"]
    assert page.problems == []


def test_in_the_explorer_for_everybody(notebook):
    book = notebook(SETUP + "explorer = vw.explore(net, images=images)\nexplorer", viewport={"width": 1300, "height": 1500})
    page = book.page
    page.get_by_role("tab", name="Patches").click()
    page.wait_for_function("() => document.querySelectorAll('.vw-patches .vw-card').length === 9")
    assert page.locator(".vw-pass [role=status]").first.text_content() == "Patches: 72 pictures seen"
    before = page.locator(".vw-patches .vw-card").first.get_attribute("aria-label")
    page.locator(".vw-tree-row", has_text="stage3").click()
    page.wait_for_function("() => document.querySelector('.vw-patches .vw-title').textContent === 'channel 0 of stage3'")
    assert page.locator(".vw-patches .vw-card").first.get_attribute("aria-label") != before
    page.locator(".vw-patches .vw-card").nth(2).click()
    row = book.python("print(json.dumps(explorer.patches.grid.index))")
    page.wait_for_function("(r) => document.querySelector('.vw-chooser').textContent.includes(`#${r}`)", arg=row)
    page.get_by_role("tab", name="Neighbours").click()
    page.wait_for_function("() => document.querySelectorAll('.vw-neighbors .vw-card').length === 16", timeout=60_000)
    assert page.locator(".vw-query .vw-title").text_content() == f"#{row}" and page.locator(".vw-neighbors").text_content().count("by layer stage3") == 1
    for tab in ("Neighbours", "Patches"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        check_axe(book)
        check_keys(page)
        check_widths(page, 1)
    assert page.problems == []
