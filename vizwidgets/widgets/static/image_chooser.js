// The picture that is looked at: a few at hand, or a file dropped or uploaded.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-chooser");
  const picture = make("img", { class: "vw-picture", alt: "" });
  const notes = make("div", { class: "vw-dim" });
  const thumbs = make("div", { class: "vw-thumbs", role: "group", "aria-label": "pictures" });
  const file = focusable(make("input", { type: "file", accept: "image/*", class: "vw-hidden-input", tabIndex: -1, "aria-hidden": "true" }));
  const upload = focusable(make("button", { type: "button" }, "Open a picture …"));
  el.append(make("div", { class: "vw-chooser-body" }, picture, make("div", {}, notes, thumbs, make("div", { class: "vw-row" }, upload, file))));
  errorLine(model, el, signal);
  const urls = [];

  listen(model, "change:picture", () => {
    const old = picture.src, data = model.get("picture");
    if (data && data.byteLength) picture.src = pictureURL(data); else picture.removeAttribute("src");
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  }, signal, true);
  listen(model, "change:caption", () => { notes.textContent = picture.alt = model.get("caption"); }, signal, true);

  const mark = () => [...thumbs.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === model.get("index"))));
  listen(model, "change:choices", () => {
    urls.splice(0).forEach((u) => URL.revokeObjectURL(u));
    thumbs.replaceChildren(...model.get("choices").map((c, i) => {
      const url = pictureURL(c.thumbnail, "image/jpeg"); urls.push(url);
      const button = focusable(make("button", { type: "button", title: c.name, "aria-label": c.name }, make("img", { src: url, alt: "" })));
      button.addEventListener("click", () => model.send({ cmd: "choose", index: i }), { signal });
      return button;
    }));
    mark();
  }, signal, true);
  listen(model, "change:index", mark, signal);

  let turn = 0;
  async function give(chosen) {
    if (!chosen) return;
    const most = model.get("most_bytes"), mine = ++turn;
    let data = chosen, shrunk = null;
    if (chosen.size > most) {
      notes.textContent = `${chosen.name} is large; it is made smaller first …`;
      try { [data, shrunk] = await smaller(chosen); } catch { /* not a picture that this browser can read */ }
      notes.textContent = model.get("caption");
      if (mine !== turn) return;   // another one has been given meanwhile
    }
    if (data.size > most) model.send({ cmd: "refused", name: chosen.name, size: chosen.size });
    else model.send({ cmd: "file", name: chosen.name, shrunk }, undefined, [await data.arrayBuffer()]);
  }
  upload.addEventListener("click", () => file.click(), { signal });
  file.addEventListener("change", () => { give(file.files[0]); file.value = ""; }, { signal });
  el.addEventListener("dragover", (e) => { e.preventDefault(); e.stopPropagation(); el.classList.add("vw-drop"); }, { signal });
  el.addEventListener("dragleave", () => el.classList.remove("vw-drop"), { signal });
  el.addEventListener("drop", (e) => { e.preventDefault(); e.stopPropagation(); el.classList.remove("vw-drop"); give(e.dataTransfer.files[0]); }, { signal });
  return () => { stop.abort(); urls.forEach((u) => URL.revokeObjectURL(u)); };
}

// A server drops the connection when a message is too long (10 MB in Jupyter's), and with it what was sent.
async function smaller(file) {
  const whole = await createImageBitmap(file), scale = Math.min(1, 2048 / Math.max(whole.width, whole.height));
  const canvas = make("canvas", { width: Math.round(whole.width * scale), height: Math.round(whole.height * scale) });
  const context = canvas.getContext("2d");
  context.fillStyle = "white";   // JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  const size = [whole.width, whole.height, canvas.width, canvas.height];
  whole.close();
  return [await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95)), size];
}

export default { render };
