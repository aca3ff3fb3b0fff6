// Many images at once: chosen in the gallery, then kept, rejected, starred together.
import { fill, gallery } from "./app.js";
import { inTurn, judge, undo } from "./judging.js";
import { pick } from "./pick.js";

const $ = (id) => document.getElementById(id);
let last = null;

export function isChoosing() {
  return $("choose").getAttribute("aria-pressed") === "true";
}
function show() {
  const many = gallery.chosen.size;
  $("chosen").hidden = !isChoosing();
  $("chosen-words").textContent = many ? `${many.toLocaleString("en")} chosen` : "none chosen: press images, with Shift a row of them";
  for (const button of document.querySelectorAll("#chosen [data-judges]")) button.disabled = !many;
  for (const tile of document.querySelectorAll(".tile")) fill(Number(tile.dataset.seq));
}
export function choose(seq, { isRow }) {
  const from = gallery.seqs.indexOf(last);
  const to = gallery.seqs.indexOf(seq);
  if (isRow && from >= 0) {
    for (const one of gallery.seqs.slice(Math.min(from, to), Math.max(from, to) + 1)) gallery.chosen.add(one);
  } else if (!gallery.chosen.delete(seq)) {
    gallery.chosen.add(seq);
  }
  last = seq;
  show();
}
function none() {
  gallery.chosen.clear();
  last = null;
  show();
}
async function rate(change) {
  const seqs = [...gallery.chosen];
  if (!seqs.length) return;
  const done = await judge(seqs, change, async () => {});
  if (!done) return;
  $("chosen-words").textContent = `${seqs.length.toLocaleString("en")} judged`;
  pick.words(done.judged);
}
async function takeBack() {
  const done = await undo();
  if (done) pick.words(done.judged);
}
function press(key) {
  if (key === "k") return rate({ rating: "keep" });
  if (key === "x") return rate({ rating: "reject" });
  if (key === "u") return takeBack();
  if (key === "Escape") return none();
  return rate({ stars: Number(key) });
}
addEventListener("keydown", (event) => {
  if ($("images").hidden || !isChoosing() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) return;
  if (/^([kxu1-5]|Escape)$/.test(event.key)) { event.preventDefault(); inTurn(() => press(event.key)); }
});
$("choose").addEventListener("click", () => {
  $("choose").setAttribute("aria-pressed", !isChoosing());
  none();
});
$("chosen").addEventListener("click", (event) => {
  const button = event.target.closest("[data-many]");
  if (!button) return;
  if (button.dataset.many === "found") { gallery.chosen = new Set(gallery.seqs); show(); } else inTurn(() => press(button.dataset.many));
});
