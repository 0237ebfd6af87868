// Draws the holds of the last 30 seconds, one lane a client.
import { s, watch } from "./static/page.js";

const W = 1080, lane = 30, left = 44, top = 6, seconds = 30;

// Two colours are enough: the object is told by the row within the lane.
watch((state) => {
  const el = document.getElementById("timeline");
  if (!state?.lanes) return;
  const H = top + lane * state.lanes.length + 24;
  const x = (t) => left + ((W - left) * (t - state.now + seconds)) / seconds;
  const clamp = (t) => Math.max(left, Math.min(W, x(t)));
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `Holds of ${state.lanes.length} clients; ${state.holds.filter((h) => h.end === undefined).length} under way` },
    s("defs", {}, s("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: "var(--accent)", "stroke-width": 2 }))));
  state.lanes.forEach((name, i) => {
    const y = top + lane * i;
    svg.append(s("text", { x: 0, y: y + 19 }, name), s("line", { class: "grid", x1: left, x2: W, y1: y + lane, y2: y + lane }));
  });
  for (let t = Math.ceil((state.now - seconds) / 5) * 5; t <= state.now; t += 5) {
    if (t >= 0 && x(t) > left) svg.append(s("text", { x: x(t), y: H - 4, "text-anchor": "middle" }, `${t} s`));
  }
  for (const h of state.holds) {
    const end = h.end ?? state.now, passed = Math.min(h.passed ?? end, end);
    if (end < state.now - seconds) continue;
    const y = top + lane * state.lanes.indexOf(h.client) + 3 + 13 * h.object;
    const bar = (from, to, fill) => {
      const a = clamp(from), b = clamp(to);
      if (b > a) svg.append(s("rect", { x: a, y, width: b - a, height: 11, rx: 2, fill }));
    };
    bar(h.start, passed, h.end === undefined ? "var(--accent)" : "var(--fill)");
    bar(passed, end, "url(#hatch)");
    if (x(passed) - clamp(h.start) > 34) {
      svg.append(s("text", { x: clamp(h.start) + 4, y: y + 9.5, style: null, "font-size": "9.5", class: h.end === undefined ? "on" : "off" }, String(h.token)));
    }
    if (h.end !== undefined && x(end) > left) {
      svg.append(s("text", { x: x(end) + 2, y: y + 10, class: "end", "data-hold": h.verdict }, h.verdict === "refused" ? "✗" : "●"));
    }
  }
  el.replaceChildren(svg);
  el.dataset.refused = state.holds.filter((h) => h.verdict === "refused").length;
});
