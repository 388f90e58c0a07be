// For widgets that are turned or dragged while Python works out the answer: one question at a time, and the classes before
// and after in rows.

const PATIENCE = 600, HOLD = 1500;      // milliseconds

// The newest value of each name is sent when the last answer has been painted: `answered` says that it has. What is being
// turned is not to be set by old answers meanwhile (`held`); `settle` is called when that is over.
function asker(model, signal, settle) {
  const wishes = new Map();
  let asked = 0, holding = 0;
  function answered() {
    clearTimeout(asked);
    asked = 0;
    if (!wishes.size) return;
    for (const [name, value] of wishes) model.send({ cmd: "set", name, value });
    wishes.clear();
    asked = setTimeout(answered, PATIENCE);
  }
  function ask(name, value) {
    clearTimeout(holding);
    holding = setTimeout(() => { holding = 0; settle(); }, HOLD);
    wishes.set(name, value);
    if (!asked) answered();
  }
  signal.addEventListener("abort", () => { clearTimeout(asked); clearTimeout(holding); });
  return { ask, answered, held: () => holding !== 0 };
}

const percent = (p) => (p > 0 && p < 0.001 ? "< 0.1 %" : p < 1 && p > 0.999 ? "> 99.9 %" : `${(100 * p).toFixed(1)} %`);

// A row for each class, two bars in it; a click chooses the class.
function classPairs({ label, signal, nameOf, choose, hint }) {
  const node = make("div", { class: "vw-bars vw-pairs", role: "group", "aria-label": label });
  function row() {
    const name = make("span", { class: "vw-bar-name" }), before = make("div", { class: "vw-bar-fill" }), after = make("div", { class: "vw-bar-fill vw-after" });
    const value = make("span", { class: "vw-bar-value" });
    const tracks = make("span", {}, make("div", { class: "vw-bar-track" }, before), make("div", { class: "vw-bar-track" }, after));
    const button = focusable(make("button", { type: "button", class: "vw-bar-row" }, name, tracks, value));
    button.addEventListener("click", () => choose(Number(button.dataset.index)), { signal });
    button.say = (r) => {
      name.textContent = name.title = nameOf(r.index);
      before.style.width = `${100 * r.before}%`; after.style.width = `${100 * r.after}%`;
      value.textContent = `${percent(r.before)} → ${percent(r.after)}`;
      button.title = hint(nameOf(r.index));
      button.dataset.index = r.index;
    };
    return button;
  }
  function mark(index) {
    for (const r of node.children) r.setAttribute("aria-pressed", String(Number(r.dataset.index) === index));
  }
  function say(rows, index) {
    while (node.children.length > rows.length) node.lastChild.remove();
    while (node.children.length < rows.length) node.append(row());
    rows.forEach((r, i) => node.children[i].say(r));
    mark(index);
  }
  const key = make("div", { class: "vw-legend" }, ...[["before", ""], ["after", "vw-after"]].map(([name, kind]) =>
    make("span", {}, make("i", { class: `vw-bar-fill ${kind}`, "aria-hidden": "true" }), name)));
  return { node: make("div", {}, key, node), say, mark };
}

// A slider with its name before it and its value, as `text` says it, behind.
function knob({ label, least, most, signal, turned, text }) {
  const range = focusable(make("input", { type: "range", min: least, max: most, step: 1, "aria-label": label })), value = make("output");
  function say(at = Number(range.value)) { value.textContent = text(at); range.setAttribute("aria-valuetext", value.textContent); }
  range.addEventListener("input", () => { turned(Number(range.value)); say(); }, { signal });
  const node = make("label", {}, make("span", {}, label), range, value);
  return { node, say, set(at, end = most) { range.max = Math.max(end, Math.ceil(at)); range.value = at; say(at); } };      // it need not lie on a notch
}

const pick = (name, node) => make("label", {}, make("span", {}, name), node);
