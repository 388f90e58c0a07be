// The picture of a run as it grows; its buttons, its past, its sliders. Frames come as messages, and the newest wins.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal, view = Math.random().toString(36).slice(2);
  const get = (name) => model.get(name), send = (message) => model.send({ ...message, view });
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  el.classList.add("vw", "vw-player");

  let shown = null;                 // the picture on the screen, decoded
  let past = null, found = null;    // the step that is looked back at; the last one before it that was kept
  let asked = false, wanted = null; // one question about the past at a time, the newest next
  let large = -1;                   // the tile that is enlarged

  function button(name, label, command, text = "") {
    const node = focusable(make("button", { type: "button" }));
    fill(node, name, label, text);
    return on(node, "click", command);
  }

  // --- the picture
  const caption = make("span", { class: "vw-title" }), state = make("span", { class: "vw-state", role: "status" });
  const canvas = focusable(make("canvas", { role: "img", tabIndex: 0 }), () => { if (large >= 0) enlarge(-1); else leave(canvas); });
  const tiles = tileGrid({ el, label: "pictures", name: nameOf, signal, paint: paintTile, painted() {}, isChosen: () => false, hover() {}, choose: enlarge });
  const empty = make("div", { class: "vw-stage-empty" });
  const back = button("back", "all pictures", () => enlarge(-1), "all");
  back.classList.add("vw-stage-back");
  const compare = comparison({ model, signal, key: () => toggle(), names: () => get("about").sides ?? ["before", "after"],
    redraw: (other) => { if (other) arrange(); else draw(); } });
  const stage = make("div", { class: "vw-stage" }, canvas, tiles.node, compare.node, empty, back);
  on(canvas, "keydown", (e) => {
    if (e.key !== " ") return;
    toggle();
    e.preventDefault();
  });
  on(canvas, "click", () => { if (large >= 0) enlarge(-1); });

  const about = () => get("about"), count = () => about().count ?? 1;
  const many = () => count() > 1;
  function nameOf(i) { return about().labels?.[i] ?? `picture ${i + 1}`; }
  function corner(i) {
    const a = about();
    return [(i % a.columns) * (a.width + a.gap), Math.floor(i / a.columns) * (a.height + a.gap), a.width, a.height];
  }
  function smooth(g, source, ...box) {
    g.imageSmoothingEnabled = true; g.imageSmoothingQuality = "high";
    g.drawImage(shown, ...source, ...box);
  }
  function paintTile(g, i, x, y, side) {
    if (!shown) return;
    const [, , w, h] = corner(i), k = Math.max(w, h);
    smooth(g, corner(i), x + side * (k - w) / 2 / k, y + side * (k - h) / 2 / k, side * w / k, side * h / k);
    const label = about().labels?.[i];
    if (!label) return;
    g.font = `11px ${getComputedStyle(el).fontFamily}`; g.textBaseline = "middle";
    const room = side - 8, short = shorten(g, label, room), width = g.measureText(short).width + 8;
    g.fillStyle = "rgb(0 0 0 / 0.66)"; g.fillRect(x, y + side - 16, width, 16);
    g.fillStyle = "#fff"; g.fillText(short, x + 4, y + side - 7.5);
  }
  function shorten(g, text, room) {
    if (g.measureText(text).width <= room) return text;
    while (text.length > 1 && g.measureText(`${text}…`).width > room) text = text.slice(0, -1);
    return `${text}…`;
  }
  function enlarge(i) {
    const before = large;
    large = i;
    if (i >= 0) fill(back, "back", "all pictures", `all · ${nameOf(i)}`);
    arrange();
    if (i >= 0) canvas.focus(); else { tiles.moveTo(before); tiles.node.focus(); }
  }

  function arrange() {
    const a = about(), grid = many() && large < 0, start = compare.picture(), nothing = !shown && !start;
    const [w, h] = !many() ? [shown?.width ?? start?.width ?? a.width ?? 1, shown?.height ?? start?.height ?? a.height ?? 1] : grid
      ? [a.columns * a.width, Math.ceil(count() / a.columns) * a.height] : [a.width, a.height];
    stage.style.setProperty("--vw-ratio", w / h);
    stage.classList.toggle("vw-stage-none", nothing);
    if (!grid || nothing) stage.style.aspectRatio = `${w} / ${h}`; else stage.style.aspectRatio = "";
    canvas.hidden = nothing || grid; tiles.node.hidden = nothing || !grid; empty.hidden = !nothing; back.hidden = nothing || large < 0;
    compare.node.hidden = !start || !shown || many();
    canvas.tabIndex = compare.node.hidden ? 0 : -1;      // then space is the other's, which lies above
    compare.place();
    empty.textContent = a.hint || (get("index") > 0 ? "This run has no picture; its score is in the curve." : get("status") === "idle" ? "Press play, and a picture grows here." : "");
    if (grid && !nothing) {
      const room = stage.clientWidth || 320;
      tiles.show(Array.from({ length: count() }, (_, i) => i), Math.floor((room - 4) / a.columns) - 3);
    }
    draw();
  }

  function draw() {
    const start = compare.picture();
    if (!shown && !start) return;
    if (many() && large < 0) { tiles.ask(); return; }
    const box = many() ? corner(large) : [0, 0, (shown ?? start).width, (shown ?? start).height], ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round((canvas.clientWidth || 320) * ratio)), height = Math.max(1, Math.round(width * box[3] / box[2]));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const g = canvas.getContext("2d");
    if (shown) smooth(g, box, 0, 0, width, height);
    if (!many()) compare.draw(g, width, height, !shown);
    canvas.ariaLabel = `${caption.textContent}${many() ? `, ${nameOf(large)}` : ""}, step ${found ?? past ?? get("index")}; space plays and pauses`;
  }

  const take = newest(model, signal, (bitmap, next) => {
    if (!bitmap) return;
    if (next.past === undefined && past !== null) { bitmap.close(); return; }      // the present goes on behind the past
    const other = !shown || shown.width !== bitmap.width || shown.height !== bitmap.height;
    shown?.close();
    shown = bitmap;
    if (other) arrange(); else draw();
    el.dataset.shown = next.past ?? next.index;
    el.dataset.frames = Number(el.dataset.frames ?? 0) + 1;
  });

  function present() {              // the last picture, as the model has it
    past = found = wanted = null;
    if (get("frame")?.byteLength) take({ data: get("frame"), index: get("index") });
  }
  function forget() {
    if (get("frame")?.byteLength) { if (past === null) present(); return; }
    if (get("index") > 0) return;
    shown?.close();
    take.forget();
    shown = past = found = null; large = -1;
    el.dataset.shown = "";
    arrange(); progress();
  }

  // --- its past
  const scrub = focusable(make("input", { type: "range", class: "vw-scrub", min: 0, max: 1, value: 0, step: 1, "aria-label": "look back" }));
  const where = make("span"), live = make("button", { type: "button", class: "vw-live" }, "back to now");
  focusable(live);
  on(live, "click", () => { scrub.focus(); now(); });
  on(scrub, "input", () => { if (Number(scrub.value) >= get("index")) now(); else look(Math.max(1, Number(scrub.value))); });
  function now() {
    past = found = wanted = null;
    if (get("status") !== "running") present();      // else the next frame comes
    progress();
  }
  function look(step) {
    past = step; wanted = step;
    progress();
    if (asked) return;
    asked = true;
    wanted = null;
    send({ cmd: "seek", index: step });
    setTimeout(answered, 1000);      // if no answer comes
  }
  function answered() {
    if (!asked) return;
    asked = false;
    if (wanted !== null && past !== null) look(wanted);
  }

  // --- buttons
  const toggle = () => send({ cmd: ["running", "waiting"].includes(get("status")) ? "pause" : "play" });
  const main = button("play", "play", toggle, "Play");
  main.classList.add("vw-main");
  const one = button("step", "one step", () => send({ cmd: "step" })), halt = button("stop", "stop", () => send({ cmd: "stop" }));
  const again = button("again", "start again", () => send({ cmd: "restart" }));
  const other = button("dice", "start again with another seed", () => send({ cmd: "restart", another: true }));
  const progressBar = make("div", { class: "vw-done" });
  const speed = make("span", { class: "vw-dim" }), rest = make("span", { class: "vw-dim" });

  function buttons() {
    const status = get("status"), playing = ["running", "waiting"].includes(status), ended = ENDED.includes(status), s = get("settings"), anew = Boolean(s.stale || s.note);
    const playable = (get("total") > 0 || get("index") > 0 || status !== "idle" || s.efforts === undefined || s.restart) && !about().hint;
    fill(main, playing ? "pause" : "play", playing ? "pause" : ended ? "play again" : "play", playing ? "Pause" : ended && anew ? "Play again" : "Play");
    main.disabled = !playable || (ended && !s.restart);
    one.disabled = !playable || playing || (ended && !s.restart);
    halt.disabled = !playing && status !== "paused";
    again.hidden = other.hidden = !s.restart && !about().hint;
    again.disabled = other.disabled = !s.restart || status === "idle";
    again.classList.toggle("vw-stale", anew);
    stale.textContent = s.stale ? "changed" : "";
    saves.forEach((b, i) => { b.disabled = get("index") < 1 || (i > 0 && about().frames === false); });
    for (const range of sliders.node.querySelectorAll("input")) range.disabled = Boolean(about().hint);
    el.dataset.status = status;
    const text = about().hint ? "" : past !== null ? "looking back" : STATES[status];
    if (state.textContent !== text) state.textContent = text;
    state.dataset.status = past !== null ? "past" : status;
  }

  function progress() {
    const index = get("index"), total = get("total"), running = get("status") === "running";
    scrub.max = Math.max(1, total || index);
    scrub.disabled = index < 1;
    if (past === null) scrub.value = index;
    const step = past === null ? index : found ?? past;
    where.textContent = total ? `step ${step} of ${total}` : `step ${step}`;
    scrub.setAttribute("aria-valuetext", where.textContent);
    live.hidden = past === null;
    progressBar.style.width = total ? `${100 * index / total}%` : "0";
    const { rate } = get("live");
    speed.textContent = rate ? (rate < 0.95 ? `${number(1 / rate)} s a step` : `${rate < 100 ? rate.toFixed(1) : Math.round(rate)} steps/s`) : "";
    rest.textContent = running && total && rate ? `${duration(get("remaining"))} left` : "";
    buttons();
  }

  // --- sliders: at once; settings: from the next start; files
  const legend = make("div", { class: "vw-legend" }), sliders = runSliders({ get, send, on });
  function terms() {
    legend.replaceChildren(...(get("live").terms ?? []).map((t) => {
      const dot = make("i", { "aria-hidden": "true" });
      dot.style.background = t.colour;
      return make("span", {}, dot, make("span", {}, t.name), make("b", {}, typeof t.value === "number" ? number(t.value).replace("-", "−") : t.value));
    }));
  }

  const set = (name, node) => on(node, "change", () => send({ cmd: "set", name, value: node.value }));
  const menus = new Map();
  function menu(m) {      // a select for each, made once
    if (!menus.has(m.key)) {
      const node = set(m.key, focusable(make("select", { "aria-label": m.name })));
      menus.set(m.key, node);
      steps.parentElement.before(make("label", {}, make("span", {}, m.name), node));
    }
    options(menus.get(m.key), m.options, m.value);
  }
  const steps = set("steps", focusable(make("select", { "aria-label": "effort" })));
  const seed = set("seed", focusable(make("input", { type: "number", step: 1, "aria-label": "seed" })));
  const stale = make("span", { class: "vw-dim vw-stale-note" }), note = make("p", { class: "vw-run-note", role: "status" });
  const choices = make("div", { class: "vw-choices" }, make("label", {}, make("span", {}, "effort"), steps),
    make("label", {}, make("span", {}, "seed"), make("span", { class: "vw-seed" }, seed, other)));
  function options(node, entries, value) {
    const text = JSON.stringify(entries);
    if (node.dataset.entries !== text) {
      node.dataset.entries = text;
      node.replaceChildren(...entries.map(([v, label]) => make("option", { value: v }, label)));
    }
    node.value = value;
  }
  function settings() {
    const s = get("settings"), pace = get("live").pace;
    steps.parentElement.hidden = s.efforts === undefined;
    seed.closest("label").hidden = s.seed === undefined;
    start.hidden = s.seed === undefined && s.efforts === undefined;
    if (note.textContent !== (s.note ?? "")) note.textContent = s.note ?? "";
    if (start.dataset.known !== String(Boolean(s.folded))) { start.open = !s.folded; start.dataset.known = Boolean(s.folded); }
    inside.textContent = s.folded ? `(${[...s.menus.map((m) => m.name), "effort"].join(", ")})` : "";
    for (const m of s.menus ?? []) menu(m);
    if (s.efforts !== undefined) {
      const timed = (n) => (pace ? `, ${duration(pace * n)}` : "");
      options(steps, Object.entries(s.efforts).map(([e, n]) => [e, (e === String(n) ? `${n} steps` : `${e}: ${n} steps`) + timed(n)]), s.steps);
    }
    if (document.activeElement !== seed) seed.value = s.seed ?? 0;
    buttons();
  }
  const saves = ["png", "gif", "webp"].map((kind) => {
    const label = { png: "PNG", gif: "GIF", webp: "WebP" }[kind], what = kind === "png" ? "the picture" : "the way there";
    const node = focusable(make("button", { type: "button", title: `save ${what} as ${label}, with its recipe inside` }, label));
    return on(node, "click", () => { node.ariaBusy = "true"; send({ cmd: "save", kind }); });
  });
  function offer(content, data) {
    for (const b of saves) b.ariaBusy = "false";
    if (!content.file) return;
    download(el, content.file, data, content.kind);
  }

  const transport = make("div", { class: "vw-transport" }, main, one, halt, again);
  const left = make("div", { class: "vw-player-main" },
    make("div", { class: "vw-row vw-player-head" }, caption, state), stage,
    make("div", { class: "vw-track" }, progressBar, scrub),
    make("div", { class: "vw-row vw-numbers" }, where, speed, rest, live), transport);
  errorLine(model, left, signal);
  const next = make("section", {}, make("div", { class: "vw-heading" }, "acts at the next step"), sliders.node, note);
  const start = fold("", choices);
  const inside = make("span");
  start.firstChild.append("acts at the next start ", inside, " ", stale);
  const right = make("div", { class: "vw-player-side" }, legend, next, start,
    make("div", { class: "vw-row vw-saves" }, make("span", { class: "vw-heading" }, "save"), ...saves));
  el.append(left, right);

  function tell() {
    const a = about();
    caption.textContent = a.caption ?? "";
    arrange(); progress();
  }
  compare.watch();
  listen(model, "change:about", tell, signal, true);
  for (const name of ["index", "total", "remaining"]) listen(model, `change:${name}`, progress, signal);
  listen(model, "change:status", () => { progress(); arrange(); }, signal);
  listen(model, "change:live", () => { terms(); settings(); progress(); }, signal, true);
  listen(model, "change:settings", settings, signal, true);
  listen(model, "change:sliders", () => { next.hidden = !sliders.show(); }, signal, true);
  listen(model, "change:frame", forget, signal, true);
  const receive = (content, buffers) => {
    if (content.frame && past !== null) model.send({ ack: content.frame });      // it would take the place of a picture of the past
    else if (content.frame) take({ data: buffers[0], number: content.frame, index: content.index });
    else if (content.view !== view) return;
    else if (content.past !== undefined) {
      if (past !== null) {
        found = content.past;
        take({ data: buffers[0], past: found, index: found });
        progress();
      }
      answered();
    } else if (content.file !== undefined) offer(content, buffers[0]);
  };
  model.on("msg:custom", receive);
  const sized = new ResizeObserver(() => { if (many() && large < 0) { if (shown) arrange(); } else draw(); });
  sized.observe(stage);
  onThemeChange(draw, signal);
  signal.addEventListener("abort", () => { model.off("msg:custom", receive); sized.disconnect(); shown?.close(); });
  return () => stop.abort();
}

export default { render };
