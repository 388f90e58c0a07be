// A row of tabs. The arrow keys turn at once; Tab goes on to what the chosen one shows.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-strip");
  const bar = make("div", { class: "vw-tabs", role: "tablist" });
  el.append(bar);

  const turn = (index) => model.send({ cmd: "turn", index });
  function mark() {
    const chosen = model.get("index");
    [...bar.children].forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
    });
    el.dataset.index = chosen;
  }
  function build() {
    bar.replaceChildren(...model.get("titles").map((title, i) => {
      const tab = focusable(make("button", { type: "button", role: "tab" }, title));
      tab.addEventListener("click", () => turn(i), { signal });
      tab.addEventListener("keydown", (e) => step(e, i), { signal });
      return tab;
    }));
    mark();
  }
  function step(e, at) {
    const n = bar.children.length, to = { ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1 }[e.key];
    if (to === undefined) return;
    bar.children[to].focus();
    turn(to);
    e.preventDefault();
  }
  listen(model, "change:titles", build, signal, true);
  listen(model, "change:index", mark, signal);
  return () => stop.abort();
}

export default { render };
