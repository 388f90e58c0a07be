// Maps of several methods beside each other. They arrive as numbers; colours, clipping, the picture below and the value under
// the cross-hair are worked out here, without asking Python.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal, view = Math.random().toString(36).slice(2);
  const get = (name) => model.get(name), about = () => get("about");
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  const { ask, answered, held } = asker(model, signal, settings);
  el.classList.add("vw", "vw-why");

  // --- controls
  const title = make("span", { class: "vw-title" }), say = make("span", { class: "vw-dim", role: "status" });
  const select = (label, name, read) => on(focusable(make("select", { "aria-label": label })), "change", (e) => ask(name, read(e.target.value)));
  const target = select("class", "target", (v) => (v === "" ? null : Number(v)));
  const layer = select("layer of Grad-CAM", "layer", (v) => v || null);
  const check = (name) => on(focusable(make("input", { type: "checkbox" })), "change", (e) => { ask(name, e.target.checked); tell(); repaint(); });
  const over = check("overlay");
  const signed = on(focusable(make("select", { "aria-label": "signs" })), "change", () => { ask("signed", { "": null, yes: true, no: false }[signed.value]); tell(); repaint(); });
  signed.append(...[["", "as each method has them"], ["yes", "red for, blue against"], ["no", "size only"]].map(([value, text]) => make("option", { value }, text)));
  const shown = (t) => t.values[{ "": t.map.own, yes: "signed", no: "absolute" }[signed.value]];
  // What a slider shows follows the hand; Python, and widgets linked to this one, hear of it.
  function slider(name, unit, options) {
    const node = focusable(make("input", { type: "range", ...options }));
    on(node, "input", () => { ask(name, node.value / unit); tell(); repaint(); });
    return node;
  }
  const opacity = slider("opacity", 100, { min: 0, max: 100, step: 1, "aria-label": "opacity of the maps over the picture" });
  const percentile = slider("percentile", 1, { min: 90, max: 100, step: 0.5, "aria-label": "pixels within the scale, in per cent" });
  const within = make("span", { class: "vw-dim" });
  const layerLabel = make("label", {}, "layer of Grad-CAM", layer);
  const chips = make("div", { class: "vw-chips", role: "group", "aria-label": "methods" });
  const controls = make("div", {},
    make("div", { class: "vw-row" }, make("label", {}, "why", target), layerLabel,
      make("label", {}, "signs", signed), make("label", {}, over, "over the picture"), opacity),
    make("div", { class: "vw-row" }, make("label", {}, "scale holds", percentile), within), make("div", { class: "vw-row" }, make("span", { class: "vw-dim" }, "methods"), chips));
  const empty = make("div", { class: "vw-dim" }), grid = make("div", { class: "vw-maps" });
  const spoken = make("div", { class: "vw-spoken", role: "status" });
  el.append(make("div", { class: "vw-row" }, title, say), controls, empty, grid, spoken);
  errorLine(model, el, signal);

  // --- a tile: the picture, or a map
  let photo = null, at = null;
  const tiles = new Map();
  const cross = () => make("div", { class: "vw-cross", "aria-hidden": "true" });
  function frameOf(canvas, ...more) {
    const frame = make("div", { class: "vw-map" }, canvas, cross(), ...more);
    on(frame, "pointermove", (e) => {
      const r = frame.getBoundingClientRect();
      look((e.clientX - r.x) / r.width, (e.clientY - r.y) / r.height);
    });
    on(frame, "pointerleave", () => look(null));
    sized.observe(frame);
    return frame;
  }
  const sized = new ResizeObserver((all) => {
    for (const { target: frame } of all) fit(frame);
    repaint();
  });
  signal.addEventListener("abort", () => sized.disconnect());
  function fit(frame) {      // as many pixels as the screen has there
    const canvas = frame.firstChild, ratio = window.devicePixelRatio || 1;
    const size = [frame.clientWidth, frame.clientHeight].map((n) => Math.max(1, Math.round(n * ratio)));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  }

  const original = focusable(make("canvas", { role: "img", tabIndex: 0 }));
  const where = make("div", { class: "vw-dim" }), notes = make("div", { class: "vw-dim" }), name = make("div", { class: "vw-title" }, "picture");
  const pictureTile = make("figure", { class: "vw-tile" }, frameOf(original), make("figcaption", {}, make("div", { class: "vw-tile-name" }, name), make("div", {}, where, notes)));
  grid.append(pictureTile);

  function tileOf(name) {
    if (tiles.has(name)) return tiles.get(name);
    const t = { name, map: {}, values: {}, sizes: {} };
    t.canvas = make("canvas", { role: "img" });
    t.state = make("div", { class: "vw-map-state" }); t.value = make("output", { class: "vw-map-value" }); t.bar = make("div", { class: "vw-map-bar" });
    t.large = focusable(make("button", { type: "button" }, name, icon("M9.5 2.5H13.5V6.5M13 3 9.5 6.5M6.5 13.5H2.5V9.5M3 13 6.5 9.5")));
    t.save = focusable(make("button", { type: "button", title: `save ${name} as PNG`, "aria-label": `save ${name} as PNG` }, icon("M8 1v8m-4-3 4 4 4-4M2 12v3h12v-3")));
    t.low = make("span"); t.high = make("span"); t.strip = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    t.scale = make("div", { class: "vw-scale" }, t.low, t.strip, t.high); t.what = make("div", { class: "vw-dim" });
    t.node = make("figure", { class: "vw-tile" }, frameOf(t.canvas, t.state, t.value, t.bar),
      make("figcaption", {}, make("div", { class: "vw-tile-name" }, t.large, t.save), make("div", {}, t.scale, t.what)));
    const enlarge = () => { const i = get("methods").indexOf(name); ask("index", i === get("index") ? -1 : i); };
    on(t.large, "click", enlarge); on(t.canvas, "click", enlarge);
    on(t.save, "click", () => model.send({ cmd: "save", method: name, view }));
    tiles.set(name, t);
    return t;
  }
  function icon(path) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS(svg.namespaceURI, "path");
    for (const [k, v] of Object.entries({ viewBox: "0 0 16 16", width: 13, height: 13, "aria-hidden": "true" })) svg.setAttribute(k, v);
    for (const [k, v] of Object.entries({ d: path, style: "fill: none; stroke: currentcolor; stroke-width: 1.6" })) line.setAttribute(k, v);
    svg.append(line);
    return svg;
  }

  // --- numbers to colours
  function receive(name) {
    const t = tileOf(name), m = get(choice(name).map) ?? {};
    t.map = m; t.sizes = {}; t.coloured = "";
    t.values = m.signed ? { signed: floats(m.signed) } : {};
    if (m.signed) t.values.absolute = m.absolute.byteLength ? floats(m.absolute) : t.values.signed.map(Math.abs);
    arrange();
  }
  const choice = (name) => get("choices").find((c) => c.name === name) ?? {};
  const current = (t) => t.map.seq !== undefined && t.map.seq === about().wanted?.[t.name];

  // The largest size, and that within which the percentile of the values stays.
  function ends(t) {
    const values = shown(t), key = values === t.values.signed;
    t.sizes[key] ??= Float32Array.from(values).map(Math.abs).filter(Number.isFinite).sort();
    const sizes = t.sizes[key], n = sizes.length, most = sizes[n - 1] ?? 0, negative = values.some((v) => v < 0);
    const top = sizes[Math.max(0, Math.ceil(n * percentile.value / 100 - 1e-9) - 1)] || most;
    const beyond = sizes.length - sizes.findLastIndex((v) => v <= top) - 1;
    return { negative, most, least: sizes[0] ?? 0, top: top || 1, clipped: most > top, beyond, odd: values.length - n, total: values.length };
  }
  function colour(t) {
    const key = [signed.value, over.checked, percentile.value].join();
    if (t.coloured === key) return;
    t.coloured = key;
    const values = shown(t), e = t.ends = ends(t), words = tables[Number(e.negative)];
    const image = new ImageData(t.map.width, t.map.height), out = new Uint32Array(image.data.buffer);
    const low = e.negative ? -e.top : 0, unit = 255 / (e.top - low), mark = e.negative ? 0xff000000 : 0xffffffff;
    for (let i = 0; i < out.length; i++) {
      const v = values[i], k = (v - low) * unit, c = Math.max(0, Math.min(255, Math.round(k)));
      const beyond = k > 256 || k < -1 || Number.isNaN(v), share = e.negative ? Math.abs(2 * c - 255) / 255 : c / 255;
      out[i] = beyond ? (Number.isNaN(v) ? 0xffff00ff : mark) : words[c];
      if (over.checked && !beyond) out[i] = (out[i] & 0xffffff) | (Math.round(255 * Math.sqrt(share)) << 24);
    }
    t.sheet ??= make("canvas");
    [t.sheet.width, t.sheet.height] = [t.map.width, t.map.height];
    t.sheet.getContext("2d").putImageData(image, 0, 0);
    const strip = new ImageData(256, 1);
    new Uint32Array(strip.data.buffer).set(words);
    t.strip.getContext("2d").putImageData(strip, 0, 0);
    t.low.textContent = e.negative ? `${e.clipped ? "≤ " : ""}−${number(e.top)}` : "0";
    t.high.textContent = `${e.clipped ? "≥ " : ""}${number(e.top)}`;
  }
  let tables = [];
  const colours = () => { const all = bytes(get("colours")); tables = [all.slice(0, 768), all.slice(768)].map(colourTable); };

  function paint(t) {
    const g = t.canvas.getContext("2d"), { width, height } = t.canvas;
    g.clearRect(0, 0, width, height);
    if (over.checked && photo) { g.imageSmoothingQuality = "high"; g.drawImage(photo, 0, 0, width, height); g.globalAlpha = opacity.value / 100; }
    g.imageSmoothingEnabled = false;
    g.drawImage(t.sheet, 0, 0, width, height);
    g.globalAlpha = 1; g.imageSmoothingEnabled = true;
  }
  function repaint() {
    for (const name of get("methods")) {
      const t = tiles.get(name);
      if (!t?.values.signed) continue;
      colour(t); paint(t); describe(t);
    }
    const g = original.getContext("2d");
    g.imageSmoothingQuality = "high";
    if (photo) g.drawImage(photo, 0, 0, original.width, original.height);
    look(...(at ?? [null]));
    el.dataset.drawn = Number(el.dataset.drawn ?? 0) + 1;
  }

  // --- what is said of a map
  function describe(t) {
    const e = t.ends, m = t.map, notes = [];
    if (e.odd) notes.push(`${e.odd} of ${e.total} values are no numbers: magenta`);
    if (e.odd < e.total && e.least === e.most && !e.negative) notes.push(e.most ? `the same everywhere: ${number(e.most)}` : "0 everywhere");
    if (m.pooled > 1) notes.push(`means of ${m.pooled}×${m.pooled} pixels`);
    const what = choice(t.name).what, at = m.layer ? `layer ${m.layer}` : "";
    t.what.textContent = [notes.join("; "), what, at].filter(Boolean).join("; ");
    t.what.classList.toggle("vw-warn", Boolean(e.odd));
    t.canvas.setAttribute("aria-label", `${t.name}: ${t.low.textContent} to ${t.high.textContent}`);
    t.scale.hidden = !e.most;
    t.scale.title = e.clipped ? `${e.beyond} pixels lie beyond the scale, shown ${e.negative ? "black" : "white"}; the largest is ${number(e.most)}` : "nothing lies beyond the scale";
  }
  function arrange() {
    const methods = get("methods"), info = about(), large = methods[get("index")], ready = Boolean(info.aim);
    controls.hidden = !ready;
    grid.hidden = !ready || !methods.length;
    empty.textContent = ready ? (methods.length ? "" : "No method is chosen.") : "Nothing yet: a network and a picture are needed.";
    grid.classList.toggle("vw-one", large !== undefined);
    grid.style.setProperty("--vw-count", methods.length + 1);
    if (ready) el.style.setProperty("--vw-ratio", `${info.size[1]} / ${info.size[0]}`);
    const wanted = [pictureTile, ...methods.map((name) => tileOf(name).node)];
    if (wanted.some((n, i) => grid.children[i] !== n) || grid.children.length !== wanted.length) grid.replaceChildren(...wanted);
    let done = 0, score = null;
    for (const name of methods) {
      const t = tiles.get(name), now = current(t), failed = now && t.map.error !== undefined, whole = now && (failed || t.map.done === 1);
      done += whole;
      if (now && !failed) score = t.map.score;
      t.node.dataset.state = failed ? "failed" : whole ? "done" : t.values.signed ? "stale" : "pending";
      t.state.textContent = failed ? t.map.error : whole || t.values.signed ? "" : "being worked out …";
      t.bar.style.setProperty("--vw-share", now && !whole ? t.map.done : 0);
      t.canvas.hidden = failed || !t.values.signed;
      t.bar.hidden = whole;
      t.save.hidden = !t.values.signed;
      if (!t.values.signed) t.scale.hidden = true;
      t.what.hidden = failed;
      if (!t.values.signed) t.what.textContent = choice(name).what;
      t.large.setAttribute("aria-pressed", String(name === large));
      t.large.title = name === large ? "all beside each other" : `${name} large`;
      t.node.classList.toggle("vw-large", name === large);
    }
    title.textContent = ready ? `Why ${info.index < 0 ? info.aim : info.classes[info.index]}?` : "";
    name.textContent = (info.source ?? "tensor") === "tensor" ? "picture" : info.source;
    notes.textContent = (info.notes ?? []).join("; ");
    const parts = [score === null ? "" : `${info.aim} ${number(score)}`, info.chance === null ? "" : `probability ${percent(info.chance)}`];
    say.textContent = ready ? [...parts.filter(Boolean), done < methods.length ? `${done} of ${methods.length} maps` : ""].filter(Boolean).join(", ") : "";
    el.dataset.done = `${done}/${methods.length}`;
    menus();
    repaint();
  }

  // --- menus and chips
  function fill(node, key, ...options) {
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    node.replaceChildren(...options);
  }
  const option = (value, text) => make("option", { value }, text);
  function menus() {
    const info = about();
    if (!info.aim || held()) return;
    const { classes, top, own, index } = info, asked = info.given;
    fill(target, JSON.stringify([classes, top, own, index < 0 ? info.aim : ""]),
      option("", `what it sees: ${classes[own]}`), ...(index < 0 ? [option("other", info.aim)] : []),
      make("optgroup", { label: "most probable" }, ...top.map(([i, p]) => option(i, `${classes[i]}, ${percent(p)}`))),
      make("optgroup", { label: "all" }, ...classes.map((name, i) => (top.some(([j]) => j === i) ? null : option(i, name))).filter(Boolean)));
    target.value = !asked ? "" : index < 0 ? "other" : String(index);
    fill(layer, JSON.stringify(info.layers), option("", "auto"), ...info.layers.map((name) => option(name, name)));
    layer.value = get("layer") ?? "";
    layerLabel.hidden = !get("methods").some((name) => choice(name).layer);
  }
  function chip({ name, what }) {
    const node = focusable(make("button", { type: "button", title: what }, name));
    on(node, "click", () => {
      node.setAttribute("aria-pressed", String(node.getAttribute("aria-pressed") !== "true"));
      const pressed = [...chips.children].filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.textContent), shown = get("methods");
      ask("methods", [...shown.filter((m) => pressed.includes(m)), ...pressed.filter((m) => !shown.includes(m))]);
    });
    return node;
  }
  const heard = new Set();
  function offer() {
    const choices = get("choices");
    fill(chips, JSON.stringify(choices), ...choices.map(chip));
    for (const { name, map } of choices) {
      if (heard.has(map)) continue;
      heard.add(map);
      listen(model, `change:${map}`, () => receive(name), signal, true);
    }
    mark();
  }
  function mark() {
    if (!held()) for (const c of chips.children) c.setAttribute("aria-pressed", String(get("methods").includes(c.textContent)));
  }
  function tell() {
    const p = Number(percentile.value);
    within.textContent = p === 100 ? "all pixels" : `${p} % of the pixels; the others are ${{ "": "white, with signs black", yes: "black", no: "white" }[signed.value]}`;
    percentile.setAttribute("aria-valuetext", `${p} %`);
    opacity.hidden = !over.checked;
  }
  function settings() {
    requestAnimationFrame(answered);
    if (held()) return;
    menus(); mark();
    signed.value = { null: "", true: "yes", false: "no" }[get("signed")]; over.checked = get("overlay");
    opacity.value = 100 * get("opacity"); percentile.value = get("percentile");
    tell(); repaint();
  }

  // --- the cross-hair: one place in all of them
  function look(across, down) {
    at = across === null ? null : [Math.max(0, Math.min(0.9999, across)), Math.max(0, Math.min(0.9999, down))];
    grid.classList.toggle("vw-looking", at !== null);
    const [h, w] = about().size ?? [1, 1];
    if (at) { grid.style.setProperty("--vw-x", `${100 * at[0]}%`); grid.style.setProperty("--vw-y", `${100 * at[1]}%`); }
    where.textContent = at ? `row ${Math.floor(at[1] * h)}, column ${Math.floor(at[0] * w)}` : "point at a pixel to read all maps there";
    for (const t of tiles.values()) t.value.textContent = at && t.values.signed ? number(valueAt(t)).replace("-", "−") : "";
  }
  const valueAt = (t) => shown(t)[Math.floor(at[1] * t.map.height) * t.map.width + Math.floor(at[0] * t.map.width)];
  on(original, "keydown", (e) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key], [h, w] = about().size ?? [1, 1];
    if (!step) return;
    const k = e.shiftKey ? 10 : 1, x = at ? Math.floor(at[0] * w) : Math.floor(w / 2), y = at ? Math.floor(at[1] * h) : Math.floor(h / 2);
    const inside = (i, n) => (Math.max(0, Math.min(n - 1, i)) + 0.5) / n;
    look(inside(at ? x + k * step[0] : x, w), inside(at ? y + k * step[1] : y, h));
    spoken.textContent = `${where.textContent}: ${get("methods").map((m) => `${m} ${tiles.get(m).value.textContent}`).join(", ")}`;
    e.preventDefault();
  });
  on(original, "blur", () => look(null));

  let pictures = 0;
  async function receivePicture() {
    const data = get("picture"), mine = ++pictures;
    const bitmap = data?.byteLength ? await createImageBitmap(new Blob([bytes(data)], { type: "image/png" })) : null;
    if (mine !== pictures) return;      // a newer picture has been decoded first
    photo = bitmap;
    original.setAttribute("aria-label", `picture ${about().source ?? ""}; arrow keys move the cross-hair in all maps`);
    repaint();
  }
  const handed = (content, buffers) => {
    if (content.view === view && content.file) download(el, content.file, buffers[0]);
  };
  model.on("msg:custom", handed);
  signal.addEventListener("abort", () => model.off("msg:custom", handed));
  listen(model, "change:colours", colours, signal, true);
  listen(model, "change:choices", offer, signal, true);
  for (const name of ["signed", "overlay", "opacity", "percentile"]) listen(model, `change:${name}`, settings, signal);
  for (const name of ["methods", "index", "about"]) listen(model, `change:${name}`, () => { mark(); arrange(); requestAnimationFrame(answered); }, signal);
  listen(model, "change:picture", receivePicture, signal, true);
  listen(model, "change:layer", settings, signal);
  settings(); mark(); arrange();
  return () => stop.abort();
}

export default { render };
