// Pictures with words below, a button each: Tab stops once, arrow keys go from one to the next.

const LOST = "cannot be opened";

// A picture on a square. `size` is [height, width] in pixels, `box` [top, left, bottom, right] in shares of its sides.
function framed() {
  const img = make("img", { alt: "" }), box = make("i", { class: "vw-frame" }), sheet = make("span", {}, img, box);
  const node = make("span", { class: "vw-framed" }, sheet);
  function show({ data, size, box: at, words }) {
    const old = img.src;
    node.classList.toggle("vw-waiting", !data?.byteLength);
    node.dataset.words = words ?? "";
    img.hidden = !data?.byteLength;
    if (!img.hidden) img.src = pictureURL(data); else img.removeAttribute("src");
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
    if (size) Object.assign(sheet.style, { aspectRatio: `${size[1]} / ${size[0]}`, width: `${100 * Math.min(1, size[1] / size[0])}%` });
    img.classList.toggle("vw-pixels", Boolean(size) && Math.max(...size) < 64);
    box.hidden = !at;
    if (at) Object.assign(box.style, { top: `${100 * at[0]}%`, left: `${100 * at[1]}%`, bottom: `${100 * (1 - at[2])}%`, right: `${100 * (1 - at[3])}%` });
  }
  return { node, show, clear: () => show({}) };
}

// Items are { pictures, lines, name, chosen }; a line is a text, or [text, class]. `choose` and `point` are given an item's place.
function cards({ label, signal, choose, point }) {
  const node = make("div", { class: "vw-cards", role: "group", "aria-label": label });
  let at = 0;
  const buttons = () => [...node.children];
  const rove = () => buttons().forEach((b, i) => { b.tabIndex = i === at ? 0 : -1; });
  function card(place) {
    const button = focusable(make("button", { type: "button", class: "vw-card" })), row = make("span", { class: "vw-card-pictures" });
    const words = make("span", { class: "vw-card-words" }), frames = [];
    button.append(row, words);
    const on = (event, call) => button.addEventListener(event, call, { signal });
    on("click", () => choose(place));
    on("pointerenter", () => point(place));
    on("focus", () => { at = place; rove(); point(place); });
    for (const event of ["pointerleave", "blur"]) on(event, () => point(-1));
    on("keydown", (e) => {
      const all = buttons(), across = Math.max(1, all.filter((b) => b.offsetTop === all[0].offsetTop).length);
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -all.length, End: all.length }[e.key];
      if (!step) return;
      all[Math.max(0, Math.min(all.length - 1, place + step))].focus();
      e.preventDefault();
    });
    button.say = ({ pictures, lines, name, chosen }) => {
      while (frames.length > pictures.length) { const last = frames.pop(); last.clear(); last.node.remove(); }
      while (frames.length < pictures.length) { frames.push(framed()); row.append(frames.at(-1).node); }
      pictures.forEach((p, i) => frames[i].show(p));
      words.replaceChildren(...lines.map((line) => (Array.isArray(line) ? make("span", { class: line[1] }, line[0]) : make("span", {}, line))));
      button.setAttribute("aria-label", name);
      button.setAttribute("aria-pressed", String(Boolean(chosen)));
    };
    button.drop = () => frames.forEach((f) => f.clear());
    return button;
  }
  function show(items) {
    const focused = node.contains(document.activeElement);
    while (node.children.length > items.length) { node.lastChild.drop(); node.lastChild.remove(); }
    while (node.children.length < items.length) node.append(card(node.children.length));
    items.forEach((item, i) => node.children[i].say(item));
    at = Math.max(0, Math.min(at, items.length - 1));
    rove();
    if (focused && !node.contains(document.activeElement)) node.children[at]?.focus();
  }
  signal.addEventListener("abort", () => show([]));
  return { node, show };
}
