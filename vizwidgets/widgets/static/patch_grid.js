// The patches that a channel answers to: cut out, in their picture, or beside what the channel makes of them.

const ORDERS = { top: "strongest", bottom: "weakest", spread: "from strong to weak" };
const SHOWS = { patch: "the patch", image: "the whole picture", "guided backprop": "patch and guided backprop", deconvnet: "patch and deconvnet" };

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), shown = () => get("frame");
  const { ask, answered, held } = asker(model, signal, settle);
  el.classList.add("vw", "vw-patches");

  const title = make("span", { class: "vw-title" }), about = make("span", { class: "vw-dim" }), note = make("div", { class: "vw-note", role: "status" });
  const channel = knob({ label: "channel", least: 0, most: 0, signal, turned: (c) => ask("channel", c), text: (c) => `${c}` });
  function select(label, name, texts) {
    const node = focusable(make("select", { "aria-label": label }, ...Object.entries(texts).map(([value, text]) => make("option", { value }, text))));
    node.addEventListener("change", () => ask(name, node.value), { signal });
    return node;
  }
  const layer = select("layer", "layer", {}), order = select("order of the patches", "order", ORDERS), show = select("what is shown", "show", SHOWS);
  const layerLabel = pick("layer", layer);
  const controls = make("div", { class: "vw-row" }, layerLabel, make("span", { class: "vw-knobs vw-channel" }, channel.node), pick("patches", order), pick("show", show));
  const grid = cards({ label: "patches", signal, point: look, choose: (i) => model.send({ cmd: "select", index: tiles()[i].index }) });
  const large = framed(), name = make("p", { class: "vw-title" }), what = make("p", { class: "vw-dim" }), where = make("p", { class: "vw-dim" });
  const detail = make("div", { class: "vw-grid-detail" }, large.node, name, what, where);
  const body = make("div", { class: "vw-grid-body" }, grid.node, detail);
  el.append(make("div", { class: "vw-row" }, title, about), note, controls, body);
  errorLine(model, el, signal);

  const tiles = () => shown().tiles ?? [];
  const projected = () => { const p = get("projections"); return p.seq === shown().seq && p.method === get("show") ? p : null; };
  const called = (t) => [t.source, t.label].filter(Boolean).join(", ");

  function item(t, i) {
    const way = get("show"), patch = { data: t.patch, size: t.size, words: t.lost && LOST };
    const pictures = way === "image" && !t.lost ? [{ data: t.whole, size: t.whole_size, box: t.box }] : [patch], lines = [number(t.score).replace("-", "−")];
    if (way === "guided backprop" || way === "deconvnet") {
      const p = projected(), made = p?.pictures[i];
      if (!p?.failed) pictures.push({ size: t.size, words: t.lost ? "" : "…", ...made });
    }
    return { pictures, lines, chosen: t.index === get("index"), name: `${called(t)}: ${lines[0]}` };
  }

  let place = -1;
  function look(i) {
    place = i;
    const all = tiles(), own = all.findIndex((t) => t.index === get("index")), t = all[i >= 0 ? i : Math.max(0, own)];
    detail.hidden = !t;
    if (!t) return;
    large.show({ data: t.whole, size: t.whole_size, box: t.box, words: t.lost && LOST });
    name.textContent = t.source;
    what.textContent = [t.label, `activation ${number(t.score).replace("-", "−")}`].filter(Boolean).join("; ");
    where.textContent = t.lost || (t.boxed ? `at row ${t.position[0]}, column ${t.position[1]} of the map: the frame is what it sees there` : "it sees the whole picture");
  }

  function draw() {
    const f = shown(), ready = Boolean(f.layer);
    controls.hidden = body.hidden = !ready;
    title.textContent = ready ? `${f.name} of ${f.layer}` : "";
    title.hidden = !ready;
    about.textContent = ready ? f.caption : "No patches yet: a table of them is needed, from top_patches.";
    note.textContent = ready ? f.note : "";
    if (!ready) { el.dataset.seq = ""; grid.show([]); answered(); return; }
    if (layer.dataset.key !== f.layers.join("\n")) {
      layer.dataset.key = f.layers.join("\n");
      layer.replaceChildren(...f.layers.map((value) => make("option", { value }, value)));
    }
    layerLabel.hidden = f.layers.length < 2;
    grid.node.classList.toggle("vw-pairs-of", Boolean(METHODS.has(get("show")) && !projected()?.failed));
    grid.show(tiles().map(item));
    settle();
    look(place);
    el.dataset.seq = f.seq; el.dataset.projected = projected()?.done ?? false;
    requestAnimationFrame(answered);
  }
  function settle() {
    if (held()) return;
    const f = shown();
    if (f.layer) { channel.set(f.channel, f.channels - 1); layer.value = f.layer; }
    order.value = get("order"); show.value = get("show");
  }
  for (const name of ["frame", "projections", "show", "index"]) listen(model, `change:${name}`, draw, signal);
  listen(model, "change:order", settle, signal);
  listen(model, "change:busy", () => grid.node.classList.toggle("vw-fading", get("busy")), signal, true);
  draw();
  return () => { stop.abort(); large.clear(); };
}

const METHODS = new Set(["guided backprop", "deconvnet"]);

export default { render };
