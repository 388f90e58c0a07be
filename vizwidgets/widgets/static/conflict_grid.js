// Stimuli with two answers: how often each network goes by the shape and how often by the texture, and the stimuli themselves
// as tiles. Which ones are shown, and in which order, comes from Python; thumbnails when they are needed.

const KINDS = ["shape", "texture", "neither"];
// An outline, a hatch, a cross: told apart without colours.
const MARKS = {
  shape: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zM8 3a5 5 0 1 1 0 10A5 5 0 0 1 8 3z",
  texture: "M1 6.2 6.2 1H9L1 9zM1 12 12 1h2.8L1 14.8zM4 15 15 4v2.8L6.8 15zM9.8 15 15 9.8v2.8L12.6 15z",
  neither: "M3.2 1.8 8 6.6l4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8 1.8 3.2z",
};
const SAYS = { shape: "by shape", texture: "by texture", neither: "neither" };
const SMALL = 96, LARGE = 256, LINE = 16, BAND = 18;      // pixels

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), about = () => get("about"), nets = () => about().nets ?? [], many = () => nets().length > 1;
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  const set = (name, value) => model.send({ cmd: "set", name, value });
  el.classList.add("vw", "vw-conflicts");

  let told = [], shapes = [], textures = [], rows = [], missing = [];      // of each network; of each stimulus; in order
  let picked = -1, seen = -1;
  const small = thumbnails({ model, signal, side: SMALL, arrived: () => grid.ask() }), large = thumbnails({ model, signal, side: LARGE, arrived: () => detail(), kept: 24 });
  const words = (view) => new Uint16Array(bytes(view).slice().buffer);
  const named = (label) => about().classes[label];
  const whole = (share) => `${Math.round(100 * share)} %`;
  const mark = (kind) => { const node = make("span", { class: "vw-mark", dataset: { kind } }); node.append(svgIcon(MARKS[kind])); return node; };
  const said = (net, row) => `${named(net.decisions[row])}, ${SAYS[KINDS[net.kinds[row]]]}`;
  const called = (row) => `shape of ${named(shapes[row])}, texture of ${named(textures[row])}`;

  // --- the share of shape of each network, with its interval
  const title = make("span", { class: "vw-title" }, "Shape or texture?"), count = make("span", { class: "vw-dim" });
  const bars = make("div", { class: "vw-bars vw-bias", role: "group", "aria-label": "share of shape in the answers" });
  function bar(net, i) {
    const node = make(many() ? "button" : "div", { class: "vw-bar-row", ...(many() ? { type: "button" } : {}) });
    const track = make("div", { class: "vw-bar-track" }), { share } = net, [low, high] = net.interval;
    if (share !== null) {
      const fill = make("div", { class: "vw-bar-fill" }), span = make("i", { class: "vw-interval" });
      fill.style.width = `${100 * share}%`;
      Object.assign(span.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
      track.append(fill, span);
    }
    const value = share === null ? "no answer by either" : `${whole(share)} shape`;
    node.append(make("span", { class: "vw-bar-name", title: net.name }, net.name), track,
      make("span", { class: "vw-bar-value" }, make("b", {}, value), share === null ? "" : ` (${Math.round(100 * low)} to ${whole(high)})`));
    const of = net.counts, text = KINDS.map((kind) => `${of[kind]} ${kind === "neither" ? "by neither" : SAYS[kind]}`).join(", ");
    node.title = text;
    if (many()) { focusable(node); on(node, "click", () => set("by", i)); node.ariaLabel = `${net.name}: ${value}, ${text}; sort by this network`; }
    return node;
  }
  const note = make("div", { class: "vw-dim vw-bias-note" });

  // --- which are shown
  const chips = make("div", { class: "vw-chips", role: "group", "aria-label": "show" }), chip = {};
  for (const name of ["all", ...KINDS, "differ"]) {
    const number = make("span", { class: "vw-dim" });
    chip[name] = on(focusable(make("button", { type: "button" }, ...(MARKS[name] ? [mark(name)] : []), { all: "all", differ: "nets differ" }[name] ?? SAYS[name], " ", number)), "click", () => set("show", name));
    chip[name].number = number;
    chips.append(chip[name]);
  }
  const choice = (name, label) => on(focusable(make("select", { "aria-label": label })), "change", (e) => set(name, e.target.value));
  const label = choice("label", "class"), sort = choice("sort", "order");
  const field = (name, node) => make("label", {}, make("span", {}, name), node);
  const controls = make("div", { class: "vw-row vw-conflict-tools" }, chips, field("class", label), field("order", sort));

  // --- tiles
  const grid = tileGrid({ el, label: "stimuli", signal, paint, tallest: 560, isChosen: (row) => row === picked, choose: go, hover: (row) => { seen = row; detail(); },
    name: (row) => [called(row), ...told.map((net) => `${many() ? `${net.name} says ` : "answer "}${said(net, row)}`)].join(": "),
    painted() { small.want("seen", missing); missing = []; } });
  const below = () => 2 * LINE + nets().length * (BAND + 2) + 6;
  function short(g, text, room) {
    if (g.measureText(text).width <= room) return text;
    while (text.length > 1 && g.measureText(`${text}…`).width > room) text = text.slice(0, -1);
    return `${text}…`;
  }
  function drawMark(g, kind, x, y, side) {
    g.save();
    g.translate(x, y); g.scale(side / 16, side / 16);
    g.fill(new Path2D(MARKS[kind]), "evenodd");
    g.restore();
  }
  function paint(g, row, x, y, side, css) {
    const found = small.get(row), colour = (name) => css.getPropertyValue(name);
    if (!found) missing.push(row);
    if (found?.image) drawThumbnail(g, found.image, x, y, side);
    else { g.fillStyle = colour("--vw-bg2"); g.fillRect(x, y, side, side); }
    g.textBaseline = "middle";
    const line = (kind, text, top, ink) => {
      g.fillStyle = ink;
      drawMark(g, kind, x + 3, top + LINE / 2 - 5.5, 11);
      g.fillText(short(g, text, side - 20), x + 18, top + LINE / 2 + 0.5);
    };
    g.font = `12px ${css.fontFamily}`;
    line("shape", named(shapes[row]), y + side + 2, colour("--vw-fg"));
    line("texture", named(textures[row]), y + side + 2 + LINE, colour("--vw-fg"));
    g.font = `600 12px ${css.fontFamily}`;
    told.forEach((net, i) => {
      const kind = KINDS[net.kinds[row]], top = y + side + 5 + 2 * LINE + i * (BAND + 2);
      g.fillStyle = colour(`--vw-by-${kind}`);
      g.fillRect(x, top, side, BAND);
      line(kind, named(net.decisions[row]), top + (BAND - LINE) / 2, "#fff");
    });
  }
  function go(row) {
    picked = row === picked ? -1 : row;
    pickedAhead();
    model.send({ cmd: "pick", value: picked });
    detail(); grid.ask();
  }

  // --- one of them, large
  const image = make("img", { alt: "" }), what = make("p", { class: "vw-title" }), answers = make("div"), hint = make("p", { class: "vw-dim" });
  const side = make("div", { class: "vw-grid-detail vw-conflict-detail" }, make("div", { class: "vw-framed" }, image), what, answers, hint);
  function detail() {
    const row = seen >= 0 ? seen : picked >= 0 ? picked : rows[0] ?? -1;
    side.hidden = row < 0;
    if (row < 0) return;
    const sharp = large.get(row), coarse = small.get(row);
    if (!sharp) large.want("detail", [row]);
    const url = (sharp ?? coarse)?.url ?? "";
    if (image.src !== url) { if (url) image.src = url; else image.removeAttribute("src"); }
    image.alt = called(row);
    side.dataset.row = row; side.dataset.sharp = Boolean(sharp);
    what.textContent = `#${row}: ${called(row)}`;
    answers.replaceChildren(...told.map((net) => {
      const kind = KINDS[net.kinds[row]], lines = [["shape", shapes[row], net.chances[3 * row]], ["texture", textures[row], net.chances[3 * row + 1]]];
      if (kind === "neither") lines.push(["neither", net.decisions[row], net.chances[3 * row + 2]]);
      const list = make("div", { class: "vw-bars vw-cues" });
      for (const [cue, label, p] of lines) {
        const fill = make("div", { class: "vw-bar-fill", dataset: { kind: cue } }), answer = label === net.decisions[row];
        fill.style.width = `${100 * p}%`;
        list.append(make("div", { class: `vw-bar-row${answer ? " vw-answer" : ""}` }, make("span", { class: "vw-bar-name" }, mark(cue), named(label)), make("div", { class: "vw-bar-track" }, fill),
          make("span", { class: "vw-bar-value" }, p > 0 && p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`)));
      }
      return make("section", {}, make("div", { class: "vw-dim" }, `${net.name} says `, make("b", {}, said(net, row))), list);
    }));
    hint.textContent = row === picked ? "chosen" : picked < 0 ? "Click a picture to keep it here." : "";
  }

  // --- what Python says
  const empty = make("div", { class: "vw-dim" }, "Nothing to show yet: the answers of a network are needed, from shape_bias.");
  const body = make("div", { class: "vw-grid-body" }, grid.node, side), none = make("div", { class: "vw-dim" }, "No stimulus is of this kind.");
  function take() {
    told = nets().map((net) => ({ ...net, decisions: words(net.decisions), kinds: bytes(net.kinds), chances: floats(net.chances) }));
    shapes = words(about().shapes); textures = words(about().textures);
    small.clear(); large.clear();
    seen = -1;
    const ready = told.length > 0;
    empty.hidden = ready;
    for (const node of [bars, note, controls, body]) node.hidden = !ready;
    count.textContent = ready ? `${about().count.toLocaleString("en")} pictures with the shape of one class and the texture of another, of ${about().classes.length}` : "";
    bars.replaceChildren(...nets().map(bar));
    note.textContent = ready ? `The bar: answers by shape, of those by shape or by texture. The bracket: its 95 % confidence interval.${many() ? " Below each picture the answers, in this order." : ""}` : "";
    chip.differ.hidden = !many();
    label.replaceChildren(make("option", { value: "" }, "any"), ...(about().classes ?? []).map((name) => make("option", { value: name }, name)));
    const sorts = ["shape first", "texture first", "undecided first", ...(many() ? ["nets differ first"] : []), "as made"];
    sort.replaceChildren(...sorts.map((name) => make("option", { value: name }, name)));
    settle(); order();
  }
  function settle() {
    label.value = get("label"); sort.value = get("sort");
    for (const [name, node] of Object.entries(chip)) node.setAttribute("aria-pressed", String(name === get("show")));
    if (many()) [...bars.children].forEach((node, i) => node.setAttribute("aria-pressed", String(i === get("by"))));
  }
  function order() {
    none.hidden = true;
    if (!told.length) return;
    const f = get("shown");
    rows = [...new Int32Array(bytes(f.rows).slice().buffer)];
    for (const [name, node] of Object.entries(chip)) node.number.textContent = f.counts[name].toLocaleString("en");
    none.hidden = rows.length > 0; grid.node.hidden = !rows.length;
    grid.node.scrollTop = 0;
    seen = -1;
    grid.show(rows, el.clientWidth < 480 ? 96 : 112, picked, below());
    detail();
    el.dataset.seq = f.seq;
  }
  el.append(make("div", { class: "vw-row" }, title, count), empty, bars, note, controls, none, body);
  errorLine(model, el, signal);
  listen(model, "change:about", take, signal);
  listen(model, "change:shown", order, signal);
  for (const name of ["show", "label", "sort", "by"]) listen(model, `change:${name}`, settle, signal);
  const pickedAhead = ahead(model, "picked", () => {
    if (get("picked") === picked) return;
    picked = get("picked");
    grid.moveTo(picked);
    detail();
  }, signal);
  take();
  return () => stop.abort();
}

export default { render };
