// A grid of images to zoom into. Cells and seams are drawn here; thumbnails come from Python, small ones first, large ones
// for what is seen large.

const SMALL = 40, LARGE = 96, MOST_SIDE = 260, MOST_TILE = 160;      // pixels

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), about = () => get("about");
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  el.classList.add("vw", "vw-mosaic");

  let cells = new Int32Array(), right = new Float32Array(), down = new Float32Array(), words = [];
  let picked = -1, pointed = -1, cursor = -1, asked = 0;      // a row; cells
  const canvas = make("canvas", { "aria-hidden": "true" }), empty = make("div", { class: "vw-stage-empty" }, "Nothing to show yet: a mosaic is needed.");
  const stage = focusable(make("div", { class: "vw-mosaic-stage", tabIndex: 0, role: "application", "aria-roledescription": "grid of images" }, canvas, empty),
    () => { if (picked >= 0) goTo(-1); else leave(stage); });
  const title = make("span", { class: "vw-title" }), kind = make("span", { class: "vw-dim" }), where = make("div", { class: "vw-where", role: "status" }), far = make("div", { class: "vw-dim vw-where" });
  const ask = () => { asked ||= requestAnimationFrame(draw); };
  const arrived = () => { say(); ask(); };
  const small = thumbnails({ model, signal, side: SMALL, arrived, kept: Infinity }), large = thumbnails({ model, signal, side: LARGE, arrived, kept: 400 });
  const pan = panZoom(stage, { signal, most: () => Math.max(2, MOST_TILE / (stage.clientWidth / columns())), changed: ask, click(e) { cursor = cellAt(e); goTo(cells[cursor] ?? -1); } });
  const columns = () => about().columns ?? 1, rows = () => about().rows ?? 1;
  const side = () => stage.clientWidth / columns() * pan.view.k;      // of a cell, on the screen
  const hasSeams = () => right.length + down.length > 0 && get("seams");

  function cellAt(e) {
    const r = stage.getBoundingClientRect(), { k, x, y } = pan.view;
    const column = Math.floor(((e.clientX - r.x) / r.width - x) / k * columns()), row = Math.floor(((e.clientY - r.y) / r.height - y) / k * rows());
    const cell = row * columns() + column;
    return column < 0 || row < 0 || column >= columns() || row >= rows() || cells[cell] < 0 ? -1 : cell;
  }
  function corner(cell) {
    const { x, y } = pan.view;
    return [x * stage.clientWidth + (cell % columns()) * side(), y * stage.clientHeight + Math.floor(cell / columns()) * side()];
  }

  function draw() {
    asked = 0;
    const width = stage.clientWidth, height = stage.clientHeight, ratio = window.devicePixelRatio || 1, g = canvas.getContext("2d");
    if (!width || !height || !cells.length) return;
    const size = [Math.round(width * ratio), Math.round(height * ratio)], css = getComputedStyle(el);
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const s = side(), gap = hasSeams() ? Math.min(10, Math.max(2, s / 10)) : Math.min(2, s / 20), [ground, accent, ink] = ["--vw-bg2", "--vw-accent", "--vw-fg"].map((name) => css.getPropertyValue(name));
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    const wanted = { small: [], large: [] }, sharp = s * ratio > 1.5 * SMALL;
    for (let cell = 0; cell < cells.length; cell++) {
      const [x, y] = corner(cell);
      if (x > width || y > height || x + s < 0 || y + s < 0) continue;
      const row = cells[cell];
      if (row >= 0) {
        const found = sharp ? large.get(row) ?? small.get(row) : small.get(row);
        if (sharp && !large.get(row)) wanted.large.push(row);
        if (!found) wanted.small.push(row);
        if (found?.image) cover(g, found.image, x + gap / 2, y + gap / 2, s - gap);
        else { g.fillStyle = ground; g.fillRect(x + gap / 2, y + gap / 2, s - gap, s - gap); }
      }
      if (hasSeams()) drawSeams(g, cell, x, y, s, gap);
    }
    const frame = (cell, colour, line) => {
      if (cell < 0) return;
      const [x, y] = corner(cell);
      g.strokeStyle = colour; g.lineWidth = line; g.strokeRect(x + gap / 2, y + gap / 2, s - gap, s - gap);
    };
    cells.forEach((row, cell) => { if (row >= 0 && row === picked) frame(cell, accent, 3); });
    if (document.activeElement === stage) frame(cursor, ink, 2);
    frame(pointed, ink, 2);
    small.want("seen", wanted.small); large.want("seen", wanted.large);
    el.dataset.drawn = Number(el.dataset.drawn ?? 0) + 1;
    el.dataset.missing = wanted.small.length;
  }
  function cover(g, image, x, y, s) {      // the middle of the image, as a square
    const { naturalWidth: w, naturalHeight: h } = image, cut = Math.min(w, h);
    g.imageSmoothingQuality = "high";
    g.drawImage(image, (w - cut) / 2, (h - cut) / 2, cut, cut, x, y, s, s);
  }
  function drawSeams(g, cell, x, y, s, gap) {
    const column = cell % columns(), row = Math.floor(cell / columns());
    const seam = (value, ...box) => { if (Number.isFinite(value)) { g.fillStyle = colour(value); g.fillRect(...box); } };
    if (column < columns() - 1) seam(right[row * (columns() - 1) + column], x + s - gap / 2, y, gap, s);
    if (row < rows() - 1) seam(down[cell], x + gap / 2, y + s - gap / 2, s - gap, gap);
  }
  function colour(value) {
    const [low, high] = about().scale, word = words[high > low ? Math.round(255 * (value - low) / (high - low)) : 0];
    return `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`;
  }

  // --- in words
  const className = (row) => about().classes?.[row] ?? "";
  function say() {
    const cell = pointed >= 0 ? pointed : document.activeElement === stage && cursor >= 0 ? cursor : cells.indexOf(picked);
    const row = cells[cell] ?? -1;
    if (row < 0) { where.textContent = ""; far.textContent = ""; return; }
    const known = large.get(row) ?? small.get(row);
    if (!known) small.want("pointed", [row]);
    const text = [known?.name ?? `row ${row}`, className(row), row === picked ? "chosen" : ""].filter(Boolean).join(" · ");
    if (where.textContent !== text) where.textContent = text;
    const [i, j] = [Math.floor(cell / columns()), cell % columns()], across = [];
    const add = (name, value) => { if (Number.isFinite(value)) across.push(`${name} ${number(value)}`); };
    if (right.length + down.length) {
      add("left", j ? right[i * (columns() - 1) + j - 1] : NaN); add("right", j < columns() - 1 ? right[i * (columns() - 1) + j] : NaN);
      add("above", i ? down[(i - 1) * columns() + j] : NaN); add("below", i < rows() - 1 ? down[i * columns() + j] : NaN);
    }
    far.textContent = across.length ? `Distance to its neighbours: ${across.join(", ")}` : "";
  }
  function goTo(row) {
    if (row !== picked) { picked = row; pickedAhead(); model.send({ cmd: "pick", value: row }); }
    say(); ask();
  }

  on(stage, "pointermove", (e) => {
    const cell = pan.dragging() ? -1 : cellAt(e);
    if (cell === pointed) return;
    pointed = cell;
    stage.style.cursor = cell >= 0 ? "pointer" : "";
    say(); ask();
  });
  on(stage, "pointerleave", () => { pointed = -1; say(); ask(); });
  for (const event of ["focus", "blur"]) on(stage, event, () => { say(); ask(); });
  on(stage, "keydown", (e) => {
    const middle = () => { const [x, y] = corner(cursor); return [(x + side() / 2) / stage.clientWidth, (y + side() / 2) / stage.clientHeight]; };
    if (pan.key(e, cursor >= 0 ? middle() : undefined)) return;
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[e.key];
    if (move || e.key === "Home" || e.key === "End") {
      pointed = -1;
      const next = cursor < 0 || e.key === "Home" ? first() : e.key === "End" ? cells.findLastIndex((row) => row >= 0) : beside(...move);
      if (next >= 0) { cursor = next; pan.bring(middle(), 0.5 * side() / stage.clientWidth); }
      say(); ask();
    } else if ((e.key === "Enter" || e.key === " ") && cursor >= 0) goTo(cells[cursor]);
    else return;
    e.preventDefault();
  });
  const first = () => (cells.includes(picked) && picked >= 0 ? cells.indexOf(picked) : cells.findIndex((row) => row >= 0));
  function beside(dy, dx) {      // the next cell that is not empty; in the next column or row, the nearest
    const [i, j] = [Math.floor(cursor / columns()), cursor % columns()];
    let best = -1, least = Infinity;
    cells.forEach((row, cell) => {
      const y = Math.floor(cell / columns()) - i, x = cell % columns() - j, along = y * dy + x * dx, across = Math.abs(y * dx - x * dy);
      if (row < 0 || along <= 0) return;
      const cost = along + 1.5 * across + (across > along ? 1e6 : 0);
      if (cost < least) { least = cost; best = cell; }
    });
    return best;
  }

  // --- seams
  const check = on(focusable(make("input", { type: "checkbox" })), "change", () => model.send({ cmd: "seams", value: check.checked }));
  const low = make("span"), high = make("span"), bar = make("canvas", { width: 256, height: 1, role: "img" });
  const scale = make("span", { class: "vw-row" }, make("label", {}, check, "seams: distance of the features"), make("span", { class: "vw-scale" }, low, bar, high));
  function sayScale() {
    scale.hidden = !(right.length + down.length);
    check.checked = get("seams");
    low.parentElement.hidden = !get("seams");
    const strip = new ImageData(256, 1);
    if (words.length) new Uint32Array(strip.data.buffer).set(words);
    bar.getContext("2d").putImageData(strip, 0, 0);
    [low.textContent, high.textContent] = (about().scale ?? [0, 0]).map((v) => number(v));
    bar.ariaLabel = `colours of the seams, from ${low.textContent} to ${high.textContent}`;
  }

  function take() {
    const a = about();
    cells = new Int32Array(bytes(a.cells).slice().buffer);
    right = floats(a.right); down = floats(a.down); words = a.colours ? colourTable(a.colours) : [];
    small.clear(); large.clear();
    pointed = cursor = -1;
    title.textContent = a.count === undefined ? "" : a.title;
    kind.textContent = a.kind ?? "";
    stage.style.aspectRatio = cells.length ? `${a.columns} / ${a.rows}` : "3";
    stage.style.maxWidth = `${Math.max(240, Math.min(720, (a.columns ?? 3) * MOST_SIDE))}px`;
    empty.hidden = cells.length > 0; canvas.hidden = pan.buttons.hidden = !cells.length;
    stage.ariaLabel = cells.length ? `${a.title}. Arrow keys go from image to image, Enter chooses one, plus and minus zoom.` : "grid of images, empty";
    sayScale(); say(); ask();
  }
  el.append(make("div", { class: "vw-row" }, title, kind), make("div", { class: "vw-row vw-mosaic-tools" }, pan.buttons, scale), stage, where, far);
  errorLine(model, el, signal);
  listen(model, "change:about", take, signal, true);
  listen(model, "change:seams", () => { sayScale(); ask(); }, signal);
  const pickedAhead = ahead(model, "picked", () => {
    if (get("picked") === picked) return;
    picked = get("picked");
    if (picked >= 0) cursor = cells.indexOf(picked);
    say(); ask();
  }, signal);
  const sized = new ResizeObserver(ask);
  sized.observe(stage);
  onThemeChange(ask, signal);
  signal.addEventListener("abort", () => { sized.disconnect(); cancelAnimationFrame(asked); });
  return () => stop.abort();
}

export default { render };
