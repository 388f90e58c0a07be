// A grid of square tiles that scrolls: only what is in view is painted. Mouse, keyboard, sharp on every screen. `below` each
// square there may be room for words.

const GAP = 3, PAD = 2;

function tileGrid({ el, label, name, signal, paint, choose, hover, isChosen, painted, tallest = 440 }) {
  const scroll = focusable(make("div", { class: "vw-tiles", tabIndex: 0, role: "listbox", "aria-label": label }));
  const spacer = make("div"), canvas = make("canvas", { "aria-hidden": "true" });
  // What a screen reader hears: the tile under the keyboard's cursor.
  const spoken = make("div", { class: "vw-spoken", role: "option", id: `vw-${Math.random().toString(36).slice(2)}` });
  scroll.append(canvas, spacer, spoken);
  let order = [], places = new Map(), wanted = 48, tile = 48, columns = 1, pointed = -1, cursor = 0, frame = 0, drawn = 0, width = 0, foot = 0;
  scroll.style.maxHeight = `${tallest}px`;

  // Show these items, in this order, on tiles of about this size, the keyboard's cursor on one of them.
  function show(items, size, at = -1, below = 0) {
    order = items; wanted = size; foot = below; places = new Map(items.map((item, place) => [item, place]));
    pointed = -1;
    cursor = places.get(at) ?? Math.min(cursor, Math.max(0, order.length - 1));
    fit();
    draw();      // now, not at the next frame: that one can show it already
  }

  function fit() {
    const ratio = window.devicePixelRatio || 1;
    width ||= Math.max(64, scroll.clientWidth || 320);      // asking costs a layout of the page: once only
    const room = width - 2 * PAD + GAP;
    columns = Math.max(1, Math.floor(room / (wanted + GAP)));
    tile = Math.min(Math.floor(room / columns) - GAP, Math.round(1.4 * wanted));      // no empty strip beside them
    const all = Math.ceil(order.length / columns) * pitch() - GAP + 2 * PAD, shown = Math.max(0, Math.min(all, tallest));
    const size = [Math.round(width * ratio), Math.round(shown * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
      canvas.style.width = `${width}px`; canvas.style.height = `${shown}px`;
    }
    spacer.style.height = `${Math.max(0, all - shown)}px`;
  }

  const ask = () => { frame ||= requestAnimationFrame(draw); };
  const pitch = () => tile + foot + GAP;      // from a row to the next
  const corner = (place) => [PAD + (place % columns) * (tile + GAP), PAD + Math.floor(place / columns) * pitch()];

  function draw() {
    cancelAnimationFrame(frame);
    frame = 0;
    const g = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1, css = getComputedStyle(el);
    const accent = css.getPropertyValue("--vw-accent"), ink = css.getPropertyValue("--vw-fg");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, canvas.width, canvas.height);
    const top = scroll.scrollTop, tall = canvas.height / ratio, step = pitch();
    const first = Math.max(0, Math.floor((top - PAD) / step)) * columns;
    const last = Math.min(order.length, (Math.floor((top + tall) / step) + 1) * columns);
    for (let place = first; place < last; place++) {
      const [x, y0] = corner(place), y = y0 - top, item = order[place];
      paint(g, item, x, y, tile, css);
      const chosen = isChosen(item), marked = place === cursor && document.activeElement === scroll;
      if (chosen || item === pointed || marked) {
        g.strokeStyle = chosen ? accent : ink; g.lineWidth = chosen || marked ? 3 : 1.5; g.strokeRect(x - 1, y - 1, tile + 2, tile + foot + 2);
      }
    }
    if (first < last) speak(order[cursor]);
    drawn += 1;
    Object.assign(el.dataset, { drawn, columns, tile });
    painted();
  }

  function speak(item) {
    const text = name(item), chosen = String(isChosen(item));
    if (spoken.textContent !== text) spoken.textContent = text;
    for (const [key, value] of [["aria-selected", chosen], ["aria-posinset", cursor + 1], ["aria-setsize", order.length]])
      if (spoken.getAttribute(key) !== String(value)) spoken.setAttribute(key, value);
    if (!scroll.hasAttribute("aria-activedescendant")) scroll.setAttribute("aria-activedescendant", spoken.id);
  }

  function placeAt(e) {
    const r = canvas.getBoundingClientRect(), x = e.clientX - r.x - PAD, y = e.clientY - r.y - PAD + scroll.scrollTop;
    const column = Math.floor(x / (tile + GAP)), place = Math.floor(y / pitch()) * columns + column;
    return x < 0 || y < 0 || column >= columns || place >= order.length ? -1 : place;
  }
  function pick(place) {
    if (place < 0 || place >= order.length) return;
    cursor = place;
    choose(order[place]);
  }
  function point(item, across = 0.5, down = 0.5) {
    if (item !== pointed) { pointed = item; ask(); }
    hover(item, across, down);
  }
  canvas.addEventListener("pointermove", (e) => {
    const place = placeAt(e);
    if (place < 0) { point(-1); return; }
    const [x, y] = corner(place), r = canvas.getBoundingClientRect();
    point(order[place], (e.clientX - r.x - x) / tile, (e.clientY - r.y + scroll.scrollTop - y) / tile);
  }, { signal });
  canvas.addEventListener("pointerleave", () => point(-1), { signal });
  canvas.addEventListener("click", (e) => pick(placeAt(e)), { signal });
  scroll.addEventListener("scroll", ask, { signal, passive: true });
  scroll.addEventListener("focus", ask, { signal });
  scroll.addEventListener("blur", () => point(-1), { signal });
  scroll.addEventListener("keydown", (e) => {
    const page = columns * Math.max(1, Math.floor(tallest / pitch())), all = order.length;
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -all, End: all }[e.key];
    if (move && all) {
      cursor = Math.min(all - 1, Math.max(0, cursor + move));
      point(order[cursor]);
      const y = corner(cursor)[1], tall = canvas.clientHeight;
      if (y < scroll.scrollTop) scroll.scrollTop = y - PAD; else if (y + tile + foot > scroll.scrollTop + tall) scroll.scrollTop = y + tile + foot + PAD - tall;
      ask();
    } else if (e.key === "Enter" || e.key === " ") pick(cursor);
    else return;
    e.preventDefault();
  }, { signal });

  onThemeChange(ask, signal);
  const watch = new ResizeObserver(() => { width = 0; fit(); ask(); });
  watch.observe(scroll);
  signal.addEventListener("abort", () => { watch.disconnect(); cancelAnimationFrame(frame); });
  return { node: scroll, show, ask, pointed: () => pointed, moveTo: (item) => { if (places.has(item)) cursor = places.get(item); ask(); } };
}
