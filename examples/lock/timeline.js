// Draws the holds of the last 30 seconds, one lane a client, one row in it an object.
import { s, watch } from "./static/page.js";

const lane = 34, row = 14, left = 36, right = 16, top = 4, seconds = 30;

watch((state) => {
  const el = document.getElementById("timeline");
  if (!state?.lanes) return;
  const W = Math.max(280, el.clientWidth), H = top + lane * state.lanes.length + 22;
  const x = (t) => left + ((W - left - right) * (t - state.now + seconds)) / seconds;
  const clamp = (t) => Math.max(left, Math.min(W - right, x(t)));
  const words = (fill, text) => s("tspan", { fill, "font-size": 10.5 }, text);
  const open = state.holds.filter((h) => h.end === undefined);
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `Holds under way: ${open.map((h) => `${h.client}, token ${h.token}`).join("; ") || "none"}` },
    s("defs", {}, s("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: "var(--accent)", "stroke-width": 3 }))));
  state.lanes.forEach((name, i) => {
    const y = top + lane * i;
    svg.append(s("text", { class: "end", x: 0, y: y + 20 }, name), s("line", { class: "grid", x1: 0, x2: W, y1: y + lane - 2, y2: y + lane - 2 }));
  });
  for (let t = Math.ceil((state.now - seconds) / 5) * 5; t <= state.now; t += 5) {
    if (t >= 0 && x(t) > left + 8 && x(t) < W - right - 8) svg.append(s("text", { x: x(t), y: H - 3, "text-anchor": "middle" }, `${t} s`));
  }
  for (const h of state.holds) {
    const end = h.end ?? state.now, passed = Math.min(h.passed ?? end, end), under = h.end === undefined;
    if (end < state.now - seconds) continue;
    const y = top + lane * state.lanes.indexOf(h.client) + 3 + row * h.object;
    const bar = (from, to, fill) => {
      const a = clamp(from), b = clamp(to);
      if (b > a) svg.append(s("rect", { x: a, y, width: b - a, height: 12, rx: 2, fill }));
    };
    bar(h.start, passed, under ? "var(--accent)" : "var(--fill)");
    bar(passed, end, "url(#hatch)");
    if (clamp(passed) - clamp(h.start) > 8 + 7 * String(h.token).length) {
      svg.append(s("text", { x: clamp(h.start) + 4, y: y + 10 }, words(under ? "var(--accent-ink)" : "var(--ink)", String(h.token))));
    }
    if (!under && x(end) > left) {
      const bad = h.verdict !== "wrote";
      svg.append(s("text", { x: x(end) + 2, y: y + 11 }, words(bad ? "var(--accent)" : "var(--soft)", bad ? "✗" : "●")));
    }
  }
  el.replaceChildren(svg);
  el.dataset.refused = state.holds.filter((h) => h.verdict === "refused").length;
});
