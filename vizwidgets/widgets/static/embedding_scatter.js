// A map of images: points or thumbnails to wander through. Drawing, nearness and lassos are worked out here; thumbnails, names
// and what a selection has in common come from Python.

const ENDED = ["stopped", "done", "failed"], SIDE = 96, STRIP = 400;
const STATES = { idle: "", waiting: "waiting for its turn", running: "settling", paused: "paused", stopped: "stopped", done: "settled", failed: "failed" };

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), about = () => get("about");
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  const button = (text, act, properties = {}) => on(focusable(make("button", { type: "button", ...properties }, text)), "click", act);
  el.classList.add("vw", "vw-scatter");

  let picked = -1, pointed = -1, cursor = -1, emphasis = -1;      // the chosen point, that under the mouse, that under the keyboard's cursor; a class
  let classes = new Uint16Array(), chosen = new Set(), hidden = new Set(), path = null, tool = "move";
  let dirty = true, asked = 0, acknowledge = 0, middles = null;

  // --- the stage
  const canvas = make("canvas", { "aria-hidden": "true" }), over = make("canvas", { "aria-hidden": "true" });
  const tip = make("div", { class: "vw-tip" }), empty = make("div", { class: "vw-stage-empty" });
  const stage = focusable(make("div", { class: "vw-scatter-stage", tabIndex: 0, role: "application", "aria-roledescription": "map of images" }, canvas, over, tip, empty), escape);
  const where = make("div", { class: "vw-dim vw-where", role: "status" });
  const plot = scatterPlot(canvas);
  const album = thumbnails({ model, signal, side: SIDE, arrived(rows) {
    if (rows.includes(shown())) say();
    if (get("mode") === "thumbnails") dirty = true;
    strip.ask(); ask();
  } });
  const pan = panZoom(stage, { signal, most: () => 60, changed() { pointed = -1; dirty = true; ask(); }, grab, click(e) {
    const at = spot(e);
    cursor = plot.nearest(...at);
    goTo(cursor);
  } });
  const ask = () => { asked ||= requestAnimationFrame(draw); };
  const spot = (e) => { const r = stage.getBoundingClientRect(); return [e.clientX - r.x, e.clientY - r.y]; };
  const shown = () => (pointed >= 0 ? pointed : document.activeElement === stage && cursor >= 0 ? cursor : picked);

  function draw() {
    asked = 0;
    const width = stage.clientWidth, height = stage.clientHeight;
    if (!width || !height) return;
    if (dirty) {
      const css = getComputedStyle(el);
      plot.style({ marks: about().marks ?? [], ground: css.getPropertyValue("--vw-bg"), ink: css.getPropertyValue("--vw-fg") });
      const pictures = get("mode") === "thumbnails" && about().pictures, began = performance.now();
      const missing = plot.draw(pan.view, width, height, pictures ? (row) => { const known = album.get(row); return known ? known.image : undefined; } : null);
      album.want("map", missing);
      dirty = false;
      if (!tip.hidden) say();
      el.dataset.drawn = Number(el.dataset.drawn ?? 0) + 1;
      el.dataset.took = (performance.now() - began).toFixed(1);
    }
    drawOver(width, height);
    if (acknowledge) { model.send({ ack: acknowledge }); acknowledge = 0; }
  }
  function drawOver(width, height) {
    const ratio = window.devicePixelRatio || 1, g = over.getContext("2d"), [w, h] = [Math.round(width * ratio), Math.round(height * ratio)], css = getComputedStyle(el);
    if (over.width !== w || over.height !== h) [over.width, over.height] = [w, h];
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    const [accent, ink, ground] = ["--vw-accent", "--vw-fg", "--vw-bg"].map((name) => css.getPropertyValue(name));
    const side = get("mode") === "thumbnails" && about().pictures ? plot.tile() + 4 : 0;
    const frame = (row, colour, line) => {
      if (!plot.seen(row)) return;
      const [x, y] = plot.place(row);
      g.beginPath();
      if (side) g.rect(x - side / 2, y - side / 2, side, side); else g.arc(x, y, 8, 0, 7);
      g.strokeStyle = ground; g.lineWidth = line + 2; g.stroke();
      g.strokeStyle = colour; g.lineWidth = line; g.stroke();
    };
    if (names.checked) drawNames(g, width, height, ink, ground, css.fontFamily);
    frame(picked, accent, 3);
    if (document.activeElement === stage && cursor !== picked) frame(cursor, ink, 2);
    if (pointed !== picked) frame(pointed, ink, 1.5);
    if (!path) return;
    g.beginPath();
    path.forEach(([x, y], i) => (i ? g.lineTo(x, y) : g.moveTo(x, y)));
    g.closePath();
    g.globalAlpha = 0.15; g.fillStyle = accent; g.fill();
    g.globalAlpha = 1; g.strokeStyle = accent; g.lineWidth = 1.5; g.setLineDash([5, 4]); g.stroke(); g.setLineDash([]);
  }

  // The names of the classes in the midst of their points, as far as they do not lie over each other.
  function drawNames(g, width, height, ink, ground, family) {
    middles ??= plot.middles();
    const taken = [];
    g.font = `600 12px ${family}`; g.textAlign = "center"; g.textBaseline = "middle"; g.lineJoin = "round";
    for (const [group, row] of middles) {
      if (emphasis >= 0 && group !== emphasis) continue;
      const [x, y] = plot.place(row), text = shorten(about().classes[group] ?? ""), half = g.measureText(text).width / 2 + 3;
      if (x < 0 || y < 0 || x > width || y > height || taken.some(([tx, ty, th]) => Math.abs(tx - x) < th + half && Math.abs(ty - y) < 16)) continue;
      const within = Math.min(Math.max(x, half), width - half);
      taken.push([within, y, half]);
      g.strokeStyle = ground; g.lineWidth = 4; g.strokeText(text, within, y);
      g.fillStyle = ink; g.fillText(text, within, y);
    }
  }
  const shorten = (text) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);

  // --- what is where, in words
  const className = (row) => { const group = classes[row]; return group === undefined || group === NO_CLASS ? "" : about().classes?.[group] ?? ""; };
  function say() {
    const row = shown(), known = row >= 0 ? album.get(row) : null;
    tip.hidden = pointed < 0 && !(document.activeElement === stage && cursor >= 0) || !plot.seen(row);
    if (row < 0) { where.textContent = selectionHint(); return; }
    const name = known?.name ?? `row ${row}`, kind = className(row);
    const words = [name, kind, row === picked ? "chosen" : "", chosen.has(row) ? "selected" : ""].filter(Boolean).join(" · ");
    if (where.textContent !== words) where.textContent = words;
    if (!known) album.want("pointed", [row]);
    if (tip.hidden) return;
    const content = [name, kind, known?.url].join("\n");
    if (tip.dataset.content !== content) tip.replaceChildren(...(known?.image ? [make("img", { src: known.url, alt: "" })] : []), make("b", {}, name), ...(kind ? [make("span", {}, kind)] : []));
    tip.dataset.content = content;
    const [x, y] = plot.place(row), left = x > stage.clientWidth / 2, above = y > stage.clientHeight / 2;
    Object.assign(tip.style, { left: left ? "" : `${x + 14}px`, right: left ? `${stage.clientWidth - x + 14}px` : "", top: above ? "" : `${y + 14}px`, bottom: above ? `${stage.clientHeight - y + 14}px` : "" });
    tip.style.maxWidth = `${Math.max(90, Math.min(220, (left ? x : stage.clientWidth - x) - 20))}px`;
  }
  const selectionHint = () => (tool === "move" ? "" : tool === "lasso" ? "Draw around points to select them; Shift adds." : "Draw a rectangle to select what is inside; Shift adds.");
  function label() {
    const a = about(), kinds = (a.counts ?? []).map((n, i) => [a.classes[i], n]).filter(([, n]) => n).map(([name, n]) => `${name} ${n}`);
    stage.ariaLabel = a.count === undefined ? "map, empty" : `${a.title}${kinds.length ? `: ${kinds.slice(0, 20).join(", ")}` : ""}; ${chosen.size} selected. `
      + "Arrow keys go to the nearest point, Enter chooses it, Space adds it to the selection, plus and minus zoom, Escape clears.";
  }

  // --- choosing
  function goTo(row) {
    if (row !== picked) { picked = row; pickedAhead(); model.send({ cmd: "pick", value: row }); }
    say(); strip.ask(); ask();
  }
  function choose(rows, add = false) {
    chosen = new Set(add ? [...chosen, ...rows] : rows);
    chosenAhead();
    model.send({ cmd: "choose" }, undefined, [Uint32Array.from(chosen).buffer]);
    remark(); takeTold();
  }
  function grab(e) {
    if (tool === "move" && !e.shiftKey) return null;
    const first = spot(e), square = tool === "rectangle", add = tool !== "move" && e.shiftKey;
    path = [first];
    return {
      move(e) {
        const [x, y] = spot(e), [lx, ly] = path.at(-1);
        if (square) path = [first, [x, first[1]], [x, y], [first[0], y]];
        else if (Math.hypot(x - lx, y - ly) > 2) path.push([x, y]);
        ask();
      },
      end(moved) {
        const outline = path;
        path = null;
        if (moved && outline.length > 2) choose(plot.inside(outline), add);
        ask();
      },
    };
  }
  function escape() {
    if (path || chosen.size || picked >= 0 || pointed >= 0) {
      path = null; pointed = -1;
      if (chosen.size) choose([]);
      goTo(-1);
    } else leave(stage);
  }
  function remark() {      // something else is pale, marked or away
    plot.mark({ classes, chosen, hidden, only: emphasis });
    dirty = true; middles = null;
    label(); legendMarks(); say(); ask();
  }
  on(stage, "pointermove", (e) => {
    const row = pan.dragging() ? -1 : plot.nearest(...spot(e));
    if (row === pointed) return;
    pointed = row;
    stage.style.cursor = tool !== "move" ? "crosshair" : row >= 0 ? "pointer" : "";
    say(); ask();
  });
  on(stage, "pointerleave", () => { pointed = -1; say(); ask(); });
  on(stage, "focus", () => { say(); ask(); });
  on(stage, "blur", () => { say(); ask(); });
  on(stage, "keydown", (e) => {
    const arrow = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key];
    const step = { PageDown: [cursor, 1], PageUp: [cursor, -1], Home: [-1, 1], End: [plot.count(), -1] }[e.key];
    if (pan.key(e, plot.seen(cursor) ? plot.place(cursor).map((v, i) => v / [stage.clientWidth, stage.clientHeight][i]) : undefined)) { say(); return; }
    if (arrow || step) {
      if (!plot.seen(cursor)) cursor = plot.seen(picked) ? picked : -1;
      const next = arrow ? (cursor < 0 ? plot.nearest(stage.clientWidth / 2, stage.clientHeight / 2, 1e5) : plot.beside(cursor, ...arrow)) : plot.step(...step);
      if (next >= 0) cursor = next;
      pointed = -1;
      if (plot.seen(cursor)) {
        pan.bring(plot.place(cursor).map((v, i) => v / [stage.clientWidth, stage.clientHeight][i]));
        if (dirty) draw();
      }
      say(); ask();
    } else if (e.key === "Enter" && cursor >= 0) goTo(cursor);
    else if (e.key === " " && cursor >= 0) choose(chosen.has(cursor) ? [...chosen].filter((row) => row !== cursor) : [...chosen, cursor]);
    else return;
    e.preventDefault();
  });

  // --- tools
  const caption = make("span", { class: "vw-title" }), state = make("span", { class: "vw-state", role: "status" });
  const tools = make("div", { class: "vw-tools", role: "group", "aria-label": "what dragging does" }, ...[["move", "Move", "drag moves the map; with Shift it selects"],
    ["lasso", "Lasso", "drag around points to select them"], ["rectangle", "Rectangle", "drag a rectangle to select what is inside"]].map(([name, text, title]) =>
    button(text, () => { tool = name; toolMarks(); }, { title, dataset: { tool: name } })));
  function toolMarks() {
    for (const node of tools.children) node.ariaPressed = String(node.dataset.tool === tool);
    stage.style.cursor = tool === "move" ? "" : "crosshair";
    say();
  }
  const inView = button("Select what is in view", () => {
    const [w, h] = [stage.clientWidth, stage.clientHeight];
    choose(plot.inside([[0, 0], [w, 0], [w, h], [0, h]]));
  });
  const mode = on(focusable(make("select", { "aria-label": "shown as" }, make("option", { value: "points" }, "points"), make("option", { value: "thumbnails" }, "thumbnails"))), "change",
    () => model.send({ cmd: "mode", value: mode.value }));

  const names = on(focusable(make("input", { type: "checkbox", checked: true })), "change", ask), named = make("label", {}, names, "names");

  // --- playing
  const send = (cmd) => model.send({ cmd });
  const main = button("", () => send(["running", "waiting"].includes(get("status")) ? "pause" : "play"), { class: "vw-main" });
  const one = button("One step", () => send("step")), halt = button("Stop", () => send("stop")), again = button("Start again", () => send("restart"));
  const done = make("div", { class: "vw-bar-fill vw-after" }), progress = make("div", { class: "vw-bar-track", role: "progressbar", "aria-label": "map", "aria-valuemin": 0, "aria-valuemax": 100 }, done);
  const steps = make("span", { class: "vw-dim" });
  const transport = make("div", { class: "vw-row vw-scatter-play" }, main, one, halt, again, progress, steps);
  function sayState() {
    const status = get("status"), a = about(), playing = ["running", "waiting"].includes(status), ended = ENDED.includes(status), total = get("total");
    const share = total ? Math.round(100 * get("index") / total) : 0;
    transport.hidden = !a.playable || !total;
    main.textContent = playing ? "Pause" : ended ? "Play again" : status === "paused" ? "Go on" : "Play";
    main.disabled = one.disabled = ended && !a.again;
    one.disabled ||= playing;
    halt.disabled = !playing && status !== "paused";
    again.hidden = !a.again || ended; again.disabled = status === "idle";
    done.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", share);
    steps.textContent = total ? `step ${get("index")} of ${total}` : "";
    const text = !a.playable ? "" : status === "running" ? get("phase") || STATES.running : STATES[status];
    if (state.textContent !== text) state.textContent = text;
    state.dataset.status = el.dataset.status = status;
    hint();
  }
  function hint() {
    const a = about(), nothing = !plot.count(), status = get("status");
    empty.hidden = !nothing; toolbar.hidden = Boolean(a.hint);
    stage.classList.toggle("vw-scatter-empty", Boolean(a.hint));
    canvas.hidden = over.hidden = nothing;
    empty.textContent = a.hint || (status === "failed" || get("error") ? "No map could be made: see below." : status === "idle" && a.playable ? "Press play, and the map settles here." : "The map is on its way.");
  }

  // --- legend
  const legend = make("div", { class: "vw-scatter-legend", role: "group", "aria-label": "classes" }), allClasses = button("Show all classes", () => hide([]));
  const hide = (list) => { hidden = new Set(list); hiddenAhead(); model.send({ cmd: "hide", value: [...hidden] }); remark(); };
  function makeLegend() {
    const a = about(), names = (a.classes ?? []).map((name, i) => [name, i]).filter(([, i]) => a.counts[i]);
    legend.hidden = !names.length;
    legend.replaceChildren(...names.map(([name, i]) => {
      const sign = make("canvas", { "aria-hidden": "true", width: 36, height: 36 }), node = button("", (e) => {
        if (e.shiftKey) hide(hidden.size === names.length - 1 && !hidden.has(i) ? [] : names.map(([, j]) => j).filter((j) => j !== i));
        else hide(hidden.has(i) ? [...hidden].filter((j) => j !== i) : [...hidden, i]);
      }, { title: `show or hide ${name}; with Shift: only ${name}`, dataset: { group: i } });
      drawMark(sign.getContext("2d"), a.marks[i][1], a.marks[i][0], 18, 18, 12);
      node.append(sign, make("span", {}, name), make("span", { class: "vw-dim" }, a.counts[i].toLocaleString("en")));
      on(node, "pointerenter", () => { emphasis = hidden.has(i) ? -1 : i; remark(); });
      on(node, "pointerleave", () => { emphasis = -1; remark(); });
      return node;
    }));
    legendMarks();
  }
  function legendMarks() {
    for (const node of legend.children) node.ariaPressed = String(!hidden.has(Number(node.dataset.group)));
    allClasses.hidden = !hidden.size;
  }

  // --- how it is made
  const method = on(focusable(make("select", { "aria-label": "method" })), "change", () => model.send({ cmd: "method", value: method.value }));
  const near = knob({ label: "perplexity", least: 2, most: 100, signal, turned: () => {}, text: (n) => String(n) });
  on(near.node.querySelector("input"), "change", (e) => model.send({ cmd: "perplexity", value: Number(e.target.value) }));
  const settings = make("div", {}, make("div", { class: "vw-choices" }, pick("method", method)), make("div", { class: "vw-knobs" }, near.node));
  function takeSettings() {
    const s = get("settings");
    settings.hidden = !s.methods;
    if (!s.methods) return;
    if (method.children.length !== s.methods.length) method.replaceChildren(...s.methods.map((name) => make("option", { value: name }, name)));
    method.value = s.method;
    near.node.hidden = s.method !== "t-SNE";
    near.set(s.perplexity, s.most);
  }
  const quality = make("div", { class: "vw-dim" }), score = make("div", { class: "vw-heading" });

  // --- what is selected
  const told = make("div", { class: "vw-title", role: "status" }), kinds = make("div", { class: "vw-dim" });
  const shared = make("div", { class: "vw-row vw-shared" }), clear = button("Clear selection", () => choose([]));
  const box = make("div", { class: "vw-strip-box" }), missing = [];
  const strip = tileGrid({ el: box, label: "selected images", signal, isChosen: (row) => row === picked, choose: goTo,
    name: (row) => `${album.get(row)?.name ?? `row ${row}`}${className(row) ? `, ${className(row)}` : ""}`,
    paint(g, row, x, y, side, css) {
      const known = album.get(row);
      if (known?.image) drawThumbnail(g, known.image, x, y, side);
      else { g.fillStyle = css.getPropertyValue("--vw-bg2"); g.fillRect(x, y, side, side); missing.push(row); }
    },
    hover(row) { if (row !== pointed) { pointed = row; say(); ask(); } },
    painted() { album.want("strip", missing.splice(0)); } });
  box.append(strip.node);
  function takeTold() {
    const t = get("told"), rows = [...chosen];
    selection.hidden = !rows.length;
    if (!rows.length) { told.textContent = ""; return; }
    told.textContent = `${rows.length.toLocaleString("en")} of ${about().count.toLocaleString("en")} selected`;
    kinds.textContent = t.count === rows.length ? t.classes.map(([name, n]) => `${name} ${n}`).join(", ") : "";
    box.hidden = !about().pictures;
    if (about().pictures) strip.show(rows.slice(0, STRIP), 56);
    more.textContent = about().pictures && rows.length > STRIP ? `shown are the first ${STRIP}` : "";
    const common = t.count === rows.length ? t.common : [];
    shared.replaceChildren(make("span", {}, common.length ? "In common, above the mean of all images:" : t.whole ? "" : t.count === rows.length ? `No channel stands out: by chance some would be ${t.chance.toFixed(1)} SD above the mean of all.` : ""),
      ...common.map(([channel, above]) => {
        const text = `channel ${channel} `, amount = make("b", {}, `+${above.toFixed(1)} SD`);
        if (!t.layer) return make("span", {}, text, amount);
        const node = button(text, () => model.send({ cmd: "channel", value: channel }), { title: `make channel ${channel} of ${t.layer} the target` });
        node.append(amount);
        return node;
      }));
  }
  const more = make("div", { class: "vw-dim" });
  const selection = make("div", { class: "vw-scatter-selection" }, make("div", { class: "vw-row" }, told, clear), kinds, box, more, shared);

  // --- together
  const toolbar = make("div", { class: "vw-row vw-scatter-tools" }, tools, pan.buttons, make("div", { class: "vw-row" }, named, mode));
  const left = make("div", { class: "vw-scatter-main" }, make("div", { class: "vw-row vw-player-head" }, caption, state), toolbar, stage, where, transport);
  errorLine(model, left, signal);
  const right = make("div", { class: "vw-scatter-side" }, legend, allClasses, inView, settings, quality, score);
  el.append(left, right, selection);

  function take(view, number = 0) {
    plot.points(floats(view));
    acknowledge = number || acknowledge;
    if (number) el.dataset.frames = Number(el.dataset.frames ?? 0) + 1;
    remark(); hint();
    if (document.hidden && number) { model.send({ ack: number }); acknowledge = 0; }      // it has no animation frames
  }
  let source = "";
  function tell() {
    const a = about(), now = JSON.stringify([a.classes, a.count, a.marks]);
    caption.textContent = a.title ?? "";
    mode.hidden = !a.pictures; named.hidden = !a.classes?.length; inView.hidden = !a.count; quality.hidden = !a.count;
    if (now !== source) { source = now; album.clear(); makeLegend(); }
    dirty = true;
    label(); sayState(); ask();
  }
  listen(model, "change:about", tell, signal, true);
  listen(model, "change:groups", () => { const view = get("groups"); classes = new Uint16Array(bytes(view).slice().buffer); remark(); }, signal, true);
  listen(model, "change:frame", () => take(get("frame")), signal, true);
  const chosenAhead = ahead(model, "chosen", () => { chosen = new Set(new Uint32Array(bytes(get("chosen")).slice().buffer)); remark(); takeTold(); }, signal);
  const hiddenAhead = ahead(model, "hidden", () => { hidden = new Set(get("hidden")); remark(); }, signal);
  const pickedAhead = ahead(model, "picked", () => {
    if (get("picked") === picked) return;
    picked = get("picked");
    if (picked >= 0) cursor = picked;
    say(); strip.ask(); ask();
  }, signal);
  listen(model, "change:mode", () => { mode.value = get("mode"); dirty = true; ask(); }, signal, true);
  listen(model, "change:told", takeTold, signal, true);
  listen(model, "change:settings", takeSettings, signal, true);
  listen(model, "change:quality", () => { quality.textContent = get("quality"); }, signal, true);
  listen(model, "change:score", () => { score.textContent = get("score"); score.hidden = !get("score"); }, signal, true);
  listen(model, "change:error", hint, signal);
  for (const name of ["status", "index", "total", "phase"]) listen(model, `change:${name}`, sayState, signal);
  const receive = (content, buffers) => { if (content.frame) take(buffers[0], content.frame); };
  model.on("msg:custom", receive);
  const sized = new ResizeObserver(() => { dirty = true; ask(); });
  sized.observe(stage);
  onThemeChange(() => { dirty = true; ask(); }, signal);
  signal.addEventListener("abort", () => { model.off("msg:custom", receive); sized.disconnect(); cancelAnimationFrame(asked); });
  toolMarks();
  return () => stop.abort();
}

export default { render };
