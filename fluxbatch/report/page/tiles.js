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
