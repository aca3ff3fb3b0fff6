// Picking: one image at a time, judged by keys or buttons; what is judged is shown before it is written.
import { details, gallery, picture } from "./app.js";
import { inTurn, judge, judged, undo } from "./judging.js";
import { ask } from "./requests.js";
import { part } from "./text.js";

const $ = (id) => document.getElementById(id);

let shown = null;
const drafts = new Map(); // what was typed as a note and is not written
const refused = new Map();

// Newest first, so an image that the list has no more (it was judged, and the list is of others) has its place too.
function next() { return gallery.seqs.find((seq) => seq < gallery.pick); }
function former() { return gallery.seqs.findLast((seq) => seq > gallery.pick); }

// Called again for the same image with whatever changes: what the reader is at (a note, a zoom, the slider) stays.
async function show() {
  const seq = (gallery.pick ??= gallery.seqs[0] ?? null);
  if (seq === null) { nothing(); return; }
  if (seq !== shown) begin(seq);
  const at = gallery.seqs.indexOf(seq);
  const near = [seq, ...gallery.seqs.slice(at + 1, at + 4)];
  if (!gallery.details.has(seq)) await details(near);
  if (gallery.pick === seq) describe(seq, judged(seq));
  await details(near);
}
function begin(seq) {
  shown = seq;
  $("whole").src = picture("image", seq);
  $("control").hidden = $("slide").hidden = true;
  if (!gallery.details.has(seq)) { $("caption").textContent = ""; $("note").value = ""; }
}
function describe(seq, item) {
  if (!item) { $("caption").textContent = "this image is not there any more"; return; }
  $("whole").alt = item.prompt;
  const axes = Object.entries(item.axes).map(([name, value]) => [part(name), " ", part(JSON.stringify(value))]);
  const said = [item.rating || "not judged", item.stars ? `${item.stars} stars` : "", ...item.notes];
  const words = [[part(item.id)], [said.filter(Boolean).join(", ")], [`seed ${item.seed}`], ...axes, [part(item.prompt)]];
  $("caption").replaceChildren(...words.flatMap((few, i) => (i ? [" · ", ...few] : few)));
  const note = drafts.get(seq) ?? (item.rating_note || "");
  if ($("note").value !== note) $("note").value = note; // the cursor stays where it is
  if (item.has_control && $("control").hidden) $("control").src = picture("control", seq);
  $("control").hidden = $("slide").hidden = !item.has_control;
  slide();
  for (const [key, on] of [["k", item.rating === "keep"], ["x", item.rating === "reject"]]) {
    document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", on);
  }
  for (const key of "12345") document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", item.stars === Number(key));
}
function nothing() {
  shown = null;
  if (isZoomed()) zoom(false);
  for (const image of [$("whole"), $("control")]) image.removeAttribute("src");
  $("whole").alt = $("note").value = "";
  $("control").hidden = $("slide").hidden = true;
  for (const key of "kx12345") document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", false);
  $("caption").textContent = "";
}
function slide() {
  $("control").style.clipPath = `inset(0 ${100 - Number($("slider").value)}% 0 0)`;
}
// Zoom: the image as large as it is, or twice as large as it fits; both images in the same place.
function zoom(on) {
  const frame = $("frame");
  const whole = $("whole");
  frame.classList.toggle("zoomed", on);
  document.querySelector('[data-key="z"]').setAttribute("aria-pressed", on);
  const fits = Math.min(frame.clientWidth / whole.naturalWidth, frame.clientHeight / whole.naturalHeight);
  const times = Math.max(1, 2 * fits);
  for (const image of [whole, $("control")]) {
    image.style.width = on ? `${Math.round(whole.naturalWidth * times)}px` : "";
    image.style.height = on ? `${Math.round(whole.naturalHeight * times)}px` : "";
    image.style.left = on ? `${Math.max(0, Math.round((frame.clientWidth - whole.naturalWidth * times) / 2))}px` : "";
  }
  if (!on) return;
  frame.focus({ preventScroll: true });
  frame.scrollTo((frame.scrollWidth - frame.clientWidth) / 2, (frame.scrollHeight - frame.clientHeight) / 2);
}
function isZoomed() {
  return $("frame").classList.contains("zoomed");
}
const PANS = { ArrowLeft: [-80, 0], ArrowRight: [80, 0], ArrowUp: [0, -80], ArrowDown: [0, 80] };
function words(judged) {
  const done = judged.keep + judged.reject;
  $("judged").max = judged.all || 1;
  $("judged").value = done;
  $("judged-words").textContent = `${done} of ${judged.all} judged: ${judged.keep} kept, ${judged.reject} rejected`;
}
async function progress() {
  words(await ask("/api/judged"));
}
async function rate(seq, change, { moves }) {
  if (!seq) return;
  if (moves) gallery.pick = next() ?? seq;
  const done = await judge([seq], change, show);
  if (done) words(done.judged);
  return done;
}
async function takeBack() {
  const done = await undo();
  if (!done) return;
  words(done.judged);
  await show();
}
function go(seq) {
  gallery.pick = seq ?? gallery.pick;
  return show();
}
async function note(seq, text) {
  const done = await rate(seq, { rating_note: text }, { moves: false });
  if (done && drafts.get(seq) === text) drafts.delete(seq);
  if (done) refused.delete(seq); else refused.set(seq, text);
}
function press(key) {
  if (key === "z") return zoom(!isZoomed() && $("whole").naturalWidth > 0);
  if (key === "k") return rate(gallery.pick, { rating: "keep" }, { moves: true });
  if (key === "x") return rate(gallery.pick, { rating: "reject" }, { moves: true });
  if (key >= "1" && key <= "5" && key.length === 1) return rate(gallery.pick, { stars: Number(key) }, { moves: false });
  if (key === "u") return takeBack();
  if (key === "ArrowRight" || key === "j") return go(next());
  if (key === "ArrowLeft") return go(former());
  return null;
}
addEventListener("keydown", (event) => {
  if ($("pick").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=range]), select")) return;
  if (event.target.matches("[type=range]") && event.key.startsWith("Arrow")) return; // they move it
  if (isZoomed() && event.key === "Escape") zoom(false);
  if (isZoomed() && PANS[event.key]) { event.preventDefault(); $("frame").scrollBy(...PANS[event.key]); return; }
  if (/^([kxujz1-5]|ArrowLeft|ArrowRight)$/.test(event.key)) { event.preventDefault(); inTurn(() => press(event.key)); }
});
$("keys").addEventListener("click", (event) => {
  const key = event.target.closest("[data-key]");
  if (key) inTurn(() => press(key.dataset.key));
});
$("slider").addEventListener("input", slide);
$("whole").addEventListener("load", () => { if (isZoomed()) zoom(true); });
let held = null;
$("frame").addEventListener("pointerdown", (event) => {
  if (!isZoomed() || event.pointerType !== "mouse") return; // fingers scroll by themselves
  event.preventDefault();
  held = [event.clientX, event.clientY];
  $("frame").setPointerCapture(event.pointerId);
});
$("frame").addEventListener("pointermove", (event) => {
  if (!held) return;
  $("frame").scrollBy(held[0] - event.clientX, held[1] - event.clientY);
  held = [event.clientX, event.clientY];
});
for (const end of ["pointerup", "pointercancel"]) $("frame").addEventListener(end, () => { held = null; });
$("frame").addEventListener("dblclick", () => inTurn(() => press("z")));
$("note").addEventListener("input", () => { if (shown) drafts.set(shown, $("note").value); });
$("note").addEventListener("keydown", (event) => {
  // For a browser nothing has changed since it was refused.
  const text = $("note").value;
  const seq = shown;
  if (event.key === "Enter" && refused.get(seq) === text) inTurn(() => note(seq, text));
});
$("note").addEventListener("change", () => {
  const seq = shown;
  const text = $("note").value;
  inTurn(() => note(seq, text));
});

export const pick = {
  enter() {
    if (!gallery.seqs.includes(gallery.pick)) gallery.pick = null;
    return pick.changed();
  },
  async changed() { await show(); await progress(); },
  progress,
  words,
};
