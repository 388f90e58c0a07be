// A patch to drag over the picture, the classes before and with it, and the map of all its places. The page moves the patch
// at once and asks Python for the newest place; the map's colours and the value under the pointer are worked out here.

const ENDED = ["stopped", "done", "failed"];

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name);
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  el.classList.add("vw", "vw-occlusion");

  const { ask, answered, held } = asker(model, signal, () => settle());
  let at = [0, 0], box = [0, 0, 1, 1];      // the patch's corner as shown; the box of the last answer
  let photo = null, cover = null;           // canvases
  let map = null;                           // { values, top }
  let pointed = null, drag = null;          // a pixel under the pointer; where the patch has been taken hold of

  const pictures = () => get("pictures"), about = () => get("about");
  const size = () => pictures().size, coarse = () => size()[1] / pictures().width;
  const nameOf = (i) => about().classes?.[i] ?? `class ${i}`;

  // --- the stage: picture, map, patch
  const verdict = make("div", { class: "vw-title" }), second = make("div", { class: "vw-dim" });
  const empty = make("div", { class: "vw-dim" }, "nothing yet: a network and a picture are needed");
  const ground = make("canvas", { role: "img" }), over = make("canvas", { "aria-hidden": "true" }), inside = make("canvas", { "aria-hidden": "true" });
  const patch = focusable(make("div", { class: "vw-patch", role: "slider", tabIndex: 0, "aria-label": "patch", "aria-roledescription": "patch to move",
    title: "drag; arrow keys: a pixel, with Shift: a stride" }, inside));
  const stage = make("div", { class: "vw-occlusion-stage" }, ground, over, patch);
  const where = make("div", { class: "vw-dim vw-where" }), drop = make("div", { class: "vw-where" });

  function canvasOf(view) {
    const { height, width } = pictures(), data = bytes(view), pixels = new ImageData(width, height), canvas = make("canvas", { width, height });
    for (let i = 0, j = 0; j < pixels.data.length; j++) pixels.data[j] = j % 4 === 3 ? 255 : data[i++];
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }
  function takePictures() {
    const { height, width } = pictures();
    photo = cover = null;
    if (!width) return;
    photo = canvasOf(pictures().photo); cover = canvasOf(pictures().cover);
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.classList.toggle("vw-pixels", width <= 160);
    paintGround();
  }
  // Under the map the picture loses its colours, so that those of the map are seen.
  function paintGround() {
    if (!photo) return;
    const opacity = map ? get("opacity") : 0, hidden = about().only && !opacity;
    over.hidden = !map;
    over.style.opacity = opacity;
    ground.width = photo.width; ground.height = photo.height;
    ground.style.filter = `grayscale(${opacity})`;
    ground.getContext("2d").drawImage(hidden ? cover : photo, 0, 0);
    ground.ariaLabel = hidden ? "what hides the picture" : map ? "the picture and the map over it" : "the picture";
    place();
  }
  function place() {
    if (!photo || !size()) return;
    const [h, w] = size(), [y, x] = at, tall = box[2] - box[0], wide = box[3] - box[1], c = coarse();
    for (const [side, share] of [["left", x / w], ["top", y / h], ["width", wide / w], ["height", tall / h]]) patch.style[side] = `${100 * share}%`;
    inside.width = Math.max(1, Math.round(wide / c)); inside.height = Math.max(1, Math.round(tall / c));
    inside.getContext("2d").drawImage(about().only ? photo : cover, Math.round(-x / c), Math.round(-y / c));
    patch.setAttribute("aria-valuemax", w - wide); patch.setAttribute("aria-valuemin", 0); patch.setAttribute("aria-valuenow", x);
  }
  function moveTo(y, x) {
    const [h, w] = size(), tall = box[2] - box[0], wide = box[3] - box[1];
    const to = [Math.max(0, Math.min(h - tall, Math.round(y))), Math.max(0, Math.min(w - wide, Math.round(x)))];
    if (to[0] === at[0] && to[1] === at[1]) return;
    at = to;
    place(); sayWhere();
    ask("box", at);
  }
  function settle() {
    if (get("patch").box) { at = get("patch").box.slice(0, 2); place(); }
    knobs(); sayWhere();
  }

  function pixel(e) {      // row and column under the pointer, as fractions
    const r = stage.getBoundingClientRect(), [h, w] = size();
    return [(e.clientY - r.y) / r.height * h, (e.clientX - r.x) / r.width * w];
  }
  function centre(e) {
    const [y, x] = pixel(e);
    moveTo(Math.floor(y) + 0.5 - (box[2] - box[0]) / 2, Math.floor(x) + 0.5 - (box[3] - box[1]) / 2);
  }
  on(patch, "pointerdown", (e) => {
    if (e.button) return;
    const [y, x] = pixel(e);
    drag = [y - at[0], x - at[1]];
    patch.setPointerCapture(e.pointerId);
  });
  on(patch, "pointermove", (e) => {
    if (!drag) return;
    const [y, x] = pixel(e);
    moveTo(y - drag[0], x - drag[1]);
  });
  for (const event of ["pointerup", "pointercancel", "lostpointercapture"]) on(patch, event, () => { drag = null; });
  on(stage, "click", (e) => { if (!patch.contains(e.target)) { centre(e); patch.focus(); } });
  on(stage, "pointermove", (e) => { pointed = drag ? null : pixel(e).map(Math.floor); sayWhere(); });
  on(stage, "pointerleave", () => { pointed = null; sayWhere(); });
  on(patch, "keydown", (e) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity],
      PageUp: [-Infinity, 0], PageDown: [Infinity, 0] }[e.key];
    if (!step) return;
    const [down, across] = e.shiftKey ? about().stride : [1, 1], add = (a, d, n) => (Number.isFinite(d) ? a + d * n : Math.sign(d) * 1e9);
    pointed = null;
    moveTo(add(at[0], step[0], down), step[1] || step[0] === 0 ? add(at[1], step[1], across) : at[1]);
    e.preventDefault();
  });

  // --- the map
  function takeMap(view) {
    const all = view?.byteLength ? floats(view) : null;
    map = all && photo && all.length === photo.width * photo.height + 1 ? { top: all[0], values: all.subarray(1) } : null;
    paintMap();
  }
  function paintMap() {
    if (map) {
      const { width, height } = photo, words = colourTable(about().colours), pixels = new ImageData(width, height), out = new Uint32Array(pixels.data.buffer);
      map.missing = 0;
      for (let i = 0; i < out.length; i++) {
        const v = map.values[i], share = Math.abs(v) / map.top;
        if (Number.isNaN(v)) {
          map.missing++;
          out[i] = (i % width + Math.floor(i / width)) % 4 < 2 ? 0xff808080 : 0;
        } else if (share > 1.004) out[i] = 0xff000000;
        else out[i] = (words[Math.round(127.5 + 127.5 * v / map.top)] & 0xffffff) | (Math.round(255 * Math.sqrt(share)) << 24);
      }
      over.width = width; over.height = height;
      over.getContext("2d").putImageData(pixels, 0, 0);
      map.most = map.values.reduce((m, v) => Math.max(m, Math.abs(v) || 0), 0);
    }
    paintGround(); sayScale(); sayWhere();
    el.dataset.map = map ? get("index") : "";
  }

  const bar = make("canvas", { width: 256, height: 1, role: "img" }), low = make("span"), high = make("span");
  const meaning = make("span", { class: "vw-dim" }), hatch = make("span", { class: "vw-dim" }, make("i", { class: "vw-hatch", "aria-hidden": "true" }), " "), gap = make("span");
  hatch.append(gap);
  const scale = make("div", { class: "vw-row vw-occlusion-scale" }, make("span", { class: "vw-scale" }, low, bar, high), meaning, hatch);
  const points = () => about().kind === "probability";
  const amount = (v) => (points() ? `${number(100 * v)} ${Math.abs(100 * v) === 1 ? "point" : "points"}` : about().kind === "logit" ? `${number(v)} logits` : number(v));
  const value = (v) => (points() ? percent(v) : number(v));
  function sayScale() {
    scale.hidden = !map;
    if (!map) return;
    const strip = new ImageData(256, 1), beyond = map.most > 1.004 * map.top;
    new Uint32Array(strip.data.buffer).set(colourTable(about().colours));
    bar.getContext("2d").putImageData(strip, 0, 0);
    low.textContent = `${beyond ? "≤ " : ""}${number(points() ? -100 * map.top : -map.top)}`;
    high.textContent = `${beyond ? "≥ " : ""}${amount(map.top)}`;
    bar.ariaLabel = `colour scale of the map from ${low.textContent} to ${high.textContent}`;
    meaning.textContent = map.most === 0 ? "No window changes the score." : about().only ? "red: this alone raises the score; blue: lowers it"
      : "red: hidden, the score falls; blue: it rises";
    hatch.hidden = !map.missing;
    gap.textContent = about().stride.some((s, i) => s > about().window[i]) ? "no window covers this" : "no number came out";
  }
  function sayWhere() {
    if (!size()) return;
    const [h, w] = size(), tall = box[2] - box[0], wide = box[3] - box[1];
    const [y, x] = pointed ?? [at[0] + Math.floor(tall / 2), at[1] + Math.floor(wide / 2)];
    if (y < 0 || x < 0 || y >= h || x >= w) return;
    const v = map ? map.values[Math.floor(y / coarse()) * photo.width + Math.floor(x / coarse())] : undefined;
    const spot = pointed ? `Row ${y}, column ${x}` : `Patch ${tall}×${wide}, row ${at[0]}, column ${at[1]}`;
    const told = v === undefined ? "" : Number.isNaN(v) ? "no value" : about().only ? `${v < 0 ? "takes" : "brings"} ${amount(Math.abs(v))}`
      : v < 0 ? `a rise of ${amount(-v)}` : `a drop of ${amount(v)}`;
    where.textContent = spot;
    drop.textContent = told && `Map there: ${told}`;
  }

  // --- playing the map
  const main = on(focusable(make("button", { type: "button", class: "vw-main" })), "click", () => send(["running", "waiting"].includes(get("status")) ? "pause" : "play"));
  const end = on(focusable(make("button", { type: "button" }, "Stop")), "click", () => send("stop"));
  const send = (cmd) => model.send({ cmd });
  const done = make("div", { class: "vw-bar-fill vw-after" }), progress = make("div", { class: "vw-bar-track", role: "progressbar", "aria-label": "map", "aria-valuemin": 0, "aria-valuemax": 100 }, done);
  const state = make("div", { class: "vw-state-line", role: "status" });
  const transport = make("div", { class: "vw-row vw-occlusion-play" }, main, end, progress);
  const left = (s) => (s < 100 ? `${Math.max(1, Math.round(s))} s` : `${Math.round(s / 60)} min`);
  function sayState() {
    const status = get("status"), share = get("total") ? Math.round(100 * get("index") / get("total")) : 0, count = about().windows;
    main.textContent = { running: "Pause", waiting: "Pause", paused: "Continue", done: "Fill again", stopped: "Fill again" }[status] ?? "Fill the map";
    end.disabled = !["running", "waiting", "paused"].includes(status);
    done.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", share);
    const lost = status === "idle" && about().lost;
    state.classList.toggle("vw-stale-note", lost); state.classList.toggle("vw-dim", !lost);
    const text = { waiting: "waiting for its turn", paused: `paused at ${share} %, estimated in between`, failed: "failed",
      stopped: `stopped at ${share} %, estimated in between`, done: `all ${count} windows`, running: `${count} windows` }[status];
    const wanted = text ?? (lost ? `The options have changed, the map is gone: fill it again (${count} windows)` : `${count} windows`);
    if (state.firstChild?.textContent !== wanted) state.replaceChildren(wanted);
    remaining.textContent = status === "running" ? `${share} %${get("remaining") ? `, ${left(get("remaining"))} left` : ""}` : "";
    el.dataset.status = status;
  }
  const remaining = make("span", { class: "vw-dim" });
  const stateLine = make("div", { class: "vw-row" }, state, remaining);

  // --- classes and the sentence
  const rows = classPairs({ label: "classes before and with the patch", signal, nameOf, hint: (name) => `ask for ${name}`, choose: (i) => ask("target", i) });
  function draw() {
    const p = get("patch"), nothing = !p.box;
    empty.hidden = !nothing; body.hidden = verdict.hidden = second.hidden = nothing;
    if (nothing) { el.dataset.seq = ""; answered(); return; }
    const other = box[2] - box[0] !== p.box[2] - p.box[0] || box[3] - box[1] !== p.box[3] - p.box[1];
    box = p.box;
    if (!held() || other) at = box.slice(0, 2);
    const aim = about().aim, [was, is] = p.first, here = about().only ? "with only the window seen" : "with the patch here";
    verdict.textContent = `${aim[0].toUpperCase()}${aim.slice(1)}: ${value(p.before)} → ${value(p.after)} ${here}`;
    second.textContent = was === is ? `It still says ${nameOf(is)}.` : `It now says ${nameOf(is)}, no longer ${nameOf(was)}.`;
    rows.say(p.rows, about().index);
    patch.setAttribute("aria-valuetext", `row ${box[0]}, column ${box[1]}: ${aim} ${value(p.after)}, was ${value(p.before)}`);
    place(); sayWhere();
    el.dataset.seq = p.seq; el.dataset.box = box.join(" ");
    requestAnimationFrame(answered);
  }

  // --- options
  const choice = (name, label) => on(focusable(make("select", { "aria-label": label })), "change", (e) => ask(name, name === "target" ? (e.target.value === "" ? null : Number(e.target.value)) : e.target.value));
  const target = choice("target", "target"), kind = choice("kind", "score"), fill = choice("fill", "hidden by");
  const only = on(focusable(make("input", { type: "checkbox" })), "change", () => ask("only_window", only.checked));
  const px = (name) => (n) => { const pair = about()[name] ?? [n, n]; return pair[0] !== pair[1] && n === pair[0] ? pair.join("×") : `${n} px`; };
  const slide = (name, label, most, text) => knob({ label, least: name === "opacity" ? 0 : 1, most, signal, text,
    turned: (n) => ask(name, name === "opacity" ? n / 100 : n) });
  const tall = slide("window", "window", 1, px("window")), apart = slide("stride", "stride", 1, px("stride"));
  const opacity = slide("opacity", "map opacity", 100, (n) => `${n} %`);
  const notes = make("div", { class: "vw-dim vw-notes" });

  function offer(select, key, options, value) {
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(...options.map(([v, text]) => make("option", { value: v }, text)));
    }
    select.value = value;
  }
  function knobs() {
    const a = about();
    if (!a.classes) return;
    rows.mark(a.index);
    if (held()) return;
    const other = a.index < 0 && a.chosen;
    offer(target, JSON.stringify([a.classes, a.own, other && a.aim]), [["", other ? a.aim : `what it sees: ${nameOf(a.own)}`], ...a.classes.map((name, i) => [i, name])],
      a.index >= 0 && a.chosen ? a.index : "");
    offer(kind, a.kind === "score" ? "3" : "2", [...(a.kind === "score" ? [["score", "its own"]] : []), ["probability", "probability"], ["logit", "logit"]], a.kind);
    offer(fill, JSON.stringify(a.fill), [...a.fills, ...(a.fills.includes(a.fill) ? [] : [a.fill])].map((f) => [f, f]), a.fill);
    only.checked = a.only;
    const least = Math.min(...(size() ?? [1, 1]));
    tall.set(a.window[0], least); apart.set(a.stride[0], Math.max(1, Math.floor(least / 2)));
    opacity.set(Math.round(100 * get("opacity")));
    const others = a.channels === 1 || a.channels === 3 ? [] : [`shown: the mean of its ${a.channels} channels`];
    notes.textContent = [...a.notes, ...others].join("; ");
  }
  function takeAbout() {
    el.dataset.lost = about().lost ?? "";
    knobs(); paintGround(); sayState(); sayScale();
  }

  const options = make("div", {},
    make("div", { class: "vw-choices" }, pick("target", target), pick("score", kind), pick("hidden by", fill)),
    make("div", { class: "vw-knobs" }, tall.node, apart.node, opacity.node),
    make("label", { class: "vw-only" }, only, "keep only the window, hide all else"));
  const body = make("div", { class: "vw-occlusion-body" },
    make("div", {}, stage, where, drop, transport, stateLine, scale, notes), make("div", {}, rows.node, options));
  el.append(verdict, second, empty, body);
  errorLine(model, el, signal);

  const receive = (content, buffers) => {
    if (content.frame === undefined) return;
    takeMap(buffers[0]);
    model.send({ ack: content.frame });
  };
  model.on("msg:custom", receive);
  signal.addEventListener("abort", () => model.off("msg:custom", receive));
  listen(model, "change:pictures", takePictures, signal, true);
  listen(model, "change:about", takeAbout, signal, true);
  listen(model, "change:frame", () => takeMap(get("frame")), signal, true);
  listen(model, "change:opacity", () => { paintGround(); knobs(); answered(); }, signal);
  for (const name of ["status", "index", "total", "remaining"]) listen(model, `change:${name}`, sayState, signal);
  listen(model, "change:patch", draw, signal, true);
  return () => stop.abort();
}

export default { render };
