// Another picture over the left part of the one that is shown, and a line between the two that follows pointer and arrow keys.

function comparison({ model, signal, redraw, names, key }) {
  // A range as large as the picture: dragging, touching, keys and what a screen reader says are the browser's own.
  const range = focusable(make("input", { type: "range", class: "vw-split", min: 0, max: 100, step: 1, "aria-label": "before and after" }));
  const line = make("div", { class: "vw-split-line", "aria-hidden": "true" });
  const sides = [make("span", { "aria-hidden": "true" }), make("span", { "aria-hidden": "true" })];
  const node = make("div", { class: "vw-compare", hidden: true }, range, line, ...sides);
  let picture = null, waiting = 0, number = 0;

  const share = () => Number(range.value) / 100;
  function place() {
    node.style.setProperty("--vw-split", share());
    const [left, right] = names(), percent = Math.round(100 * share());
    sides.forEach((side, i) => { side.textContent = [left, right][i]; side.hidden = (i ? 1 - share() : share()) < 0.2; });
    range.setAttribute("aria-valuetext", `${left} ${percent} %, ${right} ${100 - percent} %`);
  }
  function tell() {
    waiting = 0;
    model.send({ cmd: "split", value: share() });
  }
  async function open() {
    const data = model.get("before"), mine = ++number;
    const opened = data?.byteLength ? await createImageBitmap(new Blob([bytes(data)])).catch(() => null) : null;
    if (mine !== number || signal.aborted) { opened?.close(); return; }
    picture?.close();
    picture = opened;
    redraw(true);
  }
  function watch() {      // once there is something to draw on
    const moved = ahead(model, "split", () => { range.value = Math.round(100 * model.get("split")); place(); redraw(); }, signal);
    range.addEventListener("input", () => {
      place(); redraw(); moved();
      waiting ||= setTimeout(tell, 100);
    }, { signal });
    range.addEventListener("keydown", (e) => { if (e.key === " ") { key(); e.preventDefault(); } }, { signal });
    listen(model, "change:before", open, signal, true);
  }
  signal.addEventListener("abort", () => { clearTimeout(waiting); picture?.close(); picture = null; });

  return {
    node, place, watch, picture: () => picture,
    // The picture alone, or its part of one that has been drawn.
    draw(g, width, height, alone) {
      if (!picture) return;
      g.save();
      g.beginPath();
      g.rect(0, 0, alone ? width : Math.round(width * share()), height);
      g.clip();
      g.imageSmoothingEnabled = true; g.imageSmoothingQuality = "high";
      g.drawImage(picture, 0, 0, width, height);
      g.restore();
    },
  };
}
