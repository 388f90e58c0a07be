// A texture as it grows, pixel by pixel as it is; where in the sample its pixels are from; how far it is.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal, view = Math.random().toString(36).slice(2);
  const get = (name) => model.get(name);
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  el.classList.add("vw", "vw-texture-pane");

  const title = make("span", { class: "vw-title" }), state = make("span", { class: "vw-state", role: "status" }), about = make("div", { class: "vw-dim vw-texture-about" });
  const canvas = focusable(make("canvas", { role: "img", tabIndex: 0 }), () => { if (at) point(null); else leave(canvas); });
  const empty = make("div", { class: "vw-stage-empty" }), mark = make("i", { class: "vw-pixel", hidden: true });
  const stage = make("div", { class: "vw-stage" }, canvas, mark, empty);
  const fill = make("div", { class: "vw-bar-fill vw-after" });
  const track = make("div", { class: "vw-bar-track", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const said = make("span", { class: "vw-dim" }), rest = make("span", { class: "vw-dim" }), where = make("div", { class: "vw-dim vw-where", role: "status" });
  const check = on(focusable(make("input", { type: "checkbox" })), "change", () => model.send({ cmd: "origins", value: check.checked }));
  const origins = make("label", {}, check, "where it is copied from");
  const save = on(focusable(make("button", { type: "button", title: "save as PNG, with its recipe inside" }, "Save PNG")), "click", () => model.send({ cmd: "save", view }));

  // --- the picture
  const show = newest(model, signal, (bitmap, { index }) => {
    if (bitmap) {
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
    }
    stage.style.aspectRatio = bitmap ? `${canvas.width} / ${canvas.height}` : "";
    canvas.hidden = !bitmap; empty.hidden = Boolean(bitmap);
    el.dataset.shown = bitmap ? index : "";
    call();
  });
  function call() { canvas.ariaLabel = `${title.textContent}: ${get("said") || "nothing yet"}${get("origin")?.byteLength ? "; arrow keys tell where pixels are from" : ""}`; }

  // --- where a pixel is from
  let at = null, from = null;      // row and column; all origins
  function takeOrigin() {
    const data = bytes(get("origin"));
    from = data.length ? new Int16Array(data.slice().buffer) : null;
    point(null); call();
  }
  function point(pixel) {
    at = from && pixel ? pixel.map((v, i) => Math.max(0, Math.min((i ? canvas.width : canvas.height) - 1, v))) : null;
    const i = at ? 2 * (at[0] * canvas.width + at[1]) : -1, source = i >= 0 && from[i] >= 0 ? [from[i], from[i + 1]] : null;
    mark.hidden = !at;
    if (at) Object.assign(mark.style, { left: `${100 * at[1] / canvas.width}%`, top: `${100 * at[0] / canvas.height}%`, width: `${100 / canvas.width}%`, height: `${100 / canvas.height}%` });
    const text = !at ? "" : source ? `row ${at[0]}, column ${at[1]} is from row ${source[0]}, column ${source[1]}` : `row ${at[0]}, column ${at[1]} is not filled`;
    if (where.textContent !== text) where.textContent = text;
    document.dispatchEvent(new CustomEvent(`vw-${get("family")}`, { detail: source }));
  }
  on(canvas, "pointermove", (e) => {
    const r = canvas.getBoundingClientRect();
    point([Math.floor((e.clientY - r.y) / r.height * canvas.height), Math.floor((e.clientX - r.x) / r.width * canvas.width)]);
  });
  on(canvas, "pointerleave", () => point(null));
  on(canvas, "blur", () => point(null));
  on(canvas, "keydown", (e) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[e.key], size = e.shiftKey ? 8 : 1;
    if (!step || !from) return;
    point(at ? at.map((v, i) => v + size * step[i]) : [canvas.height >> 1, canvas.width >> 1]);
    e.preventDefault();
  });

  function progress() {
    const share = Math.round(100 * get("share")), left = get("remaining"), status = get("status");
    fill.style.width = `${share}%`;
    track.setAttribute("aria-valuenow", share);
    said.textContent = get("said");
    rest.textContent = status === "running" && left ? `${duration(left)} left` : "";
    save.disabled = get("index") < 1;
    if (state.textContent !== STATES[status]) state.textContent = STATES[status];
    empty.textContent = { idle: "Press play, and a texture grows here.", failed: "Nothing grows here." }[status] ?? "";
    el.dataset.status = state.dataset.status = status;
    call();
  }
  el.append(make("div", { class: "vw-row vw-player-head" }, title, state), about, stage, track, make("div", { class: "vw-row vw-numbers" }, said, rest));
  errorLine(model, el, signal);
  el.append(make("div", { class: "vw-row" }, save, origins), where);

  listen(model, "change:title", () => { title.textContent = get("title"); track.setAttribute("aria-label", get("title")); }, signal, true);
  listen(model, "change:about", () => { about.textContent = get("about"); }, signal, true);
  listen(model, "change:tells_origins", () => { origins.hidden = where.hidden = !get("tells_origins"); }, signal, true);
  listen(model, "change:origins", () => { check.checked = get("origins"); }, signal, true);
  listen(model, "change:origin", takeOrigin, signal, true);
  for (const name of ["status", "index", "share", "said", "remaining"]) listen(model, `change:${name}`, progress, signal);
  listen(model, "change:frame", () => { if (get("frame")?.byteLength || get("index") < 1) show({ data: get("frame"), index: get("index") }); }, signal, true);
  const receive = (content, buffers) => {
    if (content.frame) show({ data: buffers[0], number: content.frame, index: content.index });
    else if (content.view === view && content.file) download(el, content.file, buffers[0]);
  };
  model.on("msg:custom", receive);
  signal.addEventListener("abort", () => model.off("msg:custom", receive));
  progress();
  return () => stop.abort();
}

export default { render };
