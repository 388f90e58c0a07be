// All channels of a layer as tiles. The values arrive as bytes with the limits of each channel; colours, sorting, the large
// view and the values under the pointer are worked out here, without asking Python.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const send = (message) => model.send(message);
  el.classList.add("vw", "vw-grid");

  let f = null;            // what is shown: counts, limits, values
  let at = null;           // row and column under the pointer, or the keyboard's cursor, in the large map
  let sprite = null, ghost = null, photo = null;
  const chosen = () => model.get("_selected");

  const title = make("span", { class: "vw-title" });
  const about = make("span", { class: "vw-dim" });
  const sort = focusable(make("select", { "aria-label": "order of the channels" },
    make("option", { value: "channel" }, "by number"), make("option", { value: "response" }, "by response")));
  const scale = focusable(make("select", { "aria-label": "colour scale" },
    make("option", { value: "common" }, "one scale"), make("option", { value: "own" }, "each its own")));
  const over = focusable(make("input", { type: "checkbox" }));
  const opacity = focusable(make("input", { type: "range", min: 0, max: 100, value: 80, "aria-label": "opacity of the map over the picture" }));
  const bar = make("canvas", { width: 256, height: 1, role: "img" });
  const low = make("span"), high = make("span");
  const large = focusable(make("canvas", { width: 432, height: 432, role: "img", tabIndex: 0 }));
  const which = make("p", { class: "vw-title", "aria-live": "polite" });
  const what = make("p", { class: "vw-dim" }), where = make("p", { class: "vw-dim", "aria-live": "polite" });
  const tiles = tileGrid({ el, label: "channels", name: nameOf, signal, paint, painted, isChosen: (c) => c === chosen(),
    choose: (c) => send({ cmd: "select", index: c, layer: f.layer }),
    hover: (c, across, down) => { if (c < 0 || !f) where.textContent = ""; else sayValue(c, across, down); } });
  const detail = make("div", { class: "vw-grid-detail" }, large, which, what, where);
  const body = make("div", { class: "vw-grid-body" }, tiles.node, detail);
  const controls = make("div", { class: "vw-row" }, make("label", {}, "order ", sort), make("label", {}, "colours ", scale),
    make("span", { class: "vw-scale" }, low, bar, high), make("label", {}, over, "over the picture"), opacity);
  el.append(make("div", { class: "vw-row" }, title, about), controls, body);
  errorLine(model, el, signal);

  function receive() {
    const state = model.get("frame");
    controls.hidden = body.hidden = !state?.count;
    if (!state?.count) {
      f = null;
      el.dataset.seq = "";
      title.textContent = ""; about.textContent = "No channels yet: a network, a picture and a layer are needed.";
      tiles.show([], 48);
      return;
    }
    at = null;
    f = { ...state, values: bytes(state.values), lows: floats(state.lows), highs: floats(state.highs), means: floats(state.means),
      words: colourTable(state.colours) };
    title.textContent = f.layer;
    about.textContent = f.caption;
    paintSprite(); arrange();
  }

  function arrange() {
    const order = Array.from({ length: f.count }, (_, i) => i);
    if (model.get("sort") === "response") order.sort((a, b) => f.means[b] - f.means[a] || a - b);
    tiles.show(order, f.vector ? (f.names.length ? 84 : 28) : f.count <= 48 ? 64 : f.count <= 160 ? 52 : 40, chosen());
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
    sprite = sheetOf(image); sprite.across = across;
    ghost = see && sheetOf(see);
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

  function sheetOf(image) {
    const sheet = make("canvas", { width: image.width, height: image.height });
    sheet.getContext("2d").putImageData(image, 0, 0);
    return sheet;
  }

  function paint(g, c, x, y, side, css) {
    if (f.vector) drawBar(g, c, x, y, side, css);
    else if (ghost) {
      g.imageSmoothingEnabled = true; g.drawImage(photo, x, y, side, side);
      g.globalAlpha = opacity.value / 100; drawMap(g, c, x, y, side, ghost); g.globalAlpha = 1;
    } else drawMap(g, c, x, y, side, sprite);
  }

  function drawMap(g, c, x, y, side, sheet) {
    const { height: h, width: w } = f, k = Math.max(h, w), sx = (c % sprite.across) * w, sy = Math.floor(c / sprite.across) * h;
    g.imageSmoothingEnabled = false;
    g.drawImage(sheet, sx, sy, w, h, x + side * (k - w) / 2 / k, y + side * (k - h) / 2 / k, side * w / k, side * h / k);
  }

  function drawBar(g, c, x, y, side, css) {
    const tall = f.names.length ? side - 16 : side;
    const [lo, hi] = limits(c), v = value(c, 0), zero = hi / (hi - lo || 1) * tall, top = (hi - v) / (hi - lo || 1) * tall;
    g.fillStyle = css.getPropertyValue("--vw-bg2"); g.fillRect(x, y, side, tall);
    g.fillStyle = css.getPropertyValue("--vw-bar");
    g.fillRect(x, y + Math.min(zero, top), side, Math.max(1, Math.abs(top - zero)));
    if (!f.names.length) return;
    g.fillStyle = css.getPropertyValue("--vw-fg"); g.font = `11px ${css.fontFamily}`; g.textBaseline = "bottom";
    g.save(); g.beginPath(); g.rect(x, y, side, side); g.clip(); g.fillText(f.names[c], x + 1, y + side); g.restore();
  }

  function painted() {
    if (!f) return;
    showLarge();
    if (el.dataset.seq !== String(f.seq)) el.dataset.seq = f.seq;
  }

  function nameOf(c) { return f.names[c] ? `${c}: ${f.names[c]}` : `channel ${c}`; }

  function strongest() {
    let best = 0;
    for (let c = 1; c < f.count; c++) if (f.means[c] > f.means[best]) best = c;
    return best;
  }

  function showLarge() {
    const hover = tiles.pointed(), mine = chosen(), c = hover >= 0 ? hover : mine >= 0 && mine < f.count ? mine : strongest();
    const g = large.getContext("2d"), side = large.width;
    g.clearRect(0, 0, side, side);
    large.style.display = f.vector ? "none" : "block";
    over.parentElement.hidden = f.vector;
    opacity.hidden = f.vector || !model.get("overlay");
    if (!f.vector) paint(g, c, 0, 0, side);
    const name = nameOf(c);
    which.textContent = c === mine ? `${name} (selected)` : hover < 0 && mine < 0 ? `${name} (strongest)` : name;
    what.textContent = f.vector ? `value ${number(value(c, 0))}` : `from ${number(f.lows[c])} to ${number(f.highs[c])}, mean ${number(f.means[c])}`;
    large.setAttribute("aria-label", `${name} of ${f.layer}: ${what.textContent}`);
    large.dataset.channel = c;
    if (at) frameWhatItSees(...at);
  }

  // As many pixels as the screen has there, so that frames and photographs are sharp.
  const sized = new ResizeObserver(() => {
    const side = Math.round(large.clientWidth * (window.devicePixelRatio || 1));
    if (!side || side === large.width) return;
    large.width = large.height = side;
    if (f) showLarge();
  });
  sized.observe(large);
  signal.addEventListener("abort", () => sized.disconnect());

  // The value of the map under a point, given as shares of the side of the square it is drawn in.
  function sayValue(c, across, down) {
    const k = Math.max(f.height, f.width), x = Math.floor(across * k - (k - f.width) / 2), y = Math.floor(down * k - (k - f.height) / 2);
    const inside = !f.vector && x >= 0 && y >= 0 && x < f.width && y < f.height;
    where.textContent = inside ? `${number(value(c, y * f.width + x))} at row ${y}, column ${x}` : "";
    return inside ? [y, x] : null;
  }

  // In the large map also the pixels that a position can see, the one under the pointer or the one the arrow keys have gone to.
  function lookAt(across, down) {
    at = sayValue(Number(large.dataset.channel), across, down);
    if (!at) return;
    if (f.field && f.pooled === 1) where.textContent += "; the frame is what it sees";
    showLarge();
  }
  function frameWhatItSees(y, x) {
    if (!f.field || f.pooled > 1) return;
    const [[fh, fw], [sy, sx], [oy, ox]] = f.field, g = large.getContext("2d"), u = large.width / Math.max(...f.image);
    for (const [colour, wide] of [["#fff", 4], [getComputedStyle(el).getPropertyValue("--vw-accent"), 2]]) {      // on every ground
      g.strokeStyle = colour; g.lineWidth = wide * (window.devicePixelRatio || 1);
      g.strokeRect((ox + x * sx) * u, (oy + y * sy) * u, fw * u, fh * u);
    }
  }
  function lookAway() { at = null; where.textContent = ""; tiles.ask(); }
  large.addEventListener("pointermove", (e) => {
    const r = large.getBoundingClientRect();
    if (f && !f.vector) lookAt((e.clientX - r.x) / r.width, (e.clientY - r.y) / r.height);
  }, { signal });
  large.addEventListener("pointerleave", lookAway, { signal });
  large.addEventListener("blur", lookAway, { signal });
  large.addEventListener("keydown", (e) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[e.key];
    if (!step || !f) return;
    const [h, w] = [f.height, f.width], k = Math.max(h, w), [y, x] = at ?? [Math.floor(h / 2) - step[0], Math.floor(w / 2) - step[1]];
    const inside = (i, n) => Math.max(0, Math.min(n - 1, i));
    lookAt((inside(x + step[1], w) + 0.5 + (k - w) / 2) / k, (inside(y + step[0], h) + 0.5 + (k - h) / 2) / k);
    e.preventDefault();
  }, { signal });

  for (const [control, name, read] of [[sort, "sort", () => sort.value], [scale, "scale", () => scale.value], [over, "overlay", () => over.checked]]) {
    control.addEventListener("change", () => send({ cmd: "set", name, value: read() }), { signal });
    listen(model, `change:${name}`, () => {
      if (control === over) over.checked = model.get(name); else control.value = model.get(name);
      if (name === "overlay") opacity.hidden = !model.get("overlay");
      if (!f) return;
      if (name === "sort") arrange(); else paintSprite();
      tiles.ask();
    }, signal, true);
  }
  opacity.addEventListener("input", tiles.ask, { signal });

  let pictures = 0;
  async function receivePicture() {
    const data = model.get("picture"), mine = ++pictures;
    const bitmap = data && data.byteLength ? await createImageBitmap(new Blob([bytes(data)], { type: "image/png" })) : null;
    if (mine !== pictures) return;     // a newer picture has been decoded first
    photo = bitmap;
    if (f && model.get("overlay")) { paintSprite(); tiles.ask(); }
  }
  listen(model, "change:frame", receive, signal, true);
  listen(model, "change:picture", receivePicture, signal, true);
  listen(model, "change:_selected", () => tiles.moveTo(chosen()), signal);
  listen(model, "change:busy", () => body.classList.toggle("vw-busy", model.get("busy")), signal, true);
  return () => stop.abort();
}

export default { render };
