// What the page shows: two JSON blocks of it. Texts only ever become text nodes.

const byId = (id) => document.getElementById(id);
const items = JSON.parse(byId("items").textContent);
const controls = JSON.parse(byId("controls").textContent);
const NOTES = { black: "black", flat: "flat", size: "other size", duplicate: "near-duplicate" };
const tiles = byId("tiles"), table = byId("table"), lightbox = byId("lightbox");
const state = { text: "", words: [], states: new Set(), notes: new Set(), view: "images", axes: {} };
let shown = items;      // what the filters let through, in order
let opened = [];        // what the lightbox steps through
let at = 0;             // where it is
let focused = 0;        // the tile that Tab comes to
let withControl = true;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function image(url, words) {
  const made = element("img");
  made.alt = words;
  made.loading = "lazy";
  made.decoding = "async";
  made.src = url;
  return made;
}

const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
const title = (item) => item.number > 1 || item.state === "earlier" ? `${item.id} · image ${item.number}` : item.id;
const words = (item) => `${title(item)}: ${item.prompt}`;

items.forEach((item, index) => {
  item.index = index;
  item.hay = [item.id, item.job, item.prompt, item.seed, item.prediction, item.why, item.failure, item.path,
    item.given && JSON.stringify(item.given), item.axes && JSON.stringify(item.axes),
    item.control !== undefined && controls[item.control].label].filter((part) => part !== undefined && part !== null)
    .join("\n").toLowerCase();
});
