// Small pictures in a row: one is chosen, or several where they can be mixed; more come from files.

function render({ model, el }) {
  const stop = new AbortController(), signal = stop.signal;
  el.classList.add("vw", "vw-pictures");
  const title = model.get("title"), notes = make("span", { class: "vw-dim vw-pictures-notes" });
  const thumbs = thumbnails({ model, signal, label: title, isChosen: (i) => model.get("chosen").includes(i),
    choose: (index) => model.send({ cmd: "choose", index }) });
  const own = ownPictures({ model, el, signal, text: "Open …", say: (text) => { notes.textContent = text || model.get("caption"); } });
  own[0].ariaLabel = `${title}: open a picture of one's own`;
  const mixing = focusable(make("input", { type: "checkbox" }));
  mixing.addEventListener("change", () => model.send({ cmd: "mix", on: mixing.checked }), { signal });
  const mix = model.get("several") ? [make("label", {}, mixing, "mix several")] : [];
  el.append(make("div", { class: "vw-row" }, make("span", { class: "vw-title" }, title), notes, ...mix), make("div", { class: "vw-pictures-row" }, thumbs.node, ...own));
  errorLine(model, el, signal);
  listen(model, "change:caption", () => { notes.textContent = notes.title = model.get("caption"); }, signal, true);
  listen(model, "change:chosen", thumbs.mark, signal);
  listen(model, "change:mixing", () => { mixing.checked = model.get("mixing"); }, signal, true);
  return () => stop.abort();
}

export default { render };
