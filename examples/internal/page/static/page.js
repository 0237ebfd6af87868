// Binds a page to the state that its server publishes. Markup says what is shown where:
//
//   <dd data-text="appended">                 a value; data-kind comes from {text, kind}
//   <div data-table="locks" data-columns="key:Key, holder:Holder, token:Token:num">
//   <div data-queue="waiters">                chips in a row, the holder first
//   <div data-bars="load">                    labelled bars
//   <div data-trace="events">                 what happened, newest last
//   <div data-line="latency">                 lines over time
//   <div data-map="city">                     roads and points
//   <form action="do/freeze" method="post">   a command; works without this script too
//
// The value of such an attribute is a path into the state, such as "nodes.0.name". What arrives is compared with what
// is shown and only differences are changed, so the keyboard focus and a selection stay where they are.
// Tests read data-live (connecting, open, lost) and data-version on <html>, data-value on what is bound, and data-key
// on the rows.

const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 3 });

/** h makes an element: h("li", {class: "x"}, "text", child). Attributes that are null, undefined or false are left out. */
export const h = (tag, attrs, ...kids) => fill(document.createElement(tag), attrs, kids);

/** s makes an SVG element. */
export const s = (tag, attrs, ...kids) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attrs, kids);

function fill(el, attrs, kids) {
  for (const [k, v] of Object.entries(attrs ?? {})) {
    if (v !== null && v !== undefined && v !== false) el.setAttribute(k, v === true ? "" : v);
  }
  el.append(...kids.flat(Infinity).filter((k) => k !== null && k !== undefined && k !== false));
  return el;
}

/** show writes a value for people: numbers with separators, nothing as a dash. */
export function show(v) {
  if (v === null || v === undefined || v === "") return "–";
  if (typeof v === "number") return number.format(v);
  if (typeof v === "boolean") return v ? "yes" : "no";
  if (typeof v === "object") return show(v.text);
  return String(v);
}

const kindOf = (v) => (v !== null && typeof v === "object" ? v.kind || null : null);

// morph changes the children of old into those of the new tree. Elements with the same data-key are kept.
function morph(old, now) {
  const keyed = new Map();
  for (const c of old.children) if (c.dataset.key !== undefined) keyed.set(c.dataset.key, c);
  let at = old.firstChild;
  for (const want of [...now.childNodes]) {
    const key = want.dataset?.key;
    let have = key !== undefined ? keyed.get(key) : at;
    if (have && key !== undefined && have !== at) old.insertBefore(have, at);
    if (!have || !alike(have, want) || (key === undefined && have.dataset?.key !== undefined)) {
      old.insertBefore(want, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    if (have.nodeType === Node.TEXT_NODE) {
      if (have.data !== want.data) have.data = want.data;
      continue;
    }
    for (const a of [...have.attributes]) if (!want.hasAttribute(a.name)) have.removeAttribute(a.name);
    for (const a of want.attributes) if (have.getAttribute(a.name) !== a.value) have.setAttribute(a.name, a.value);
    morph(have, want);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;

const nothing = (text) => h("p", { class: "none" }, text);

// The widgets: each takes the element and its value and returns what it is to hold.
const widgets = {
  text(el, v) {
    if (kindOf(v)) el.dataset.kind = kindOf(v);
    else delete el.dataset.kind;
    return [show(v)];
  },

  table(el, rows) {
    const columns = el.dataset.columns.split(",").map((c) => {
      const [name, title, ...marks] = c.trim().split(":");
      return { name, title: title ?? name, num: marks.includes("num") };
    });
    if (!rows?.length) return [nothing(el.dataset.none ?? "Nothing yet.")];
    const acts = rows.some((r) => r.do?.length);
    return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": el.getAttribute("aria-label") ?? el.dataset.table },
      h("table", {},
        h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.num && "num" }, c.title)),
          acts && h("th", {}, h("span", { "aria-label": "commands" })))),
        h("tbody", {}, rows.map((r, i) =>
          h("tr", { "data-key": r.key ?? i, "data-kind": r.kind || null },
            columns.map((c) => {
              const v = r[c.name], kind = kindOf(v);
              return h("td", { class: [c.num && "num", kind && "sign"].filter(Boolean).join(" ") || null, "data-kind": kind, "data-col": c.name }, show(v));
            }),
            acts && h("td", { class: "do" }, (r.do ?? []).map(command)))))))];
  },

  queue(el, chips) {
    if (!chips?.length) return [nothing(el.dataset.none ?? "Nobody waits.")];
    const most = Number(el.dataset.most ?? 14);
    const shown = chips.slice(0, most);
    return [h("ol", { class: "queue" },
      shown.map((c, i) => h("li", { "data-key": c.key ?? show(c), "data-kind": kindOf(c), "data-place": i }, h("span", {}, show(c)))),
      chips.length > most && h("li", { "data-key": "more" }, h("span", { class: "more" }, `${number.format(chips.length - most)} more`)))];
  },

  bars(el, bars) {
    if (!bars?.length) return [nothing(el.dataset.none ?? "Nothing yet.")];
    const top = Math.max(...bars.map((b) => b.max ?? b.value), Number.MIN_VALUE);
    return [h("dl", { class: "bars" }, bars.map((b) => [
      h("dt", { "data-key": `${b.label} label` }, b.label),
      h("dd", { "data-key": `${b.label} bar`, "data-kind": b.kind || null },
        s("svg", { "aria-hidden": "true" }, s("rect", { height: "100%", width: `${Math.max(0, Math.min(100, (100 * b.value) / top))}%` }))),
      h("dd", { "data-key": `${b.label} value`, class: "num", "data-bar": b.label, "data-value": b.value }, b.note ?? show(b.value)),
    ]))];
  },

  trace(el, events) {
    if (!events?.length) return [nothing(el.dataset.none ?? "Nothing has happened yet.")];
    return [h("ol", { class: "trace", tabindex: "0", role: "log", "aria-label": el.getAttribute("aria-label") ?? "what happened" },
      events.map((e, i) => h("li", { "data-key": e.key ?? i, "data-kind": e.kind || null },
        h("time", {}, e.at ?? ""), h("span", { class: "who" }, e.who ?? ""), h("span", { class: "what" }, e.text))))];
  },

  line(el, chart) {
    const series = (chart?.series ?? []).filter((l) => l.points?.length);
    if (!series.length) return [nothing(el.dataset.none ?? "No measurement yet.")];
    const W = width(el), H = Math.round(Math.min(220, 120 + W / 6)), left = 56, right = 68, top = 10, bottom = 26;
    const xs = series.flatMap((l) => l.points.map((p) => p[0])), ys = series.flatMap((l) => l.points.map((p) => p[1]));
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)], ticks = scale(Math.min(0, ...ys), Math.max(...ys));
    const [y0, y1] = [ticks[0], ticks.at(-1)];
    const X = (x) => left + ((W - left - right) * (x - x0)) / (x1 - x0 || 1);
    const Y = (y) => H - bottom - ((H - top - bottom) * (y - y0)) / (y1 - y0 || 1);
    const ends = spread(series.map((l) => Y(l.points.at(-1)[1])), 14);
    const unit = chart.unit ? ` ${chart.unit}` : "";
    const words = series.map((l) => `${l.name} ${show(l.points.at(-1)[1])}${unit}`).join(", ");
    return [s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Last: ${words}` },
      ticks.map((t) => [s("line", { class: "grid", x1: left, x2: W - right, y1: Y(t), y2: Y(t) }),
        s("text", { x: left - 8, y: Y(t) + 4, "text-anchor": "end" }, show(t) + (t === y1 ? unit : ""))]),
      s("text", { x: left, y: H - 6 }, chart.from ?? show(x0)),
      s("text", { x: W - right, y: H - 6, "text-anchor": "end" }, chart.to ?? show(x1)),
      series.map((l, n) => [
        s("path", { class: "series", "data-n": n, d: "M" + l.points.map((p) => `${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)}`).join("L") }),
        s("text", { class: "end", x: W - right + 8, y: ends[n] + 4 }, l.name)]))];
  },

  map(el, m) {
    if (!m?.box) return [nothing(el.dataset.none ?? "No map yet.")];
    const [x0, y0, x1, y1] = m.box, W = width(el), H = Math.round((W * (y1 - y0)) / (x1 - x0));
    const X = (x) => (W * (x - x0)) / (x1 - x0), Y = (y) => H - (H * (y - y0)) / (y1 - y0); // north is up
    return [s("svg", { class: "chart map", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": m.label ?? "map" },
      (m.lines ?? []).map((l, i) => s("path", { "data-key": l.key ?? `l${i}`, "data-kind": l.kind || null,
        d: "M" + l.points.map((p) => `${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)}`).join("L") })),
      (m.points ?? []).map((p, i) => s("g", { "data-key": p.key ?? `p${i}` },
        s("circle", { "data-kind": p.kind || null, cx: X(p.x).toFixed(1), cy: Y(p.y).toFixed(1), r: p.size ?? 4.5 }),
        label(p, X(p.x), Y(p.y), W))))];
  },
};

// width returns how wide a drawing is to be. Drawings are made anew when the window changes, so that text keeps its size.
const width = (el) => Math.max(240, Math.round(el.clientWidth) || 640);

// label writes a point's name above it, within the width.
function label(p, x, y, W) {
  if (!p.label) return null;
  const side = x < 50 ? "start" : x > W - 50 ? "end" : "middle";
  const dx = side === "start" ? -6 : side === "end" ? 6 : 0;
  return s("text", { x: x + dx, y: y < 26 ? y + 20 : y - 11, "text-anchor": side }, p.label);
}

// scale returns round values that cover [lo, hi], three to six of them.
function scale(lo, hi) {
  const span = hi - lo || Math.abs(hi) || 1;
  const raw = span / 4, base = 10 ** Math.floor(Math.log10(raw));
  const step = base * [1, 2, 5, 10].find((m) => m * base >= raw);
  const out = [];
  for (let t = Math.floor(lo / step); ; t++) {
    out.push(Number((t * step).toPrecision(12)));
    if (t * step >= hi) return out;
  }
}

// spread moves values apart so that none is nearer than gap to another: labels must not overlap.
function spread(values, gap) {
  const order = values.map((v, i) => [v, i]).sort((a, b) => a[0] - b[0]);
  const out = [];
  let last = -Infinity;
  for (const [v, i] of order) out[i] = last = Math.max(v, last + gap);
  return out;
}

// command makes the form of a button in a row: {name, label, args, off}.
function command(c) {
  return h("form", { action: `do/${c.name}`, method: "post", "data-key": c.name },
    Object.entries(c.args ?? {}).map(([k, v]) => h("input", { type: "hidden", name: k, value: v })),
    h("button", { disabled: c.off || null }, c.label));
}

const at = (state, path) => path.split(".").reduce((v, k) => v?.[k], state);
const watchers = [];

/** watch calls f with every state, the present one first, for pages that draw something of their own. */
export function watch(f) {
  watchers.push(f);
  if (current !== undefined) f(current);
}

let current;

function render(state) {
  current = state;
  for (const [name, widget] of Object.entries(widgets)) {
    for (const el of document.querySelectorAll(`[data-${name}]`)) {
      const value = at(state, el.dataset[name]);
      const log = el.querySelector(".trace");
      const atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 24;
      const now = el.cloneNode(false);
      now.append(...widget(el, value));
      morph(el, now);
      if (name === "text") el.dataset.value = value !== null && typeof value === "object" ? value.text ?? "" : value ?? "";
      else el.dataset.value = Array.isArray(value) ? value.length : value ? 1 : 0;
      const list = el.querySelector(".trace");
      if (list && atEnd) list.scrollTop = list.scrollHeight;
    }
  }
  for (const f of watchers) f(state);
}

// Commands go to the server as a form would send them; the page stays.
document.addEventListener("submit", async (e) => {
  const form = e.target, action = form.getAttribute("action") ?? "";
  if (!action.startsWith("do/")) return;
  e.preventDefault();
  const button = e.submitter;
  button?.setAttribute("aria-busy", "true");
  let text, ok = false;
  try {
    const r = await fetch(action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "text/plain" } });
    ok = r.ok;
    text = (await r.text()).trim();
  } catch {
    text = "The server does not answer.";
  }
  button?.removeAttribute("aria-busy");
  const said = document.querySelector("[data-said]");
  if (!said) return;
  said.textContent = text;
  said.dataset.kind = ok ? "ok" : "bad";
  said.dataset.said = `${Number(said.dataset.said || 0) + 1}`;
});

let resized;
addEventListener("resize", () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => current !== undefined && render(current));
});

const root = document.documentElement;
const link = document.querySelector(".link");

function live(state, words) {
  root.dataset.live = state;
  if (link) link.textContent = words;
}

const source = new EventSource("events");
live("connecting", "connecting");
source.onopen = () => live("open", "live");
source.onerror = () => live("lost", "connection lost, trying again");
source.onmessage = (e) => {
  render(JSON.parse(e.data));
  root.dataset.version = e.lastEventId;
};
