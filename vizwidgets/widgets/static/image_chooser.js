// The picture that is looked at: a few at hand, or a file dropped or uploaded.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-chooser");
  const picture = make("img", { class: "vw-picture", alt: "" });
  const notes = make("div", { class: "vw-dim" });
  const thumbs = thumbnails({ model, signal, label: "pictures", isChosen: (i) => i === model.get("index"), choose: (index) => model.send({ cmd: "choose", index }) });
  const own = ownPictures({ model, el, signal, say: (text) => { notes.textContent = text || model.get("caption"); } });
  el.append(make("div", { class: "vw-chooser-body" }, picture, make("div", {}, notes, thumbs.node, make("div", { class: "vw-row" }, ...own))));
  errorLine(model, el, signal);

  listen(model, "change:picture", () => {
    const old = picture.src, data = model.get("picture");
    if (data && data.byteLength) picture.src = pictureURL(data); else picture.removeAttribute("src");
    if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  }, signal, true);
  listen(model, "change:caption", () => { notes.textContent = picture.alt = model.get("caption"); }, signal, true);
  listen(model, "change:index", thumbs.mark, signal);
  return () => stop.abort();
}

export default { render };
