// Draws the day at a precision that a slider chooses, and what a precision costs.
import { h, s, show, watch } from "./static/page.js";

const plot = document.getElementById("plot"), cost = document.getElementById("cost"), title = document.getElementById("plot-title");
const ask = document.getElementById("ask"), badge = document.getElementById("badge"), estimated = document.getElementById("estimated");
const left = 62, right = 14, top = 26, bottom = 42;

// styled sets an element's style: the page's rules allow no style in markup.
const styled = (el, style) => Object.assign(el.style, style) && el;
styled(plot, { marginTop: ".9rem" });
styled(document.getElementById("slider"), { flex: "1 1 16rem", maxWidth: "26rem" });
styled(ask.elements.p, { padding: "0", accentColor: "var(--accent)" });
styled(badge, { margin: "0", padding: ".45rem .9rem", border: "1px solid var(--accent)", borderRadius: "1.2rem", color: "var(--accent)", fontSize: ".9rem", fontWeight: "550" });

const pad = (n) => String(n).padStart(2, "0");
const clock = (minute) => `${pad(Math.floor(minute / 60))}:${pad(minute % 60)}`;
const percent = (x) => `${x >= 10 ? x.toFixed(0) : x >= 1 ? x.toFixed(1) : x.toFixed(2)} %`;
const bytes = (n) => (n >= 1000 ? `${(n / 1000).toFixed(n >= 10000 ? 0 : 1)} kB` : `${n} B`);
const short = (n) => (n >= 1e6 ? `${n / 1e6} M` : n >= 1e3 ? `${n / 1e3} k` : String(n));

let last = null;   // what is drawn
let asked = 0;     // questions: an answer to an older one is dropped
let waiting = false;

async function refresh() {
  ask.elements.shown.value = ask.elements.p.value;
  const mine = ++asked;
  waiting = true;
  try {
    const r = await fetch(`curve?${new URLSearchParams(new FormData(ask))}`);
    if (!r.ok) throw new Error((await r.text()).trim());
    const answer = await r.json();
    if (mine !== asked) return;
    last = answer;
    draw();
    plot.dataset.state = "drawn";
  } catch (e) {
    if (mine !== asked) return;
    badge.textContent = e.message;
    plot.dataset.state = "failed";
  }
  waiting = false;
}

// ticks returns round values from 0 to at least hi.
function ticks(hi) {
  const raw = (hi || 1) / 4, base = 10 ** Math.floor(Math.log10(raw));
  const step = base * [1, 2, 2.5, 5, 10].find((m) => m * base >= raw);
  const out = [];
  for (let t = 0; ; t++) {
    out.push(Number((t * step).toPrecision(12)));
    if (t * step >= hi) return out;
  }
}

function draw() {
  const here = last.precisions.find((x) => x.p === last.p), hour = last.step > 1;
  const off = last.users ? (last.estimated / last.users - 1) * 100 : 0;
  title.textContent = `Active users by ${hour ? "hour" : "minute"}`;
  estimated.textContent = show(last.estimated);
  badge.textContent = `today ${off < 0 ? "−" : "+"}${Math.abs(off).toFixed(2)} % · standard error ${percent(here.theory)} · ${bytes(here.bytes)}`;
  badge.dataset.p = last.p;
  badge.dataset.measured = here.measured;
  drawDay(hour);
  drawCost();
}

function drawDay(hour) {
  const W = Math.max(280, plot.clientWidth), H = W < 560 ? 260 : 340;
  const scale = ticks(Math.max(1, ...last.exact, ...last.estimate)), y1 = scale.at(-1);
  const X = (minute) => left + ((W - left - right) * minute) / 1440;
  const Y = (v) => H - bottom - ((H - top - bottom) * v) / y1;
  const path = (values) => values.map((v, i) => {
    const x = X(i * last.step).toFixed(1), y = Y(v).toFixed(1);
    if (!hour) return `${i ? "L" : "M"}${X(i + 0.5).toFixed(1)} ${y}`;
    return `${i ? `H${x}V${y}` : `M${x} ${y}`}H${X((i + 1) * last.step).toFixed(1)}`;
  }).join("");
  const every = W < 560 ? 6 : W < 900 ? 3 : 2;
  const cursor = s("line", { y1: top, y2: H - bottom, stroke: "var(--fill)", visibility: "hidden" });
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `${title.textContent} until ${clock(last.now)}: at most ${show(Math.max(0, ...last.exact))}, exact and as estimated with p = ${last.p}` },
  scale.map((v) => [s("line", { class: "grid", x1: left, x2: W - right, y1: Y(v), y2: Y(v) }),
    s("text", { x: left - 8, y: Y(v) + 4, "text-anchor": "end" }, short(v))]),
  Array.from({ length: 24 / every + 1 }, (_, i) => i * every).map((at) => [
    s("line", { class: "grid", x1: X(at * 60), x2: X(at * 60), y1: H - bottom, y2: H - bottom + 5 }),
    s("text", { x: X(at * 60), y: H - bottom + 19, "text-anchor": "middle" }, pad(at))]),
  s("line", { x1: left, x2: W - right, y1: H - bottom, y2: H - bottom, stroke: "var(--fill)" }),
  s("text", { x: W - right, y: H - 6, "text-anchor": "end" }, "hour of the day"),
  s("text", { x: left - 8, y: 13, "text-anchor": "end" }, "users"),
  last.now < 1440 && [s("line", { x1: X(last.now), x2: X(last.now), y1: top, y2: H - bottom, stroke: "var(--soft)", "stroke-dasharray": "2 4" }),
    s("text", { x: X(last.now) + (last.now > 1200 ? -6 : 6), y: top + 10, "text-anchor": last.now > 1200 ? "end" : "start" }, clock(last.now))],
  s("path", { class: "series", "data-n": 0, d: path(last.estimate), opacity: 0.85 }),
  styled(s("path", { class: "series", "data-n": 1, d: path(last.exact) }), { stroke: "var(--ink)", strokeWidth: "1.25" }),
  cursor);
  const legend = styled(h("dl", { id: "legend", "aria-label": "legend" }), { display: "flex", flexWrap: "wrap", gap: ".25rem 1.75rem", margin: ".4rem 0 0", paddingLeft: `${left}px`, fontSize: ".9rem" });
  const tell = (i) => legend.replaceChildren(...[[`HyperLogLog, p = ${last.p}`, last.estimate, 0], ["exact", last.exact, 1]].map(([name, values, n]) => {
    const line = s("path", { class: "series", "data-n": n, d: "M1 5L31 5" });
    if (n) styled(line, { stroke: "var(--ink)", strokeWidth: "1.25" });
    const key = styled(s("svg", { viewBox: "0 0 32 10", class: "chart", "aria-hidden": "true" }, line), { width: "32px" });
    const text = i < 0 ? "–" : `${show(values[i])} ${hour ? "from" : "at"} ${clock(i * last.step)}`;
    return styled(h("div", {}, key, styled(h("dt", {}, name), { fontWeight: 550 }), styled(h("dd", {}, text), { margin: 0, color: "var(--soft)" })),
      { display: "flex", gap: ".5rem", alignItems: "center" });
  }));
  tell(last.exact.length - 1);
  svg.addEventListener("pointermove", (e) => {
    const r = svg.getBoundingClientRect(), x = ((e.clientX - r.left) * W) / r.width;
    const i = Math.floor((((x - left) / (W - left - right)) * 1440) / last.step);
    if (i < 0 || i >= last.exact.length) return;
    for (const k of ["x1", "x2"]) cursor.setAttribute(k, X((i + 0.5) * last.step));
    cursor.setAttribute("visibility", "visible");
    tell(i);
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(last.exact.length - 1); });
  plot.replaceChildren(svg, legend);
  plot.dataset.points = last.exact.length;
  plot.dataset.p = last.p;
  plot.dataset.step = last.step;
}

// drawCost shows bytes against error, both logarithmic, with a dot for each precision.
function drawCost() {
  const W = Math.max(260, cost.clientWidth), H = 270;
  const all = last.precisions, lo = Math.log10(0.1), hi = Math.log10(100), b0 = Math.log10(10), b1 = Math.log10(20000);
  const X = (n) => left + ((W - left - right) * (Math.log10(Math.max(n, 10)) - b0)) / (b1 - b0);
  const Y = (e) => H - bottom - ((H - top - bottom) * (Math.min(hi, Math.max(lo, Math.log10(Math.max(e, 1e-9)))) - lo)) / (hi - lo);
  const size = (x) => x.bytes, now = all.find((x) => x.p === last.p);
  cost.replaceChildren(s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `bytes against error: ${all.map((x) => `p = ${x.p}: ${bytes(size(x))}, ${percent(x.theory)}`).join("; ")}` },
  [0.1, 1, 10, 100].map((e) => [s("line", { class: "grid", x1: left, x2: W - right, y1: Y(e), y2: Y(e) }),
    s("text", { x: left - 8, y: Y(e) + 4, "text-anchor": "end" }, `${e === 0.1 ? "≤ " : ""}${e} %`)]),
  [10, 100, 1000, 10000].map((n) => [s("line", { class: "grid", x1: X(n), x2: X(n), y1: top, y2: H - bottom + 5 }),
    s("text", { x: X(n), y: H - bottom + 19, "text-anchor": "middle" }, bytes(n))]),
  s("text", { x: W - right, y: H - 6, "text-anchor": "end" }, "bytes of a full sketch"),
  s("text", { x: left - 8, y: 13, "text-anchor": "end" }, "error"),
  s("path", { class: "series", "data-n": 1, d: all.map((x, i) => `${i ? "L" : "M"}${X(size(x)).toFixed(1)} ${Y(x.theory).toFixed(1)}`).join("") }),
  all.map((x) => s("circle", { cx: X(size(x)), cy: Y(x.measured), r: x.p === last.p ? 6 : 3.5, fill: x.p === last.p ? "var(--accent)" : "var(--soft)", "data-p": x.p },
    s("title", {}, `p = ${x.p}: ${bytes(size(x))}, ${percent(x.measured)} measured`))),
  styled(s("text", { class: "end", x: W - right, y: top - 8, "text-anchor": "end" }, `p = ${now.p}: ${bytes(now.bytes)}, ${percent(now.measured)} measured`), { fontWeight: "600" })));
  cost.dataset.p = last.p;
}

ask.addEventListener("input", refresh);
ask.addEventListener("submit", (e) => { e.preventDefault(); refresh(); });
addEventListener("resize", () => last && draw());
// Every new state is a new minute of the day, unless somebody reads the chart.
watch(() => { if (!waiting && !plot.matches(":hover")) refresh(); });
refresh();
