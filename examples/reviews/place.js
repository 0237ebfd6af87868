// A click on the map moves the visitor there and searches again.
import { watch } from "./static/page.js";

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
#city { cursor: crosshair; }
#city path { stroke: var(--line); fill: none; }
#search input:not([type="hidden"]), #search select { width: 100%; font: inherit; padding: .35rem .5rem; }
#lose { margin-top: .6rem; }
`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

let box = null;
watch((state) => { box = state?.city?.box ?? null; });

const stretch = Math.SQRT2;
document.getElementById("city").addEventListener("click", (e) => {
  const svg = e.currentTarget.querySelector("svg");
  if (!svg || !box) return;
  const r = svg.getBoundingClientRect();
  const x = (e.clientX - r.left) / r.width, y = (e.clientY - r.top) / r.height;
  document.getElementById("lon").value = box[0] + x * (box[2] - box[0]);
  document.getElementById("lat").value = (box[3] - y * (box[3] - box[1])) / stretch;
  document.getElementById("search").requestSubmit();
});
