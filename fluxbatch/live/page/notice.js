// What is wrong, in words that stay until it is mended or the reader has put them away.
import { made } from "./app.js";
import { part } from "./text.js";

const MOST_NAMES = 5;
const matters = new Map();

function draw() {
  const lines = [...matters].map(([matter, { what, why, names }]) => {
    const line = made("p");
    const told = [...names].slice(0, MOST_NAMES).map(part);
    line.append(made("strong", what), told.length ? " for " : "");
    told.forEach((name, i) => line.append(i ? ", " : "", name));
    if (names.size > MOST_NAMES) line.append(` and ${(names.size - MOST_NAMES).toLocaleString("en")} more`);
    line.append(`: ${why} `);
    const away = made("button", "Understood");
    away.type = "button";
    away.addEventListener("click", () => { matters.delete(matter); draw(); });
    line.append(away);
    return line;
  });
  document.getElementById("notice").replaceChildren(...lines);
}
export function say(matter, what, why, name) {
  const names = matters.get(matter)?.names ?? new Set();
  if (name) names.add(name);
  matters.set(matter, { what, why, names });
  draw();
}
// What is so until `unsay`: told once, and not again where the reader has put it away.
const standing = new Map();
export function stands(matter, what, why) {
  if (standing.get(matter) === why) return;
  standing.set(matter, why);
  say(matter, what, why);
}
export function unsay(matter) {
  standing.delete(matter);
  if (matters.delete(matter)) draw();
}
