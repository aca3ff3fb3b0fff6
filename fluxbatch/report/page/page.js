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
