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
