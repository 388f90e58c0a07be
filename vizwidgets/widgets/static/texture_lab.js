// The sample of a TextureLab: a rectangle to draw in a picture, and what is in it large, with the window's frame over it. The
// buttons of both runs, and what they are made of.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), set = (name, value) => model.send({ cmd: "set", name, value });
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  const { ask, answered, held } = asker(model, signal, () => settle());
  el.classList.add("vw", "vw-texture-desk");

  // --- the picture, and the rectangle in it
  let box = [0, 0, 1, 1], drag = null, image = null, key = null;
  const { windows, sizes, orders, least } = get("choices");
  const size = () => get("picture").size ?? [1, 1];
  const whole = make("img", { alt: "the picture", draggable: false });
  const rectangle = focusable(make("div", { class: "vw-frame vw-rectangle", role: "slider", tabIndex: 0, "aria-label": "sample", "aria-roledescription": "rectangle to move",
    title: "drag it, or draw another; arrow keys move it, with Shift they change its size" }));
  const stage = make("div", { class: "vw-texture-picture" }, whole, rectangle);
  const hint = make("div", { class: "vw-dim" }, "The rectangle is the sample: drag it, or draw another.");
  const clamp = (v, low, high) => Math.max(low, Math.min(high, Math.round(v)));
  function put(to) {
    if (to.every((v, i) => v === box[i])) return;
    box = to;
    place(); drawSample();
    ask("box", box);
  }
  function place() {
    const [h, w] = size(), [top, left, bottom, right] = box;
    Object.assign(rectangle.style, { top: `${100 * top / h}%`, left: `${100 * left / w}%`, bottom: `${100 * (1 - bottom / h)}%`, right: `${100 * (1 - right / w)}%` });
    for (const [key, value] of [["min", 0], ["max", w - (right - left)], ["now", left], ["text", `rows ${top} to ${bottom}, columns ${left} to ${right}`]]) rectangle.setAttribute(`aria-value${key}`, value);
  }
  function move(top, left, [tall, wide] = [box[2] - box[0], box[3] - box[1]]) {
    const [h, w] = size();
    tall = clamp(tall, Math.min(least, h), h); wide = clamp(wide, Math.min(least, w), w);
    top = clamp(top, 0, h - tall); left = clamp(left, 0, w - wide);
    put([top, left, top + tall, left + wide]);
  }
  function pixel(e) {
    const r = stage.getBoundingClientRect(), [h, w] = size();
    return [(e.clientY - r.y) / r.height * h, (e.clientX - r.x) / r.width * w];
  }
  on(stage, "pointerdown", (e) => {
    if (e.button) return;
    const [y, x] = pixel(e);
    drag = e.target === rectangle ? { hold: [y - box[0], x - box[1]] } : { corner: [y, x] };
    stage.setPointerCapture(e.pointerId);
    rectangle.focus();
    e.preventDefault();
  });
  on(stage, "pointermove", (e) => {
    if (!drag) return;
    const [y, x] = pixel(e);
    if (drag.hold) move(y - drag.hold[0], x - drag.hold[1]);
    else move(Math.min(y, drag.corner[0]), Math.min(x, drag.corner[1]), [Math.abs(y - drag.corner[0]), Math.abs(x - drag.corner[1])]);
  });
  for (const event of ["pointerup", "pointercancel", "lostpointercapture"]) on(stage, event, () => { drag = null; });
  on(rectangle, "keydown", (e) => {
    const step = { ArrowRight: [0, 4], ArrowLeft: [0, -4], ArrowDown: [4, 0], ArrowUp: [-4, 0] }[e.key];
    if (!step) return;
    const [top, left, bottom, right] = box;
    if (e.shiftKey) move(top, left, [bottom - top + step[0], right - left + step[1]]); else move(top + step[0], left + step[1]);
    e.preventDefault();
  });

  // --- the sample, and the window over it
  const canvas = focusable(make("canvas", { role: "img", tabIndex: 0 })), frame = make("i", { class: "vw-frame" }), middle = make("i", { class: "vw-pixel" });
  const sample = make("div", { class: "vw-texture-sample" }, canvas, frame, middle), caption = make("div", { class: "vw-dim vw-notes" });
  let centre = null, origin = null;      // where the frame has been moved to; where a pixel under the pointer is from
  const side = () => 2 * slider.value() + 1;
  function drawSample() {
    if (!image) return;
    const [top, left, bottom, right] = box;
    if (canvas.width !== right - left || canvas.height !== bottom - top) [canvas.width, canvas.height] = [right - left, bottom - top];
    const g = canvas.getContext("2d"), keyed = key && key.width === canvas.width && key.height === canvas.height;
    if (keyed) g.drawImage(key, 0, 0); else g.drawImage(image, -left, -top);
    told.textContent = keyed ? "The colours of the places that pixels are copied from; one area of one colour is a piece copied as it stands."
      : "A pixel is copied from where the sample looks most like its surroundings, as far as the window reaches.";
    el.dataset.keyed = Boolean(keyed);
    sample.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
    el.dataset.sample = box.join();
    drawFrame();
  }
  function drawFrame() {
    const [h, w] = [canvas.height, canvas.width], n = side(), half = (n - 1) / 2, fits = n <= Math.min(h, w);
    const [y, x] = origin ?? [clamp((centre ?? [h / 2])[0], half, h - 1 - half), clamp((centre ?? [0, w / 2])[1], half, w - 1 - half)];
    const rect = (node, a, b, tall) => Object.assign(node.style, { top: `${100 * a / h}%`, left: `${100 * b / w}%`, height: `${100 * tall / h}%`, width: `${100 * tall / w}%` });
    frame.hidden = middle.hidden = !fits;
    rect(frame, y - half, x - half, n); rect(middle, y, x, 1);
    frame.classList.toggle("vw-from", Boolean(origin));
    canvas.ariaLabel = `the sample, ${w} × ${h} pixels, and over it the window of ${n} × ${n}`;
    el.dataset.frame = [y, x, n].join();
  }
  on(sample, "pointermove", (e) => {
    const r = canvas.getBoundingClientRect();
    centre = [Math.floor((e.clientY - r.y) / r.height * canvas.height), Math.floor((e.clientX - r.x) / r.width * canvas.width)];
    drawFrame();
  });
  on(canvas, "keydown", (e) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[e.key];
    if (!step) return;
    const [y, x] = el.dataset.frame.split(",").map(Number);
    centre = [y + step[0], x + step[1]];
    drawFrame();
    e.preventDefault();
  });
  on(document, `vw-${get("family")}`, (e) => { origin = e.detail; drawFrame(); });

  const slider = knob({ label: "window", least: (windows[0] - 1) / 2, most: (windows[1] - 1) / 2, signal, turned(v) { drawFrame(); ask("window", 2 * v + 1); }, text: (v) => `${2 * v + 1} × ${2 * v + 1}` });
  slider.value = () => Number(slider.node.querySelector("input").value);
  const told = make("div", { class: "vw-dim" });

  // --- the buttons
  const send = (cmd, more = {}) => model.send({ cmd, ...more }), playing = () => ["running", "waiting"].includes(get("status"));
  const button = (name, label, command) => { const node = on(focusable(make("button", { type: "button" })), "click", command); fill(node, name, label); return node; };
  const main = button("play", "play", () => send(playing() ? "pause" : "play")), halt = button("stop", "stop", () => send("stop"));
  const again = button("again", "start again", () => send("restart")), other = button("dice", "start again with another seed", () => send("restart", { another: true }));
  main.classList.add("vw-main");
  const state = make("span", { class: "vw-spoken", role: "status" });
  function buttons() {
    const status = get("status"), ended = ENDED.includes(status);
    fill(main, playing() ? "pause" : "play", playing() ? "pause" : ended ? "play again" : "play", playing() ? "Pause" : "Play");
    halt.disabled = !playing() && status !== "paused";
    again.disabled = status === "idle";
    state.textContent = STATES[status] ?? status;
    el.dataset.status = status;
  }
  const choice = (name, label, entries) => on(focusable(make("select", { "aria-label": label }, ...entries.map(([value, text]) => make("option", { value }, text)))), "change",
    (e) => set(name, name === "size" ? Number(e.target.value) : e.target.value));
  const extent = choice("size", "size", sizes.map((n) => [n, `${n} × ${n} pixels`])), order = choice("order", "order of copying", orders.map((o) => [o, { onion: "from the middle out", scanline: "row by row" }[o] ?? o]));
  const seed = on(focusable(make("input", { type: "number", min: 0, step: 1, "aria-label": "seed" })), "change", () => set("seed", Math.max(0, Math.round(Number(seed.value) || 0))));

  function settle() {
    const s = get("settings");
    if (s.window === undefined) return;
    caption.textContent = s.caption;
    if (!sizes.includes(s.size) && !extent.querySelector(`[value="${s.size}"]`)) extent.append(make("option", { value: s.size }, `${s.size} × ${s.size} pixels`));
    extent.value = s.size; order.value = s.order;
    if (document.activeElement !== seed) seed.value = s.seed;
    if (!held()) {
      slider.set((s.window - 1) / 2);
      if (get("box").length && !drag) { box = get("box"); place(); drawSample(); }
    }
    drawFrame();
    answered();
  }
  let url = "", turn = 0;
  async function takePicture() {
    const p = get("picture"), mine = ++turn;
    if (!p.png) return;
    const bitmap = await createImageBitmap(new Blob([bytes(p.png)]));
    if (mine !== turn || signal.aborted) { bitmap.close(); return; }
    image?.close();
    image = bitmap;
    URL.revokeObjectURL(url);
    whole.src = url = pictureURL(p.png);
    stage.style.aspectRatio = `${p.size[1]} / ${p.size[0]}`;
    stage.hidden = hint.hidden = p.whole;
    box = get("box");
    place(); drawSample(); settle();
  }
  async function takeKey() {
    const data = get("key"), made = data?.byteLength ? await createImageBitmap(new Blob([bytes(data)])) : null;
    if (data !== get("key") || signal.aborted) { made?.close(); return; }
    key?.close();
    key = made;
    drawSample();
  }
  signal.addEventListener("abort", () => { URL.revokeObjectURL(url); image?.close(); key?.close(); });

  const left = make("div", { class: "vw-texture-left" }, stage, hint, caption, sample, make("div", { class: "vw-knobs" }, slider.node), told);
  const right = make("div", { class: "vw-texture-right" }, make("div", { class: "vw-transport" }, main, halt, again, state),
    make("div", { class: "vw-row vw-texture-choices" }, pick("size", extent), pick("order", order), pick("seed", make("span", { class: "vw-seed" }, seed, other))));
  errorLine(model, right, signal);
  el.append(left, right);
  listen(model, "change:picture", takePicture, signal, true);
  for (const name of ["settings", "box"]) listen(model, `change:${name}`, settle, signal);
  listen(model, "change:status", buttons, signal, true);
  listen(model, "change:key", takeKey, signal, true);
  settle();
  return () => stop.abort();
}

export default { render };
