// Original, what it has become, their difference, the classes of both. What is turned goes to Python, one question at a time.

const NOTCHES = 32;

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal, view = Math.random().toString(36).slice(2);
  const get = (name) => model.get(name);
  const on = (node, event, call) => { node.addEventListener(event, call, { signal }); return node; };
  el.classList.add("vw", "vw-adversarial");

  const { ask, answered, held } = asker(model, signal, () => knobs());

  // --- pictures
  const verdict = make("div", { class: "vw-title", role: "status" });
  const empty = make("div", { class: "vw-dim" }, "nothing yet: a network and a picture are needed");
  function panel(title) {
    const canvas = make("canvas", { role: "img" }), what = make("div", { class: "vw-dim" });
    return { canvas, what, node: make("figure", {}, make("figcaption", {}, make("div", {}, title), what), canvas) };
  }
  const amplify = on(focusable(make("select", { "aria-label": "difference, amplified" })), "change", () => ask("amplify", Number(amplify.value)));
  amplify.append(...[1, 4, 16, 64].map((n) => make("option", { value: n }, `× ${n}`)));
  const [original, changed, difference] = ["original", "changed", make("label", {}, "difference", amplify)].map(panel);
  const pictures = make("div", { class: "vw-three" }, original.node, changed.node, difference.node);
  const size = make("div", { class: "vw-dim vw-adversarial-size" });

  function paint(canvas, frame, colour) {
    const { width, height } = frame, pixels = new ImageData(width, height), data = pixels.data;
    for (let i = 0, j = 0; j < data.length; j++) data[j] = j % 4 === 3 ? 255 : colour(i++);
    canvas.width = width; canvas.height = height;      // the page enlarges it
    canvas.classList.toggle("vw-pixels", width <= 160);
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }
  function drawDifference() {
    const f = get("frame"), n = get("amplify");
    if (!f.original) return;
    const a = bytes(f.original), b = bytes(f.changed);
    paint(difference.canvas, f, (i) => 128 + n * (b[i] - a[i]));      // clamped by the array it goes into
    difference.what.textContent = "grey: no change";
    difference.canvas.ariaLabel = `the difference, ${n} times amplified`;
    amplify.value = n;
    describe();
  }

  // --- classes
  const nameOf = (i) => get("about").classes?.[i] ?? `class ${i}`;
  const rows = classPairs({ label: "classes before and after", signal, nameOf: (i) => nameOf(i), hint: (name) => `make the network say ${name}`,
    choose: (i) => { target.value = i; ask("target", i); } });
  const chance = (f, i, when) => percent(f.rows.find((r) => r.index === i)?.[when] ?? 0);

  function draw() {
    const f = get("frame"), nothing = !f.original;
    empty.hidden = !nothing; body.hidden = pictures.hidden = size.hidden = nothing;
    if (nothing) { verdict.textContent = ""; el.dataset.seq = ""; answered(); return; }
    const a = bytes(f.original), b = bytes(f.changed), [was, is] = f.first;
    paint(original.canvas, f, (i) => a[i]);
    paint(changed.canvas, f, (i) => b[i]);
    drawDifference();
    original.what.textContent = original.canvas.ariaLabel = `${nameOf(was)} ${chance(f, was, "before")}`;
    changed.what.textContent = changed.canvas.ariaLabel = `${nameOf(is)} ${chance(f, is, "after")}`;
    original.canvas.ariaLabel = `original: ${original.what.textContent}`;
    changed.canvas.ariaLabel = `changed: ${changed.what.textContent}`;
    changed.node.classList.toggle("vw-fooled", was !== is);
    rows.say(f.rows, get("about").index);
    if (f.done) verdict.textContent = was === is ? `Still ${nameOf(was)}` : `Now ${nameOf(is)}, no longer ${nameOf(was)}`;
    progress.textContent = f.done ? "" : `step ${f.taken} of ${f.steps}`;
    save.disabled = !f.taken;
    el.dataset.seq = f.seq; el.dataset.done = f.done;
    requestAnimationFrame(answered);
  }
  function describe() {
    const f = get("frame"), reach = Math.floor(127 / get("amplify"));
    const others = f.channels === 1 || f.channels === 3 ? "" : `; shown: the mean of its ${f.channels} channels`;
    size.textContent = f.largest === 0 ? `Nothing is changed${others}.`
      : `Largest change: ${f.largest} of 255 levels${f.largest > reach ? ` (the difference shows up to ${reach})` : ""}; ${percent(f.share)} of the pixels;`
        + ` length ${number(f.length)}${others}. In 8 bits, as saved.`;
  }

  // --- knobs
  const notches = () => get("eps") / (get("norm") === "inf" ? 1 / 255 : 0.1);
  const texts = {
    eps: (n) => (norm.value === "inf" ? `${Math.round(100 * n) / 100} / 255` : String(Math.round(10 * n) / 100)),
    steps: (n) => (n === 1 ? "1, FGSM" : String(n)),
  };
  const slider = (name, least, most) => knob({ label: name, least, most, signal, turned: (at) => ask(name, at), text: (at) => texts[name](at) });
  const eps = slider("eps", 0, NOTCHES), steps = slider("steps", 1, 40);
  const norm = on(focusable(make("select", { "aria-label": "norm" })), "change", () => { ask("norm", norm.value); eps.say(); });
  norm.append(make("option", { value: "inf" }, "L∞: each pixel"), make("option", { value: "2" }, "L2: length of it all"));
  const target = on(focusable(make("select", { "aria-label": "target" })), "change", () => ask("target", target.value === "" ? null : Number(target.value)));
  const save = on(focusable(make("button", { type: "button", title: "save the changed picture, with its recipe inside" }, "Save as PNG")), "click", () => {
    model.send({ cmd: "save", view });
  });
  const progress = make("span", { class: "vw-dim" });

  function classes() {
    const { classes = [], own = 0, index = -1, aim = "" } = get("about"), key = JSON.stringify([classes, own, index < 0 ? aim : ""]);
    const chosen = held() ? target.value : index < 0 ? "" : String(index);
    if (target.dataset.key !== key) {
      target.dataset.key = key;
      target.replaceChildren(make("option", { value: "" }, index < 0 && aim ? aim : `away from ${nameOf(own)}`),
        ...classes.map((name, i) => make("option", { value: i }, `to ${name}`)));
    }
    target.value = chosen;
    rows.mark(index);
  }
  function knobs() {
    classes();
    if (held()) return;
    norm.value = get("norm");
    eps.set(notches()); steps.set(get("steps"));
  }

  const controls = make("div", {},
    make("div", { class: "vw-knobs" }, eps.node, steps.node),
    make("div", { class: "vw-choices" }, pick("norm", norm), pick("target", target)),
    make("div", { class: "vw-row" }, save, progress));
  const body = make("div", { class: "vw-adversarial-body" }, controls, rows.node);
  el.append(verdict, empty, pictures, size, body);
  errorLine(model, el, signal);

  const receive = (content, buffers) => {
    if (content.view !== view || !content.file) return;
    download(el, content.file, buffers[0]);
  };
  model.on("msg:custom", receive);
  signal.addEventListener("abort", () => model.off("msg:custom", receive));
  for (const name of ["eps", "steps", "norm", "about"]) listen(model, `change:${name}`, knobs, signal);
  listen(model, "change:amplify", drawDifference, signal);
  listen(model, "change:frame", draw, signal, true);
  knobs();
  return () => stop.abort();
}

export default { render };
