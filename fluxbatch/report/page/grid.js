// The grid over two axes of a sweep

const axes = new Map();
const key = (item, name) => (name && item.axes && name in item.axes ? plain(item.axes[name]) : "");
const ROW = "row";

function buildAxes() {
  const values = new Map();
  for (const item of items) {
    for (const name of Object.keys(item.axes || {})) {
      if (!values.has(name)) values.set(name, new Map());
      values.get(name).set(plain(item.axes[name]), item.axes[name]);
    }
  }
  for (const [name, found] of values) {
    const sorted = [...found].sort(([, a], [, b]) => (typeof a === "number" && typeof b === "number" ? a - b : 0));
    axes.set(name, sorted.map(([text]) => text));
  }
  byId("toolbar").querySelector('[data-view="grid"]').hidden = axes.size === 0;
  const names = [...axes.keys()];
  const long = [...names].sort((a, b) => axes.get(b).length - axes.get(a).length);
  state.axes = { x: long[0] || "", y: long[1] || "", fixed: {} };
}

function select(label, options, value, changed) {
  const made = element("label", "axis", label);
  const list = element("select");
  for (const [option, name] of options) {
    const line = element("option", "", name);
    line.value = option;
    list.append(line);
  }
  list.value = value;
  list.addEventListener("change", () => { changed(list.value); refresh(); });
  made.append(list);
  return made;
}

function buildTable() {
  const { x, y, fixed } = state.axes;
  const names = [...axes.keys()];
  const rest = names.filter((name) => name !== x && name !== y);
  const pick = (name) => names.map((one) => [one, one]).concat(name === "y" ? [["", "nothing"]] : []);
  const focusedLabel = document.activeElement.closest && document.activeElement.closest(".axis");
  const bar = byId("axes");
  const had = focusedLabel ? [...bar.children].indexOf(focusedLabel) : -1;
  bar.replaceChildren(
    select("Across", pick("x"), x, (value) => { if (value === state.axes.y) state.axes.y = x; state.axes.x = value; }),
    select("Down", pick("y"), y, (value) => { if (value === state.axes.x) state.axes.x = y || x; state.axes.y = value; }),
    ...rest.map((name) => select(name, [["", "all"], ...axes.get(name).map((value) => [value, value])],
      fixed[name] || "", (value) => { fixed[name] = value; })));
  if (had >= 0 && bar.children[had]) bar.children[had].querySelector("select").focus();
  const cells = new Map();
  const used = { x: new Set(), y: new Set() };
  for (const item of shown) {
    if (!item.axes || item.state === "earlier") continue;
    if (rest.some((name) => fixed[name] && key(item, name) !== fixed[name])) continue;
    const place = JSON.stringify([key(item, x), key(item, y)]);
    if (!cells.has(place)) cells.set(place, []);
    cells.get(place).push(item);
    used.x.add(key(item, x));
    used.y.add(key(item, y));
  }
  const across = (axes.get(x) || [""]).filter((value) => used.x.has(value)).slice(0, 60);
  const down = y ? axes.get(y).filter((value) => used.y.has(value)).slice(0, 200) : [""];
  drawTable(cells, across, down);
}

function drawTable(cells, across, down) {
  const { x, y } = state.axes;
  const made = element("table");
  const head = made.createTHead().insertRow();
  head.append(heading(y ? `${y} ↓  ${x} →` : `${x} →`, "col"));
  for (const value of across) head.append(heading(value, "col"));
  const body = made.createTBody();
  for (const below of down) {
    const line = body.insertRow();
    line.append(heading(below, "row"));
    for (const value of across) {
      line.insertCell().append(cell(cells.get(JSON.stringify([value, y ? below : ""])), `${x} ${value}, ${y} ${below}`));
    }
  }
  table.replaceChildren(made);
}

function heading(text, scope) {
  const made = element("th");
  made.append(element("span", "", text));
  made.scope = scope;
  return made;
}

function cell(found, place) {
  if (!found) return element("span", "hole", "–");
  const made = element("button", "cell");
  made.type = "button";
  made.setAttribute("aria-label", `${place}: ${words(found[0])}`);
  made.append(picture(found[0]), badges(found[0]));
  if (found.length > 1) made.append(element("span", "badge more", `${found.length} images`));
  made.addEventListener("click", () => open(found, 0));
  return made;
}
