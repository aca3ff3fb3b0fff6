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
byId("close").addEventListener("click", shut);
lightbox.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight") step(at + 1);
  else if (event.key === "ArrowLeft") step(at - 1);
  else if (event.key === "Escape") shut();
  else if (event.key === "Home") step(0);
  else if (event.key === "End") step(opened.length - 1);
  else if (event.key === "c" || event.key === "C") { withControl = !withControl; step(at); }
  else return;
  event.preventDefault();
});
// Not on "close": that event comes later, and would take the focus from whatever is clicked next.
function shut() {
  if (!lightbox.open) return;
  lightbox.close();
  if (opened === shown && state.view !== "grid") focusTile(at);
}
lightbox.addEventListener("cancel", (event) => {
  event.preventDefault();
  shut();
});
