// Texts of the dataset: of any script, and perhaps meant to turn the words beside them around.
const OPENS = "\u2066\u2067\u2068";
const CLOSES = "\u2069";

// *text* without the signs that would end the place it stands in: a `bdi` alone does not stop them.
export function contained(text) {
  let open = 0;
  let kept = "";
  for (const sign of `${text}`.replace(/[\u001c-\u001e\u0085\u2029]/g, " ")) {
    if (OPENS.includes(sign)) open += 1;
    else if (sign === CLOSES && open === 0) continue;
    else if (sign === CLOSES) open -= 1;
    kept += sign;
  }
  return kept;
}
export function part(text) {
  const one = document.createElement("bdi");
  one.textContent = contained(text);
  return one;
}
// The same where there can be no element: in a title.
export function quoted(text) {
  return `\u2068${contained(text)}\u2069`;
}
