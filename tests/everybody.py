"""Whether everybody can use what is on the page: axe-core in both themes, keys, narrow cells."""

from __future__ import annotations

OUTPUTS = ".jp-OutputArea-output:has(.vw)"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

# What reaches out of the box, what is cut off, what lies over another: all in a container of 320 pixels.
MISFITS = """(box) => {
  const found = [], seen = (e) => e.checkVisibility() && !e.closest('.vw-spoken, .vw-hidden-input, title');
  const name = (e) => `${e.tagName} ${e.className.baseVal ?? e.className} ${e.textContent.slice(0, 30)}`, edge = box.getBoundingClientRect();
  const all = [...box.querySelectorAll('*')].filter(seen);
  for (const e of all) {
    const r = e.getBoundingClientRect();
    if (r.right > edge.right + 1 || r.left < edge.left - 1) found.push(`outside: ${name(e)}`);
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible') found.push(`cut off: ${name(e)}`);
  }
  const leaves = all.filter((e) => !e.closest('svg, .vw-tree, .vw-tiles, .vw-occlusion-stage, .vw-scatter-stage, .vw-mosaic-stage, .vw-stage, .vw-track') && !e.children.length && (e.textContent || e.matches('img, canvas, input, select')));
  leaves.forEach((a, i) => leaves.slice(i + 1).forEach((b) => {
    const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
    const w = Math.min(p.right, q.right) - Math.max(p.left, q.left), h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (w > 1 && h > 1 && !a.contains(b)) found.push(`over each other: ${name(a)} | ${name(b)}`);
  }));
  return found;
}"""


def check_axe(book, contrasts=20, targets=10):
    """No violation in either theme; axe has looked at so many contrasts and sizes at least. Gives what it is unsure of."""
    from axe_playwright_python.sync_playwright import Axe

    # JupyterLab's body has no height, and axe takes all text in it for hidden.
    book.page.add_style_tag(content="body { height: 100vh !important; }")
    unsure = []
    try:
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            book.theme(theme)
            book.page.wait_for_timeout(300)
            found = Axe().run(book.page, context=OUTPUTS, options=RULES)
            assert found.response["violations"] == [], found.generate_report()
            looked = {r["id"]: len(r["nodes"]) for r in found.response["passes"]}
            assert looked["color-contrast"] > contrasts and looked["target-size"] > targets, f"axe did not look at everything: {looked}"
            unsure += [n for r in found.response["incomplete"] for n in r["nodes"]]
    finally:
        book.theme("JupyterLab Light")
    return unsure


def check_widths(page, outputs, widths=(320, 480, 1200)):
    """Nothing is cut off or lies over another thing in so many outputs, as narrow or wide as this."""
    boxes = page.locator(".jp-OutputArea-output > .lm-Widget")
    for width in widths:
        page.add_style_tag(content=f".jp-OutputArea-output > .lm-Widget {{ width: {width}px !important; }}")
        page.wait_for_timeout(700)
        assert [b.evaluate(MISFITS) for b in boxes.all()] == [[]] * outputs, width


def check_keys(page, within=".vw"):
    """Keys that are pressed in a widget do not go to the notebook."""
    loose = "(w) => [...document.querySelectorAll(`${w} :is(button, select, input, summary, [tabindex])`)].filter((e) => !e.dataset.lmSuppressShortcuts).length"
    assert page.evaluate(loose, within) == 0, "keys go to the notebook"
