// The search box: a question at each key, the newest answer shown, and a list that the keyboard can walk through.
import { h } from "./static/page.js";

const el = (id) => document.getElementById(id);
const box = el("q"), list = el("list"), fuzzy = el("fuzzy");
const me = crypto.randomUUID?.() ?? String(Math.random());
let asked = 0, shown = 0, active = -1, typed = "";

async function ask() {
  const n = ++asked, began = performance.now();
  typed = box.value;
  if (typed.trim() === "") {
    shown = n;
    return close();
  }
  try {
    const r = await fetch(`suggest?${new URLSearchParams({ q: typed, me, fuzzy: fuzzy.checked ? "1" : "0" })}`);
    if (!r.ok) throw new Error(await r.text());
    const a = await r.json();
    if (n < shown) return; // a later key was answered before
    shown = n;
    badge(performance.now() - began);
    show(a);
  } catch (e) {
    if (n < shown) return;
    shown = n;
    el("where").textContent = `No answer: ${e.message}`;
    close();
  }
}

function badge(millis) {
  el("latency").textContent = `${millis < 10 ? millis.toFixed(1) : Math.round(millis)} ms`;
  el("latency").dataset.millis = millis.toFixed(2);
}

function show(a) {
  active = -1;
  box.removeAttribute("aria-activedescendant");
  list.replaceChildren(...a.list.map((s, i) => {
    const begin = s.term.startsWith(a.query) ? a.query.length : 0;
    const li = h("li", { role: "option", id: `option-${i}`, "aria-selected": "false", "data-term": s.term },
      h("span", { class: "term" }, s.term.slice(0, begin), h("b", {}, s.term.slice(begin))),
      s.own && h("span", { class: "mark" }, "yours"), s.edits > 0 && h("span", { class: "mark" }, "one wrong key"));
    li.addEventListener("mousedown", (e) => { e.preventDefault(); pick(s.term); });
    return li;
  }));
  box.setAttribute("aria-expanded", String(a.list.length > 0));
  list.dataset.query = a.query;
  el("where").textContent = `${a.list.length ? "" : "Nothing begins like that. "}Answered by ${a.node} in ${a.micros.toFixed(0)} µs, by ${a.part}; table ${a.generation}. ` +
    `${a.keys} ${a.keys === 1 ? "key" : "keys"} so far over ${a.dialed} ${a.dialed === 1 ? "connection" : "connections"}.`;
}

function close() {
  active = -1;
  list.replaceChildren();
  delete list.dataset.query;
  box.setAttribute("aria-expanded", "false");
  box.removeAttribute("aria-activedescendant");
}

// dismiss closes the list for good: answers on their way are of no use any more.
function dismiss() {
  shown = ++asked;
  close();
}

function choose(i) {
  const all = list.children;
  if (!all.length) return;
  if (active >= 0) all[active].setAttribute("aria-selected", "false");
  active = i < -1 ? all.length - 1 : i >= all.length ? -1 : i; // -1 is the box itself
  if (active < 0) {
    box.value = typed;
    box.removeAttribute("aria-activedescendant");
    return;
  }
  all[active].setAttribute("aria-selected", "true");
  all[active].scrollIntoView({ block: "nearest" });
  box.value = all[active].dataset.term;
  box.setAttribute("aria-activedescendant", all[active].id);
}

async function pick(term) {
  const prefix = typed;
  dismiss();
  box.value = typed = term;
  try {
    const r = await fetch("pick", { method: "POST", body: new URLSearchParams({ term, prefix, me }) });
    if (!r.ok) throw new Error(await r.text());
    el("picked").textContent = `You searched for “${term}” after ${prefix.length} of ${term.length} letters. It is among your own terms now, and counts for everybody with the next build.`;
    el("picked").dataset.term = term;
  } catch (e) {
    el("picked").textContent = `Not counted: ${e.message}`;
  }
  box.select();
}

box.addEventListener("input", ask);
fuzzy.addEventListener("change", ask);
box.addEventListener("blur", dismiss);
box.addEventListener("keydown", (e) => {
  if (e.isComposing) return;
  switch (e.key) {
    case "ArrowDown": choose(active + 1); break;
    case "ArrowUp": choose(active < 0 ? -2 : active - 1); break;
    case "Enter": if (box.value.trim()) pick(box.value.trim()); break;
    case "Escape": box.value = typed; dismiss(); break;
    default: return;
  }
  e.preventDefault();
});
