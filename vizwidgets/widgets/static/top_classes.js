// The most probable classes as bars.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-classes");
  const bars = make("div", { class: "vw-bars", role: "group", "aria-label": "most probable classes" });
  const empty = make("div", { class: "vw-dim" }, "nothing yet: a network and a picture are needed");
  el.append(make("div", { class: "vw-title" }, "The network says"), empty, bars);
  errorLine(model, el, signal);

  function bar(place) {
    const name = make("span", { class: "vw-bar-name" }), fill = make("div", { class: "vw-bar-fill" }), value = make("span", { class: "vw-bar-value" });
    const row = focusable(make("button", { type: "button", class: "vw-bar-row" }, name, make("div", { class: "vw-bar-track" }, fill), value));
    row.addEventListener("click", () => model.send({ cmd: "pick", index: model.get("bars")[place].index }), { signal });
    row.say = (b) => {
      name.textContent = name.title = b.label;
      fill.style.width = `${100 * b.probability}%`;
      value.textContent = b.probability < 0.001 ? "< 0.1 %" : `${(100 * b.probability).toFixed(1)} %`;
      row.setAttribute("aria-pressed", String(b.index === model.get("_selected")));
    };
    return row;
  }
  function draw() {
    const shown = model.get("bars");
    while (bars.children.length > shown.length) bars.lastChild.remove();
    while (bars.children.length < shown.length) bars.append(bar(bars.children.length));      // rows stay, and keep the focus
    empty.hidden = shown.length > 0;
    shown.forEach((b, i) => bars.children[i].say(b));
    el.dataset.first = shown[0]?.label ?? "";
  }
  listen(model, "change:bars", draw, signal, true);
  listen(model, "change:_selected", draw, signal);
  return () => stop.abort();
}

export default { render };
