"""The history of one job in words, and what to do next.

Owns the sentence for every event of the state tables. A line of the ledger whose event has no
sentence here is shown by its name and its states: nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any

from fluxbatch.cli.render.result import (
    ResultView,
    attempt_json,
    cost_words,
    heading_lines,
    invalid_lines,
    job_json,
    short,
)
from fluxbatch.cli.render.text import label_line, local_time
from fluxbatch.domain.control import CHANGE_EVENT
from fluxbatch.domain.formatting import dollars, duration
from fluxbatch.domain.job import FailureClass, JobState, PredictionState
from fluxbatch.domain.state_machine import JobEvent, OutputEvent, PredictionEvent
from fluxbatch.ledger.operations.retry import MAY_BE_ALIVE, PAID_ALREADY
from fluxbatch.ledger.queries.history.job_history import HistoryEntry, JobHistory, PredictionEntry

_P, _J, _O = PredictionEvent, JobEvent, OutputEvent

PREDICTION_WORDS: Mapping[str, str] = {
    "intent committed": "to be bought: {price} reserved, with key {key}, run {run}",
    _P.NOT_SENT: "never left this machine; nothing is paid",
    _P.OVER_LIMIT: "refused: over the provider's limit (429); nothing is paid, no attempt is lost",
    _P.UNPAID: "refused: the balance was too low (402); nothing is paid, no attempt is lost",
    _P.KEY_REFUSED: "refused: the key is not good (401, 403); nothing is paid",
    _P.REJECTED: "refused: the provider does not take this input; nothing is paid",
    _P.ENDPOINT_WRONG: "refused: no such model or address there; nothing is paid",
    _P.ACCEPTED: "accepted by the provider as {id}",
    _P.NO_ANSWER: "left, but no clear answer came: it may be billed, so it is looked for and not"
    " sent again",
    _P.FOUND: "found at the provider as {id}{adopted}",
    _P.ABSENT: "proven absent at the provider; nothing is paid",
    _P.GIVEN_UP: "not found in time; its money stays reserved, at risk",
    _P.NOT_FINISHED: "still at work",
    _P.SUCCEEDED: "succeeded{took}{cost}",
    _P.SUCCEEDED_EMPTY: "succeeded without an image{took}{cost}",
    _P.FAILED: "failed at the provider{cost}",
    _P.CANCELLED: "cancelled{cost}",
    _P.GONE: "lost: the provider no longer knows it{cost}",
    _P.OVERDUE: "given up as timed out: it never ended{cost}",
    _P.COST_LEARNED: "its cost is known now{cost}",
    "adopted": "found in the provider's record as {id} and adopted",
    "asked to stop": "the provider was asked to stop it",
    "read again": "read again at the provider",
}
JOB_WORDS: Mapping[str, str] = {
    _J.INTENDED: "taken to be bought",
    _J.FOUND: "bought after all: an earlier attempt was found",
    _J.UNUSABLE: "failed before anything was bought: its control image cannot be used",
    _J.GENERATED: "generated; its images are to be fetched",
    _J.WAITS: "waits to be tried again",
    _J.FAILED: "failed",
    _J.STORED: "done: every image is stored",
    _J.OUTPUT_FAILED: "failed: not every image is there",
    _J.REPAIRED: "its images are to be fetched again, for nothing",
    _J.RETRIED: "sent back by `retry`",
    _J.RESEEDED: "sent back for another image, with a new seed",
}
OUTPUT_WORDS: Mapping[str, str] = {
    _O.STORED: "stored: {path}",
    _O.LOST: "could not be fetched",
    _O.WANTED: "to be fetched again",
}
RUN_WORDS: Mapping[str, str] = {
    "paused": "paused by `fluxbatch ctl`: nothing more is bought",
    "resumed": "resumed by `fluxbatch ctl`",
    "stopped": "stopped by `fluxbatch ctl`",
    "off": "{change} by `fluxbatch ctl`: nothing leaves with that key",
}
_SAYS_ITSELF = frozenset(
    {_P.NOT_FINISHED, _P.COST_LEARNED, _P.GIVEN_UP, "asked to stop", "read again"}
)
"""Events that leave the state as it is; any other that does so came too late."""


def history_lines(shown: ResultView) -> Iterator[str]:
    """From the row to the end there is, then the sum and the next step."""
    if shown.job is None:
        yield from invalid_lines(shown)
        return
    job = shown.job
    yield from heading_lines(shown)
    yield ""
    came = "read from a manifest" if shown.origin is None else "asked for by `reroll`"
    yield f"{local_time(job.job.created_at)}  {'job':11} {came} (→ pending)"
    for entry in job.history:
        yield _line(job, entry)
    yield ""
    yield label_line("cost", cost_words(job))
    for number, step in enumerate(_next(shown, job)):
        yield label_line("next" if number == 0 else "", step)


def _line(job: JobHistory, entry: HistoryEntry) -> str:
    return f"{local_time(entry.at)}  {_subject(job, entry):11} {history_sentence(job, entry)}"


def history_sentence(job: JobHistory, entry: HistoryEntry) -> str:
    """One change in words, with its reason and its states."""
    words = _sentence(job, entry)
    if entry.reason:
        words += f": {short(entry.reason)}"
    if entry.request_id:
        words += f" [request {entry.request_id}]"
    if entry.was != entry.became:
        return f"{words} ({entry.was or ''} → {entry.became})".replace("( →", "(→")
    if entry.subject == "prediction" and entry.event not in _SAYS_ITSELF:
        words += " (too late to change anything)"
    return words


def _sentence(job: JobHistory, entry: HistoryEntry) -> str:
    if entry.subject == "run":
        return _run_sentence(entry)
    words: Mapping[str, str] = {
        "prediction": PREDICTION_WORDS,
        "job": JOB_WORDS,
        "output": OUTPUT_WORDS,
    }.get(entry.subject, {})
    event = entry.event
    if entry.subject == "output" and event not in words:
        event = entry.became or event
    return words[event].format_map(_facts(job, entry)) if event in words else event


def _run_sentence(entry: HistoryEntry) -> str:
    if not entry.event.startswith(CHANGE_EVENT):
        return f"ended with {entry.event}"
    change = entry.event.removeprefix(CHANGE_EVENT)
    words = RUN_WORDS.get(change.rpartition(" ")[2], "{change} by `fluxbatch ctl`")
    return words.format(change=change)


def _subject(job: JobHistory, entry: HistoryEntry) -> str:
    if entry.subject == "prediction":
        return f"attempt {_attempt(job, entry.subject_seq)}"
    if entry.subject == "output":
        numbers = [o.number + 1 for o in job.outputs if o.seq == entry.subject_seq]
        return f"image {numbers[0]}" if numbers else "image"
    return entry.subject


def _attempt(job: JobHistory, prediction_seq: int) -> str:
    found = [p.attempt for p in job.predictions if p.seq == prediction_seq]
    return str(found[0]) if found else "?"


def _facts(job: JobHistory, entry: HistoryEntry) -> Mapping[str, str]:
    """What the sentences name; of a prediction as it is now."""
    facts = dict.fromkeys(("price", "key", "run", "id", "adopted", "took", "cost", "path"), "")
    if entry.subject == "prediction":
        for made in job.predictions:
            if made.seq == entry.subject_seq:
                facts |= _prediction_facts(made)
    for output in job.outputs:
        if entry.subject == "output" and output.seq == entry.subject_seq:
            facts["path"] = output.path or ""
    return facts


def _prediction_facts(made: PredictionEntry) -> dict[str, str]:
    cost = f", {dollars(made.cost)}" if made.cost is not None else ""
    return {
        "price": dollars(made.price),
        "key": made.key_label,
        "run": made.run_id,
        "id": made.provider_id or "an unknown id",
        "adopted": f", {made.adopted}" if made.adopted else "",
        "took": f" after {duration(made.run_time_s)}" if made.run_time_s is not None else "",
        "cost": cost + (" (estimated)" if cost and made.estimated else ""),
    }


def _next(shown: ResultView, job: JobHistory) -> Iterator[str]:
    """The commands that take the job further."""
    place, entry = shown.folder.typed, job.job
    by_whom = "the same `fluxbatch run` again:"
    if shown.folder.is_locked():
        by_whom = "nothing: the run at work"
    match entry.state:
        case JobState.DONE:
            yield "nothing: the job is done"
        case JobState.FAILED:
            assert entry.failure is not None
            yield from _after_failure(place, entry.failure)
        case JobState.GENERATED:
            yield f"{by_whom} fetches the images, for nothing"
        case JobState.PENDING if shown.origin is not None:
            yield f"fluxbatch reroll {place} … --budget USD: makes it; no run of the manifest does"
        case JobState.PENDING if entry.listed_in != shown.meant.manifest.seq:
            yield "nothing: the latest manifest does not name this job, so no run of it buys it"
        case JobState.PENDING if lifting := list(_lifting(shown, job)):
            yield from lifting
        case JobState.PENDING:
            later = f", not before {local_time(entry.not_before)} UTC" if entry.not_before else ""
            yield f"{by_whom} buys it{later}"
        case JobState.ACTIVE:
            yield from _while_active(place, job)


def _lifting(shown: ResultView, job: JobHistory) -> Iterator[str]:
    """The commands that let a run at work go on."""
    place, at_work = shown.folder.typed, shown.folder.is_locked()
    for entry in job.in_force if at_work else ():
        change = entry.event.removeprefix(CHANGE_EVENT)
        since = f"since {local_time(entry.at)} UTC"
        if change == "paused":
            yield f"fluxbatch ctl {place} resume: the run is paused {since}"
        elif change.startswith("lane "):
            label = change.removeprefix("lane ").rpartition(" ")[0]
            yield f"fluxbatch ctl {place} lane {quote(label)} on: it is off {since}"


def _after_failure(place: str, failure: FailureClass) -> Iterator[str]:
    if failure in MAY_BE_ALIVE:
        yield f"fluxbatch reconcile {place}: asks the provider what became of it"
    elif failure in PAID_ALREADY:
        yield f"fluxbatch repair {place}: fetches the images again, for nothing"
    else:
        if failure is FailureClass.INVALID_INPUT:
            yield "mend the input in the manifest and run it: it will fail again as it is"
        yield f"fluxbatch retry {place} --kind {failure}: sends all such jobs back to pending"


def _while_active(place: str, job: JobHistory) -> Iterator[str]:
    unknown = (PredictionState.UNKNOWN, PredictionState.SUBMITTING)
    if any(made.state in unknown for made in job.predictions):
        yield f"fluxbatch reconcile {place}: looks for the create whose outcome is unknown"
    else:
        yield "wait: it runs at the provider; if no run goes on, the same `fluxbatch run` again"


def history_json(shown: ResultView) -> dict[str, Any]:
    """The object of `why --json`."""
    if shown.job is None:
        return {**job_json(shown), "attempts": [], "history": [], "next": []}
    job = shown.job
    return {
        **job_json(shown),
        "created_at": job.job.created_at,
        "attempts": [attempt_json(made) for made in job.predictions],
        "history": [
            {
                "at": entry.at,
                "subject": _subject(job, entry),
                "was": entry.was,
                "became": entry.became,
                "event": entry.event,
                "reason": entry.reason,
                "request_id": entry.request_id,
                "words": history_sentence(job, entry),
            }
            for entry in job.history
        ],
        "next": list(_next(shown, job)),
    }
