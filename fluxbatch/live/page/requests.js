// What is asked of the server and sent to it; where it refuses or is gone, that in words.
import { say, unsay } from "./notice.js";

const token = document.querySelector('meta[name="fluxbatch-token"]').content;
const LONGEST_MS = 60_000; // a hundred thousand images are judged in less
const GONE = "the server does not answer. Where `fluxbatch serve` has ended, start it again and open the address that it prints then.";

async function refusal(answer) {
  const text = (await answer.text()).trim();
  if (answer.headers.get("Content-Type")?.startsWith("application/json")) return JSON.parse(text).error;
  if (answer.status === 403) return text;
  return `the server has failed (${answer.status}); what it prints says more.`;
}
async function answered(path, options) {
  let answer;
  let told;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(LONGEST_MS) });
    told = answer.ok ? await answer.json() : await refusal(answer);
  } catch {
    throw new Error(GONE);
  }
  if (!answer.ok) throw new Error(told);
  return told;
}
export function ask(path) {
  return answered(path);
}
// Null where it was not done: the reader was told so, and whoever sent it takes back what it showed.
export async function post(path, body, { failed, name }) {
  const headers = { "X-Fluxbatch-Token": token, "Content-Type": "application/json" };
  try {
    const told = await answered(path, { method: "POST", headers, body: JSON.stringify(body) });
    unsay("refused");
    return told;
  } catch (error) {
    say("refused", failed, error.message, name);
    return null;
  }
}
