// Draws a lane for each balancer and each policy: a mark for each request, a tall one if it was let through.
import { watch, s } from "./static/page.js";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
#burst { margin: .5rem 0 .9rem; }
#set p { margin: 0 0 .7rem; }
.said + h2 { margin-top: 1rem; }
#set select { width: 100%; font: inherit; padding: .35rem .4rem; }
#timeline .yes { stroke: var(--accent); stroke-width: 1.2; fill: none; }
#timeline .no { stroke: var(--fill); stroke-width: 1.2; fill: none; }
#timeline .edge { stroke: var(--soft); stroke-dasharray: 3 3; }
#timeline text.name { fill: var(--ink); }
#timeline text.most { fill: var(--ink); font-weight: 600; font-size: 14px; }
#timeline text.over { fill: var(--accent); }
`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

const el = document.getElementById("timeline");
const limit = 60;

function draw(t) {
  const W = Math.max(240, Math.round(el.clientWidth) || 640), lane = 44, head = 30;
  let y = 0, group = null;
  const X = (ms) => (W * (ms - t.from)) / (t.to - t.from);
  const parts = [];
  for (const l of t.lanes) {
    if (l.group !== group) {
      y += head;
      parts.push(s("text", { x: 0, y: y - 8 }, l.group));
      group = l.group;
    }
    const marks = (list, high) => (list ?? []).map((ms) => `M${X(ms).toFixed(1)} ${y + lane - 4}v-${high}`).join("");
    parts.push(s("g", { "data-lane": l.key, "data-passed": l.passed, "data-asked": l.asked },
      s("text", { class: "name", x: 0, y: y + 14 }, l.name),
      s("text", { class: l.most > limit ? "most over" : "most", x: W, y: y + 14, "text-anchor": "end" }, `${l.passed} of ${l.asked}`),
      s("line", { class: "grid", x1: 0, x2: W, y1: y + lane - 4, y2: y + lane - 4 }),
      s("path", { class: "no", d: marks(l.no, 7) }),
      s("path", { class: "yes", d: marks(l.yes, 21) })));
    y += lane;
  }
  const H = y + 20;
  const label = t.lanes.map((l) => `${l.name}: ${l.passed} of ${l.asked} let through`).join("; ");
  return s("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label },
    s("line", { class: "edge", x1: X(0), x2: X(0), y1: head, y2: y }),
    parts,
    s("text", { x: X(0), y: H - 4, "text-anchor": "middle" }, "a window begins"),
    s("text", { x: 0, y: H - 4 }, `${Math.round(t.from)} ms`),
    s("text", { x: W, y: H - 4, "text-anchor": "end" }, `${Math.round(t.to)} ms`));
}

watch((state) => {
  if (state?.timeline?.lanes?.length) el.replaceChildren(draw(state.timeline));
  else el.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: "Press “Burst”." }));
  document.querySelector("#burst button").disabled = Boolean(state?.busy);
});
