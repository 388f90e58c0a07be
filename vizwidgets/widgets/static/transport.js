// What the buttons of a run look like, what its states and times are called.

const ICONS = {
  play: "M4 2.5v11l9-5.5z", pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z", step: "M3 2.5v11l6-5.5zM10.5 2.5h2.5v11h-2.5z", stop: "M3 3h10v10H3z",
  again: "M8 2.5V0L4 3.5 8 7V4.5a4 4 0 1 1-4 4H2a6 6 0 1 0 6-6z",
  dice: "M3.5 2h9A1.5 1.5 0 0 1 14 3.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 2 12.5v-9A1.5 1.5 0 0 1 3.5 2zM6.3 5.2a1.1 1.1 0 1 0-2.2 0 1.1 1.1 0 0 0 2.2 0zM9.1 8a1.1 1.1 0 1 0-2.2 0 1.1 1.1 0 0 0 2.2 0zM11.9 10.8a1.1 1.1 0 1 0-2.2 0 1.1 1.1 0 0 0 2.2 0z",
  back: "M7 3 2 8l5 5V9.5h7v-3H7z",
};
const ENDED = ["stopped", "done", "failed"];
const STATES = { idle: "ready", waiting: "waiting for its turn", running: "running", paused: "paused", stopped: "stopped", done: "done", failed: "failed" };

const icon = (name) => svgIcon(ICONS[name]);

function duration(seconds) {
  if (seconds < 1) return "1 s";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// What a button shows; one with a text is called by it.
function fill(node, name, label, text = "") {
  if (node.dataset.is === name + text && node.title === label) return;
  node.dataset.is = name + text; node.title = label; node.ariaLabel = text ? "" : label;
  node.replaceChildren(icon(name), text);
}

// Frames of a `Playback`: the newest one is decoded, shown as the screen is drawn, then acknowledged. `show` is given nothing where
// there is none.
function newest(model, signal, show) {
  let latest = null, decoding = false;
  // A hidden page has no animation frames; its run goes on all the same.
  const nextFrame = (done) => { if (document.hidden) setTimeout(done, 100); else requestAnimationFrame(done); };
  async function take(frame) {
    latest = frame;
    if (decoding) return;
    decoding = true;
    while (latest && !signal.aborted) {
      const next = latest;
      latest = null;
      const bitmap = next.data?.byteLength ? await createImageBitmap(new Blob([bytes(next.data)])).catch(() => null) : null;
      await new Promise(nextFrame);
      if (signal.aborted) bitmap?.close(); else if (bitmap || !next.data?.byteLength) show(bitmap, next);
      if (next.number) model.send({ ack: next.number });
    }
    decoding = false;
  }
  take.forget = () => { latest = null; };
  return take;
}
