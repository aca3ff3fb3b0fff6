// The live page: figures as they come, and a gallery that holds only the tiles in sight.
// Everything of the dataset is set as text; nothing is ever parsed as HTML.
import { choose, isChoosing } from "./choose.js";
import { grid } from "./grid.js";
import { judged } from "./judging.js";
import { stands, unsay } from "./notice.js";
import { pick } from "./pick.js";
import { ask } from "./requests.js";
import { refresh } from "./run.js";
import { contained, part } from "./text.js";

const $ = (id) => document.getElementById(id);
const server = document.querySelector('meta[name="fluxbatch-server"]').content;

// Numbers begin anew in each dataset, and a browser keeps pictures longer than a server lives.
export function picture(kind, seq) {
  return `/${kind}/${seq}?of=${server}`;
}
export function made(name, text, kind) {
  const one = document.createElement(name);
  if (text !== undefined) one.textContent = text;
  if (kind) one.className = kind;
  return one;
}

// Now
const STATES = ["done", "failed", "running", "unknown", "pending"];
function showNow(now) {
  $("name").textContent = now.name;
  document.title = `${now.name}: fluxbatch`;
  const all = STATES.reduce((sum, name) => sum + (now.states[name] || 0), 0) || 1;
  const words = STATES.filter((name) => now.states[name]).map((name) => `${now.states[name].toLocaleString("en")} ${name}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1000 10");
  svg.setAttribute("preserveAspectRatio", "none");
  let at = 0;
  for (const name of STATES) {
    const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const width = (1000 * (now.states[name] || 0)) / all;
    for (const [key, value] of Object.entries({ x: at, y: 0, width, height: 10, class: name })) part.setAttribute(key, value);
    svg.append(part);
    at += width;
  }
  $("bar").replaceChildren(svg);
  $("bar").setAttribute("aria-label", words.join(", ") || "no jobs yet");
  const list = $("figures");
  list.replaceChildren();
  for (const [label, value] of now.figures) {
    const pair = made("div");
    pair.append(made("dt", label), made("dd", value));
    list.append(pair);
  }
  $("steps").hidden = !now.next.length;
  $("next").replaceChildren(...now.next.map(([command, what]) => {
    const step = made("li");
    step.append(made("code", contained(command)), ` ${what}`);
    return step;
  }));
  for (const name of ["failures", "runs"]) {
    $(name).replaceChildren(...now[name].map((parts) => {
      const line = made("li");
      line.append(...parts.map(part));
      return line;
    }));
    if (!now[name].length) $(name).append(made("li", "none"));
  }
}

// Images: one list of numbers, newest first; details are asked for what is in sight.
export const gallery = { seqs: [], details: new Map(), pick: null, chosen: new Set() };
const CELL = 190;
const HELD = 3000;

let forgotten = 0;
export function forget() {
  forgotten += 1;
  gallery.details.clear();
}
export async function details(seqs) {
  const missing = seqs.filter((seq) => !gallery.details.has(seq));
  for (let at = 0; at < missing.length; at += 200) {
    const before = forgotten;
    const items = await ask(`/api/items?seqs=${missing.slice(at, at + 200)}`);
    if (before !== forgotten) return details(seqs); // they are of before what was forgotten
    for (const item of items) gallery.details.set(item.seq, item);
  }
  while (gallery.details.size > HELD) gallery.details.delete(gallery.details.keys().next().value);
}
function query() {
  return new URLSearchParams({ q: $("search").value, rating: $("rating").value });
}
// One at a time: a list that comes late must not be put on top of a newer one.
let turn = Promise.resolve();
function inTurn(work) {
  return (turn = turn.then(work).catch(tell));
}
export function tell(error) { $("live").textContent = error.message; }
function load({ isLive = false } = {}) {
  return inTurn(async () => {
    const { seqs } = await ask(`/api/images?${query()}`);
    const held = isLive ? firstInSight() : null;
    gallery.seqs = seqs;
    if (held) hold(held);
    sayNothing();
    draw();
  });
}
// An empty list: whether nothing was found, or nothing is there yet.
function sayNothing() {
  const isAsked = $("search").value.trim() || $("rating").value;
  for (const one of document.querySelectorAll(".nothing")) {
    one.hidden = gallery.seqs.length > 0;
    one.firstChild.textContent = isAsked ? "Nothing matches the search and the rating that are chosen." : "No image yet.";
    one.lastChild.hidden = !isAsked;
  }
}
for (const one of document.querySelectorAll(".nothing")) {
  one.lastChild.addEventListener("click", async () => {
    $("search").value = $("rating").value = "";
    await load();
    view();
  });
}
function loadNewer() {
  return inTurn(async () => {
    const { seqs } = await ask(`/api/images?${query()}&after=${gallery.seqs[0] || 0}`);
    if (!seqs.length) return;
    const held = firstInSight();
    gallery.seqs = seqs.concat(gallery.seqs);
    if (held) hold(held);
    sayNothing();
    draw();
    if (!$("pick").hidden) await pick.changed();
  });
}
function layout() {
  const box = $("gallery");
  const columns = Math.max(2, Math.floor(box.clientWidth / CELL));
  const width = Math.floor(box.clientWidth / columns);
  return { columns, width, height: width + 24 };
}
// Where the reader has scrolled to stays in sight while newer images come above it.
function firstInSight() {
  const { columns, height } = layout();
  const line = Math.floor($("gallery").scrollTop / height);
  return line ? { seq: gallery.seqs[line * columns], below: $("gallery").scrollTop - line * height } : null;
}
function hold({ seq, below }) {
  const { columns, height } = layout();
  $("space").style.height = `${Math.ceil(gallery.seqs.length / columns) * height}px`;
  $("gallery").scrollTop = Math.floor(gallery.seqs.findIndex((one) => one <= seq) / columns) * height + below;
}
const tiles = new Map();
let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawNow(); });
}
async function drawNow() {
  const box = $("gallery");
  const total = gallery.seqs.length;
  $("count").textContent = `${total.toLocaleString("en")} images`;
  const { columns, width, height } = layout();
  $("space").style.height = `${Math.ceil(total / columns) * height}px`;
  const from = Math.max(0, Math.floor(box.scrollTop / height) - 1) * columns;
  const until = Math.min(total, (Math.ceil((box.scrollTop + box.clientHeight) / height) + 1) * columns);
  const sight = gallery.seqs.slice(from, until);
  const kept = new Set(sight);
  for (const [seq, tile] of tiles) if (!kept.has(seq)) { tile.remove(); tiles.delete(seq); }
  sight.forEach((seq, i) => {
    const place = from + i;
    let tile = tiles.get(seq);
    if (!tile) tiles.set(seq, (tile = newTile(seq)));
    tile.style.cssText = `left:${(place % columns) * width}px;top:${Math.floor(place / columns) * height}px;width:${width}px;height:${height}px`;
  });
  await details(sight).catch(tell);
  for (const seq of sight) fill(seq);
}
function newTile(seq) {
  const tile = made("button", undefined, "tile");
  tile.type = "button";
  tile.dataset.seq = seq;
  tile.setAttribute("aria-label", `image ${seq}`); // until its details are here
  const image = made("img");
  image.alt = "";
  image.decoding = "async";
  image.src = picture("thumb", seq);
  tile.append(image, made("span"));
  $("space").append(tile);
  return tile;
}
export function fill(seq) {
  const tile = tiles.get(seq);
  const item = judged(seq);
  if (!tile || !item) return;
  const said = [item.rating, item.stars ? `${item.stars}★` : "", item.notes.join(" ")].filter(Boolean).join(" ");
  const isChosen = gallery.chosen.has(seq);
  tile.className = `tile ${item.rating || ""} ${isChosen ? "chosen" : ""}`;
  if (isChoosing()) tile.setAttribute("aria-pressed", isChosen);
  else tile.removeAttribute("aria-pressed");
  tile.lastChild.replaceChildren(part(item.id), ` ${said} `, part(item.prompt));
  tile.title = item.prompt;
  tile.setAttribute("aria-label", `${item.id}: ${item.prompt} ${said}`.trim());
}
$("gallery").addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);
$("gallery").addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  const seq = Number(tile.dataset.seq);
  if (isChoosing()) { choose(seq, { isRow: event.shiftKey }); return; }
  gallery.pick = seq;
  location.hash = "pick";
});
$("filter").addEventListener("submit", (event) => event.preventDefault());
let typing;
$("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(load, 250); });
$("rating").addEventListener("change", () => load());

export async function openImage(seq) {
  if (!gallery.seqs.includes(seq)) {
    $("search").value = $("rating").value = "";
    await load();
  }
  gallery.pick = seq;
  location.hash = "pick";
}

// Views
const VIEWS = ["now", "images", "grid", "pick"];
function view() {
  const [asked, words] = location.hash.slice(1).split("?");
  const name = VIEWS.includes(asked) ? asked : "now";
  for (const one of VIEWS) $(one).hidden = one !== name;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "images") draw();
  if (name === "grid") grid.show(words);
  if (name === "pick") pick.enter().catch(tell);
}
addEventListener("hashchange", view);

let revision = 0;
let ratings = 0;
async function changed(now) {
  if (now.ratings !== ratings) {
    ratings = now.ratings;
    forget();
    if ($("rating").value) await load({ isLive: true }); else draw();
    if (!$("pick").hidden) await pick.changed();
    grid.changed();
  }
  await refresh();
  if (now.revision !== revision) { revision = now.revision; grid.changed(); await loadNewer(); }
}
let isLost = false;
function placed(lost) {
  if (lost) {
    stands("place", "The dataset is not there", lost);
    $("live").textContent = "the dataset is not there";
  } else {
    unsay("place");
    if (isLost) { forget(); load({ isLive: true }).then(view); }
  }
  isLost = Boolean(lost);
}
const AGAIN_MS = 3000;
function listen() {
  const events = new EventSource("/events");
  events.addEventListener("server", (event) => {
    if (event.data === server) unsay("server");
    else stands("server", "This page is of an earlier server", "load it again, so that what you judge is written.");
  });
  events.addEventListener("now", (event) => {
    const now = JSON.parse(event.data);
    $("live").textContent = now.live;
    showNow(now);
  });
  events.addEventListener("place", (event) => placed(JSON.parse(event.data).lost));
  events.addEventListener("changed", (event) => changed(JSON.parse(event.data)).catch(tell));
  events.addEventListener("error", () => {
    $("live").textContent = "not connected; trying again";
    if (events.readyState !== EventSource.CLOSED) return;
    // It was refused, and a browser then tries no more.
    setTimeout(listen, AGAIN_MS);
    ask("/api/judged").catch((error) => stands("server", "Not connected", error.message));
  });
}
// What is looked at comes first: the server's sums for the rest would take its time.
if (location.hash.startsWith("#grid")) { view(); grid.ready().then(load).then(listen); } else { listen(); load().then(view); }
