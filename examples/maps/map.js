// Draws the roads on a canvas, and lets visitors move about, choose ways, and paint traffic.
import { h, watch } from "./static/page.js";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.side { display: grid; gap: 1.25rem; align-content: start; }
.tools { display: flex; flex-wrap: wrap; gap: .4rem; margin-bottom: .6rem; }
.tools .gap { flex: 1; }
.tools [aria-checked="true"] { background: var(--tint); border-color: var(--accent); color: var(--accent); }
#map-panel { display: flex; flex-direction: column; }
.frame { flex: 1 0 min(68vh, 44rem); min-height: 20rem; position: relative; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; background: var(--paper); }
#map { position: absolute; inset: 0; display: block; width: 100%; height: 100%; touch-action: none; cursor: grab; }
#map[data-tool="slow"], #map[data-tool="closed"], #map[data-tool="free"] { cursor: crosshair; }
#map[data-drag="pan"] { cursor: grabbing; }
#map:focus-visible { outline-offset: -3px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: .7rem 0 0; padding: 0; font-size: .85rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .45rem; }
.legend path { fill: none; stroke-width: 4; }
.l-now { stroke: var(--accent); }
.l-before { stroke: var(--ink); stroke-dasharray: 6 4; stroke-width: 2.5 !important; }
.l-slow { stroke: var(--ink); stroke-dasharray: 2 3; stroke-width: 7 !important; }
.l-closed { stroke: var(--ink); stroke-width: 1.8 !important; }
.l-seen { fill: var(--accent); opacity: .6; }
.keys { margin: .6rem 0 0 !important; max-width: none !important; }
kbd { font: .85em var(--mono); border: 1px solid var(--line); border-radius: .25rem; padding: 0 .3rem; background: var(--paper); }
#places { display: grid; width: 100%; }
#places select, #look select { width: 100%; }
#look { display: block; margin-bottom: .8rem; }
`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

const canvas = document.getElementById("map"), draw = canvas.getContext("2d");
const calm = matchMedia("(prefers-color-scheme: dark)");
let roads = null, state = null, seen = null, seenAs = -1;
let view = null; // the middle, in the plane of the map, and pixels for each unit of it
let tool = "move", nextEnd = "from", painting = null, dragged = null, stale = false;

// The plane: degrees of longitude to the right, of latitude as long as they are on the ground.
let stretch = 1;
const flat = (lat, lon) => [lon, -lat * stretch];
const screen = (x, y) => [(x - view.x) * view.scale + canvas.clientWidth / 2, (y - view.y) * view.scale + canvas.clientHeight / 2];
const plane = (px, py) => [(px - canvas.clientWidth / 2) / view.scale + view.x, (py - canvas.clientHeight / 2) / view.scale + view.y];

async function load() {
  const bytes = await (await fetch("roads")).arrayBuffer();
  const head = new Uint32Array(bytes, 0, 2), n = head[0], m = head[1];
  const lat = new Int32Array(bytes, 8, n), lon = new Int32Array(bytes, 8 + 4 * n, n);
  const u = new Uint32Array(bytes, 8 + 8 * n, m), v = new Uint32Array(bytes, 8 + 8 * n + 4 * m, m);
  const kind = new Uint8Array(bytes, 8 + 8 * n + 8 * m, m);
  let south = Infinity, north = -Infinity;
  for (const l of lat) { south = Math.min(south, l); north = Math.max(north, l); }
  stretch = 1 / Math.cos(((south + north) / 2e6) * Math.PI / 180);
  const x = new Float64Array(n), y = new Float64Array(n);
  for (let i = 0; i < n; i++) [x[i], y[i]] = flat(lat[i] / 1e6, lon[i] / 1e6);
  roads = { n, m, u, v, kind, x, y };
}

// ---- drawing ----

const colours = () => {
  const css = getComputedStyle(document.documentElement);
  return Object.fromEntries(["paper", "card", "ink", "soft", "line", "fill", "accent"].map((c) => [c, css.getPropertyValue(`--${c}`).trim()]));
};

function redraw() {
  if (stale) return;
  stale = true;
  requestAnimationFrame(() => { stale = false; if (roads && view) paintMap(); });
}

function paintMap() {
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (!w || !h) return;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  const c = colours();
  draw.fillStyle = c.paper;
  draw.fillRect(0, 0, w, h);
  draw.lineCap = draw.lineJoin = "round";
  // A street is 8 m wide, and at least a hair.
  const metre = view.scale / 111195 * stretch;
  const looks = [
    [c.soft, Math.max(2, 22 * metre)], [c.soft, Math.max(1.6, 18 * metre)], [c.fill, Math.max(1.2, 14 * metre)],
    [c.fill, Math.min(6, Math.max(metre > 0.04 ? 0.8 : 0.35, 8 * metre))],
  ];
  for (let kind = 3; kind >= 0; kind--) {
    draw.beginPath();
    for (let i = 0; i < roads.m; i++) if (roads.kind[i] === kind) line(i, w, h);
    [draw.strokeStyle, draw.lineWidth] = looks[kind];
    draw.globalAlpha = kind === 3 && metre < 0.04 ? 0.75 : 1;
    draw.stroke();
  }
  draw.globalAlpha = 1;
  if (seen) {
    draw.fillStyle = c.accent;
    draw.globalAlpha = seen.length > 3000 ? 0.35 : 0.9;
    const size = seen.length > 3000 ? 2 : 5;
    for (const u of seen) {
      const [px, py] = screen(roads.x[u], roads.y[u]);
      if (px > -9 && py > -9 && px < w + 9 && py < h + 9) draw.fillRect(px - size / 2, py - size / 2, size, size);
    }
    draw.globalAlpha = 1;
  }
  if (!state) return;
  some([...state.slow, ...(painting?.how === "slow" ? painting.roads : [])], c.ink, 7, [2, 3], w, h);
  const shut = [...state.closed, ...(painting?.how === "closed" ? painting.roads : [])];
  some(shut, c.ink, 1.8, [], w, h);
  crosses(shut, c.ink);
  if (painting?.how === "free") some([...painting.roads], c.card, 5, [], w, h);
  path(state.now.path, c.accent, 5, []);
  if (!state.same) path(state.before.path, c.ink, 2.5, [7, 5]);
  marker(dragged?.end === "from" ? dragged.at : screen(...flat(...state.from)), "A", c);
  marker(dragged?.end === "to" ? dragged.at : screen(...flat(...state.to)), "B", c);
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    draw.strokeStyle = c.ink;
    draw.lineWidth = 1.5;
    draw.beginPath();
    draw.moveTo(w / 2 - 12, h / 2); draw.lineTo(w / 2 + 12, h / 2);
    draw.moveTo(w / 2, h / 2 - 12); draw.lineTo(w / 2, h / 2 + 12);
    draw.stroke();
  }
}

// line adds a road to the path that is drawn, if it may be seen.
function line(i, w, h) {
  const s = view.scale, dx = w / 2 - view.x * s, dy = h / 2 - view.y * s;
  const u = roads.u[i], v = roads.v[i];
  const x = roads.x[u] * s + dx, y = roads.y[u] * s + dy, x2 = roads.x[v] * s + dx, y2 = roads.y[v] * s + dy;
  if ((x < 0 && x2 < 0) || (y < 0 && y2 < 0) || (x > w && x2 > w) || (y > h && y2 > h)) return;
  draw.moveTo(x, y);
  draw.lineTo(x2, y2);
}

function some(list, colour, width, dash, w, h) {
  draw.beginPath();
  for (const i of list) line(i, w, h);
  stroke(colour, width, dash);
}

function stroke(colour, width, dash) {
  draw.strokeStyle = colour;
  draw.lineWidth = width;
  draw.setLineDash(dash);
  if (dash.length) draw.lineCap = "butt";
  draw.stroke();
  draw.setLineDash([]);
  draw.lineCap = "round";
}

function crosses(list, colour) {
  draw.beginPath();
  for (const i of list) {
    const [x, y] = screen((roads.x[roads.u[i]] + roads.x[roads.v[i]]) / 2, (roads.y[roads.u[i]] + roads.y[roads.v[i]]) / 2);
    draw.moveTo(x - 4, y - 4); draw.lineTo(x + 4, y + 4);
    draw.moveTo(x + 4, y - 4); draw.lineTo(x - 4, y + 4);
  }
  stroke(colour, 1.8, []);
}

function path(nodes, colour, width, dash) {
  draw.beginPath();
  nodes.forEach((u, i) => {
    const [x, y] = screen(roads.x[u], roads.y[u]);
    if (i) draw.lineTo(x, y); else draw.moveTo(x, y);
  });
  stroke(colour, width, dash);
}

function marker([x, y], letter, c) {
  draw.beginPath();
  draw.arc(x, y, 10, 0, 7);
  draw.fillStyle = c.card;
  draw.fill();
  draw.lineWidth = 2.5;
  draw.strokeStyle = c.ink;
  draw.stroke();
  draw.fillStyle = c.ink;
  draw.font = "600 12px system-ui, sans-serif";
  draw.textAlign = "center";
  draw.textBaseline = "middle";
  draw.fillText(letter, x, y + 0.5);
}

// ---- moving about ----

function fit() {
  if (!state || !roads) return;
  const nodes = [...state.now.path, ...state.before.path];
  let box = [[state.from], [state.to]].map(([p]) => flat(...p));
  box = box.concat(nodes.map((u) => [roads.x[u], roads.y[u]]));
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of box) { x0 = Math.min(x0, x); y0 = Math.min(y0, y); x1 = Math.max(x1, x); y1 = Math.max(y1, y); }
  const w = Math.max(50, canvas.clientWidth - 60), h = Math.max(50, canvas.clientHeight - 60);
  view = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale: Math.min(w / Math.max(x1 - x0, 0.004), h / Math.max(y1 - y0, 0.004)) };
  redraw();
}

function zoom(by, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
  const [x, y] = plane(px, py);
  view.scale = Math.min(400000, Math.max(300, view.scale * by));
  const [x2, y2] = plane(px, py);
  view.x += x - x2;
  view.y += y - y2;
  redraw();
}

function pan(dx, dy) {
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  redraw();
}

for (const b of document.querySelectorAll("[data-zoom]")) {
  b.addEventListener("click", () => {
    if (b.dataset.zoom === "fit") fit();
    else zoom(b.dataset.zoom === "in" ? 1.5 : 1 / 1.5);
  });
}
canvas.addEventListener("wheel", (e) => {
  // Without the map in focus the wheel is for the page.
  if (!view || (document.activeElement !== canvas && !e.ctrlKey && !e.metaKey)) return;
  e.preventDefault();
  zoom(Math.exp(-Math.max(-200, Math.min(200, e.deltaY)) / 400), e.offsetX, e.offsetY);
}, { passive: false });

// ---- what visitors do ----

async function send(command, form) {
  const said = document.querySelector("[data-said]");
  try {
    const r = await fetch(`do/${command}`, { method: "POST", body: new URLSearchParams(form) });
    said.textContent = (await r.text()).trim();
    said.dataset.kind = r.ok ? "ok" : "bad";
  } catch {
    said.textContent = "The server cannot be reached.";
    said.dataset.kind = "bad";
  }
}

// While one request is under way, only the newest of the others waits: dragging is smooth however slow the network is.
let busy = false, waiting = null;
async function sendNewest(command, form) {
  if (busy) { waiting = [command, form]; return; }
  busy = true;
  await send(command, form);
  busy = false;
  if (waiting) {
    const [c, f] = waiting;
    waiting = null;
    sendNewest(c, f);
  }
}

function setEnd(end, px, py) {
  const [x, y] = plane(px, py);
  sendNewest("route", { end, lat: -y / stretch, lon: x });
}

// under adds the roads near a line of the pointer.
function under(into, [ax, ay], [bx, by], reach) {
  const w = canvas.clientWidth, h = canvas.clientHeight, s = view.scale, dx = w / 2 - view.x * s, dy = h / 2 - view.y * s;
  const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / reach));
  const left = Math.min(ax, bx) - reach, right = Math.max(ax, bx) + reach, top = Math.min(ay, by) - reach, low = Math.max(ay, by) + reach;
  for (let i = 0; i < roads.m; i++) {
    const x = roads.x[roads.u[i]] * s + dx, y = roads.y[roads.u[i]] * s + dy, x2 = roads.x[roads.v[i]] * s + dx, y2 = roads.y[roads.v[i]] * s + dy;
    if ((x < left && x2 < left) || (x > right && x2 > right) || (y < top && y2 < top) || (y > low && y2 > low)) continue;
    for (let k = 0; k <= steps; k++) {
      if (away(ax + (bx - ax) * k / steps, ay + (by - ay) * k / steps, x, y, x2, y2) <= reach) { into.add(i); break; }
    }
  }
}

// away is the distance of a point from a line between two.
function away(px, py, x, y, x2, y2) {
  const dx = x2 - x, dy = y2 - y, l = dx * dx + dy * dy;
  const t = l ? Math.max(0, Math.min(1, ((px - x) * dx + (py - y) * dy) / l)) : 0;
  return Math.hypot(px - x - t * dx, py - y - t * dy);
}

function nearest(px, py) {
  let best = -1, least = 40;
  const s = view.scale, dx = canvas.clientWidth / 2 - view.x * s, dy = canvas.clientHeight / 2 - view.y * s;
  for (let i = 0; i < roads.m; i++) {
    const u = roads.u[i], v = roads.v[i];
    const d = away(px, py, roads.x[u] * s + dx, roads.y[u] * s + dy, roads.x[v] * s + dx, roads.y[v] * s + dy);
    if (d < least) [least, best] = [d, i];
  }
  return best;
}

function choose(name) {
  tool = name;
  canvas.dataset.tool = name;
  for (const b of tools) {
    b.setAttribute("aria-checked", b.dataset.tool === name);
    b.tabIndex = b.dataset.tool === name ? 0 : -1;
  }
}
const tools = [...document.querySelectorAll("[data-tool]")];
tools.forEach((b, i) => {
  b.addEventListener("click", () => choose(b.dataset.tool));
  b.addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    const next = tools[(i + step + tools.length) % tools.length];
    choose(next.dataset.tool);
    next.focus();
  });
});

const pointers = new Map(); // those that are down
let press = null;
const place = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };

canvas.addEventListener("pointerdown", (e) => {
  if (!state || !view || e.button > 1) return;
  try { canvas.setPointerCapture(e.pointerId); } catch { /* made by a script */ }
  const at = place(e);
  pointers.set(e.pointerId, at);
  if (pointers.size === 2) { // two fingers move and zoom, whatever one did
    painting = dragged = null;
    press = { kind: "pinch" };
    return redraw();
  }
  press = { at, last: at, moved: false, kind: "pan" };
  if (tool !== "move" && e.button === 0) {
    press.kind = "paint";
    painting = { how: tool, roads: new Set() };
    under(painting.roads, at, at, 7);
    return redraw();
  }
  for (const end of ["to", "from"]) {
    const [x, y] = screen(...flat(...state[end]));
    if (Math.hypot(x - at[0], y - at[1]) < 16) {
      press.kind = end;
      dragged = { end, at };
      break;
    }
  }
  if (press.kind === "pan") canvas.dataset.drag = "pan";
});

canvas.addEventListener("pointermove", (e) => {
  if (!press || !pointers.has(e.pointerId)) return;
  const at = place(e), before = pointers.get(e.pointerId);
  if (press.kind === "pinch") {
    const other = [...pointers].find(([id]) => id !== e.pointerId)?.[1];
    if (other) {
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(at[0] - other[0], at[1] - other[1]);
      pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
      if (was > 10 && is > 10) zoom(is / was, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
    }
    pointers.set(e.pointerId, at);
    return;
  }
  pointers.set(e.pointerId, at);
  if (!press.moved && Math.hypot(at[0] - press.at[0], at[1] - press.at[1]) < 4) return;
  press.moved = true;
  if (press.kind === "paint") under(painting.roads, press.last, at, 7);
  else if (press.kind === "pan") pan(at[0] - press.last[0], at[1] - press.last[1]);
  else {
    dragged.at = at;
    setEnd(press.kind, ...at);
  }
  press.last = at;
  redraw();
});

async function release(e) {
  if (!pointers.delete(e.pointerId) || !press) return;
  if (press.kind === "pinch") {
    if (!pointers.size) press = null;
    return;
  }
  const p = press;
  press = null;
  delete canvas.dataset.drag;
  dragged = null;
  if (p.kind === "paint") {
    const done = painting;
    if (e.type === "pointerup" && done?.roads.size) await send("paint", { how: done.how, roads: [...done.roads].join() });
    if (painting === done) painting = null;
  } else if (e.type === "pointerup" && !p.moved && p.kind === "pan") {
    setEnd(nextEnd, ...p.at);
    nextEnd = nextEnd === "from" ? "to" : "from";
  }
  redraw();
}
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);

canvas.addEventListener("keydown", (e) => {
  if (!view || !state || e.ctrlKey || e.metaKey || e.altKey) return;
  const w = canvas.clientWidth, h = canvas.clientHeight;
  const brush = { j: "slow", x: "closed", f: "free" }[e.key];
  const move = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[e.key];
  if (move) pan(...move);
  else if (e.key === "+" || e.key === "=") zoom(1.4);
  else if (e.key === "-") zoom(1 / 1.4);
  else if (e.key === "0") fit();
  else if (e.key === "s" || e.key === "t") setEnd(e.key === "s" ? "from" : "to", w / 2, h / 2);
  else if (brush) {
    const road = nearest(w / 2, h / 2);
    if (road < 0) return;
    send("paint", { how: brush, roads: road });
  } else return;
  e.preventDefault();
});
for (const name of ["focus", "blur"]) canvas.addEventListener(name, redraw);

document.getElementById("look-name").addEventListener("change", (e) => send("look", { name: e.target.value }));

// ---- the state ----

async function fetchSeen() {
  if (!state.seen) { seen = null; seenAs = state.seenAs; return; }
  const as = state.seenAs;
  if (as === seenAs) return;
  seenAs = as;
  const got = new Uint32Array(await (await fetch("seen")).arrayBuffer());
  if (as === seenAs) seen = got;
  canvas.dataset.seen = got.length;
  redraw();
}

const snow = document.getElementById("snow"), look = document.getElementById("look-name");
let names = [];
const lists = [document.getElementById("from"), document.getElementById("to")];

watch((s) => {
  if (!s?.now) return;
  const first = !state;
  state = s;
  if (first) {
    lists.forEach((el) => {
      el.replaceChildren(h("option", { value: "" }, "as on the map"), ...s.places.map((name) => h("option", { value: name }, name)));
    });
  }
  lists.forEach((el, i) => { if (document.activeElement !== el && s.names[i] !== names[i]) el.value = s.names[i]; });
  names = s.names;
  snow.setAttribute("aria-pressed", s.snow);
  snow.textContent = s.snow ? "No more snow" : "Snow";
  if (document.activeElement !== look) look.value = s.looks;
  fetchSeen();
  if (roads && !view) fit();
  redraw();
});

new ResizeObserver(() => { if (state && roads && !view) fit(); redraw(); }).observe(canvas);
calm.addEventListener("change", redraw);
await load();
if (state && !view) fit();
canvas.dataset.ready = "yes";
redraw();

// For tests: where on the page a place is, and where a crossing.
window.onMap = (lat, lon) => { const r = canvas.getBoundingClientRect(), [x, y] = screen(...flat(lat, lon)); return [x + r.left, y + r.top]; };
window.onMapNode = (u) => { const r = canvas.getBoundingClientRect(), [x, y] = screen(roads.x[u], roads.y[u]); return [x + r.left, y + r.top]; };
