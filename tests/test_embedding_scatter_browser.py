"""EmbeddingScatter and ImageGrid in JupyterLab: pixels, lasso, keys, thumbnails, a run that settles."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

pytestmark = pytest.mark.browser

SETUP = """import torch, vizwidgets as vw
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(1)
labels = torch.arange(120) % 12
images = torch.rand(12, 3, 1, 1, generator=generator)[labels].expand(-1, -1, 16, 16)
classes = ["ash", "<img src=x onerror=alert(1)>", "cedar", "elder", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "yew"]
vectors = torch.randn(120, 16, generator=generator) + 12 * torch.eye(16)[labels]
features = vw.Features(vectors, labels=labels, classes=classes, images=images, layer="pool")
"""
MAP = SETUP + "scatter = vw.EmbeddingScatter(vw.pca(features))\nscatter"
SCATTER, STAGE = ".vw-scatter", ".vw-scatter-stage"
COLOUR = """(canvas, colour) => { const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] === colour[0] && d[i + 1] === colour[1] && d[i + 2] === colour[2]) n++; return n; }"""
BLUE = [0x00, 0x72, 0xB2]      # the first class and the seventh
PLACES = """() => { const c = document.querySelector('.vw-scatter-stage canvas'), r = c.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }"""


def blue(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(f"{STAGE} canvas").first.evaluate(COLOUR, BLUE)


def places(book):
    """Where the points are on the page: the widget's own fit, worked out again."""
    x, y, w, h = book.page.evaluate(PLACES)
    points = book.python("print(json.dumps(scatter.points.tolist()))")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    wide, tall = max(xs) - min(xs), max(ys) - min(ys)
    scale = min((w - 36) / wide, (h - 36) / tall)
    cx, cy = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [(x + w / 2 + (a - cx) * scale, y + h / 2 - (b - cy) * scale) for a, b in points]


def python(book, what):
    return book.python(f"scatter.wait(20)\nprint(json.dumps({what}))")


def becomes(book, what, wanted):
    """Messages of the page take their time."""
    for _ in range(100):
        found = python(book, what)
        if found == wanted:
            return
        book.page.wait_for_timeout(50)
    raise AssertionError(f"{what} is {found}, not {wanted}")


def test_pixels_lasso_keys_and_legend(notebook):
    book = notebook(MAP, viewport={"width": 1300, "height": 1000}, device_scale_factor=2)
    page = book.page
    page.wait_for_selector(f"{SCATTER}[data-drawn]")
    full = blue(page)
    assert full > 400
    assert page.locator(f"{STAGE} canvas").first.evaluate("(c) => c.width / c.clientWidth") == pytest.approx(2, abs=0.01)
    spots = places(book)

    # Hover says what it is, as text; a click chooses it.
    x, y = spots[1]
    page.mouse.move(x, y)
    page.wait_for_selector(".vw-tip img")
    assert "<img src=x" in page.locator(".vw-tip").text_content()
    page.mouse.move(*spots[8])
    page.mouse.click(*spots[8])
    page.wait_for_function("() => document.querySelector('.vw-scatter-main .vw-where').textContent.includes('chosen')")
    becomes(book, "scatter.index is not None", True)
    assert python(book, "scatter.index % 12") == 8, "it is of the class that lies there"
    assert python(book, "torch.equal(scatter.image.pixels, images[scatter.index][None])")

    # A lasso that bends inwards, against matplotlib's.
    x, y, w, h = page.evaluate(PLACES)
    outline = [(x + w * a, y + h * b) for a, b in ((0.03, 0.5), (0.45, 0.03), (0.97, 0.5), (0.6, 0.6), (0.5, 0.97), (0.4, 0.45))]
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(*outline[0])
    page.mouse.down()
    for corner in (*outline[1:], outline[0]):
        page.mouse.move(*corner, steps=8)
    page.mouse.up()
    page.wait_for_selector(".vw-scatter-selection .vw-title:has-text('of 120 selected')")
    near, sure = (set(np.flatnonzero(Path(outline).contains_points(spots, radius=d))) for d in (3, -3))
    near, sure = near | sure, near & sure      # the sign of the radius goes by the direction of the outline
    page.wait_for_timeout(200)
    found = set(python(book, "scatter.selection"))
    assert sure <= found <= near and 20 < len(sure) < 100 and len(near - sure) < 12

    # A rectangle around one class.
    mine = [spots[i] for i in range(0, 120, 12)]
    left, right, top, bottom = min(p[0] for p in mine) - 9, max(p[0] for p in mine) + 9, min(p[1] for p in mine) - 9, max(p[1] for p in mine) + 9
    inside = [i for i, (a, b) in enumerate(spots) if left < a < right and top < b < bottom]
    page.get_by_role("button", name="Rectangle").click()
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=6)
    page.mouse.up()
    becomes(book, "scatter.selection", inside)
    page.wait_for_function("(n) => document.querySelector('.vw-scatter-selection .vw-title').textContent === `${n} of 120 selected`", arg=len(inside))
    page.wait_for_function("() => document.querySelector('.vw-scatter-selection').textContent.includes('ash 10')")
    page.wait_for_function("() => document.querySelector('.vw-shared').textContent.includes('channel 0')")
    pale = blue(page)
    assert 0 < pale < 0.8 * full, "the others are pale"
    assert page.locator(".vw-scatter-selection .vw-tiles canvas").evaluate("(c) => c.width > 100")

    # By keys alone: clear, go, choose, add, zoom.
    page.locator(STAGE).focus()
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelector('.vw-scatter-selection').hidden")
    becomes(book, "[scatter.selection, scatter.index]", [[], None])
    assert blue(page) == pytest.approx(full, abs=4)
    for key in ("Home", "ArrowRight", "Enter", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('.vw-scatter-selection .vw-title').textContent === '2 of 120 selected'")
    becomes(book, "len(scatter.selection)", 2)
    index, chosen = python(book, "[scatter.index, scatter.selection]")
    assert spots[index][0] > spots[0][0] and index in chosen
    page.keyboard.press("Escape")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert blue(page) != full
    page.keyboard.press("0")
    assert blue(page) == pytest.approx(full, abs=4)

    # The legend puts a class away; Python sees it, and sets it.
    page.locator(".vw-scatter-legend button", has_text="ash").first.click()
    page.mouse.move(5, 5)
    becomes(book, "scatter.hidden", ["ash"])
    half = blue(page)
    assert half < 0.7 * full
    book.python("scatter.hidden = ('ash', 'larch')")
    page.wait_for_function("() => document.querySelectorAll('.vw-scatter-legend [aria-pressed=false]').length === 2")
    assert blue(page) == 0
    page.get_by_role("button", name="Show all classes").click()
    page.mouse.move(5, 5)
    page.wait_for_function("() => !document.querySelector('.vw-scatter-legend [aria-pressed=false]')")
    assert blue(page) == pytest.approx(full, abs=4)

    # Thumbnails in place of points.
    page.get_by_label("shown as").select_option("thumbnails")
    colour = book.python("print(json.dumps((images[3, :, 0, 0] * 255).round().int().tolist()))")
    near = COLOUR.replace("d[i] === colour[0] && d[i + 1] === colour[1] && d[i + 2] === colour[2]", "[0, 1, 2].every((c) => Math.abs(d[i + c] - colour[c]) < 6)")
    page.wait_for_function(f"(colour) => ({near})(document.querySelector('{STAGE} canvas'), colour) > 500", arg=colour)
    becomes(book, "scatter.mode", "thumbnails")


def test_a_run_settles_and_the_newest_points_are_painted(notebook):
    book = notebook(SETUP + """from vizwidgets.core.optimize import Run
from vizwidgets.methods.tsne import MapStep
import threading
hurry = threading.Event()
def settling(count=1500):
    start, end = torch.rand(120, 2), torch.nn.functional.one_hot(labels, 12)[:, :2].float() + torch.rand(120, 2)
    def steps():
        for i in range(1, count + 1):
            hurry.wait(0.02)
            yield MapStep(i, {"KL": torch.tensor([5 / i])}, torch.lerp(start, end, i / count), "settling", i, features)
    return Run(steps(), count, lambda last: vw.Embedding(last.points, features, "t-SNE"))
scatter = vw.EmbeddingScatter(settling())
scatter""")
    page = book.page
    page.wait_for_function("() => Number(document.querySelector('.vw-scatter')?.dataset.frames ?? 0) > 3")
    first = page.locator(f"{STAGE} canvas").first.evaluate("(c) => c.toDataURL()")
    page.wait_for_function("(n) => Number(document.querySelector('.vw-scatter').dataset.frames) > n", arg=8)
    assert page.locator(f"{STAGE} canvas").first.evaluate("(c) => c.toDataURL()") != first, "the points do not move"
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector(f"{SCATTER} .vw-main:has-text('Go on')")
    taken = python(book, "scatter.player.index")
    page.get_by_role("button", name="One step").click()
    page.wait_for_function("(n) => document.querySelector('.vw-scatter-play .vw-dim').textContent.startsWith(`step ${n} `)", arg=taken + 1)
    page.wait_for_function("() => document.querySelector('.vw-scatter').dataset.status === 'paused'")
    book.python("hurry.set()")
    page.locator(f"{SCATTER} .vw-main").click()
    page.wait_for_function("() => document.querySelector('.vw-scatter').dataset.status === 'done'", timeout=60_000)
    assert page.locator(".vw-curve .lines path, .vw-curve path.line").count() > 0
    assert "KL divergence" in page.locator(SCATTER).text_content() and "Trustworthiness" in page.wait_for_selector(f"{SCATTER}:has-text('Trustworthiness')").text_content()
    spots = places(book)
    page.mouse.click(*spots[30])
    page.wait_for_function("() => document.querySelector('.vw-scatter-main .vw-where').textContent.includes('chosen')")
    becomes(book, "scatter.index is not None", True)
    x, y = spots[python(book, "scatter.index")]
    assert abs(x - spots[30][0]) < 15 and abs(y - spots[30][1]) < 15, "the points are where those of the last step are"


def test_the_grid_and_its_seams(notebook):
    book = notebook(SETUP + "scatter = vw.ImageGrid(vw.image_grid(vw.pca(features), kind='assign'))\nscatter")
    page = book.page
    page.wait_for_selector(".vw-mosaic[data-missing='0']")
    canvas = page.locator(".vw-mosaic-stage canvas")
    with_seams = canvas.evaluate("(c) => c.toDataURL()")
    row = book.python("print(json.dumps(int(scatter.mosaic.cells[4, 7])))")
    colour = book.python(f"print(json.dumps((images[{row}, :, 0, 0] * 255).round().int().tolist()))")
    at = canvas.evaluate("(c) => Array.from(c.getContext('2d').getImageData(7.5 * c.width / 11, 4.5 * c.height / 11, 1, 1).data)")
    assert max(abs(a - b) for a, b in zip(at, colour, strict=False)) < 8, "the image is in its cell"
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 7.5 * box["width"] / 11, box["y"] + 4.5 * box["height"] / 11)
    page.wait_for_function("() => document.querySelector('.vw-mosaic').textContent.includes('chosen')")
    becomes(book, "scatter.index", row)
    said = page.locator(".vw-mosaic").text_content()
    right = book.python("print(json.dumps(float(scatter.mosaic.seams[0][4, 7])))")
    assert f"right {right:.3g}" in said and f"#{row}" in said
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    left = book.python("print(json.dumps(int(scatter.mosaic.cells[4, 6])))")
    page.wait_for_function("(name) => document.querySelector('.vw-mosaic .vw-where').textContent.startsWith(name) && document.querySelector('.vw-mosaic').textContent.includes('chosen')",
                           arg=f"#{left} ")  # fmt: skip
    becomes(book, "scatter.index", left)
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    assert canvas.evaluate("(c) => c.toDataURL()") != with_seams
    page.keyboard.press("0")
    page.locator(".vw-mosaic input[type=checkbox]").click()
    page.wait_for_function("() => document.querySelector('.vw-mosaic .vw-scale').hidden")
    becomes(book, "scatter.seams", False)
