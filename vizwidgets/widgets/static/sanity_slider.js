// Maps of several methods with the network as it is, and with as many layers random as the slider says.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), about = () => get("about"), send = (cmd) => model.send({ cmd });
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  const { ask, answered, held } = asker(model, signal, place);
  el.classList.add("vw", "vw-sanity-page");

  const title = make("span", { class: "vw-title" }, "Which maps notice that the network is destroyed?"), aim = make("span", { class: "vw-dim" });
  const empty = make("div", { class: "vw-dim" }, "Nothing yet: a network, a picture and a method are needed.");
  const choice = (name, label) => on(focusable(make("select", { "aria-label": label })), "change", (e) => model.send({ cmd: "set", name, value: e.target.value }));
  const order = choice("order", "order"), measure = choice("measure", "similarity");
  const ORDER = { cascading: "from the output down", "bottom-up": "from the input up", independent: "one layer at a time" };

  // --- the slider and what it says
  const range = focusable(make("input", { type: "range", min: 0, step: 1, value: 0, class: "vw-sanity-range", "aria-label": "layers random" }));
  const where = make("output"), last = make("div", { class: "vw-dim" });
  on(range, "input", () => { say(); ask("position", Number(range.value)); });
  const names = () => about().layers ?? [];
  function sentence(n) {
    const layers = names();
    if (!n) return "no layer is random: the network as it is";
    if (about().order === "independent") return `only ${layers[n - 1]} is random`;
    return n === 1 ? `${layers[0]} is random` : `${layers[0]} to ${layers[n - 1]} are random`;
  }
  function say() {
    const n = Number(range.value);
    where.textContent = about().order === "independent" ? (n ? `layer ${n} of ${names().length}` : "none") : `${n} of ${names().length}`;
    last.textContent = sentence(n);
    range.setAttribute("aria-valuetext", `${where.textContent}: ${last.textContent}`);
  }
  function place() {
    range.max = names().length;
    if (!held()) range.value = get("position");
    say();
  }

  // --- playing
  const main = on(focusable(make("button", { type: "button", class: "vw-main" })), "click", () => send(["running", "waiting"].includes(get("status")) ? "pause" : "play"));
  const halt = on(focusable(make("button", { type: "button" }, "Stop")), "click", () => send("stop"));
  const done = make("div", { class: "vw-bar-fill vw-after" });
  const progress = make("div", { class: "vw-bar-track", role: "progressbar", "aria-label": "maps made", "aria-valuemin": 0, "aria-valuemax": 100 }, done);
  const state = make("span", { class: "vw-dim", role: "status" }), rest = make("span", { class: "vw-dim" });
  function sayState() {
    const status = get("status"), share = status === "done" ? 100 : get("total") ? Math.round(100 * get("index") / get("total")) : 0;
    main.textContent = { running: "Pause", waiting: "Pause", paused: "Continue", idle: "Play", done: "Done" }[status] ?? "Again";
    main.disabled = status === "done";
    halt.disabled = !["running", "waiting", "paused"].includes(status);
    done.style.width = `${share}%`;
    progress.setAttribute("aria-valuenow", share);
    const text = { idle: "not begun", waiting: "waiting for its turn", running: "making maps", paused: `paused at ${share} %`, stopped: `stopped at ${share} %`, done: "all maps are made", failed: "failed" }[status];
    if (state.textContent !== text) state.textContent = text;
    const left = get("remaining");
    rest.textContent = status === "running" ? `${share} %${left ? `, ${left < 100 ? `${Math.max(1, Math.round(left))} s` : `${Math.round(left / 60)} min`} left` : ""}` : "";
    el.dataset.status = status;
  }

  // --- maps
  const grid = make("div", { class: "vw-maps vw-sanity-maps" }), columns = new Map();
  const photo = make("img", { alt: "the picture" }), verdict = make("div", { class: "vw-map vw-sanity-says", role: "status" });
  const pictureColumn = make("figure", { class: "vw-tile" }, make("figcaption", {}, make("div", { class: "vw-tile-name" }, make("span", { class: "vw-title" }, "picture"))),
    make("div", { class: "vw-map" }, photo), verdict, make("div", { class: "vw-dim" }, "what the network says"));
  function column(name) {
    if (columns.has(name)) return columns.get(name);
    const cells = ["as it is", ""].map((text) => {
      const canvas = make("canvas", { role: "img" }), note = make("div", { class: "vw-map-state" });
      return { canvas, note, node: make("div", { class: "vw-map", dataset: { label: text } }, canvas, note) };
    });
    const swatch = make("i", { "aria-hidden": "true" }), alike = make("div", { class: "vw-alike" });
    const node = make("figure", { class: "vw-tile" },
      make("figcaption", {}, make("div", { class: "vw-tile-name" }, make("span", { class: "vw-title" }, swatch, name))), ...cells.map((c) => c.node), alike);
    const made = { node, cells, swatch, alike };
    columns.set(name, made);
    return made;
  }
  function paint(cell, tile, what) {
    cell.node.dataset.state = tile.error ? "failed" : tile.pixels ? "done" : "pending";
    cell.note.textContent = tile.error ?? (tile.pixels ? (tile.constant ? "the same everywhere" : "") : ["running", "waiting"].includes(get("status")) ? "not yet …" : "not made");
    cell.canvas.hidden = !tile.pixels || tile.constant;
    cell.canvas.setAttribute("aria-label", what);
    if (!tile.pixels) return;
    const { width, height } = tile, rgb = bytes(tile.pixels), image = new ImageData(width, height);
    for (let i = 0, j = 0; j < image.data.length; j++) image.data[j] = j % 4 === 3 ? 255 : rgb[i++];
    cell.canvas.width = width; cell.canvas.height = height;
    cell.canvas.getContext("2d").putImageData(image, 0, 0);
  }
  function draw() {
    const tiles = get("state").tiles, ready = Boolean(about().aim);
    empty.hidden = ready; body.hidden = !ready;
    aim.textContent = ready ? about().aim : "";
    if (!ready || !tiles) { el.dataset.seq = ""; answered(); return; }
    const { position, says } = get("state"), first = get("first"), shown = Object.keys(tiles);
    const nodes = [pictureColumn, ...shown.map((name) => column(name).node)];
    if (nodes.length !== grid.children.length || nodes.some((n, i) => n !== grid.children[i])) grid.replaceChildren(...nodes);
    grid.style.setProperty("--vw-count", nodes.length);
    for (const name of shown) {
      const c = column(name), tile = tiles[name], value = tile.alike?.[get("measure")];
      c.swatch.style.background = about().colours[name];
      paint(c.cells[0], first[name], `${name}, the network as it is`);
      paint(c.cells[1], first[name].error ? { error: "–" } : tile, `${name}, ${sentence(position)}`);
      c.cells[1].node.dataset.label = position ? (about().order === "independent" ? names()[position - 1] : `${position} random`) : "as it is";
      c.alike.textContent = tile.alike ? (value === null ? "no similarity: a map is constant" : `similarity ${value.toFixed(2)}`.replace("-", "−")) : "";
    }
    verdict.replaceChildren(...(says ? [make("b", {}, says.first), make("span", {}, percent(says.chance)),
      ...(says.wanted && says.wanted !== says.first ? [make("span", { class: "vw-dim" }, `${says.wanted} ${percent(says.its)}`)] : []),
      make("span", { class: "vw-dim" }, `by chance ${percent(says["by chance"])}`)] : [make("span", { class: "vw-dim" }, "not yet …")]));
    place();
    el.dataset.seq = get("state").seq; el.dataset.position = position;
    requestAnimationFrame(answered);
  }
  function offer(select, options, value) {
    const key = JSON.stringify(options);
    if (select.dataset.key !== key) { select.dataset.key = key; select.replaceChildren(...options.map(([v, text]) => make("option", { value: v }, text))); }
    select.value = value;
  }
  let url = "";
  function takeAbout() {
    const a = about();
    if (a.aim) {
      offer(order, a.orders.map((o) => [o, ORDER[o] ?? o]), a.order);
      offer(measure, a.measures.map((m) => [m, m]), get("measure"));
      el.style.setProperty("--vw-ratio", `${a.size[1]} / ${a.size[0]}`);
      URL.revokeObjectURL(url);
      photo.src = url = pictureURL(a.picture);
    }
    place(); draw();
  }
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));

  const body = make("div", {},
    make("div", { class: "vw-row" }, pick("layers made random", order)),
    make("div", { class: "vw-row vw-sanity-slide" }, range, where), last,
    make("div", { class: "vw-row vw-sanity-play" }, main, halt, progress), make("div", { class: "vw-row" }, state, rest),
    grid, make("div", { class: "vw-row" }, pick("similarity to the first map", measure), make("span", { class: "vw-dim" }, "1: the same, 0: unrelated")));
  el.append(make("div", { class: "vw-row" }, title, aim), empty, body);
  errorLine(model, el, signal);
  for (const name of ["status", "index", "total", "remaining"]) listen(model, `change:${name}`, sayState, signal);
  listen(model, "change:status", draw, signal);
  listen(model, "change:about", takeAbout, signal);
  listen(model, "change:measure", takeAbout, signal);
  listen(model, "change:position", place, signal);
  listen(model, "change:state", draw, signal);
  sayState(); takeAbout();
  return () => stop.abort();
}

export default { render };
