// The sliders of a run: each acts at its next step. On a logarithmic scale or in even steps, in groups, of which some are folded.

const PLACES = 100, FOLDED = { layers: "layers of the style" }, NAMED = { mix: "mix of the styles" };

function fold(title, ...children) {
  return make("details", { class: "vw-fold" }, focusable(make("summary", { class: "vw-heading" }, title)), ...children);
}

function runSliders({ get, send, on }) {
  const node = make("div", { class: "vw-sliders" });
  let rows = new Map();

  const scale = (k, x) => (k.even ? x : Math.log10(x));
  const toPlace = (k) => (k.value <= 0 && !k.even ? 0 : Math.round(PLACES * (scale(k, k.value) - scale(k, k.low)) / (scale(k, k.high) - scale(k, k.low))));
  function toValue(k, place) {
    if (k.off && place === 0) return 0;
    const at = scale(k, k.low) + (scale(k, k.high) - scale(k, k.low)) * place / PLACES;
    return Math.min(k.high, Math.max(k.low, Number((k.even ? at : 10 ** at).toPrecision(2))));
  }
  function text(k, value, all) {
    if (k.group === "mix") return `${Math.round(100 * value / (all.reduce((sum, s) => sum + (s.key === k.key ? value : s.group === "mix" ? s.value : 0), 0) || 1))} %`;
    return k.off && value === 0 ? "off" : String(Number(value.toPrecision(2)));
  }
  function say(k, value, all) {
    const { range, output } = rows.get(k.key);
    output.textContent = text(k, value, all);
    range.setAttribute("aria-valuetext", output.textContent);
  }
  function row(k) {
    const range = focusable(make("input", { type: "range", min: 0, max: PLACES, "aria-label": k.name, dataset: { key: k.key } })), output = make("output");
    on(range, "input", () => {
      const all = get("sliders"), mine = all.find((s) => s.key === k.key), value = toValue(mine, Number(range.value));
      say(mine, value, all);
      send({ cmd: "turn", name: k.key, value });
    });
    rows.set(k.key, { range, output });
    return make("label", {}, make("span", { title: k.name }, k.name), range, output);
  }
  function build(all) {
    rows = new Map();
    const groups = [...new Set(all.map((k) => k.group))];
    node.replaceChildren(...groups.map((group) => {
      const some = make("div", { class: "vw-knobs", dataset: { group } }, ...all.filter((k) => k.group === group).map(row));
      return FOLDED[group] ? fold(FOLDED[group], some) : NAMED[group] ? make("div", {}, make("div", { class: "vw-heading" }, NAMED[group]), some) : some;
    }));
  }
  function show() {
    const all = get("sliders"), key = JSON.stringify(all.map((k) => [k.key, k.name]));
    if (node.dataset.key !== key) {
      const open = node.querySelector("details")?.open ?? false;
      build(all);
      node.dataset.key = key;
      if (open) for (const d of node.querySelectorAll("details")) d.open = true;
    }
    for (const k of all) {
      const { range } = rows.get(k.key);
      if (document.activeElement !== range) range.value = toPlace(k);
      say(k, k.value, all);
    }
    return all.length > 0;
  }
  return { node, show };
}
