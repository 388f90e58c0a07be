// The most probable classes as bars.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-classes");
  const bars = make("div", { class: "vw-bars" });
  el.append(make("div", { class: "vw-title" }, "The network says"), bars);
  errorLine(model, el, signal);
  function draw() {
    bars.replaceChildren(...model.get("bars").map((b) => {
      const fill = make("div", { class: "vw-bar-fill" });
      fill.style.width = `${100 * b.probability}%`;
      const chosen = b.index === model.get("_selected");
      const row = focusable(make("div", { class: "vw-bar-row", role: "button", tabIndex: 0, "aria-pressed": String(chosen) },
        make("span", { class: "vw-bar-name", title: b.label }, b.label), make("div", { class: "vw-bar-track" }, fill),
        make("span", { class: "vw-bar-value" }, b.probability < 0.001 ? "< 0.1 %" : `${(100 * b.probability).toFixed(1)} %`)));
      const pick = () => model.send({ cmd: "pick", index: b.index });
      row.addEventListener("click", pick, { signal });
      row.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { pick(); e.preventDefault(); e.stopPropagation(); } }, { signal });
      return row;
    }));
    el.dataset.first = model.get("bars")[0]?.label ?? "";
  }
  listen(model, "change:bars", draw, signal, true);
  listen(model, "change:_selected", draw, signal);
  return () => stop.abort();
}

export default { render };
