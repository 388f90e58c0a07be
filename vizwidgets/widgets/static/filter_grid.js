// The weights of a layer as tiles, the selected one large, and what its channel answers to the picture.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-filters");
  let f = null, sheet = null, words = null;

  const title = make("span", { class: "vw-title" }), about = make("span", { class: "vw-dim" });
  const chosen = focusable(make("input", { type: "number", min: 0, value: 0, "aria-label": "channel" }));
  const choice = make("label", {}, "weights of channel ", chosen);
  const large = make("canvas", { width: 432, height: 432, role: "img" });
  const which = make("p", { class: "vw-title", "aria-live": "polite" }), what = make("p", { class: "vw-dim" });
  const answer = make("canvas", { width: 432, height: 432, role: "img" }), answered = make("p", { class: "vw-dim" });
  const select = (index) => model.send({ cmd: "select", index, layer: f.layer });
  const current = () => (f.colour ? model.get("response")?.index ?? 0 : f.index);
  const tiles = tileGrid({ el, label: "filters", name: (i) => (f.colour ? `filter ${i}` : `reads channel ${i}`), signal, paint, painted,
    isChosen: (i) => f.colour && i === current(),
    choose: (i) => { if (f.colour) select(i); else look(i); }, hover: look });
  const body = make("div", { class: "vw-grid-body" }, tiles.node, make("div", { class: "vw-grid-detail" }, large, which, what, answer, answered));
  el.append(make("div", { class: "vw-row" }, title, about), make("div", { class: "vw-row" }, choice), body);
  errorLine(model, el, signal);

  function receive() {
    const state = model.get("frame");
    choice.hidden = body.hidden = !state?.count;
    if (!state?.count) { f = null; title.textContent = ""; about.textContent = "No filters yet: a network and a layer are needed."; tiles.show([], 48); return; }
    f = { ...state, values: bytes(state.values) };
    words = f.colour ? null : colourTable(f.colours);
    title.textContent = f.layer;
    about.textContent = f.caption + (f.asked === f.layer || f.asked === "" ? "" : ` (nearest to ${f.asked})`);
    choice.hidden = f.colour;
    chosen.max = f.filters - 1; chosen.value = f.index;
    paintSheet();
    tiles.show(Array.from({ length: f.count }, (_, i) => i), f.colour ? 64 : f.height * f.width > 1 ? 36 : 20);
  }

  // All tiles in one picture, a row each.
  function paintSheet() {
    const image = new ImageData(f.width, f.height * f.count), out = new Uint32Array(image.data.buffer), v = f.values;
    for (let i = 0; i < out.length; i++) out[i] = f.colour ? 0xff000000 | (v[3 * i + 2] << 16) | (v[3 * i + 1] << 8) | v[3 * i] : words[v[i]];
    sheet = make("canvas", { width: image.width, height: image.height });
    sheet.getContext("2d").putImageData(image, 0, 0);
  }

  function paint(g, i, x, y, side, css) {
    const k = Math.max(f.height, f.width), h = side * f.height / k, w = side * f.width / k;
    g.imageSmoothingEnabled = false;
    g.drawImage(sheet, 0, i * f.height, f.width, f.height, x + (side - w) / 2, y + (side - h) / 2, w, h);
    if (!css || f.colour) return;      // weights near 0 are white, as the page may be
    g.strokeStyle = css.getPropertyValue("--vw-line"); g.lineWidth = 1;
    g.strokeRect(x + (side - w) / 2, y + (side - h) / 2, w, h);
  }

  function look(i) {
    if (!f) return;
    const item = i >= 0 ? i : f.colour ? current() : 0, g = large.getContext("2d");
    g.clearRect(0, 0, large.width, large.height);
    paint(g, Math.min(item, f.count - 1), 0, 0, large.width);
    which.textContent = f.colour ? `filter ${item}` : `reads channel ${item}`;
    what.textContent = f.colour ? f.notes[item] : scale(-f.top, f.top);
    large.setAttribute("aria-label", `${which.textContent} of ${f.layer}, ${what.textContent}`);
    large.dataset.item = item;
  }

  const scale = (low, high) => (low < 0 ? `blue −${number(high)}, white 0, red ${number(high)}` : `dark 0, bright ${number(high)}`);

  function painted() {
    if (!f) return;
    look(tiles.pointed());
    if (el.dataset.seq !== String(f.seq)) el.dataset.seq = f.seq;
  }

  function showAnswer() {
    const r = model.get("response"), g = answer.getContext("2d"), has = r && r.height;
    answer.style.display = has ? "block" : "none";
    answered.textContent = has ? `what channel ${r.index} answers to the picture: ${scale(r.low, r.high)}` : "";
    if (!has) return;
    const image = new ImageData(r.width, r.height), out = new Uint32Array(image.data.buffer), table = colourTable(r.colours), v = bytes(r.values);
    for (let i = 0; i < out.length; i++) out[i] = table[v[i]];
    const small = make("canvas", { width: r.width, height: r.height });
    small.getContext("2d").putImageData(image, 0, 0);
    answer.height = Math.round(answer.width * r.height / r.width);
    g.imageSmoothingEnabled = false;
    g.drawImage(small, 0, 0, answer.width, answer.height);
    answer.setAttribute("aria-label", answered.textContent);
    el.dataset.index = r.index;
    if (f) tiles.ask();
  }

  chosen.addEventListener("change", () => { if (f) select(Math.max(0, Math.min(f.filters - 1, Math.round(Number(chosen.value) || 0)))); }, { signal });
  listen(model, "change:busy", () => el.classList.toggle("vw-busy", model.get("busy")), signal, true);
  listen(model, "change:frame", receive, signal, true);
  listen(model, "change:response", showAnswer, signal, true);
  return () => stop.abort();
}

export default { render };
