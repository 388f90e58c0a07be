// How far a pass over a set of pictures is, and its buttons.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  const get = (name) => model.get(name), send = (cmd) => model.send({ cmd });
  el.classList.add("vw", "vw-pass");
  const button = (text, cls, call) => { const b = focusable(make("button", { type: "button", class: cls }, text)); b.addEventListener("click", call, { signal }); return b; };
  const going = () => ["running", "waiting"].includes(get("status"));
  const main = button("", "vw-main", () => send(going() ? "pause" : "play")), halt = button("Stop", "", () => send("stop"));
  const fill = make("div", { class: "vw-bar-fill vw-after" });
  const track = make("div", { class: "vw-bar-track", role: "progressbar", "aria-label": "pictures seen", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const state = make("div", { class: "vw-dim", role: "status" }), rest = make("div", { class: "vw-dim" });
  const skipped = make("ul", { class: "vw-dim" }), details = make("details", {}, focusable(make("summary")), skipped);
  const buttons = make("div", { class: "vw-row vw-pass-play" }, main, halt, track);
  const words = make("div", { class: "vw-row" }, state, rest);
  el.append(buttons, words, details);
  errorLine(model, el, signal);
  const count = (n) => n.toLocaleString("en");

  function draw() {
    const status = get("status"), all = get("images"), seen = Math.min(get("seen"), all), share = all ? Math.round(100 * seen / all) : 0, left = get("remaining");
    const of = `${count(seen)} of ${count(all)} pictures`, what = get("aim");
    main.textContent = { running: "Pause", waiting: "Pause", paused: "Continue", idle: "Begin" }[status] ?? "Again";
    halt.disabled = !["running", "waiting", "paused"].includes(status);
    buttons.hidden = status === "done" || !all;
    words.hidden = !all;
    fill.style.width = `${share}%`;
    track.setAttribute("aria-valuenow", share);
    const said = { idle: `${what}: not begun`, waiting: `${what}: waiting for its turn`, running: what, paused: `${what}: paused after ${of}`,
      stopped: `${what}: stopped after ${of}`, done: `${what}: ${count(all - get("skipped").length)} pictures seen`, failed: `${what}: failed` }[status];
    if (state.textContent !== said) state.textContent = said;
    rest.textContent = status === "running" ? `${of}${left ? `, ${left < 100 ? `${Math.max(1, Math.round(left))} s` : `${Math.round(left / 60)} min`} left` : ""}` : "";
    const bad = get("skipped");
    details.hidden = !bad.length;
    details.firstChild.textContent = `${count(bad.length)} could not be read`;
    skipped.replaceChildren(...bad.slice(0, 50).map(([source, reason]) => make("li", {}, `${source}: ${reason}`)));
    el.dataset.status = status;
  }
  for (const name of ["status", "images", "seen", "remaining", "aim", "skipped"]) listen(model, `change:${name}`, draw, signal);
  draw();
  return () => stop.abort();
}

export default { render };
