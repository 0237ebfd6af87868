// Draws a metric over time, with a range that can be dragged, and searches the lines of that range.
import { h, s, show } from "./static/page.js";

const plot = document.getElementById("plot"), said = document.getElementById("plot-said"), title = document.getElementById("plot-title");
const ask = document.getElementById("ask"), search = document.getElementById("search");
const found = document.getElementById("found"), lines = document.getElementById("lines");
const left = 64, right = 16, top = 30, bottom = 40, H = 320;

let range = null;   // [from, to] in ms; null: all there is
let last = null;    // what is drawn
let asked = 0;      // questions: an answer to an older one is dropped

const pad = (n) => String(n).padStart(2, "0");
const clock = (t) => { const d = new Date(t); return `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}`; };
const exact = (t) => `${clock(t)}:${pad(new Date(t).getUTCSeconds())}`;
const day = (t) => { const d = new Date(t); return `${d.getUTCFullYear()}-${pad(d.getUTCMonth() + 1)}-${pad(d.getUTCDate())}`; };

// styled sets an element's style: the page's rules allow no style in markup.
const styled = (el, style) => Object.assign(el.style, style) && el;
styled(plot, { marginTop: ".9rem" });
styled(said, { maxWidth: "none" });

// get asks the server; an error is its sentence.
async function get(path, form, more) {
  const q = new URLSearchParams([...new FormData(form), ...Object.entries(more)].filter(([, v]) => v !== ""));
  const r = await fetch(`${path}?${q}`);
  if (!r.ok) throw new Error((await r.text()).trim());
  return r.json();
}

async function refresh() {
  const mine = ++asked;
  try {
    const answer = await get("query", ask, range ? { from: Math.round(range[0]), to: Math.round(range[1]) } : {});
    if (mine !== asked) return;
    last = answer;
    draw();
    const span = last.series.length ? `${day(last.from)} ${exact(last.from)} – ${day(last.to) === day(last.from) ? "" : day(last.to) + " "}${exact(last.to)} UTC` : "no samples";
    said.textContent = `${span} · ${last.found} series in ${last.took.toFixed(1)} ms · a point is ${span_(last.step)}${last.labels.length ? ` · labels: ${last.labels.join(", ")}` : ""}`;
    said.dataset.kind = "ok";
    plot.dataset.state = "drawn";
  } catch (e) {
    if (mine !== asked) return;
    said.textContent = e.message;
    said.dataset.kind = "bad";
    plot.dataset.state = "failed";
  }
  plot.dataset.asked = mine;
}

const span_ = (ms) => (ms % 86400000 === 0 ? `${ms / 86400000} d` : ms % 3600000 === 0 ? `${ms / 3600000} h` : ms % 60000 === 0 ? `${ms / 60000} min` : `${ms / 1000} s`);

// ticks returns round values that cover 0 to hi (or lo to hi where nothing is near 0).
function ticks(lo, hi) {
  if (lo > 0 && lo < hi / 2) lo = 0;
  const raw = (hi - lo || Math.abs(hi) || 1) / 4, base = 10 ** Math.floor(Math.log10(raw));
  const step = base * [1, 2, 2.5, 5, 10].find((m) => m * base >= raw);
  const out = [];
  for (let t = Math.floor(lo / step); ; t++) {
    out.push(Number((t * step).toPrecision(12)));
    if (t * step >= hi) return out;
  }
}

// moments returns round times within the range, about one for each 90 pixels.
function moments(from, to, width) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2592000];
  const want = (to - from) / 1000 / Math.max(2, width / 90);
  const step = (steps.find((x) => x >= want) ?? steps.at(-1)) * 1000;
  const out = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) out.push([t, step >= 86400000 ? day(t).slice(5) : step < 60000 ? exact(t) : clock(t)]);
  return out;
}

function draw() {
  const W = Math.max(280, plot.clientWidth);
  title.textContent = last.title[0].toUpperCase() + last.title.slice(1) + (last.unit ? `, ${last.unit}` : "");
  if (!last.series.some((l) => l.points.length)) {
    plot.replaceChildren(h("p", { class: "none" }, "There are no samples with these labels in this range."));
    plot.dataset.lines = 0;
    return;
  }
  const ys = last.series.flatMap((l) => l.points.map((p) => p[1]));
  const scale = ticks(Math.min(...ys), Math.max(...ys)), y0 = scale[0], y1 = scale.at(-1);
  const X = (t) => left + ((W - left - right) * (t - last.from)) / (last.to - last.from);
  const Y = (v) => H - bottom - ((H - top - bottom) * (v - y0)) / (y1 - y0 || 1);
  const inside = (x) => Math.max(left, Math.min(W - right, x));
  const T = (x) => last.from + ((inside(x) - left) / (W - left - right)) * (last.to - last.from);

  // A line is broken where samples are missing. Few values are drawn as what they are: one for each step.
  const steps = last.series[0].points.length <= 40;
  const path = (points) => points.map((p, i) => {
    const joined = i && p[0] - points[i - 1][0] <= 3 * last.step, x = inside(X(p[0])).toFixed(1), y = Y(p[1]).toFixed(1);
    if (!steps) return `${joined ? "L" : "M"}${x} ${y}`;
    return `${joined ? `H${x}V${y}` : `M${x} ${y}`}H${inside(X(p[0] + last.step)).toFixed(1)}`;
  }).join("");
  const area = (points) => `${path(points)}V${H - bottom}H${inside(X(points[0][0])).toFixed(1)}Z`;
  const whole = last.series.length === 1 && last.series[0].points.every((p, i, all) => !i || p[0] - all[i - 1][0] <= 3 * last.step);
  const box = s("rect", { x: 0, y: top, width: 0, height: H - top - bottom, fill: "var(--accent)", opacity: 0.15 });
  const cursor = s("line", { y1: top, y2: H - bottom, stroke: "var(--fill)", visibility: "hidden" });
  const dots = last.series.map((_, n) => s("circle", { r: 3.5, class: "dot", fill: n ? "var(--soft)" : "var(--accent)", visibility: "hidden" }));
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title.textContent}; ${last.series.map((l) => `${l.name}: at most ${show(Math.max(...l.points.map((p) => p[1])))}`).join("; ")}` },
    scale.map((v) => [s("line", { class: "grid", x1: left, x2: W - right, y1: Y(v), y2: Y(v) }),
      s("text", { x: left - 8, y: Y(v) + 4, "text-anchor": "end" }, show(v))]),
    moments(last.from, last.to, W - left - right).map(([t, text]) => [
      s("line", { class: "grid", x1: X(t), x2: X(t), y1: H - bottom, y2: H - bottom + 5 }),
      s("text", { x: X(t), y: H - bottom + 19, "text-anchor": "middle" }, text)]),
    s("line", { x1: left, x2: W - right, y1: H - bottom, y2: H - bottom, stroke: "var(--fill)" }),
    s("text", { x: W - right, y: H - 4, "text-anchor": "end" }, `time of the event, UTC${day(last.from) === day(last.to) ? ", " + day(last.from) : ""}`),
    last.unit && s("text", { x: left, y: 14 }, last.unit),
    box, cursor,
    whole && y0 === 0 && s("path", { d: area(last.series[0].points), fill: "var(--accent)", opacity: 0.1 }),
    [...last.series.entries()].reverse().map(([n, l]) => s("path", { class: "series", "data-n": n, d: path(l.points) })),
    dots);
  const legend = styled(h("dl", { id: "legend", "aria-label": "legend" }), { display: "flex", flexWrap: "wrap", gap: ".25rem 1.75rem", margin: ".4rem 0 0", paddingLeft: `${left}px`, fontSize: ".9rem" });
  const tell = (t) => {
    legend.replaceChildren(...last.series.map((l, n) => {
      let v = l.points.at(-1);
      if (t !== undefined) v = l.points.find((p) => p[0] <= t && t < p[0] + last.step);
      const key = styled(s("svg", { viewBox: "0 0 32 10", class: "chart", "aria-hidden": "true" }, s("path", { class: "series", "data-n": n, d: "M1 5L31 5" })), { width: "32px" });
      return styled(h("div", {}, key, styled(h("dt", {}, l.name), { fontWeight: 550 }), styled(h("dd", {}, v ? `${show(v[1])} at ${exact(v[0])}` : "–"), { margin: 0, color: "var(--soft)" })),
        { display: "flex", gap: ".5rem", alignItems: "center" });
    }));
  };
  tell();

  // Dragging chooses a range; moving tells values.
  let start = null;
  const at = (e) => inside(((e.clientX - svg.getBoundingClientRect().left) * W) / svg.getBoundingClientRect().width);
  svg.addEventListener("pointerdown", (e) => { start = at(e); svg.setPointerCapture(e.pointerId); e.preventDefault(); });
  svg.addEventListener("pointermove", (e) => {
    const x = at(e), t = T(x);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    last.series.forEach((l, n) => {
      const p = l.points.find((q) => q[0] <= t && t < q[0] + last.step);
      dots[n].setAttribute("visibility", p ? "visible" : "hidden");
      if (p) { dots[n].setAttribute("cx", inside(X(p[0]))); dots[n].setAttribute("cy", Y(p[1])); }
    });
    tell(t);
    if (start === null) return;
    box.setAttribute("x", Math.min(start, x));
    box.setAttribute("width", Math.abs(x - start));
  });
  svg.addEventListener("pointerup", (e) => {
    const from = start, to = at(e);
    start = null;
    box.setAttribute("width", 0);
    if (from !== null && Math.abs(to - from) > 6) zoom([Math.min(T(from), T(to)), Math.max(T(from), T(to))]);
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    dots.forEach((d) => d.setAttribute("visibility", "hidden"));
    tell();
  });
  svg.addEventListener("dblclick", () => zoom(null));
  plot.replaceChildren(svg, legend);
  plot.dataset.lines = last.series.length;
  plot.dataset.from = last.from;
  plot.dataset.to = last.to;
  plot.dataset.most = Math.max(...ys);
}

// zoom sets the range, at least ten seconds.
function zoom(to) {
  range = to;
  if (range && range[1] - range[0] < 10000) {
    const middle = (range[0] + range[1]) / 2;
    range = [middle - 5000, middle + 5000];
  }
  refresh();
  look();
}

const ways = {
  all: () => null,
  in: (a, b) => [a + (b - a) / 4, b - (b - a) / 4],
  out: (a, b) => [a - (b - a) / 2, b + (b - a) / 2],
  left: (a, b) => [a - (b - a) / 2, b - (b - a) / 2],
  right: (a, b) => [a + (b - a) / 2, b + (b - a) / 2],
};

for (const b of document.querySelectorAll("[data-zoom]")) {
  styled(b.parentElement, { marginTop: ".9rem" });
  b.addEventListener("click", () => {
    if (!last) return;
    const minutes = Number(b.dataset.zoom), end = last.last + 60000;
    zoom(minutes ? [end - minutes * 60000, end] : ways[b.dataset.zoom](last.from, last.to));
  });
}

let metric = ask.elements.metric.value;
ask.addEventListener("submit", (e) => { e.preventDefault(); refresh(); });
ask.addEventListener("change", () => {
  const now = ask.elements.metric.value;
  if (now !== metric && !(kept(now) && kept(metric))) range = null; // another time altogether
  metric = now;
  refresh();
});

// kept tells whether a metric is of the shop, so that a range means the same.
const kept = (name) => ["requests", "errors", "bytes", "slowest"].includes(name);

// look searches the lines.
async function look() {
  try {
    const r = range && kept(metric) ? { from: Math.round(range[0]), to: Math.round(range[1]) } : {};
    const answer = await get("lines", search, r);
    found.textContent = `${show(answer.total)} lines in ${answer.took.toFixed(1)} ms${answer.total > answer.lines.length ? `, the newest ${answer.lines.length}` : ""}`;
    found.dataset.kind = "ok";
    found.dataset.total = answer.total;
    const form = search.elements, text = form.regexp.value ? "" : form.q.value;
    lines.replaceChildren(...answer.lines.map((l) => h("li", { "data-kind": !form.class.value && ["5xx", "malformed"].includes(l.class) ? "bad" : null },
      h("time", {}, exact(l.t)), h("span", { class: "who" }, l.host), h("span", { class: "what" }, marked(l.text, text)))));
  } catch (e) {
    found.textContent = e.message;
    found.dataset.kind = "bad";
    found.dataset.total = "";
  }
}

// marked shows where a text is in a line.
function marked(line, text) {
  if (!text) return [line];
  return line.split(text).flatMap((part, i) => [i ? styled(h("strong", {}, text), { color: "var(--accent)" }) : null, part]);
}

search.addEventListener("submit", (e) => { e.preventDefault(); look(); });

addEventListener("resize", () => last && draw());
let dragging = false;
plot.addEventListener("pointerdown", () => { dragging = true; });
addEventListener("pointerup", () => { dragging = false; });
// New minutes come by themselves, unless somebody looks at a range or is choosing one.
setInterval(() => { if (!range && !dragging && !plot.matches(":hover")) refresh(); }, 5000);
refresh();
look();
