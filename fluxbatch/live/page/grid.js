// The grid: a sweep along up to four of its axes. Only the cells in sight are here, and are asked for.
import { details, made, openImage, picture } from "./app.js";
import { judged } from "./judging.js";
import { ask } from "./requests.js";
import { part, quoted } from "./text.js";

const $ = (id) => document.getElementById(id);
const PARTS = [["across", "Across"], ["down", "Down"], ["facets_across", "Facets across"], ["facets_down", "Facets down"]];
const MARGIN = 2;
const MOST = 40;
let axes = [];
let version = 0;
let choice = null;
let told = null;
let active = { line: 0, column: 0 };
const rows = new Map();
const cells = new Map();

// What the longest word at the side of the rows takes, so that none is broken where there is room.
let longest = 0;
function measure() {
  const pen = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle($("grid-frame")).fontFamily;
  const room = (part, font) => {
    pen.font = `${font} ${family}`;
    const values = axes.find((axis) => axis.name === choice[part])?.values ?? [];
    const words = [...values, choice[part]].flatMap((text) => text.split(/\s+/));
    return Math.max(...words.map((word) => pen.measureText(word).width));
  };
  longest = Math.ceil(Math.max(room("down", "600 15px"), room("facets_down", "700 13px"))) + 16;
}
function sizes() {
  const wide = $("grid-frame").clientWidth;
  const small = wide < 640;
  const side = Math.max(small ? 84 : 128, Math.min(longest, Math.floor(wide * (small ? 0.4 : 0.25))));
  return { cell: small ? 108 : 148, side, head: choice?.facets_across ? 56 : 42 };
}
function sight() {
  const frame = $("grid-frame");
  const { cell, side, head } = sizes();
  const from = (scrolled) => Math.max(0, Math.floor(scrolled / cell) - MARGIN);
  const many = (shown) => Math.min(MOST, Math.ceil(Math.max(0, shown) / cell) + 2 * MARGIN + 1);
  return {
    left: from(frame.scrollLeft), top: from(frame.scrollTop),
    wide: many(frame.clientWidth - side), high: many(frame.clientHeight - head),
  };
}
function asked() {
  const words = new URLSearchParams();
  if (!choice) return words;
  for (const [part] of PARTS) words.set(part, choice[part]);
  for (const [name, value] of Object.entries(choice.fixed)) words.set(`is.${name}`, value);
  return words;
}
// One question at a time; what changes meanwhile is asked for in the next.
let asking = false;
let stale = false;
let isReady;
const ready = new Promise((done) => { isReady = done; });
async function load() {
  if (asking) { stale = true; return; }
  asking = true;
  try {
    do {
      stale = false;
      const words = asked();
      for (const [name, value] of Object.entries({ ...sight(), known: version })) words.set(name, value);
      take(await ask(`/api/grid?${words}`));
    } while (stale);
  } catch (error) {
    $("live").textContent = error.message;
  } finally {
    asking = false;
    isReady();
  }
}
function take(answer) {
  const late = choice && told && JSON.stringify(answer.choice) !== JSON.stringify(choice) && stale;
  if (late) return; // another choice was made meanwhile
  const isNew = answer.axes || JSON.stringify(answer.choice) !== JSON.stringify(choice);
  if (answer.axes) axes = answer.axes;
  version = answer.version;
  choice = answer.choice;
  told = answer;
  if (isNew) showChoice();
  draw();
  rate();
}

// The choice of axes
function listed(label, options, value, change) {
  const holder = made("label");
  holder.append(part(label), " ");
  const list = made("select");
  list.setAttribute("aria-label", label); // or its options would be a part of its name
  for (const [key, text] of options) {
    const line = made("option", text);
    line.value = key;
    list.append(line);
  }
  list.value = value;
  list.addEventListener("change", () => { change(list.value); choose(); });
  holder.append(list);
  return holder;
}
function showChoice() {
  measure();
  const form = $("grid-axes");
  const had = [...form.children].findIndex((one) => one.contains(document.activeElement));
  const names = axes.map((axis) => axis.name);
  const inUse = PARTS.map(([part]) => choice[part]);
  const parts = PARTS.slice(0, Math.max(2, Math.min(4, axes.length))).map(([part, label]) => listed(
    label, [["", "nothing"], ...names.map((name) => [name, name])], choice[part],
    (name) => {
      // An axis stands in one place: what stood there before takes the other's.
      for (const [other] of PARTS) if (name && other !== part && choice[other] === name) choice[other] = choice[part];
      choice[part] = name;
    }));
  const rest = axes.filter((axis) => !inUse.includes(axis.name)).map((axis) => listed(
    axis.name, [["", "all"], ...axis.values.map((value) => [value, value])], choice.fixed[axis.name] || "",
    (value) => { if (value) choice.fixed[axis.name] = value; else delete choice.fixed[axis.name]; }));
  form.replaceChildren(...(axes.length ? [...parts, ...rest] : []));
  if (had >= 0) form.children[had]?.querySelector("select").focus();
}
function choose() {
  for (const [part] of PARTS) delete choice.fixed[choice[part]];
  history.replaceState(null, "", `#grid?${asked()}`);
  $("grid-frame").scrollTo(0, 0);
  active = { line: 0, column: 0 };
  empty();
  showChoice();
  load();
}
function empty() {
  for (const row of rows.values()) row.remove();
  rows.clear();
  cells.clear();
}

// What is in sight
function draw() {
  const frame = $("grid-frame");
  const { cell, side, head } = sizes();
  const width = side + told.columns * cell;
  frame.setAttribute("aria-rowcount", told.lines + 1);
  frame.setAttribute("aria-colcount", told.columns + 1);
  $("grid-space").style.cssText = `width:${width}px;height:${told.lines * cell}px`;
  $("grid-words").textContent = summary();
  $("grid-frame").hidden = !axes.length;
  drawHead(width, cell, side, head);
  const here = new Map(told.cells.map((one) => [`${one.line}:${one.column}`, one]));
  const { left, top } = told.window;
  for (const [line, row] of rows) if (line < top || line >= top + told.sides.length) { row.remove(); rows.delete(line); }
  for (const [key, one] of cells) if (!here.has(key)) { one.remove(); cells.delete(key); }
  told.sides.forEach((names, i) => drawRow(top + i, names, i > 0 ? told.sides[i - 1] : null, { width, cell, side }));
  for (const [key, one] of here) drawCell(key, one, cell, side, left, top);
  point();
}
function summary() {
  if (!axes.length) return "no axes yet: rows that a sweep makes have some";
  const said = [told.words || "no rows"];
  if (told.cells_left_out) said.push(`${told.cells_left_out.toLocaleString("en")} cells are left out: choose a value of an axis`);
  if (told.rows_left_out) said.push(`the last ${told.rows_left_out.toLocaleString("en")} rows are left out`);
  return said.join("; ");
}
function placed(names, keys, as = (text) => text) {
  return names.map((name, i) => (name ? `${as(name)} ${as(keys[i] ?? "none")}` : "")).filter(Boolean).join(", ");
}
function worded(kind, ...parts) {
  const one = made(kind);
  one.append(...parts);
  return one;
}
function drawHead(width, cell, side, head) {
  const line = $("grid-head");
  line.style.cssText = `width:${width}px;height:${head}px`;
  const corner = made("div", undefined, "corner");
  if (choice.across) corner.append(worded("span", part(choice.across), " →"));
  if (choice.down) corner.append(worded("span", part(choice.down), " ↓"));
  corner.style.width = `${side}px`;
  corner.setAttribute("role", "columnheader");
  const { left } = told.window;
  const names = [choice.facets_across, choice.across];
  const parts = told.heads.map((keys, i) => {
    const one = made("div", keys[1] ?? (choice.across ? "none" : ""), "column");
    one.setAttribute("role", "columnheader");
    one.setAttribute("aria-colindex", left + i + 2);
    one.setAttribute("aria-label", placed(names, keys) || "all");
    one.title = placed(names, keys, quoted);
    one.style.cssText = `left:${side + (left + i) * cell}px;width:${cell}px`;
    return one;
  });
  if (choice.facets_across) {
    told.heads.forEach((keys, i) => {
      if (i && told.heads[i - 1][0] === keys[0]) return;
      let many = 1;
      while (i + many < told.heads.length && told.heads[i + many][0] === keys[0]) many += 1;
      const group = made("div", undefined, "facet");
      const name = worded("span", part(choice.facets_across), " ", part(keys[0] ?? "none"));
      name.style.left = `${side + 6}px`;
      group.append(name);
      group.setAttribute("aria-hidden", "true");
      group.style.cssText = `left:${side + (left + i) * cell}px;width:${many * cell}px`;
      parts.push(group);
    });
  }
  line.replaceChildren(corner, ...parts);
}
function drawRow(line, names, before, { width, cell, side }) {
  let row = rows.get(line);
  if (!row) {
    row = made("div", undefined, "line");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", line + 2);
    row.append(made("div", undefined, "side"));
    rows.set(line, row);
    $("grid-space").append(row);
  }
  row.style.cssText = `top:${line * cell}px;width:${width}px;height:${cell}px`;
  row.classList.toggle("first", Boolean(choice.facets_down) && line > 0 && before !== null && before[0] !== names[0]);
  const head = row.firstChild;
  head.setAttribute("role", "rowheader");
  head.style.width = `${side}px`;
  const axes = [choice.facets_down, choice.down];
  head.title = placed(axes, names, quoted);
  head.setAttribute("aria-label", placed(axes, names) || "all");
  const shown = [made("span", names[1] ?? (choice.down ? "none" : ""))]; // first: rows are told apart by it
  if (choice.facets_down) shown.push(worded("b", part(choice.facets_down), " ", part(names[0] ?? "none")));
  head.replaceChildren(...shown);
}
function drawCell(key, one, size, side, left, top) {
  let cell = cells.get(key);
  if (!cell) {
    cell = made("div");
    cell.id = `cell-${one.line}-${one.column}`;
    cell.setAttribute("role", "gridcell");
    cell.setAttribute("aria-colindex", one.column + 2);
    cell.dataset.line = one.line;
    cell.dataset.column = one.column;
    cells.set(key, cell);
  }
  const row = rows.get(one.line);
  if (row && cell.parentNode !== row) row.append(cell);
  const heads = told.heads;
  const at = one.column - left;
  const begins = at > 0 && choice.facets_across && heads[at][0] !== heads[at - 1][0];
  cell.style.cssText = `left:${side + one.column * size}px;width:${size}px;height:${size}px`;
  cell.dataset.kind = one.kind;
  cell.dataset.image = one.image || "";
  cell.className = `cell ${begins ? "begins" : ""} ${one.image ? "" : "missing"}`;
  cell.title = one.words;
  const place = placed([choice.facets_across, choice.across, choice.facets_down, choice.down], [...heads[at], ...told.sides[one.line - top]]);
  cell.setAttribute("aria-label", place ? `${place}: ${one.words}` : one.words);
  if (one.image) {
    let image = cell.querySelector("img");
    if (!image) {
      image = made("img");
      image.alt = "";
      image.decoding = "async";
      cell.replaceChildren(image, made("span", undefined, "said"), made("span", undefined, "many"));
    }
    if (image.dataset.seq !== `${one.image}`) { image.dataset.seq = one.image; image.src = picture("thumb", one.image); }
    cell.children[1].textContent = one.words;
    cell.children[2].textContent = one.images > 1 ? one.images.toLocaleString("en") : "";
  } else {
    cell.replaceChildren(made("span", one.words, "said"));
  }
}
// Kept and rejected images are framed as everywhere.
async function rate() {
  await details([...new Set(told.cells.map((one) => one.image).filter(Boolean))]);
  for (const cell of cells.values()) {
    const item = judged(Number(cell.dataset.image));
    cell.classList.toggle("keep", item?.rating === "keep");
    cell.classList.toggle("reject", item?.rating === "reject");
  }
}

// Keys: the frame has the focus, and says which cell is meant.
function point() {
  const frame = $("grid-frame");
  for (const cell of frame.querySelectorAll(".active")) cell.classList.remove("active");
  const cell = cells.get(`${active.line}:${active.column}`);
  cell?.classList.add("active");
  if (cell) frame.setAttribute("aria-activedescendant", cell.id);
  else frame.removeAttribute("aria-activedescendant");
}
function move(lines, columns) {
  const within = (at, many) => Math.min(Math.max(at, 0), Math.max(many - 1, 0));
  active = { line: within(active.line + lines, told.lines), column: within(active.column + columns, told.columns) };
  const frame = $("grid-frame");
  const { cell, side, head } = sizes();
  const shown = (at, from, room) => Math.max(Math.min(from, at * cell), (at + 1) * cell - room);
  frame.scrollTo(
    shown(active.column, frame.scrollLeft, frame.clientWidth - side),
    shown(active.line, frame.scrollTop, frame.clientHeight - head));
  point();
}
function enter() {
  const seq = Number(cells.get(`${active.line}:${active.column}`)?.dataset.image);
  if (seq) openImage(seq);
}
const KEYS = {
  ArrowRight: () => move(0, 1), ArrowLeft: () => move(0, -1), ArrowDown: () => move(1, 0), ArrowUp: () => move(-1, 0),
  Home: () => move(0, -told.columns), End: () => move(0, told.columns),
  PageDown: () => move(4, 0), PageUp: () => move(-4, 0), Enter: enter, " ": enter,
};
$("grid-frame").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !told || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
$("grid-frame").addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  active = { line: Number(cell.dataset.line), column: Number(cell.dataset.column) };
  point();
  enter();
});
let scrolling = false;
function sightChanged() {
  if (scrolling) return;
  scrolling = true;
  requestAnimationFrame(() => { scrolling = false; if (!$("grid").hidden) load(); });
}
$("grid-frame").addEventListener("scroll", sightChanged, { passive: true });
addEventListener("resize", sightChanged);
$("grid-axes").addEventListener("submit", (event) => event.preventDefault());

export const grid = {
  show(words) {
    const given = new URLSearchParams(words);
    if (given.has("across")) {
      choice = { across: "", down: "", facets_across: "", facets_down: "", fixed: {} };
      for (const [part] of PARTS) choice[part] = given.get(part) || "";
      for (const [name, value] of given) if (name.startsWith("is.")) choice.fixed[name.slice(3)] = value;
    }
    load();
  },
  ready() { return ready; }, // the first answer has come, or none will
  changed() { if (!$("grid").hidden) load(); },
};
