// Points on a canvas. Their marks are stamped into its pixels, which takes milliseconds for ten thousand whatever the shape;
// and which point is near, beside, or inside.

const NO_CLASS = 65535, AWAY = 0, PALE = 1, PLAIN = 2, CHOSEN = 3;
const SHAPE = {      // paths of marks of radius r around 0, all of about the same area
  circle: (g, r) => g.arc(0, 0, r, 0, 7),
  square: (g, r) => g.rect(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r),
  triangle: (g, r) => { g.moveTo(0, -1.3 * r); g.lineTo(1.2 * r, 0.85 * r); g.lineTo(-1.2 * r, 0.85 * r); g.closePath(); },
  diamond: (g, r) => { g.moveTo(0, -1.25 * r); g.lineTo(1.25 * r, 0); g.lineTo(0, 1.25 * r); g.lineTo(-1.25 * r, 0); g.closePath(); },
};

function drawMark(g, shape, colour, x, y, r) {
  g.save();
  g.translate(x, y);
  g.beginPath();
  SHAPE[shape](g, r);
  g.fillStyle = colour;
  g.fill();
  g.restore();
}

function scatterPlot(canvas) {
  const g = canvas.getContext("2d");
  let count = 0, at = new Float32Array(), wide = 1, tall = 1;      // places in the unit square, and how much of it they fill
  let groups = new Uint16Array(), state = new Uint8Array(), order = new Uint32Array(), grid = null;
  let look = { marks: [], ground: "#fff", ink: "#000" }, stamps = new Map(), key = "", pixels = null, words = null;
  let frame = { ratio: 1, a: 1, bx: 0, by: 0 };      // device pixel = a * place + b
  let tile = 30;      // side of a thumbnail, in device pixels

  function points(xy) {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < xy.length; i += 2) {
      const x = xy[i], y = xy[i + 1];
      if (!Number.isFinite(x + y)) continue;
      if (x < left) left = x; if (x > right) right = x; if (y < top) top = y; if (y > bottom) bottom = y;
    }
    const span = Math.max(right - left, bottom - top) || 1, cx = (left + right) / 2, cy = (top + bottom) / 2;
    at = new Float32Array(xy.length);
    for (let i = 0; i < xy.length; i += 2) { at[i] = 0.5 + (xy[i] - cx) / span; at[i + 1] = 0.5 - (xy[i + 1] - cy) / span; }
    [wide, tall, grid] = [(right - left) / span || 0, (bottom - top) / span || 0, null];
    if (count === xy.length / 2) return;
    count = xy.length / 2;
    // Drawn in an order that has nothing to do with classes, so that none lies over all others.
    order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1, seed = 1; i > 0; i--) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      const j = seed % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
  }
  // What is shown how: `chosen` is a set of rows, `hidden` of classes; `only` makes all other classes pale.
  function mark({ classes, chosen, hidden, only }) {
    groups = classes; grid = null;
    state = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const group = groups[i] ?? NO_CLASS;
      state[i] = Number.isNaN(at[2 * i]) || hidden.has(group) ? AWAY : only >= 0 && group !== only ? PALE
        : chosen.size ? (chosen.has(i) ? CHOSEN : PALE) : PLAIN;
    }
  }

  function size(width, height, ratio) {
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (pixels && canvas.width === w && canvas.height === h) return;
    [canvas.width, canvas.height] = [w, h];
    pixels = g.createImageData(w, h); words = new Uint32Array(pixels.data.buffer); key = "";
  }
  const radius = (k) => Math.min(7, Math.max(1.5, Math.min(4.5, 130 / Math.sqrt(count || 1))) * k ** 0.4);

  // The pixels of a mark: where they are from its middle, and what they are to be mixed with, in what share of 256.
  function stamp(group, kind, r, ratio) {
    const id = group * 4 + kind;
    if (stamps.has(id)) return stamps.get(id);
    const [colour, shape] = look.marks[group] ?? ["#888888", "circle"], half = Math.ceil(r * 1.4 + 2.5 * ratio), side = 2 * half + 1;
    const p = make("canvas", { width: side, height: side }).getContext("2d", { willReadFrequently: true }), middle = half + 0.5;
    if (kind === CHOSEN) { drawMark(p, "circle", look.ink, middle, middle, r + 2.2 * ratio); drawMark(p, "circle", look.ground, middle, middle, r + 1.2 * ratio); }
    else if (kind === PLAIN && r > 2.4 * ratio) drawMark(p, shape, look.ground, middle, middle, r + 0.8 * ratio);
    p.globalAlpha = kind === PALE ? 0.28 : 1;
    drawMark(p, shape, colour, middle, middle, r);
    const data = p.getImageData(0, 0, side, side).data, dx = [], dy = [], jump = [], rest = [], red = [], green = [];
    for (let i = 0; i < side * side; i++) {
      const [cr, cg, cb, alpha] = data.subarray(4 * i, 4 * i + 4);
      if (alpha < 8) continue;
      const a = Math.round(alpha * 256 / 255), y = Math.floor(i / side) - half, x = i % side - half;
      dx.push(x); dy.push(y); jump.push(y * canvas.width + x); rest.push(256 - a); red.push((cr | (cb << 16)) * a); green.push((cg << 8) * a);
    }
    const made = { half, dx: Int16Array.from(dx), dy: Int16Array.from(dy), jump: Int32Array.from(jump), rest: Uint16Array.from(rest),
      red: Float64Array.from(red), green: Float64Array.from(green) };
    stamps.set(id, made);
    return made;
  }
  function press(s, x, y) {
    const { half, dx, dy, jump, rest, red, green } = s, w = canvas.width, h = canvas.height, to = y * w + x;
    const inside = x >= half && y >= half && x < w - half && y < h - half;
    for (let i = 0; i < jump.length; i++) {
      if (!inside && (x + dx[i] < 0 || x + dx[i] >= w || y + dy[i] < 0 || y + dy[i] >= h)) continue;
      const j = to + jump[i], old = words[j];      // little-endian: alpha, blue, green, red
      words[j] = 0xff000000 | ((((old & 0xff00ff) * rest[i] + red[i]) >>> 8) & 0xff00ff) | ((((old & 0xff00) * rest[i] + green[i]) >>> 8) & 0xff00);
    }
  }

  // `view` as of panZoom. `thumbnail(row)` gives an image, if one is there and wanted; gives back those that are missing.
  function draw(view, width, height, thumbnail = null) {
    const ratio = window.devicePixelRatio || 1, margin = thumbnail ? 28 : 18;
    size(width, height, ratio);
    const fit = Math.min((width - 2 * margin) / (wide || 1e-9), (height - 2 * margin) / (tall || 1e-9), 1e6), one = wide || tall ? fit : 1;
    const r = Math.round(radius(view.k) * ratio * 4) / 4, now = [r, canvas.width, look.ground, look.ink, JSON.stringify(look.marks)].join();
    if (now !== key) { stamps = new Map(); key = now; }
    frame = { ratio, a: ratio * view.k * one, bx: ratio * (view.k * (width - one) / 2 + view.x * width), by: ratio * (view.k * (height - one) / 2 + view.y * height) };
    words.fill(packed(look.ground));
    const { a, bx, by } = frame, w = canvas.width, h = canvas.height;
    for (const kind of [PALE, PLAIN, CHOSEN]) {
      for (let j = 0; j < count; j++) {
        const i = order[j];
        if (state[i] !== kind) continue;
        const x = Math.round(a * at[2 * i] + bx), y = Math.round(a * at[2 * i + 1] + by);
        if (x < -20 || y < -20 || x > w + 20 || y > h + 20) continue;
        press(stamp(groups[i] === NO_CLASS ? (look.marks.length === 1 ? 0 : NO_CLASS) : groups[i], kind, r, ratio), x, y);
      }
    }
    g.putImageData(pixels, 0, 0);
    return thumbnail ? drawThumbnails(view, thumbnail) : [];
  }
  // At most one in each cell of the plane, so that they can be seen; which ones does not change while one pans.
  function drawThumbnails(view, thumbnail) {
    const { ratio, a, bx, by } = frame, side = tile = Math.round(ratio * Math.min(64, 30 * view.k ** 0.35)), taken = new Set(), missing = [], tiles = [];
    for (const kind of [CHOSEN, PLAIN, PALE]) {
      for (let j = 0; j < count; j++) {
        const i = order[j];
        if (state[i] !== kind) continue;
        const x = a * at[2 * i] + bx, y = a * at[2 * i + 1] + by;
        if (x < 0 || y < 0 || x > canvas.width || y > canvas.height) continue;
        const cell = Math.floor(a * at[2 * i] / side) * 65536 + Math.floor(a * at[2 * i + 1] / side);
        if (taken.has(cell)) continue;
        taken.add(cell);
        const image = thumbnail(i);
        if (image === undefined) { missing.push(i); continue; }
        if (!image) continue;
        tiles.push({ image, kind, colour: look.marks[groups[i]]?.[0] ?? look.marks[0]?.[0] ?? look.ink, left: Math.round(x - side / 2), top: Math.round(y - side / 2) });
      }
    }
    for (const { image, kind, colour, left, top } of tiles.reverse()) {      // those that had the choice of cells lie over the others
      const edge = (kind === CHOSEN ? 2 : 1.5) * ratio;
      g.globalAlpha = 1;
      g.fillStyle = look.ground;
      g.fillRect(left - edge, top - edge, side + 2 * edge, side + 2 * edge);
      g.globalAlpha = kind === PALE ? 0.3 : 1;
      g.strokeStyle = colour; g.lineWidth = edge;
      g.strokeRect(left - edge / 2, top - edge / 2, side + edge, side + edge);
      drawThumbnail(g, image, left, top, side);
    }
    g.globalAlpha = 1;
    return missing;
  }
  function packed(colour) {      // a CSS colour as a little-endian word
    const p = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    p.fillStyle = colour;
    p.fillRect(0, 0, 1, 1);
    return new Uint32Array(p.getImageData(0, 0, 1, 1).data.buffer)[0];
  }

  const place = (i) => [(frame.a * at[2 * i] + frame.bx) / frame.ratio, (frame.a * at[2 * i + 1] + frame.by) / frame.ratio];      // on the stage
  const seen = (i) => i >= 0 && i < count && state[i] !== AWAY;

  // Rows by cell of a uniform grid over the unit square, made when one is asked for.
  function cells() {
    if (grid) return grid;
    const n = Math.max(1, Math.min(256, Math.round(Math.sqrt(count / 2)))), start = new Uint32Array(n * n + 1), rows = new Uint32Array(count), cell = new Int32Array(count);
    const to = (v) => Math.min(n - 1, Math.max(0, Math.floor(v * n)));
    for (let i = 0; i < count; i++) { cell[i] = seen(i) ? to(at[2 * i + 1]) * n + to(at[2 * i]) : -1; if (cell[i] >= 0) start[cell[i] + 1]++; }
    for (let c = 0; c < n * n; c++) start[c + 1] += start[c];
    const next = start.slice();
    for (let i = 0; i < count; i++) if (cell[i] >= 0) rows[next[cell[i]]++] = i;
    grid = { n, to, start, rows };
    return grid;
  }
  function nearest(x, y, reach = 14) {      // the row nearest to this place of the stage, or -1
    const { n, to, start, rows } = cells(), { ratio, a, bx, by } = frame;
    const u = (x * ratio - bx) / a, v = (y * ratio - by) / a, far = reach * ratio / a;
    let best = -1, least = far * far;
    for (let r = to(v - far); r <= to(v + far); r++) for (let c = to(u - far); c <= to(u + far); c++) for (let p = start[r * n + c]; p < start[r * n + c + 1]; p++) {
      const i = rows[p], d = (at[2 * i] - u) ** 2 + (at[2 * i + 1] - v) ** 2;
      if (d <= least) { least = d; best = i; }
    }
    return best;
  }
  // The nearest row in this direction: within 45 degrees, or else on that side of it.
  function beside(from, dx, dy) {
    let best = -1, least = Infinity;
    for (let i = 0; i < count; i++) {
      if (i === from || !seen(i)) continue;
      const x = at[2 * i] - at[2 * from], y = at[2 * i + 1] - at[2 * from + 1], along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (along <= 0) continue;
      const cost = along >= across ? along * along + across * across : 1e6 + along * along + 4 * across * across;
      if (cost < least) { least = cost; best = i; }
    }
    return best;
  }
  function inside(polygon) {      // the rows within a polygon on the stage
    const { ratio, a, bx, by } = frame, corners = polygon.map(([x, y]) => [(x * ratio - bx) / a, (y * ratio - by) / a]), found = [];
    const us = corners.map((c) => c[0]), vs = corners.map((c) => c[1]), left = Math.min(...us), right = Math.max(...us), top = Math.min(...vs), bottom = Math.max(...vs);
    for (let i = 0; i < count; i++) {
      const u = at[2 * i], v = at[2 * i + 1];
      if (!(u >= left && u <= right && v >= top && v <= bottom) || !seen(i)) continue;
      let odd = false;
      for (let p = 0, q = corners.length - 1; p < corners.length; q = p++) {
        const [pu, pv] = corners[p], [qu, qv] = corners[q];
        if ((pv > v) !== (qv > v) && u < (qu - pu) * (v - pv) / (qv - pv) + pu) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return found;
  }
  // A row in the midst of each class that is shown, the largest class first: the one nearest to the medians of a sample.
  function middles() {
    const members = new Map();
    for (let j = 0; j < count; j++) {
      const i = order[j];
      if (state[i] === AWAY || groups[i] === NO_CLASS) continue;
      const mine = members.get(groups[i]) ?? { group: groups[i], size: 0, rows: [] };
      mine.size++;
      if (mine.rows.length < 300) mine.rows.push(i);
      members.set(groups[i], mine);
    }
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    return [...members.values()].sort((a, b) => b.size - a.size).map(({ group, rows }) => {
      const x = median(rows.map((i) => at[2 * i])), y = median(rows.map((i) => at[2 * i + 1])), far = (i) => (at[2 * i] - x) ** 2 + (at[2 * i + 1] - y) ** 2;
      return [group, rows.reduce((best, i) => (far(i) < far(best) ? i : best))];
    });
  }
  // The row after or before this one that is shown; from the ends if there is no such row.
  function step(from, by) {
    for (let i = from + by; i >= 0 && i < count; i += by) if (seen(i)) return i;
    return -1;
  }
  return { points, mark, draw, place, seen, nearest, beside, inside, step, middles, count: () => count, tile: () => tile / frame.ratio, style(next) { look = next; } };
}
