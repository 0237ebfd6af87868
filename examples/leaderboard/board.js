// Draws the board: rows that slide to their new places.
import { h, show, watch } from "./static/page.js";

// The page's rules allow no styles in markup; a sheet of the script's own is fine.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.tabs { display: flex; gap: .4rem; margin-bottom: .6rem; }
.tabs button[aria-selected="true"] { border-color: var(--ink); background: var(--tint); }
#which { color: var(--soft); font-weight: 400; margin-left: .4rem; }
#board { list-style: none; margin: 0; padding: 0; min-height: 29rem; }
#board li, .head { display: grid; grid-template-columns: 2rem 3rem minmax(0, 1fr) 5.2rem 5.2rem 4.6rem; gap: 0 .6rem; align-items: center; }
.head { color: var(--soft); font-size: .825rem; border-bottom: 1px solid var(--line); padding-bottom: .35rem; }
.head span:nth-child(n+4) { text-align: right; }
#board li { height: 2.9rem; border-bottom: 1px solid var(--line); background: var(--card); position: relative; }
#board li:last-child { border-bottom: 0; }
#board .rank { font: 600 1.15rem/1 var(--serif); text-align: right; }
#board .move { font-size: .85rem; white-space: nowrap; color: var(--soft); }
#board li[data-move="up"] .move { color: var(--accent); font-weight: 600; }
#board .song { min-width: 0; }
#board .song b { display: block; font-weight: 550; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#board .bar { display: block; height: .25rem; border-radius: .125rem; background: var(--fill); margin-top: .2rem; transform-origin: left; }
#board li:first-child .bar { background: var(--accent); }
#board .n { text-align: right; white-space: nowrap; }
#board .exact, #board .off { color: var(--soft); }
.facts { display: flex; justify-content: space-between; gap: 1rem; margin: 0 0 .35rem !important; }
.facts strong { color: var(--ink); font-weight: 550; }
.facts strong[data-kind="bad"] { color: var(--accent); }
#kill { margin-top: .6rem; }
#kill:disabled { background: var(--card); border-color: var(--line); color: var(--soft); }
.stack { display: grid; gap: 1.25rem; align-content: start; }
@media (max-width: 36rem) {
  #board li, .head { grid-template-columns: 1.4rem 2.1rem minmax(0, 1fr) 3.6rem 3.6rem; gap: 0 .4rem; }
  #board li { height: auto; min-height: 3.3rem; padding: .35rem 0; }
  #board .song b { white-space: normal; line-height: 1.25; }
  #board .exact, .head span:nth-child(5) { display: none; }
}
@media (prefers-reduced-motion: no-preference) { #board .bar { transition: transform .25s ease-out; } }
`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

const list = document.getElementById("board"), which = document.getElementById("which"), pid = document.getElementById("pid"), kill = document.getElementById("kill");
const tabs = [...document.querySelectorAll("[data-tab]")];
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const rows = new Map(); // by song
let tab = "all", state = null;

function row(id) {
  const parts = Object.fromEntries(["rank", "move", "count", "exact", "off"].map((c) => [c, h("span", { class: ["count", "exact", "off"].includes(c) ? `n ${c}` : c })]));
  const name = h("b"), bar = h("span", { class: "bar" });
  const li = h("li", { "data-key": id }, parts.rank, parts.move, h("span", { class: "song" }, name, bar), parts.count, parts.exact, parts.off);
  return { li, name, bar, ...parts };
}

const set = (el, text) => { if (el.textContent !== text) el.textContent = text; };

function draw(slide) {
  const places = state?.tabs?.[tab] ?? [];
  const before = new Map([...rows].map(([id, r]) => [id, r.li.offsetTop]));
  const most = Math.max(1, ...places.map((p) => p.count));
  for (const id of rows.keys()) {
    if (!places.some((p) => p.id === id)) { rows.get(id).li.remove(); rows.delete(id); }
  }
  places.forEach((p, i) => {
    if (!rows.has(p.id)) rows.set(p.id, row(p.id));
    const r = rows.get(p.id);
    if (list.children[i] !== r.li) list.insertBefore(r.li, list.children[i] ?? null);
    const [move, words] = p.new ? ["new", "new"] : p.move > 0 ? ["up", `▲ ${p.move}`] : p.move < 0 ? ["down", `▼ ${-p.move}`] : ["none", "·"];
    Object.assign(r.li.dataset, { place: i + 1, move, count: p.count, exact: p.exact });
    set(r.rank, String(i + 1));
    set(r.move, words);
    r.move.setAttribute("aria-label", { new: "new", up: `up ${p.move}`, down: `down ${-p.move}`, none: "same place" }[move]);
    set(r.name, p.title);
    r.bar.style.transform = `scaleX(${p.count / most})`;
    set(r.count, show(p.count));
    set(r.exact, show(p.exact));
    set(r.off, p.count === p.exact ? "0" : p.exact ? `${p.count > p.exact ? "+" : "−"}${Math.abs((100 * (p.count - p.exact)) / p.exact).toFixed(1)} %` : "–");
  });
  if (!slide) return;
  // Each row is put where it was, and let go: it slides to where it belongs.
  for (const [id, r] of rows) {
    const was = before.get(id), d = was === undefined ? 0 : was - r.li.offsetTop;
    if (was !== undefined && d === 0) continue;
    list.dataset.slid = Number(list.dataset.slid) + 1;
    if (calm.matches) continue;
    const from = was === undefined ? { opacity: 0 } : { transform: `translateY(${d}px)`, zIndex: d > 0 ? 2 : 1 };
    r.li.animate([from, { transform: "none", opacity: 1 }], { duration: 450, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

function choose(name) {
  tab = name;
  for (const t of tabs) {
    t.setAttribute("aria-selected", String(t.dataset.tab === tab));
    t.tabIndex = t.dataset.tab === tab ? 0 : -1;
  }
  list.setAttribute("aria-labelledby", `tab-${tab}`);
  list.dataset.shows = tab;
  draw(false);
}

for (const t of tabs) {
  t.addEventListener("click", () => choose(t.dataset.tab));
  t.addEventListener("keydown", (e) => {
    if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
    const other = tabs.find((o) => o !== t);
    choose(other.dataset.tab);
    other.focus();
  });
}
choose("all");

watch((s) => {
  state = s;
  set(which, s.minute ? `${s.minute} UTC` : "");
  set(pid, s.pid ? String(s.pid) : "–");
  kill.disabled = s.consumer?.text !== "counts";
  draw(true);
});
