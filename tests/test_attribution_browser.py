"""AttributionViewer and SanitySlider in JupyterLab: pixels against Python, the cross-hair, keys, files, axe, narrow cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from everybody import check_axe, check_keys, check_widths
from PIL import Image as PILImage

import vizwidgets as vw
from vizwidgets.core.picture import colourise, readable_limits
from vizwidgets.widgets.attribution_view import ends

pytestmark = pytest.mark.browser

SETUP = """import torch, vizwidgets as vw
torch.set_num_threads(1)
net = vw.load('flowers')
x = vw.image(vw.data.Flowers(1, seed=7).flower(0).image, net)
def broken(net, images, target):
    raise TypeError('ReLU is needed here, not GELU')
"""
# What a canvas shows in the middle of each pixel of the map: height, width, numbers.
SAMPLED = """(c, [h, w]) => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, out = [];
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const i = 4 * (Math.floor((y + 0.5) * c.height / h) * c.width + Math.floor((x + 0.5) * c.width / w));
    out.push(d[i], d[i + 1], d[i + 2]); }
  return out; }"""
PLACE = "() => [...document.querySelectorAll('.vw-map-value')].map((e) => e.textContent)"


def sampled(page, tile, size):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    values = page.locator(".vw-why .vw-map").nth(tile).locator("canvas").evaluate(SAMPLED, list(size))
    return np.array(values, np.uint8).reshape(*size, 3)


def becomes(book, what, value):
    for _ in range(100):      # the page sends the newest when the last has been answered
        if (now := book.python(f"print(json.dumps({what}))")) == value:
            return
        book.page.wait_for_timeout(50)
    raise AssertionError(f"{what} is {now}, not {value}")


def all_there(page, text):
    page.wait_for_function("(t) => document.querySelector('.vw-why').dataset.done === t", arg=text)


def test_the_viewer(notebook, flowers, tmp_path):
    x = vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers)
    book = notebook(SETUP + "viewer = vw.AttributionViewer(net, x, methods=('saliency', broken, 'Grad-CAM'), percentile=100)\nviewer",
                    viewport={"width": 1200, "height": 1000}, device_scale_factor=2)  # fmt: skip
    page, press = book.page, book.page.keyboard.press
    all_there(page, "3/3")
    poppy = vw.Logit("poppy")
    saliency, cam = vw.saliency(flowers, x, poppy), vw.gradcam(flowers, x, poppy)

    def wanted(values, percentile):
        return colourise(values, *ends(values, percentile))

    def alike(tile, values, percentile):      # weights of another thread may change the last bit of a value
        seen, colours = sampled(page, tile, values.shape).astype(int), wanted(values, percentile).astype(int)
        return (np.abs(seen - colours).max(2) <= 4).mean() > 0.999

    assert alike(1, saliency.map[0], 100) and alike(3, cam.map[0], 100)
    assert page.locator(".vw-tile[data-state=failed]").text_content() == "ReLU is needed here, not GELUbroken"
    assert page.locator(".vw-why .vw-row [role=status]").first.text_content().startswith(f"logit of poppy {saliency.scores.item():.3g}")

    # Clipping is worked out in the page, and told.
    assert "≥" not in page.locator(".vw-tile .vw-scale").first.text_content()
    slider = page.get_by_label("pixels within the scale")
    slider.focus()
    for _ in range(8):
        press("ArrowLeft")
    assert alike(1, saliency.map[0], 96) and alike(3, cam.map[0], 96)
    assert (sampled(page, 1, (96, 96)).min(2) == 255).mean() > 0.01, "what lies beyond is white"
    low, high = page.locator(".vw-tile .vw-scale").first.text_content().split("≥ ")
    assert low == "0" and float(high) == pytest.approx(ends(saliency.map[0], 96)[1], rel=6e-3)
    assert page.locator(".vw-why").text_content().count("96 % of the pixels; the others are white, with signs black") == 1
    becomes(book, "viewer.percentile", 96)
    page.get_by_label("signs").select_option("yes")
    page.wait_for_function("() => document.querySelector('.vw-tile .vw-scale').textContent.startsWith('≤')")
    assert alike(1, saliency.values[0].sum(0), 96) and alike(3, cam.map[0], 96)
    becomes(book, "viewer.signed", True)
    page.get_by_label("signs").select_option("")

    # One cross-hair in all maps, with the values there; by mouse and by keys.
    box = page.locator(".vw-why .vw-map").nth(3).bounding_box()
    page.mouse.move(box["x"] + 1 + (box["width"] - 2) * 30.5 / 96, box["y"] + 1 + (box["height"] - 2) * 60.5 / 96)
    page.wait_for_function("() => document.querySelector('.vw-tile').textContent.includes('row 60, column 30')")
    values = [float(v) for v in page.evaluate(PLACE) if v]
    assert values == pytest.approx([m.map[0, 60, 30].item() for m in (saliency, cam)], rel=6e-3)
    assert page.locator(".vw-cross").first.is_visible() and page.locator(".vw-cross").nth(2).is_hidden()
    page.mouse.move(2, 2)
    page.locator(".vw-why canvas").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        press(key)
    values = [float(v) for v in page.evaluate(PLACE) if v]
    assert values == pytest.approx([m.map[0, 47, 49].item() for m in (saliency, cam)], rel=6e-3)
    assert page.locator(".vw-why .vw-spoken").text_content().startswith("row 47, column 49: saliency")

    # Over the picture: where the map is 0 the picture is seen.
    page.get_by_label("over the picture").first.press("Space")
    page.wait_for_function("() => !document.querySelector('[aria-label^=opacity]').hidden")
    values, picture = sampled(page, 3, (96, 96)).astype(int), np.asarray(x.picture() if isinstance(x, vw.Image) else vw.Image(x).picture()).astype(int)
    empty = (cam.map[0] == 0).numpy()
    assert empty.sum() > 100 and np.abs(values - picture)[empty].mean() < 6 < np.abs(values - picture)[~empty].mean()

    # One of them large, others chosen, another class; a file.
    page.get_by_role("button", name="saliency", exact=True).nth(1).press("Enter")
    page.wait_for_selector(".vw-one .vw-large")
    assert page.locator(".vw-large .vw-map").bounding_box()["width"] > 400
    becomes(book, "viewer.index", 0)
    page.get_by_role("group", name="methods").get_by_role("button", name="broken").press("Space")
    page.get_by_role("group", name="methods").get_by_role("button", name="deconvnet").press("Space")
    becomes(book, "viewer.methods", ["saliency", "Grad-CAM", "deconvnet"])
    all_there(page, "3/3")
    page.get_by_label("class", exact=True).select_option("2")
    page.wait_for_function("() => document.querySelector('.vw-why .vw-title').textContent === 'Why rose?'")
    all_there(page, "3/3")
    with page.expect_download() as download:
        page.get_by_label("save saliency as PNG").press("Enter")
    download.value.save_as(tmp_path / "map.png")
    assert download.value.suggested_filename == "saliency-logit-of-rose.png"
    assert PILImage.open(tmp_path / "map.png").size == (448, 448)
    torch.testing.assert_close(vw.rerun(tmp_path / "map.png", flowers).map, vw.saliency(flowers, x, vw.Logit("rose")).map)
    book.python("viewer.target = vw.Logit('rse')")
    page.wait_for_selector(".vw-why .vw-error:has-text('did you mean')")
    assert page.problems == []


def test_the_sanity_slider(notebook, flowers):
    x = vw.image(vw.data.Flowers(1, seed=7).flower(0).image, flowers)
    report = vw.sanity_check("saliency", flowers, x, vw.Logit("poppy"), layers=["head", "stage4", "stem"]).result()
    book = notebook(SETUP + "slider = vw.SanitySlider(net, x, layers=['head', 'stage4', 'stem'])\nslider")
    page = book.page
    page.wait_for_function("() => document.querySelector('.vw-sanity-page').dataset.status === 'done'")
    moving = page.get_by_label("layers random")

    def shows(position):
        page.wait_for_function("(n) => document.querySelector('.vw-sanity-page').dataset.position === String(n)", arg=position)
        for row, place in ((0, 0), (1, position)):
            canvas = page.locator(".vw-sanity-maps .vw-tile").nth(1).locator("canvas").nth(row)
            seen = np.array(canvas.evaluate(SAMPLED, [96, 96]), int).reshape(96, 96, 3)
            values = report.maps[place]
            assert (np.abs(seen - colourise(values, *readable_limits(values))[0]).max(2) <= 4).mean() > 0.99
        alike = page.locator(".vw-alike").first.text_content().replace("−", "-")
        assert float(alike.removeprefix("similarity ")) == pytest.approx(report.similarity["Spearman"][position, 0].item(), abs=0.011)

    assert moving.input_value() == "3"
    shows(3)
    moving.focus()
    for position in (2, 1, 0):
        page.keyboard.press("ArrowLeft")
        shows(position)
    assert "the network as it is" in moving.get_attribute("aria-valuetext")
    assert page.locator(".vw-sanity-says").text_content().startswith("poppy")
    page.keyboard.press("End")
    shows(3)
    dots = page.locator(".vw-curve .lines path.dot").count() or page.locator(".vw-curve .dot").count()
    assert dots >= 12, "a point for each state and method"
    curves = "() => [...document.querySelectorAll('.vw-curve .line')].map((p) => p.getAttribute('d')).join()"
    before = page.evaluate(curves)
    page.get_by_label("similarity").select_option("SSIM")
    page.wait_for_function(f"(b) => ({curves})() !== b", arg=before)
    page.get_by_label("order").select_option("independent")
    page.wait_for_function("() => document.querySelector('.vw-sanity-page').textContent.includes('only stem is random')")
    assert book.python("slider.wait(30)\nprint(json.dumps([slider.order, slider.measure, slider.position]))") == ["independent", "SSIM", 3]
    assert page.problems == []


STATES = (
    SETUP + "viewer = vw.AttributionViewer(net, x, methods=('saliency', broken, 'integrated gradients', 'Grad-CAM'), signed=True)\nviewer",
    "vw.AttributionViewer(net, x, index=1, overlay=True)", "vw.AttributionViewer()",
    "vw.SanitySlider(net, x, methods=('saliency', broken, 'Grad-CAM'), layers=['head', 'stage4'], position=1, block=True)", "vw.SanitySlider()",
    "slider = vw.SanitySlider(net, x, methods=('saliency',), layers=['head'], block=True)\nslider.layers = ['haed']\nslider.wait()\nslider",
)  # fmt: skip


def test_axe_finds_nothing_and_narrow_cells_fit(notebook):
    book = notebook(*STATES, viewport={"width": 1300, "height": 4600})
    page = book.page
    page.wait_for_function("() => document.querySelectorAll('.vw-sanity-page[data-status=done]').length === 2")
    page.wait_for_timeout(1000)
    check_axe(book, contrasts=60, targets=30)
    check_keys(page, ":is(.vw-why, .vw-sanity-page)")
    page.evaluate("() => document.querySelectorAll('.vw-curve').forEach((e) => e.replaceChildren())")      # bqplot's own affair
    check_widths(page, len(STATES), (320, 480))
