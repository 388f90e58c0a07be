"""ConflictGrid in JupyterLab: tiles and their bands, clicks and keys, filters, a thousand stimuli, axe, narrow cells."""

from __future__ import annotations

import numpy as np
import pytest
from everybody import check_axe, check_keys, check_widths

pytestmark = pytest.mark.browser

# Pictures of one colour each: a pixel of a tile tells which stimulus it is.
SETUP = """import torch, vizwidgets as vw
def stimuli(n):
    random = torch.Generator().manual_seed(3)
    shapes = torch.randint(4, (n,), generator=random)
    textures = (shapes + torch.randint(1, 4, (n,), generator=random)) % 4
    images = torch.stack([torch.tensor([i % 10 / 10 + 0.05, i // 10 % 10 / 10 + 0.05, i // 100 / 10]) for i in range(n)])
    return vw.Stimuli(images[:, :, None, None].expand(-1, -1, 24, 24), shapes, textures, ("ash", "birch", "cedar", "elder"))
def bias(s, name, seed):
    return vw.ShapeBias(s, (3 * torch.rand(len(s), 4, generator=torch.Generator().manual_seed(seed))).softmax(1), name)
"""
SHAPE, TEXTURE, NEITHER = (0, 114, 178), (179, 79, 0), (95, 99, 104)
PIXEL = """([x, y]) => { const c = document.querySelector('.vw-conflicts .vw-tiles canvas'), k = c.width / c.clientWidth;
  return [...c.getContext('2d').getImageData(Math.round(x * k), Math.round(y * k), 1, 1).data].slice(0, 3); }"""


def settled(page, seq):
    page.wait_for_function("(n) => Number(document.querySelector('.vw-conflicts').dataset.seq) >= n", arg=seq)
    page.wait_for_timeout(400)


def tile(page, place):
    """The corner of a tile, and its side."""
    columns, side = (int(page.locator(".vw-conflicts").get_attribute(f"data-{name}")) for name in ("columns", "tile"))
    pitch = side + 2 * 16 + 20 + 6 + 3
    return 2 + place % columns * (side + 3), 2 + place // columns * pitch, side


def colour(page, place):
    x, y, side = tile(page, place)
    return np.array(page.evaluate(PIXEL, [x + side / 2, y + side / 2]))


def band(page, place):
    x, y, side = tile(page, place)
    return tuple(page.evaluate(PIXEL, [x + side - 4, y + side + 5 + 32 + 9]))


def meant(row):
    return 255 * np.array([row % 10 / 10 + 0.05, row // 10 % 10 / 10 + 0.05, row // 100 / 10])


def test_a_thousand_tiles(notebook):
    book = notebook(SETUP + "grid = vw.ConflictGrid(bias(stimuli(1000), 'mine', 1))\nasked, look = [], grid._look\n"
                    "grid._look = lambda content: (asked.extend(content['rows']), look(content))\ngrid")  # fmt: skip
    page, press = book.page, book.page.keyboard.press
    settled(page, 1)

    def rows():
        return book.python("print(json.dumps([grid.rows.tolist(), grid.shown['seq']]))")

    def shows(places=(0, 1, 7)):
        order, seq = rows()
        settled(page, seq)
        kinds = book.python("print(json.dumps(list(grid.bias['mine'].kinds)))")
        for place in places:
            if place < len(order):
                assert np.abs(colour(page, place) - meant(order[place])).max() < 12, (place, order[place])
                assert band(page, place) == {"shape": SHAPE, "texture": TEXTURE, "neither": NEITHER}[kinds[order[place]]]
        return order

    first = shows()
    assert len(set(book.python("print(json.dumps(asked))"))) < 150, "only what is in view is asked for"
    drawn = int(page.locator(".vw-conflicts").get_attribute("data-drawn"))
    tiles = page.locator(".vw-conflicts .vw-tiles")
    for _ in range(12):
        tiles.evaluate("(e) => { e.scrollTop += 400; }")
        page.wait_for_timeout(60)
    assert int(page.locator(".vw-conflicts").get_attribute("data-drawn")) - drawn < 60, "a frame is drawn once"
    tiles.evaluate("(e) => { e.scrollTop = 0; }")

    # The answers by shape among those by either, in words and as wide as the bar.
    share, low, high = book.python("b = grid.bias['mine']\nprint(json.dumps([b.share, *b.interval]))")
    value = page.locator(".vw-bias .vw-bar-value").text_content()
    assert value == f"{100 * share:.0f} % shape ({100 * low:.0f} to {100 * high:.0f} %)"
    box, fill, span = (page.locator(f".vw-bias {s}").bounding_box() for s in (".vw-bar-track", ".vw-bar-fill", ".vw-interval"))
    assert fill["width"] / box["width"] == pytest.approx(share, abs=0.01)
    assert (span["x"] - box["x"]) / box["width"] == pytest.approx(low, abs=0.01) and span["width"] / box["width"] == pytest.approx(high - low, abs=0.01)

    # A click keeps one and says the probabilities of both; again lets go.
    x, y, side = tile(page, 7)
    page.locator(".vw-conflicts .vw-tiles canvas").click(position={"x": x + side / 2, "y": y + 10})
    page.wait_for_function("(r) => document.querySelector('.vw-conflict-detail').dataset.row === String(r)", arg=first[7])
    assert book.python("print(json.dumps(grid.index))") == first[7]
    wanted = book.python(f"b, s = grid.bias['mine'], grid.stimuli\np = b.probabilities[{first[7]}]\n"
                         f"print(json.dumps([[s.classes[l[{first[7]}]], float(p[l[{first[7]}]])] for l in (s.shapes, s.textures)]))")  # fmt: skip
    said = page.locator(".vw-cues .vw-bar-row").all_text_contents()
    assert said[:2] == [f"{name}{100 * p:.1f} %" for name, p in wanted]
    page.wait_for_function("() => document.querySelector('.vw-conflict-detail').dataset.sharp === 'true'")

    # The same by keys.
    tiles.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        press(key)
    page.wait_for_function("(r) => document.querySelector('.vw-conflict-detail').dataset.row === String(r)", arg=first[1])
    assert book.python("print(json.dumps(grid.index))") == first[1]
    spoken = page.locator(".vw-conflicts .vw-spoken[role=option]").text_content()
    assert spoken.startswith("shape of ") and "answer " in spoken and spoken.split(", ")[-1] in ("by shape", "by texture", "neither")
    press("End")
    page.wait_for_timeout(300)
    assert tiles.evaluate("(e) => e.scrollTop + e.clientHeight >= e.scrollHeight - 2"), "the last one is in view, words and all"

    for kind in ("by texture", "neither"):
        page.get_by_role("button", name=kind).focus()
        press("Enter")
        page.wait_for_selector(f".vw-chips button[aria-pressed=true]:has-text('{kind}')")
        order = shows()
        assert page.locator(".vw-chips button[aria-pressed=true]").text_content() == f"{kind} {len(order)}"
    page.locator(".vw-chips button").first.click()
    page.get_by_label("class").select_option("cedar")
    page.get_by_label("order").select_option("texture first")
    page.wait_for_function("() => document.querySelector('.vw-conflicts .vw-tiles') && document.querySelector('[aria-label=order]').value === 'texture first'")
    page.wait_for_timeout(300)
    of = shows()
    assert 0 < len(of) < 1000 and book.python("s = grid.stimuli\nprint(json.dumps(all(2 in (s.shapes[r], s.textures[r]) for r in grid.rows)))")
    assert page.problems == []


def test_several_networks_for_everybody(notebook):
    book = notebook(SETUP + "s = stimuli(60)\ngrid = vw.ConflictGrid([bias(s, 'mine', 1), bias(s, 'yours', 2)], index=3)\ngrid",
                    "other = vw.ConflictGrid(bias(s, 'mine', 1), show='texture', label='ash')\nother.error = 'no class asch; did you mean ash?'\nother",
                    "vw.ConflictGrid()", viewport={"width": 1300, "height": 2600})  # fmt: skip
    page = book.page
    settled(page, 1)
    before = book.python("print(json.dumps(grid.rows.tolist()))")
    page.locator(".vw-bias button").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".vw-bias button:nth-child(2)[aria-pressed=true]")
    by, after = book.python("print(json.dumps([grid.by, grid.rows.tolist()]))")
    assert by == 1 and after != before
    page.get_by_role("button", name="nets differ").click()
    page.wait_for_selector(".vw-chips button[aria-pressed=true]:has-text('differ')")
    assert book.python("a, b = (n.kinds for n in grid.bias.values())\nprint(json.dumps(all(a[r] != b[r] for r in grid.rows)))")
    assert page.locator(".vw-conflict-detail section").count() >= 2
    assert page.locator(".vw-conflicts").nth(2).inner_text().splitlines()[1:] == ["Nothing to show yet: the answers of a network are needed, from shape_bias."]
    check_axe(book)
    check_keys(page)
    check_widths(page, 3)
    assert page.problems == []
