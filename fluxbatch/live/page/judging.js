// Judgements: shown at once, sent one after the other, and taken back where they were not written.
import { fill, forget, gallery, tell } from "./app.js";
import { post } from "./requests.js";

const waiting = new Set();

// What is known of an image, with what is said of it on this page and not yet answered.
export function judged(seq) {
  const item = gallery.details.get(seq);
  if (!item) return item;
  const said = [...waiting].filter((one) => one.seqs.has(seq)).map((one) => one.change);
  return Object.assign({}, item, ...said);
}
// `shown` is called when the page has something else to show: at once, and where it is taken back.
export async function judge(seqs, change, shown) {
  const one = { seqs: new Set(seqs), change };
  const name = seqs.length === 1 ? gallery.details.get(seqs[0])?.id : `${seqs.length.toLocaleString("en")} images`;
  const sent = "rating_note" in change ? { note: change.rating_note } : change;
  waiting.add(one);
  seqs.forEach(fill);
  const answer = post("/api/rate", { seqs, ...sent }, { failed: "Not written", name });
  await shown().catch(tell);
  const done = await answer;
  waiting.delete(one);
  for (const seq of done ? seqs : []) Object.assign(gallery.details.get(seq) ?? {}, change);
  seqs.forEach(fill);
  if (!done) await shown().catch(tell);
  return done;
}
export async function undo() {
  const done = await post("/api/undo", {}, { failed: "Not undone" });
  if (done) forget();
  return done;
}
let last = Promise.resolve();
export function inTurn(work) {
  last = last.then(work).catch(tell);
}
