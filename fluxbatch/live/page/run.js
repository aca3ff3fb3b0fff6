// The buttons of a run at work. They are there where `serve --control` has made them.
import { ask, post } from "./requests.js";

const $ = (id) => document.getElementById(id);

function show(run) {
  const there = !run.error;
  $("run").hidden = !there;
  if (!there) return;
  $("run-state").textContent = run.stopping ? "stopping" : run.paused ? "paused" : "at work";
  $("pause").hidden = run.paused;
  $("resume").hidden = !run.paused;
  for (const name of ["pause", "resume", "stop"]) $(name).disabled = Boolean(run.stopping);
  if (document.activeElement !== $("cap")) $("cap").value = run.budget_usd ?? "";
}

async function press(command, value = "") {
  const told = await post("/api/run", { command, value, reason: $("why").value }, { failed: "Not done" });
  $("run-said").textContent = told ? (told.changed ? `${command}: done` : `${command}: nothing to change`) : "";
  await refresh();
}

export async function refresh() {
  if ($("run").dataset.allowed === "true") show(await ask("/api/run"));
}

$("pause").addEventListener("click", () => press("pause"));
$("resume").addEventListener("click", () => press("resume"));
$("stop").addEventListener("click", () => {
  // A second press within the element itself: a dialog would hold the page up.
  if ($("stop").dataset.sure !== "true") {
    $("stop").dataset.sure = "true";
    $("stop").textContent = "Stop for good?";
    setTimeout(() => { $("stop").dataset.sure = ""; $("stop").textContent = "Stop"; }, 5000);
    return;
  }
  press("stop");
});
$("budget").addEventListener("submit", (event) => { event.preventDefault(); press("budget", $("cap").value.trim()); });
