// All channels of a layer as tiles. The values arrive as bytes with the limits of each channel; colours, sorting, the large
// view and the values under the pointer are worked out here, without asking Python.

const GAP = 3, PAD = 2;

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const send = (message) => model.send(message);
  el.classList.add("vw", "vw-grid");

  const title = make("span", { class: "vw-title" });
  const about = make("span", { class: "vw-dim" });
  const sort = focusable(make("select", { "aria-label": "order of the channels" },
    make("option", { value: "channel" }, "by number"), make("option", { value: "response" }, "by response")));
  const scale = focusable(make("select", { "aria-label": "colour scale" },
    make("option", { value: "common" }, "one scale"), make("option", { value: "own" }, "each its own")));
  const over = focusable(make("input", { type: "checkbox" }));
  const bar = make("canvas", { width: 256, height: 1, role: "img" });
  const low = make("span"), high = make("span");
  const scroll = focusable(make("div", { class: "vw-grid-scroll", tabIndex: 0, role: "listbox" }));
  const spacer = make("div"), canvas = make("canvas", { "aria-hidden": "true" });
  const large = make("canvas", { width: 432, height: 432, role: "img" });
  const which = make("p", { class: "vw-title", "aria-live": "polite" });
  const what = make("p", { class: "vw-dim" }), where = make("p", { class: "vw-dim" });
  const opacity = focusable(make("input", { type: "range", min: 0, max: 100, value: 80, "aria-label": "opacity of the map over the picture" }));
  scroll.append(canvas, spacer);
  const detail = make("div", { class: "vw-grid-detail" }, large, which, what, where);
  const body = make("div", { class: "vw-grid-body" }, scroll, detail);
  el.append(
    make("div", { class: "vw-row" }, title, about),
    make("div", { class: "vw-row" }, make("label", {}, "order ", sort), make("label", {}, "colours ", scale),
      make("label", {}, over, "over the picture"), opacity, make("span", { class: "vw-scale" }, low, bar, high)),
    body);
  errorLine(model, el, signal);

  let f = null;            // what is shown: counts, limits, values
  let sprite = null, ghost = null, photo = null, order = [], position = [], hover = -1, cursor = 0, columns = 1, tile = 48, drawn = 0, frame = 0;

  function receive() {
    const state = model.get("frame");
    if (!state || !state.count) { f = null; el.dataset.seq = ""; ask(); return; }
    f = { ...state, values: bytes(state.values), lows: floats(state.lows), highs: floats(state.highs), means: floats(state.means),
      words: colourTable(state.colours) };
    title.textContent = f.layer;
    about.textContent = f.caption;
    body.classList.remove("vw-busy");
    hover = -1;
    arrange(); paintSprite(); resize();
  }

  function arrange() {
    order = Array.from({ length: f.count }, (_, i) => i);
    if (model.get("sort") === "response") order.sort((a, b) => f.means[b] - f.means[a] || a - b);
    position = new Array(f.count);
    order.forEach((channel, place) => { position[channel] = place; });
    cursor = Math.max(0, position[model.get("_selected")] ?? 0);
  }

  function limits(c) {
    if (model.get("scale") === "common") return [f.low < 0 ? -f.top : 0, f.top];
    const top = f.low < 0 ? Math.max(-f.lows[c], f.highs[c]) : f.highs[c];
    return [f.low < 0 ? -top : 0, top];
  }

  function value(c, i) {
    const v = f.values[c * f.height * f.width + i];
    return f.lows[c] + (v / 255) * (f.highs[c] - f.lows[c]);
  }

  // One sheet of all maps at their own resolution, in channel order; tiles are cut from it. A second one, for lying over the
  // picture, is the more transparent the nearer a value is to 0. Values beyond the scale get a colour of their own.
  function paintSprite() {
    const { count: n, height: h, width: w } = f, across = Math.ceil(Math.sqrt(n * h / w)) || 1, signed = f.low < 0;
    const beyond = signed ? 0xff000000 : 0xffffffff, shown = model.get("overlay") && photo;
    const sheet = () => make("canvas", { width: across * w, height: Math.ceil(n / across) * h });
    const size = [across * w, Math.ceil(n / across) * h], image = new ImageData(...size), out = new Uint32Array(image.data.buffer);
    const see = shown ? new ImageData(...size) : null, through = see && new Uint32Array(see.data.buffer);
    const alpha = Uint8Array.from({ length: 256 }, (_, i) => 255 * Math.sqrt((signed ? Math.abs(2 * i - 255) : i) / 255));
    for (let c = 0; c < n; c++) {
      const [lo, hi] = limits(c), unit = 255 / (hi - lo || 1), span = (f.highs[c] - f.lows[c]) / 255;
      const a = (f.lows[c] - lo) * unit, b = span * unit;
      let s = c * h * w;
      for (let y = 0; y < h; y++) {
        let q = (Math.floor(c / across) * h + y) * size[0] + (c % across) * w;
        for (let x = 0; x < w; x++, q++) {
          const k = a + b * f.values[s++], i = k < 0 ? 0 : k > 255 ? 255 : (k + 0.5) | 0;
          out[q] = k > 256.5 || k < -1.5 ? beyond : f.words[i];
          if (through) through[q] = (out[q] & 0xffffff) | (alpha[i] << 24);
        }
      }
    }
    sprite = sheet(); sprite.getContext("2d").putImageData(image, 0, 0); sprite.across = across;
    ghost = null;
    if (see) { ghost = sheet(); ghost.getContext("2d").putImageData(see, 0, 0); }
    const strip = new ImageData(256, 1);
    new Uint32Array(strip.data.buffer).set(f.words);
    bar.getContext("2d").putImageData(strip, 0, 0);
    const own = model.get("scale") === "own", clipped = !own && f.clipped > 0;
    low.textContent = own ? (signed ? "−max" : "0") : signed ? `${clipped ? "≤ " : ""}${number(-f.top)}` : "0";
    high.textContent = own ? "max" : `${clipped ? "≥ " : ""}${number(f.top)}`;
    const say = signed ? "signed, around 0" : "from 0";
    bar.setAttribute("aria-label", `colour scale ${say}`);
    bar.parentElement.title = clipped ? `${number(100 * f.clipped)} % of the values lie beyond the scale, shown ${signed ? "black" : "white"}; they reach ${number(Math.abs(f.low) > f.high ? f.low : f.high)}` : `colour scale ${say}`;
  }

  function resize() {
    if (!f) return;
    const width = Math.max(64, scroll.clientWidth || 320);
    tile = f.vector ? (f.names.length ? 84 : 28) : f.count <= 48 ? 64 : f.count <= 160 ? 52 : 40;
    columns = Math.max(1, Math.floor((width - 2 * PAD + GAP) / (tile + GAP)));
    const all = Math.ceil(f.count / columns) * (tile + GAP) - GAP + 2 * PAD;
    const shown = Math.min(all, 440), ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${width}px`; canvas.style.height = `${shown}px`;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(shown * ratio);
    spacer.style.height = `${all - shown}px`;
    ask();
  }

  const ask = () => { frame ||= requestAnimationFrame(draw); };
  const corner = (place) => [PAD + (place % columns) * (tile + GAP), PAD + Math.floor(place / columns) * (tile + GAP)];

  function draw() {
    frame = 0;
    const g = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, canvas.width, canvas.height);
    if (!f) { title.textContent = ""; about.textContent = model.get("layer") ? "" : "Pick a layer to see its channels."; return; }
    g.imageSmoothingEnabled = false;
    const css = getComputedStyle(el), accent = css.getPropertyValue("--vw-accent"), ink = css.getPropertyValue("--vw-fg");
    const top = scroll.scrollTop, tall = canvas.height / ratio, step = tile + GAP;
    const first = Math.max(0, Math.floor((top - PAD) / step)) * columns;
    const last = Math.min(f.count, (Math.floor((top + tall) / step) + 1) * columns);
    for (let place = first; place < last; place++) {
      const [x, y0] = corner(place), y = y0 - top, c = order[place];
      if (f.vector) drawBar(g, c, x, y, css);
      else if (model.get("overlay") && photo) {
        g.imageSmoothingEnabled = true; g.drawImage(photo, x, y, tile, tile);
        g.globalAlpha = opacity.value / 100; drawMap(g, c, x, y, tile, ghost); g.globalAlpha = 1;
      } else drawMap(g, c, x, y, tile);
      const chosen = c === model.get("_selected"), marked = place === cursor && document.activeElement === scroll;
      if (chosen || c === hover || marked) {
        g.strokeStyle = chosen ? accent : ink; g.lineWidth = chosen ? 3 : 1.5; g.strokeRect(x - 1, y - 1, tile + 2, tile + 2);
      }
    }
    showLarge();
    drawn += 1;
    el.dataset.drawn = drawn;
    if (el.dataset.seq !== String(f.seq)) el.dataset.seq = f.seq;
    el.dataset.columns = columns; el.dataset.tile = tile;
  }

  function drawMap(g, c, x, y, side, sheet = null) {
    const { height: h, width: w } = f, k = Math.max(h, w), sx = (c % sprite.across) * w, sy = Math.floor(c / sprite.across) * h;
    g.imageSmoothingEnabled = false;
    g.drawImage(sheet || sprite, sx, sy, w, h, x + side * (k - w) / 2 / k, y + side * (k - h) / 2 / k, side * w / k, side * h / k);
  }

  function drawBar(g, c, x, y, css) {
    const tall = f.names.length ? tile - 16 : tile;
    const [lo, hi] = limits(c), v = value(c, 0), zero = hi / (hi - lo || 1) * tall, top = (hi - v) / (hi - lo || 1) * tall;
    g.fillStyle = css.getPropertyValue("--vw-bg2"); g.fillRect(x, y, tile, tall);
    g.fillStyle = css.getPropertyValue("--vw-bar");
    g.fillRect(x, y + Math.min(zero, top), tile, Math.max(1, Math.abs(top - zero)));
    if (!f.names.length) return;
    g.fillStyle = css.getPropertyValue("--vw-fg"); g.font = `11px ${css.fontFamily}`; g.textBaseline = "bottom";
    g.save(); g.beginPath(); g.rect(x, y, tile, tile); g.clip(); g.fillText(f.names[c], x + 1, y + tile); g.restore();
  }

  function strongest() {
    let best = 0;
    for (let c = 1; c < f.count; c++) if (f.means[c] > f.means[best]) best = c;
    return best;
  }

  function showLarge() {
    const chosen = model.get("_selected"), c = hover >= 0 ? hover : chosen >= 0 && chosen < f.count ? chosen : strongest();
    const g = large.getContext("2d"), side = large.width;
    g.globalAlpha = 1; g.clearRect(0, 0, side, side);
    large.style.display = f.vector ? "none" : "block";
    over.parentElement.style.display = opacity.style.display = f.vector ? "none" : "";
    if (!f.vector) {
      const over = model.get("overlay") && photo;
      if (over) { g.imageSmoothingEnabled = true; g.drawImage(photo, 0, 0, side, side); g.globalAlpha = opacity.value / 100; }
      drawMap(g, c, 0, 0, side, over ? ghost : null); g.globalAlpha = 1;
    }
    const name = f.names && f.names[c] ? `${c}: ${f.names[c]}` : `channel ${c}`;
    which.textContent = c === chosen ? `${name} (selected)` : hover < 0 && chosen < 0 ? `${name} (strongest)` : name;
    what.textContent = f.vector ? `value ${number(value(c, 0))}` : `from ${number(f.lows[c])} to ${number(f.highs[c])}, mean ${number(f.means[c])}`;
    large.setAttribute("aria-label", `${name} of ${f.layer}: ${what.textContent}`);
    large.dataset.channel = c;
  }

  // The value under the pointer, and the pixels that this position can see.
  large.addEventListener("pointermove", (e) => {
    if (!f || f.vector) return;
    const r = large.getBoundingClientRect(), at = sayValue(Number(large.dataset.channel), (e.clientX - r.x) / r.width, (e.clientY - r.y) / r.height);
    if (!at) return;
    const [y, x] = at;
    draw();
    if (!f.field || f.pooled > 1) return;
    const [[fh, fw], [sy, sx], [oy, ox]] = f.field, g = large.getContext("2d"), u = large.width / Math.max(...f.image);
    g.strokeStyle = getComputedStyle(el).getPropertyValue("--vw-accent"); g.lineWidth = 3;
    g.strokeRect((ox + x * sx) * u, (oy + y * sy) * u, fw * u, fh * u);
    where.textContent += `; the frame is what it sees`;
  }, { signal });
  large.addEventListener("pointerleave", () => { where.textContent = ""; ask(); }, { signal });

  function placeAt(e) {
    const r = canvas.getBoundingClientRect(), x = e.clientX - r.x - PAD, y = e.clientY - r.y - PAD + scroll.scrollTop, step = tile + GAP;
    const column = Math.floor(x / step), place = Math.floor(y / step) * columns + column;
    return !f || x < 0 || y < 0 || column >= columns || place >= f.count ? -1 : place;
  }
  // The value of the map under a point, given as shares of the side of the square it is drawn in.
  function sayValue(c, across, down) {
    const k = Math.max(f.height, f.width), x = Math.floor(across * k - (k - f.width) / 2), y = Math.floor(down * k - (k - f.height) / 2);
    const inside = !f.vector && x >= 0 && y >= 0 && x < f.width && y < f.height;
    where.textContent = inside ? `${number(value(c, y * f.width + x))} at row ${y}, column ${x}` : "";
    return inside ? [y, x] : null;
  }
  function choose(place) {
    if (place < 0 || !f) return;
    cursor = place;
    send({ cmd: "select", index: order[place], layer: f.layer });
  }
  canvas.addEventListener("pointermove", (e) => { 
    const p = placeAt(e), c = p < 0 ? -1 : order[p];
    if (c !== hover) { hover = c; ask(); }
    if (c < 0) { where.textContent = ""; return; }
    const [x, y] = corner(p), r = canvas.getBoundingClientRect();
    sayValue(c, (e.clientX - r.x - x) / tile, (e.clientY - r.y + scroll.scrollTop - y) / tile);
  }, { signal });
  canvas.addEventListener("pointerleave", () => { hover = -1; where.textContent = ""; ask(); }, { signal });
  canvas.addEventListener("click", (e) => choose(placeAt(e)), { signal });
  scroll.addEventListener("scroll", ask, { signal, passive: true });
  scroll.addEventListener("focus", ask, { signal });
  scroll.addEventListener("blur", () => { hover = -1; ask(); }, { signal });
  scroll.addEventListener("keydown", (e) => {
    if (!f) return;
    const page = columns * Math.max(1, Math.floor(440 / (tile + GAP)));
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -f.count, End: f.count }[e.key];
    if (move) {
      cursor = Math.min(f.count - 1, Math.max(0, cursor + move)); hover = order[cursor];
      const y = corner(cursor)[1], tall = canvas.clientHeight;
      if (y < scroll.scrollTop) scroll.scrollTop = y - PAD; else if (y + tile > scroll.scrollTop + tall) scroll.scrollTop = y + tile + PAD - tall;
      ask();
    } else if (e.key === "Enter" || e.key === " ") choose(cursor);
    else if (e.key === "Escape") scroll.blur();
    else return;
    e.preventDefault(); e.stopPropagation();
  }, { signal });

  for (const [control, name, read] of [[sort, "sort", () => sort.value], [scale, "scale", () => scale.value], [over, "overlay", () => over.checked]]) {
    control.addEventListener("change", () => send({ cmd: "set", name, value: read() }), { signal });
    listen(model, `change:${name}`, () => {
      if (control === over) over.checked = model.get(name); else control.value = model.get(name);
      if (name === "overlay") opacity.style.visibility = model.get("overlay") ? "" : "hidden";
      if (f) { if (name === "sort") arrange(); else paintSprite(); ask(); }
    }, signal, true);
  }
  opacity.addEventListener("input", ask, { signal });

  let pictures = 0;
  async function receivePicture() {
    const data = model.get("picture"), mine = ++pictures;
    const bitmap = data && data.byteLength ? await createImageBitmap(new Blob([bytes(data)], { type: "image/png" })) : null;
    if (mine === pictures) { photo = bitmap; if (f && model.get("overlay")) paintSprite(); ask(); }     // a newer picture may have been decoded first
  }
  listen(model, "change:frame", receive, signal, true);
  listen(model, "change:picture", receivePicture, signal, true);
  listen(model, "change:_selected", () => { if (f) { cursor = Math.max(0, position[model.get("_selected")] ?? cursor); ask(); } }, signal);
  listen(model, "change:layer", () => { if (f && model.get("layer") !== f.layer) body.classList.add("vw-busy"); ask(); }, signal);
  listen(model, "change:error", () => { if (model.get("error")) body.classList.remove("vw-busy"); }, signal);
  onThemeChange(ask, signal);
  const watch = new ResizeObserver(resize);
  watch.observe(scroll);
  return () => { stop.abort(); watch.disconnect(); cancelAnimationFrame(frame); };
}

export default { render };
