// Put before the module of every widget.

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (key === "dataset") Object.assign(node.dataset, value);
    else if (key.includes("-") || key === "role" || key === "for") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);      // strings become text, never markup
  return node;
}

// Keys stay in the widget: Notebook 7 takes arrow keys before the widget sees them unless the focused element itself says
// otherwise, others take letters as commands. Escape goes back to the notebook.
function focusable(node, escape = () => leave(node)) {
  node.dataset.lmSuppressShortcuts = "true";
  node.addEventListener("keydown", (e) => {
    if (e.key === "Escape") escape();
    if (!e.ctrlKey && !e.metaKey && !e.altKey) e.stopPropagation();
  });
  return node;
}

function leave(node) {
  node.blur();
  node.closest(".jp-Cell")?.focus();
}

function errorLine(model, el, signal) {
  const line = make("div", { class: "vw-error", role: "alert" });
  el.append(line);
  listen(model, "change:error", () => { line.textContent = model.get("error"); }, signal, true);
}

function listen(model, event, call, signal, now = false) {
  model.on(event, call);
  signal.addEventListener("abort", () => model.off(event, call));
  if (now) call();
}

// A trait that the page changes before Python answers: `take` is called when Python has changed it, but not while the page is
// ahead, which is so for a second after the function that comes back has been called. An old answer does not undo what is new.
function ahead(model, name, take, signal) {
  let until = 0;
  listen(model, `change:${name}`, () => { if (!until) take(); }, signal, true);
  signal.addEventListener("abort", () => clearTimeout(until));
  return () => { clearTimeout(until); until = setTimeout(() => { until = 0; take(); }, 1000); };
}

function bytes(view) {
  return view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array();
}

function floats(view) {          // the offset of a view need not be a multiple of 4
  const copy = bytes(view).slice();
  return new Float32Array(copy.buffer);
}

function number(x) {
  if (!Number.isFinite(x)) return String(x);
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1000 || size < 0.001 ? x.toExponential(1) : x.toPrecision(3).replace(/\.?0+$/, (m) => (m.includes(".") ? "" : m));
}

function colourTable(view) {     // 256 x RGB -> 256 little-endian RGBA words
  const rgb = bytes(view), words = new Uint32Array(256);
  for (let i = 0; i < 256; i++) words[i] = 0xff000000 | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i];
  return words;
}

function pictureURL(view, kind = "image/png") {
  return URL.createObjectURL(new Blob([bytes(view)], { type: kind }));
}

function svgIcon(path, size = 14) {      // of 16 by 16
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["width", size], ["height", size], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  line.setAttribute("d", path);
  line.setAttribute("fill-rule", "evenodd");
  svg.append(line);
  return svg;
}

function download(el, file, view, kind = "image/png") {
  const url = pictureURL(view, kind), link = make("a", { href: url, download: file });
  el.append(link); link.click(); link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function onThemeChange(call, signal) {
  const watch = new MutationObserver(call);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  signal.addEventListener("abort", () => watch.disconnect());
}
