// What part of a plane a stage shows: drag, wheel, pinch, keys and buttons. In shares of the stage, a point p of the plane is
// seen at p * k + [x, y]; at k = 1 all of it is.

const SLACK = 0.5;      // how far an edge of the plane may come into the stage

function panZoom(stage, { signal, most, changed, grab = () => null, click }) {
  const view = { k: 1, x: 0, y: 0 }, fingers = new Map();
  let began = null, held = null, moved = false;

  const share = (e) => { const r = stage.getBoundingClientRect(); return [(e.clientX - r.x) / r.width, (e.clientY - r.y) / r.height]; };
  const within = (v, low, high) => Math.min(high, Math.max(low, v));
  function set(k, x, y) {
    const before = [view.k, view.x, view.y];
    view.k = within(k, 1, most());
    view.x = within(x, 1 - view.k - SLACK, SLACK); view.y = within(y, 1 - view.k - SLACK, SLACK);
    const other = view.k !== before[0] || view.x !== before[1] || view.y !== before[2];
    if (other) changed();
    return other;
  }
  function zoom(factor, [px, py] = [0.5, 0.5]) {
    const f = within(view.k * factor, 1, most()) / view.k;
    return set(view.k * f, px - (px - view.x) * f, py - (py - view.y) * f);
  }
  const reset = () => set(1, 0, 0);
  // Move as little as brings this place of the stage into its middle part.
  function bring([px, py], margin = 0.06) {
    const by = (p) => (p < margin ? margin - p : p > 1 - margin ? 1 - margin - p : 0);
    return set(view.k, view.x + by(px), view.y + by(py));
  }

  const spread = () => {
    const [[ax, ay], [bx, by]] = [...fingers.values()];
    return { far: Math.hypot((ax - bx) * stage.clientWidth, (ay - by) * stage.clientHeight), at: [(ax + bx) / 2, (ay + by) / 2] };
  };
  const on = (event, call, options = {}) => stage.addEventListener(event, call, { signal, ...options });
  on("pointerdown", (e) => {
    if (e.button) return;
    fingers.set(e.pointerId, share(e));
    stage.setPointerCapture(e.pointerId);
    if (fingers.size > 1) { held?.end(false); held = null; moved = true; return; }
    began = [e.clientX, e.clientY]; moved = false; held = grab(e);
  });
  on("pointermove", (e) => {
    const last = fingers.get(e.pointerId);
    if (!last) return;
    const at = share(e);
    if (fingers.size === 2) {
      const before = spread();
      fingers.set(e.pointerId, at);
      const now = spread();
      zoom(now.far / Math.max(1, before.far), before.at);
      set(view.k, view.x + now.at[0] - before.at[0], view.y + now.at[1] - before.at[1]);
      return;
    }
    if (!moved && Math.hypot(e.clientX - began[0], e.clientY - began[1]) < 4) return;
    moved = true;
    fingers.set(e.pointerId, at);
    if (held) held.move(e); else set(view.k, view.x + at[0] - last[0], view.y + at[1] - last[1]);
  });
  const lift = (e) => {
    if (!fingers.delete(e.pointerId) || fingers.size) return;
    if (held) held.end(moved);
    held = null;
    if (!moved && e.type === "pointerup") click(e);
  };
  on("pointerup", lift); on("pointercancel", lift);
  on("wheel", (e) => {      // all of it is seen: let the page scroll
    if (e.deltaY > 0 && view.k === 1) return;
    e.preventDefault();
    zoom(Math.exp(-e.deltaY * (e.deltaMode ? 16 : 1) / 400), share(e));
  }, { passive: false });

  // True if the key was one of those that zoom.
  function key(e, at) {
    if (e.key === "+" || e.key === "=") zoom(1.5, at); else if (e.key === "-") zoom(1 / 1.5, at); else if (e.key === "0") reset(); else return false;
    e.preventDefault();
    return true;
  }
  const button = (sign, label, act) => {
    const node = focusable(make("button", { type: "button", title: label, "aria-label": label, dataset: { sign } }));
    node.addEventListener("click", act, { signal });
    return node;
  };
  const buttons = make("div", { class: "vw-zoom", role: "group", "aria-label": "zoom" },
    button("+", "zoom in (+)", () => zoom(1.5)), button("−", "zoom out (-)", () => zoom(1 / 1.5)), button("All", "all in view (0)", reset));
  return { view, zoom, reset, bring, key, buttons, dragging: () => fingers.size > 0 };
}
