// Thumbnails and names of rows, from Python when they are needed: what is wanted now first, one question at a time. Those
// used last are kept.

const AT_ONCE = 48, WAIT = 3000;      // milliseconds

function thumbnails({ model, signal, side, arrived, kept = 1500 }) {
  const known = new Map(), wishes = new Map();      // row -> { name, url, image }; who wants -> rows
  let asked = 0;

  function get(row) {
    const found = known.get(row);
    if (found) { known.delete(row); known.set(row, found); }      // to the end: the first ones go first
    return found;
  }
  function want(who, rows) {
    wishes.set(who, rows.filter((row) => !known.has(row)));
    if (!asked) ask();
  }
  function ask() {
    clearTimeout(asked);
    asked = 0;
    const rows = [...new Set([...wishes.values()].flat())].filter((row) => !known.has(row)).slice(0, AT_ONCE);
    if (!rows.length) return;
    asked = setTimeout(ask, WAIT);
    model.send({ cmd: "look", rows, side });
  }
  function forget(row) {
    if (known.get(row)?.url) URL.revokeObjectURL(known.get(row).url);
    known.delete(row);
  }
  function clear() { for (const row of [...known.keys()]) forget(row); wishes.clear(); }

  async function take(content, buffers) {
    if (content.look !== side) return;
    await Promise.all(content.rows.map(async (row, i) => {
      const data = bytes(buffers[i]), url = data.length ? URL.createObjectURL(new Blob([data], { type: "image/jpeg" })) : "";
      const image = url ? make("img", { src: url, alt: "" }) : null;
      await image?.decode().catch(() => {});
      forget(row);
      known.set(row, { name: content.names[i], url, image: image?.naturalWidth ? image : null });
    }));
    if (signal.aborted) { clear(); return; }
    for (const row of known.keys()) { if (known.size <= kept) break; forget(row); }
    if (asked) ask();
    arrived(content.rows);
  }
  model.on("msg:custom", take);
  signal.addEventListener("abort", () => { model.off("msg:custom", take); clearTimeout(asked); clear(); });
  return { get, want, clear };
}

// Into a square, as large as it fits.
function drawThumbnail(g, image, x, y, side) {
  const { naturalWidth: w, naturalHeight: h } = image, f = side / Math.max(w, h);
  g.imageSmoothingQuality = "high";
  g.drawImage(image, x + (side - w * f) / 2, y + (side - h * f) / 2, w * f, h * f);
}
