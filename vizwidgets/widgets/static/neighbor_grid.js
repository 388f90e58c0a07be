// A picture, and those nearest to it: as the network sees them, and pixel by pixel.

const METRICS = { cosine: "angle (cosine)", l2: "distance (L2)" };

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), shown = () => get("frame");
  const { ask, answered, held } = asker(model, signal, settle);
  el.classList.add("vw", "vw-neighbors");

  const query = framed(), name = make("div", { class: "vw-title" }), what = make("div", { class: "vw-dim" }), says = make("p", { role: "status" });
  const back = focusable(make("button", { type: "button" }, "← Back"));
  back.addEventListener("click", () => model.send({ cmd: "back" }), { signal });
  const metric = focusable(make("select", { "aria-label": "how near is measured" }, ...Object.entries(METRICS).map(([value, text]) => make("option", { value }, text))));
  metric.addEventListener("change", () => ask("metric", metric.value), { signal });
  const many = knob({ label: "neighbours", least: 1, most: 16, signal, turned: (k) => ask("k", k), text: (k) => `${k}` });
  const controls = make("div", { class: "vw-row" }, back, make("span", { class: "vw-knobs vw-channel" }, many.node), pick("near by", metric));
  const head = make("div", { class: "vw-query" }, query.node, make("div", {}, name, what, says, controls));
  const empty = make("div", { class: "vw-dim" }), body = make("div"), where = make("div", { class: "vw-dim vw-pointed", "aria-hidden": "true" });
  el.append(empty, head, body, where);
  errorLine(model, el, signal);

  const strips = [];
  function strip(i) {
    const title = make("span", { class: "vw-title" }), how = make("span", { class: "vw-dim" }), wait = make("div", { class: "vw-dim", role: "status" });
    const grid = cards({ label: "", signal, choose: (j) => model.send({ cmd: "select", row: shown().rows[i].cards[j].row }), point: (j) => point(i, j) });
    const node = make("section", {}, make("div", { class: "vw-row" }, title, how), wait, grid.node);
    return { node, title, how, wait, grid };
  }
  function point(i, j) {
    const c = j < 0 ? null : shown().rows[i]?.cards[j];
    where.textContent = c ? `${named(c)}: ${METRICS[get("metric")]} ${number(c.distance)}${c.both ? "; in both rows" : ""}` : "";
  }
  const named = (c) => [c.source, c.label].filter(Boolean).join(", ");
  function item(c) {
    const lines = [number(c.distance)];
    if (c.label) lines.unshift(c.same ? [`✓ ${c.label}`, "vw-same"] : c.label);
    if (c.both) lines.push(["in both", "vw-both"]);
    const kin = c.same ? ", the same class" : c.same === false ? ", another class" : "";
    return { pictures: [c], lines, chosen: false, name: `${named(c)}${kin}: ${number(c.distance)}${c.both ? ", in both rows" : ""}` };
  }

  function draw() {
    const f = shown(), ready = Boolean(f.query);
    head.hidden = body.hidden = where.hidden = !ready;
    empty.textContent = ready ? "" : "Nothing to compare yet: features of a set of pictures are needed, from embed.";
    empty.hidden = ready;
    if (!ready) { el.dataset.seq = ""; answered(); return; }
    query.show({ ...f.query, words: f.query.lost && LOST });
    name.textContent = f.query.source;
    what.textContent = [f.query.label, f.query.note, f.query.lost].filter(Boolean).join("; ");
    says.textContent = f.says;
    while (strips.length > f.rows.length) { const last = strips.pop(); last.grid.show([]); last.node.remove(); }
    while (strips.length < f.rows.length) { strips.push(strip(strips.length)); body.append(strips.at(-1).node); }
    f.rows.forEach((row, i) => {
      const s = strips[i];
      s.title.textContent = row.name; s.how.textContent = row.how;
      s.grid.node.setAttribute("aria-label", row.name);
      s.grid.show(row.cards.map(item));
    });
    point(0, -1);
    read();
    settle();
    el.dataset.seq = f.seq;
    requestAnimationFrame(answered);
  }
  function settle() {
    back.disabled = !get("depth");
    if (held()) return;
    many.set(Math.min(get("k"), shown().most ?? 16), Math.min(16, shown().most ?? 16));
    metric.value = get("metric");
  }
  function read() {
    shown().rows?.forEach((row, i) => { strips[i].wait.textContent = i && !row.cards.length ? get("reading") : ""; });
  }
  listen(model, "change:frame", draw, signal);
  listen(model, "change:reading", read, signal);
  for (const name of ["depth", "k", "metric"]) listen(model, `change:${name}`, settle, signal);
  listen(model, "change:busy", () => body.classList.toggle("vw-fading", get("busy")), signal, true);
  draw();
  return () => { stop.abort(); query.clear(); };
}

export default { render };
