// The network as a tree that folds, with a search, and the size of the data drawn through the depth.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-picker");
  const title = make("span", { class: "vw-title" }), about = make("span", { class: "vw-dim" });
  const search = focusable(make("input", { type: "search", placeholder: "find a layer", "aria-label": "find a layer" }),
    () => { if (search.value) { search.value = ""; refresh(); } else leave(search); });
  const NS = "http://www.w3.org/2000/svg";
  const depth = document.createElementNS(NS, "svg");
  depth.setAttribute("class", "vw-depth"); depth.setAttribute("role", "img");
  depth.setAttribute("aria-label", "height and channels of the data through the depth of the network");
  const tree = focusable(make("div", { class: "vw-tree", role: "tree", tabIndex: 0, "aria-label": "layers" }));
  const detail = make("div", { class: "vw-dim", "aria-live": "polite" });
  const ends = make("div", { class: "vw-row vw-ends vw-dim" });
  el.append(make("div", { class: "vw-row" }, title, about), depth, ends, search, tree, detail);
  errorLine(model, el, signal);

  let rows = [], nodes = [], open = new Set(), cursor = -1;
  const pick = (name) => model.send({ cmd: "pick", layer: name });

  function build() {
    rows = model.get("rows"); title.textContent = model.get("title"); about.textContent = model.get("about") || "No network yet.";
    depth.style.display = rows.length ? "" : "none";
    search.hidden = tree.hidden = ends.hidden = !rows.length;
    const parents = new Set(rows.map((r) => r.parent).filter(Boolean));
    open = new Set(rows.length <= 30 ? parents : []);
    reveal(model.get("layer"));
    tree.replaceChildren();
    nodes = rows.map((r, i) => {
      const fold = make("span", { class: "vw-tree-fold" });
      const name = make("span", { class: "vw-tree-name", title: `${r.name}: ${r.kind}` }, fold, make("b", {}, r.short), ` ${r.kind}`);
      name.style.paddingLeft = `${r.level * 12}px`;
      const node = make("div", { class: "vw-tree-row", role: "treeitem", "aria-level": r.level + 1, "aria-disabled": String(!r.pickable), id: `${uid}-${i}` },
        name, make("span", { class: "vw-dim" }, r.shape));
      node.dataset.layer = r.name;
      fold.addEventListener("click", (e) => { e.stopPropagation(); toggle(r.name); }, { signal });
      node.addEventListener("click", () => { cursor = i; move(0); if (r.pickable) pick(r.name); else toggle(r.name); }, { signal });
      node.addEventListener("dblclick", () => toggle(r.name), { signal });
      node.parent = parents.has(r.name);
      return node;
    });
    tree.append(...nodes);
    drawDepth(); refresh();
  }

  function reveal(name) {
    for (let r = rows.find((q) => q.name === name); r; r = rows.find((q) => q.name === r.parent)) if (r.parent) open.add(r.parent);
  }
  function toggle(name) {
    if (open.has(name)) open.delete(name); else open.add(name);
    refresh();
  }

  function refresh() {
    const text = search.value.trim().toLowerCase(), layer = model.get("layer"), shown = new Set();
    rows.forEach((r, i) => {
      const visible = text ? r.name.toLowerCase().includes(text) || r.kind.toLowerCase().includes(text) : !r.parent || (shown.has(r.parent) && open.has(r.parent));
      if (visible) shown.add(r.name);
      const node = nodes[i];
      node.hidden = !visible;
      node.setAttribute("aria-selected", String(r.name === layer));
      if (node.parent && !text) node.setAttribute("aria-expanded", String(open.has(r.name))); else node.removeAttribute("aria-expanded");
    });
    const r = rows.find((q) => q.name === layer);
    detail.textContent = r ? `${r.name}: ${r.kind}, ${r.shape}, ${r.parameters} parameters, ${r.field}` : "";
    for (const box of depth.children) box.classList.toggle("vw-on", box.names.has(layer));
    if (r && !tree.contains(document.activeElement)) requestAnimationFrame(() => toView(nodes[rows.indexOf(r)]));
    el.dataset.layer = layer || "";
  }

  function toView(node) {
    if (!node || node.hidden) return;
    const y = node.offsetTop - tree.offsetTop;
    if (y < tree.scrollTop || y + node.offsetHeight > tree.scrollTop + tree.clientHeight) tree.scrollTop = Math.max(0, y - 80);
  }

  // A block per stretch of one shape: as high as the maps (on a root scale), as wide as there are channels (on a log scale).
  function drawDepth() {
    depth.replaceChildren();
    const blocks = [];
    for (const r of model.get("order").map((n) => rows.find((q) => q.name === n)).filter((q) => q && q.pickable && q.leaf)) {
      const last = blocks.at(-1);
      if (last && last.shape === r.shape) last.names.push(r.name); else blocks.push({ shape: r.shape, size: r.size, names: [r.name] });
    }
    const named = (b) => (b ? make("span", {}, `${b.shape}`) : "");
    ends.replaceChildren(named(blocks[0]), make("span", {}, "height: rows of a map; width: channels"), named(blocks.length > 1 && blocks.at(-1)));
    const tall = Math.max(1, ...blocks.map((b) => Math.sqrt(b.size[1]))), widths = blocks.map((b) => 1 + Math.log2(1 + b.size[0]));
    const unit = (100 - blocks.length * 0.4) / (widths.reduce((a, b) => a + b, 0) || 1);
    depth.setAttribute("viewBox", "0 0 100 56"); depth.setAttribute("preserveAspectRatio", "none");
    let x = 0;
    blocks.forEach((b, i) => {
      const box = document.createElementNS(NS, "rect"), h = Math.max(3, 54 * Math.sqrt(b.size[1]) / tall);
      for (const [k, v] of Object.entries({ x, y: 28 - h / 2, width: widths[i] * unit, height: h })) box.setAttribute(k, v);
      const tip = document.createElementNS(NS, "title");
      tip.textContent = `${b.shape}: ${b.names[0]}${b.names.length > 1 ? ` … ${b.names.at(-1)}` : ""}`;
      box.append(tip);
      box.names = new Set(b.names.flatMap((n) => [n, ...ancestorsEndingIn(n)]));
      box.addEventListener("click", () => { reveal(b.names.at(-1)); pick(b.names.at(-1)); }, { signal });
      depth.append(box);
      x += widths[i] * unit + 0.4;
    });
  }
  // Containers whose output is the output of this layer are at the same place of the drawing.
  function ancestorsEndingIn(name) {
    const order = model.get("order"), own = rows.find((q) => q.name === name), found = [];
    for (let i = order.indexOf(name) + 1; i < order.length; i++) {
      const next = rows.find((q) => q.name === order[i]);
      if (!next || next.leaf) break;
      if (next.shape === own.shape) found.push(next.name);
    }
    return found;
  }

  search.addEventListener("input", refresh, { signal });
  search.addEventListener("keydown", (e) => {
    if (e.key === "Enter" || e.key === "ArrowDown") { move(0, true); tree.focus(); e.preventDefault(); }
  }, { signal });

  function move(by, fromTop = false) {
    const visible = nodes.map((n, i) => (n.hidden ? -1 : i)).filter((i) => i >= 0);
    if (!visible.length) return;
    const at = fromTop ? 0 : Math.max(0, Math.min(visible.length - 1, visible.indexOf(cursor) + by));
    cursor = visible[at];
    tree.setAttribute("aria-activedescendant", nodes[cursor].id);
    nodes.forEach((n, i) => { n.style.outline = i === cursor && document.activeElement === tree ? "1px solid var(--vw-accent)" : ""; });
    nodes[cursor].scrollIntoView({ block: "nearest" });
  }
  tree.addEventListener("focus", () => { if (cursor < 0 || nodes[cursor]?.hidden) cursor = rows.findIndex((r) => r.name === model.get("layer")); move(0); }, { signal });
  tree.addEventListener("blur", () => nodes.forEach((n) => { n.style.outline = ""; }), { signal });
  tree.addEventListener("keydown", (e) => {
    const r = rows[cursor];
    if (e.key === "ArrowDown") move(1);
    else if (e.key === "ArrowUp") move(-1);
    else if (e.key === "PageDown") move(8);
    else if (e.key === "PageUp") move(-8);
    else if (e.key === "Home") move(0, true);
    else if (e.key === "End") move(nodes.length);
    else if (e.key === "ArrowRight" && r) { if (!open.has(r.name) && nodes[cursor].parent) toggle(r.name); else move(1); }
    else if (e.key === "ArrowLeft" && r) { if (open.has(r.name)) toggle(r.name); else if (r.parent) { cursor = rows.findIndex((q) => q.name === r.parent); move(0); } }
    else if ((e.key === "Enter" || e.key === " ") && r) { if (r.pickable) pick(r.name); else toggle(r.name); }
    else return;
    e.preventDefault();
  }, { signal });

  const uid = `vw-${Math.random().toString(36).slice(2)}`;
  listen(model, "change:rows", build, signal, true);
  listen(model, "change:layer", () => { reveal(model.get("layer")); refresh(); }, signal);
  return () => stop.abort();
}

export default { render };
