// Draws the streets once, and cars and rides with every state. A click, or the arrow keys and Enter, asks for a ride.
import { watch } from "./static/page.js";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
#city { width: 100%; height: auto; display: block; border: 1px solid var(--line); border-radius: .5rem; cursor: crosshair; background: var(--paper, transparent); }
#here, #kill { margin-top: .6rem; }
#policy select { font: inherit; padding: .3rem .4rem; max-width: 100%; }
`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

const canvas = document.getElementById("city"), pen = canvas.getContext("2d");
const streets = document.createElement("canvas");
let cross = { x: Number(document.getElementById("x").value), y: Number(document.getElementById("y").value) };
let state = null, scale = 1, colours = {};

function prepare() {
  const css = getComputedStyle(document.documentElement);
  for (const c of ["line", "soft", "ink", "accent"]) colours[c] = css.getPropertyValue(`--${c}`).trim() || "#888";
  const wide = Math.max(240, canvas.clientWidth) * devicePixelRatio;
  scale = wide / width;
  canvas.width = streets.width = Math.round(wide);
  canvas.height = streets.height = Math.round(height * scale);
  const p = streets.getContext("2d");
  p.strokeStyle = colours.line;
  p.lineWidth = devicePixelRatio * 0.8;
  p.beginPath();
  for (const [x, y, x2, y2] of roads) { p.moveTo(x * scale, y * scale); p.lineTo(x2 * scale, y2 * scale); }
  p.stroke();
}

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(streets, 0, 0);
  const r = 2.6 * devicePixelRatio;
  pen.lineWidth = 2.2 * devicePixelRatio;
  for (const ride of state?.rides ?? []) {
    pen.strokeStyle = ride.in ? colours.ink : colours.accent;
    pen.beginPath();
    ride.line.forEach(([x, y], i) => (i ? pen.lineTo(x * scale, y * scale) : pen.moveTo(x * scale, y * scale)));
    pen.stroke();
    pen.beginPath();
    pen.rect(ride.rider[0] * scale - 1.8 * r, ride.rider[1] * scale - 1.8 * r, 3.6 * r, 3.6 * r);
    pen.stroke();
  }
  pen.lineWidth = devicePixelRatio;
  for (const [x, y, busy] of state?.cars ?? []) {
    pen.beginPath();
    pen.arc(x * scale, y * scale, busy ? 1.5 * r : r, 0, 7);
    pen.fillStyle = busy ? colours.accent : colours.soft;
    if (busy) pen.fill(); else { pen.strokeStyle = colours.soft; pen.stroke(); }
  }
  pen.strokeStyle = colours.ink;
  pen.beginPath();
  const x = cross.x * scale, y = cross.y * scale, d = 4 * r;
  pen.moveTo(x - d, y); pen.lineTo(x + d, y); pen.moveTo(x, y - d); pen.lineTo(x, y + d);
  pen.stroke();
  canvas.dataset.cars = state?.cars?.length ?? 0;
}

function put(x, y) {
  cross = { x: Math.min(width, Math.max(0, x)), y: Math.min(height, Math.max(0, y)) };
  document.getElementById("x").value = cross.x;
  document.getElementById("y").value = cross.y;
  draw();
}

canvas.addEventListener("click", (e) => {
  const r = canvas.getBoundingClientRect();
  put(((e.clientX - r.left) / r.width) * width, ((e.clientY - r.top) / r.height) * height);
  document.getElementById("ride").requestSubmit();
});
canvas.addEventListener("keydown", (e) => {
  const step = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] }[e.key];
  if (step) { e.preventDefault(); put(cross.x + step[0], cross.y + step[1]); }
  if (e.key === "Enter") document.getElementById("ride").requestSubmit();
});
const again = () => { prepare(); draw(); };
addEventListener("resize", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
prepare();
watch((s) => { state = s; draw(); });
