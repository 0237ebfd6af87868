// This tab is a device: it has a stream to a push server, polls its popular topics, and remembers for each topic the time
// of the last notification that it has shown. That number is its idempotency key.
import { h } from "./static/page.js";

const pollEvery = 2000, shownFor = 7000, most = 3;
const el = (id) => document.getElementById(id);
const how = { pushed: 0, polled: 0, fetched: 0, dropped: 0 };
const cursor = new Map(), names = new Map();

const badge = (kind) => h("span", { class: "badge", "data-how": kind }, kind);
const clock = (at) => h("time", {}, new Date(at / 1000).toTimeString().slice(0, 8));

// begin asks who this tab is, and tries again if there is no answer.
async function begin() {
  try {
    const r = await fetch("visit", { method: "POST" });
    if (!r.ok) throw new Error(r.status);
    start(await r.json());
  } catch {
    setTimeout(begin, 1000);
  }
}

function start(me) {
  el("who").textContent = `user ${me.user.toLocaleString("en-US")}`;
  for (const t of me.topics) {
    cursor.set(t.topic, me.now);
    names.set(t.topic, t.name);
    el("mine").append(h("li", { "data-topic": t.topic }, h("span", { class: "name" }, t.name), badge(t.polled ? "polled" : "pushed"),
      h("form", { action: "do/publish", method: "post" }, h("input", { type: "hidden", name: "topic", value: t.topic }), h("button", {}, "Publish"))));
  }
  const pushed = me.topics.filter((t) => !t.polled).map((t) => t.topic);
  const polled = me.topics.filter((t) => t.polled).map((t) => t.topic);
  const source = new EventSource(`inbox?user=${me.user}`);
  source.addEventListener("connected", (e) => {
    at(e.data);
    fetchMissed(pushed); // connected first, then asked: nothing comes between
  });
  source.addEventListener("push", (e) => take(JSON.parse(e.data)));
  source.onerror = () => at("");
  const poll = async () => {
    for (const t of polled) await pollTopic(t);
    setTimeout(poll, pollEvery / 2 + Math.random() * pollEvery);
  };
  poll();
}

function at(server) {
  el("at").textContent = server || "no server, trying again";
  el("at").dataset.server = server;
}

// take deals with what was pushed: shown before, after a gap, or next.
function take(n) {
  const last = cursor.get(n.topic) ?? 0;
  if (n.at <= last) {
    how.dropped++;
    tally();
  } else if (n.prev > last) fetchMissed([n.topic]);
  else show(n, "pushed");
}

async function fetchMissed(topics) {
  try {
    const since = Object.fromEntries(topics.map((t) => [t, cursor.get(t)]));
    const r = await fetch("missed", { method: "POST", body: JSON.stringify(since) });
    for (const n of await r.json()) show(n, "fetched");
  } catch {
    setTimeout(fetchMissed, 1000, topics);
  }
}

async function pollTopic(t) {
  try {
    const r = await fetch(`poll?topic=${t}&after=${cursor.get(t)}`);
    for (const n of (await r.json()) ?? []) show(n, "polled");
  } catch {} // the next round asks again
}

function show(n, kind) {
  if (n.at <= cursor.get(n.topic)) return;
  cursor.set(n.topic, n.at);
  how[kind]++;
  tally();
  const inbox = el("inbox");
  inbox.prepend(h("li", { "data-topic": n.topic }, clock(n.at), h("span", { class: "text" }, text(n)), badge(kind)));
  while (inbox.children.length > 50) inbox.lastChild.remove();
  const toast = h("div", { class: "toast", "data-how": kind, "data-topic": n.topic },
    h("strong", {}, names.get(n.topic)), badge(kind), h("span", { class: "text" }, text(n)));
  el("toasts").append(toast);
  while (el("toasts").children.length > most) el("toasts").firstChild.remove();
  setTimeout(() => toast.remove(), shownFor);
}

const text = (n) => (n.text.startsWith(names.get(n.topic)) ? n.text : `${names.get(n.topic)}: ${n.text}`);

function tally() {
  el("tally").textContent = `${how.pushed} pushed, ${how.polled} polled, ${how.fetched} fetched, ${how.dropped} known already and not shown again.`;
  for (const [k, v] of Object.entries(how)) el("tally").dataset[k] = v;
}

begin();
