// Picking: one image at a time, judged by keys or buttons; what is judged is shown before it is written.
import { details, gallery } from "./app.js";
import { inTurn, judge, judged, undo } from "./judging.js";
import { ask } from "./requests.js";

const $ = (id) => document.getElementById(id);

function place() {
  const at = gallery.seqs.indexOf(gallery.pick);
  return at < 0 ? 0 : at;
}
async function show() {
  if (!gallery.seqs.length) { nothing(); return; }
  const at = place();
  const seq = (gallery.pick = gallery.seqs[at]);
  $("whole").src = `/image/${seq}`;
  await details(gallery.seqs.slice(at, at + 4));
  if (gallery.pick !== seq) return;
  const item = judged(seq);
  if (!item) return;
  $("whole").alt = item.prompt;
  const axes = Object.entries(item.axes).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const said = [item.rating || "not judged", item.stars ? `${item.stars} stars` : "", ...item.notes];
  $("caption").textContent = [item.id, said.filter(Boolean).join(", "), `seed ${item.seed}`, ...axes, item.prompt].join(" · ");
  $("note").value = item.rating_note || "";
  $("control").hidden = $("slide").hidden = !item.has_control;
  if (item.has_control) $("control").src = `/control/${seq}`;
  slide();
  for (const [key, on] of [["k", item.rating === "keep"], ["x", item.rating === "reject"]]) {
    document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", on);
  }
  for (const key of "12345") document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", item.stars === Number(key));
}
function nothing() {
  gallery.pick = null;
  if (isZoomed()) zoom(false);
  for (const image of [$("whole"), $("control")]) image.removeAttribute("src");
  $("whole").alt = $("note").value = "";
  $("control").hidden = $("slide").hidden = true;
  for (const key of "kx12345") document.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", false);
  $("caption").textContent = "no image yet";
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
  if (moves && place() < gallery.seqs.length - 1) gallery.pick = gallery.seqs[place() + 1];
  const done = await judge([seq], change, show);
  if (done) words(done.judged);
}
async function takeBack() {
  const done = await undo();
  if (!done) return;
  words(done.judged);
  await show();
}
function step(by) {
  const at = Math.min(Math.max(place() + by, 0), gallery.seqs.length - 1);
  gallery.pick = gallery.seqs[at];
  return show();
}
function press(key) {
  if (key === "z") return zoom(!isZoomed() && $("whole").naturalWidth > 0);
  if (key === "k") return rate(gallery.pick, { rating: "keep" }, { moves: true });
  if (key === "x") return rate(gallery.pick, { rating: "reject" }, { moves: true });
  if (key >= "1" && key <= "5" && key.length === 1) return rate(gallery.pick, { stars: Number(key) }, { moves: false });
  if (key === "u") return takeBack();
  if (key === "ArrowRight" || key === "j") return step(1);
  if (key === "ArrowLeft") return step(-1);
  return null;
}
addEventListener("keydown", (event) => {
  if ($("pick").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) return;
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
$("note").addEventListener("change", () => {
  const seq = gallery.pick;
  const text = $("note").value;
  inTurn(() => rate(seq, { rating_note: text }, { moves: false }));
});

export const pick = { show: async () => { await show(); await progress(); }, progress, words };
