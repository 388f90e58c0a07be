// Pictures of one's own: opened with a button, or dropped on the widget. Too large ones are made smaller in the page.

function ownPictures({ model, el, signal, say, text = "Open a picture …" }) {
  const file = focusable(make("input", { type: "file", accept: "image/*", class: "vw-hidden-input", tabIndex: -1, "aria-hidden": "true" }));
  const upload = focusable(make("button", { type: "button" }, text));
  let turn = 0;
  async function give(chosen) {
    if (!chosen) return;
    const most = model.get("most_bytes"), mine = ++turn;
    let data = chosen, shrunk = null;
    if (chosen.size > most) {
      say(`${chosen.name} is large; it is made smaller first …`);
      try { [data, shrunk] = await smaller(chosen); } catch { /* not a picture that this browser can read */ }
      say("");
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
  return [upload, file];
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

// A row of small pictures to choose from.
function thumbnails({ model, signal, label, choose, isChosen }) {
  const node = make("div", { class: "vw-thumbs", role: "group", "aria-label": label }), urls = [];
  const mark = () => [...node.children].forEach((b, i) => b.setAttribute("aria-pressed", String(isChosen(i))));
  listen(model, "change:choices", () => {
    urls.splice(0).forEach((u) => URL.revokeObjectURL(u));
    const focused = [...node.children].indexOf(document.activeElement);
    node.replaceChildren(...model.get("choices").map((c, i) => {
      const url = pictureURL(c.thumbnail, "image/jpeg"); urls.push(url);
      const button = focusable(make("button", { type: "button", title: c.name, "aria-label": c.name }, make("img", { src: url, alt: "" })));
      button.addEventListener("click", (e) => choose(i, e), { signal });
      return button;
    }));
    node.children[focused]?.focus();
    mark();
  }, signal, true);
  signal.addEventListener("abort", () => urls.forEach((u) => URL.revokeObjectURL(u)));
  return { node, mark };
}
