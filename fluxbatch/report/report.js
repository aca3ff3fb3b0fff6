"use strict";
// The gallery. Data comes from two JSON blocks of this page; texts only ever become text nodes.
(() => {
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

  // Filters

  function matches(item) {
    if (state.states.size && !state.states.has(item.state)) return false;
    if (state.notes.size && !(item.notes || []).some((note) => state.notes.has(note))) return false;
    if (!state.text) return true;
    return state.words.length ? state.words.every((word) => item.hay.includes(word)) : item.hay.includes(state.text);
  }

  // Several words are looked for as they stand, and apart only where nothing has them so.
  function lookFor(text) {
    state.text = text.trim().toLowerCase();
    const isThere = items.some((item) => item.hay.includes(state.text));
    state.words = isThere ? [] : state.text.split(/\s+/);
  }

  function chip(set, value, name, count) {
    const made = element("button", "chip", name);
    made.type = "button";
    made.setAttribute("aria-pressed", "false");
    made.append(" ", element("b", "", count.toLocaleString("en")));
    made.addEventListener("click", () => {
      if (!set.delete(value)) set.add(value);
      made.setAttribute("aria-pressed", String(set.has(value)));
      refresh();
    });
    return made;
  }

  function count(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return counts;
  }

  function buildChips() {
    const chips = byId("chips");
    const states = count(items.map((item) => item.state));
    if (states.size > 1) for (const [name, number] of states) chips.append(chip(state.states, name, name, number));
    const notes = count(items.flatMap((item) => item.notes || []));
    for (const [name, number] of notes) chips.append(chip(state.notes, name, NOTES[name] || name, number));
    chips.hidden = !chips.children.length;
  }

  function refresh() {
    shown = items.filter(matches);
    focused = 0;
    const all = shown.length === items.length;
    byId("count").textContent = all ? `${items.length.toLocaleString("en")} in all`
      : `${shown.length.toLocaleString("en")} of ${items.length.toLocaleString("en")}`;
    byId("empty").hidden = shown.length > 0;
    tiles.hidden = state.view === "grid";
    table.hidden = state.view !== "grid" || !shown.length;
    byId("axes").hidden = state.view !== "grid";
    if (state.view === "grid") buildTable();
    else layOut();
  }

  // Tiles: only those near the screen exist

  const alive = new Map();
  let layout = { columns: 1, width: 0, height: 0, frame: 0 };
  const GAP = 16, TEXT = 52;

  function layOut() {
    for (const tile of alive.values()) tile.remove();
    alive.clear();
    const pairs = state.view === "pairs";
    const full = tiles.clientWidth;
    const least = pairs ? 330 : full < 500 ? 140 : 200;
    const columns = Math.max(1, Math.floor((full + GAP) / (least + GAP)));
    const width = Math.floor((full - GAP * (columns - 1)) / columns);
    const frame = pairs ? Math.floor(width / 2) : width;
    layout = { columns, width, frame, height: frame + TEXT + GAP };
    tiles.style.height = `${Math.ceil(shown.length / columns) * layout.height}px`;
    draw();
  }

  function draw() {
    if (state.view === "grid") return;
    const top = -tiles.getBoundingClientRect().top;
    const margin = window.innerHeight * 0.75;
    const first = Math.max(0, Math.floor((top - margin) / layout.height)) * layout.columns;
    const last = Math.min(shown.length, Math.ceil((top + window.innerHeight + margin) / layout.height) * layout.columns);
    const near = (index) => (index >= first && index < last) || index === focused;
    for (const [index, tile] of alive) {
      if (!near(index) && !tile.contains(document.activeElement)) {
        tile.remove();
        alive.delete(index);
      }
    }
    let before = null;
    const wanted = Array.from({ length: Math.max(last - first, 0) }, (_, number) => first + number);
    if (focused < first) wanted.unshift(focused);  // Tab and screen readers always find one
    else if (focused >= last && focused < shown.length) wanted.push(focused);
    for (const index of wanted) {
      if (!alive.has(index)) {
        const tile = makeTile(shown[index], index);
        alive.set(index, tile);
        if (before) before.after(tile);
        else tiles.prepend(tile);
      }
      before = alive.get(index);
    }
  }

  function picture(item) {
    if (item.thumb) return image(item.thumb, words(item));
    const failed = item.state === "failed";
    const text = item.path ? "its file cannot be read" : failed ? `${item.failure}: ${item.why}` : item.state;
    return element("span", failed ? "nothing failed" : "nothing", text);
  }

  function badges(item) {
    const made = element("span", "badges");
    if (item.state === "failed") made.append(element("span", "badge failed", "failed"));
    else if (item.state !== "done") made.append(element("span", "badge", item.state));
    for (const note of item.notes || []) made.append(element("span", "badge note", NOTES[note] || note));
    return made;
  }

  function makeTile(item, index) {
    const holder = element("div");
    holder.setAttribute("role", "listitem");
    holder.setAttribute("aria-setsize", String(shown.length));
    holder.setAttribute("aria-posinset", String(index + 1));
    const tile = element("button", "tile");
    tile.type = "button";
    tile.tabIndex = index === focused ? 0 : -1;
    tile.dataset.index = String(index);
    const column = index % layout.columns, row = Math.floor(index / layout.columns);
    tile.style.width = `${layout.width}px`;
    tile.style.transform = `translate(${column * (layout.width + GAP)}px, ${row * layout.height}px)`;
    const frame = element("span", "frame");
    frame.style.height = `${layout.frame}px`;
    if (state.view === "pairs") {
      const control = controls[item.control];
      if (control && control.thumb) frame.append(image(control.thumb, "control image"));
      else frame.append(element("span", "nothing", control ? control.label : "no control image"));
    }
    frame.append(picture(item), badges(item));
    tile.append(frame, element("span", "label", title(item)), element("span", "caption", item.prompt));
    tile.setAttribute("aria-label", words(item));
    holder.append(tile);
    return holder;
  }

  function focusTile(index) {
    const to = Math.min(Math.max(index, 0), shown.length - 1);
    const row = Math.floor(to / layout.columns) * layout.height;
    const top = tiles.getBoundingClientRect().top + row;
    const bar = getComputedStyle(byId("toolbar")).position === "sticky" ? byId("toolbar").offsetHeight : 0;
    if (top < bar + 8) window.scrollBy(0, top - bar - 8);
    else if (top + layout.height > window.innerHeight) window.scrollBy(0, top + layout.height - window.innerHeight);
    focused = to;
    draw();
    for (const [number, holder] of alive) holder.firstChild.tabIndex = number === to ? 0 : -1;
    const holder = alive.get(to);
    if (holder) holder.firstChild.focus({ preventScroll: true });
  }

  tiles.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) open(shown, Number(tile.dataset.index));
  });
  tiles.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: layout.columns, ArrowUp: -layout.columns,
      Home: -Infinity, End: Infinity }[event.key];
    const tile = event.target.closest(".tile");
    if (step === undefined || !tile) return;
    event.preventDefault();
    focusTile(Number(tile.dataset.index) + step);
  });

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
    const made = element("th", "", text);
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

  // The lightbox

  function open(list, index) {
    opened = list;
    step(index);
    if (!lightbox.open) lightbox.showModal();
  }

  function fact(name, value) {
    if (value === undefined || value === null || value === "") return [];
    return [element("dt", "", name), element("dd", "", plain(value))];
  }

  const money = (micros) => `$${(micros / 1e6).toFixed(6).replace(/(\.\d\d\d*?)0+$/, "$1")}`;

  function step(index) {
    at = Math.min(Math.max(index, 0), opened.length - 1);
    const item = opened[at];
    const control = controls[item.control];
    const large = byId("light-img");
    large.alt = words(item);
    large.onload = large.onerror = null;
    large.hidden = !item.thumb;
    large.removeAttribute("src");
    const small = `thumbnail of ${item.size && item.size.join(" × ")}`;
    byId("light-caption").textContent = item.thumb && !item.file ? small : "";
    byId("light-nothing").hidden = Boolean(item.thumb);
    byId("light-nothing").textContent = item.path ? "its file cannot be read" : item.why || item.state;
    if (item.thumb) {
      large.src = item.thumb;
      if (item.file) full(item, large, small);
    }
    const beside = byId("light-control");
    beside.hidden = !(withControl && control && control.thumb);
    if (!beside.hidden) {
      byId("light-control-img").src = control.thumb;
      byId("light-control-img").alt = `control image ${control.label}`;
    }
    byId("light-position").textContent = `${(at + 1).toLocaleString("en")} of ${opened.length.toLocaleString("en")}`;
    byId("light-title").textContent = title(item);
    byId("light-prompt").textContent = item.prompt;
    byId("prev").disabled = at === 0;
    byId("next").disabled = at === opened.length - 1;
    byId("light-facts").replaceChildren(
      ...fact("State", item.state), ...fact("Failure", item.failure), ...fact("Reason", item.why),
      ...fact("Noticed", (item.notes || []).map((note) => NOTES[note] || note).join(", ")),
      ...fact("Resembles", item.twin), ...fact("Control", control && control.label),
      ...Object.entries(item.given || {}).flatMap(([name, value]) => fact(name, value)),
      ...(item.given && "seed" in item.given ? [] : fact("seed", item.seed)),
      ...fact("Size", item.size && item.size.join(" × ")),
      ...fact("File", item.path), ...fact("Cost", item.cost === undefined ? "" : money(item.cost) + (item.estimated ? " (estimated)" : "")),
      ...fact("Took", item.seconds === undefined ? "" : `${item.seconds.toFixed(1)} s`),
      ...fact("Run", item.run), ...fact("Prediction", item.prediction), ...fact("Job", item.job));
  }

  function full(item, large, small) {
    const original = new Image();
    const caption = byId("light-caption");
    original.onload = () => { if (opened[at] === item) { large.src = original.src; caption.textContent = ""; } };
    original.onerror = () => { if (opened[at] === item) caption.textContent = `${small}; the image itself is not beside this report`; };
    original.src = item.file;
  }

  byId("prev").addEventListener("click", () => step(at - 1));
  byId("next").addEventListener("click", () => step(at + 1));
  byId("close").addEventListener("click", () => lightbox.close());
  lightbox.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight") step(at + 1);
    else if (event.key === "ArrowLeft") step(at - 1);
    else if (event.key === "Home") step(0);
    else if (event.key === "End") step(opened.length - 1);
    else if (event.key === "c" || event.key === "C") { withControl = !withControl; step(at); }
    else return;
    event.preventDefault();
  });
  lightbox.addEventListener("close", () => {
    if (opened === shown && state.view !== "grid") focusTile(at);
  });

  // What a person does on the page

  let waiting = 0;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { lookFor(event.target.value); refresh(); }, 80);
  });
  byId("clear").addEventListener("click", () => {
    byId("search").value = "";
    lookFor("");
    state.states.clear();
    state.notes.clear();
    for (const made of byId("chips").children) made.setAttribute("aria-pressed", "false");
    refresh();
  });
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      state.view = button.dataset.view;
      for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", String(other === button));
      refresh();
      if (byId("gallery").getBoundingClientRect().top < 0) byId("gallery").scrollIntoView();
    });
  }
  let drawing = false;
  window.addEventListener("scroll", () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  }, { passive: true });
  let width = 0;
  new ResizeObserver(() => {
    if (tiles.clientWidth && tiles.clientWidth !== width) { width = tiles.clientWidth; if (state.view !== "grid") layOut(); }
  }).observe(byId("gallery"));

  byId("toolbar").hidden = items.length === 0;
  buildChips();
  buildAxes();
  refresh();
  if (!items.length) byId("empty").textContent = "No images yet.";
})();
