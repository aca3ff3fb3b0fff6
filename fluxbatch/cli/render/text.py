"""The text form of estimates, counts and failures. Pure functions on plain values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from fluxbatch.domain.formatting import duration
from fluxbatch.domain.job import FailureClass, Quality

OVERVIEW_LABEL = 10
"""The columns of a label in what `plan`, `status` and the screen show; facts have two more."""

FAILURES: Mapping[FailureClass, str] = {
    FailureClass.NETWORK: "the provider never got the request",
    FailureClass.PROVIDER_ERROR: "the provider failed at it",
    FailureClass.TIMEOUT: "the provider ran out of time",
    FailureClass.NO_OUTPUT: "it succeeded without an image",
    FailureClass.INVALID_INPUT: "the input was refused",
    FailureClass.FILTERED: "the provider's moderation stopped it",
    FailureClass.CANCELLED: "it was cancelled",
    FailureClass.LOST: "the provider no longer knows it",
    FailureClass.TIMED_OUT: "it never ended",
    FailureClass.SHORT_OUTPUT: "it made fewer images than asked for",
    FailureClass.OUTPUT_LOST: "it is paid, and its image could not be fetched",
}
"""What each class of failure means."""

QUALITY: Mapping[Quality, str] = {
    Quality.BLACK: "black",
    Quality.FLAT: "of one flat colour",
    Quality.SIZE: "not of the size asked for",
    Quality.DUPLICATE: "nearly the same as an earlier one",
}
"""What is noticed about an image."""

CREDENTIALS = "it carries content credentials (C2PA), which were not checked here"


def cut(text: str, most: int) -> str:
    """*text*, or its first *most* characters and how long it is: a prompt may have a megabyte."""
    return text if len(text) <= 2 * most else f"{text[:most]}… ({len(text):,} characters)"


def about(seconds: float) -> str:
    """An estimate, as coarse as it is: `10 s`, `3 min`, `1 h 20 min`."""
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 600:
        minutes, half = divmod(round(seconds / 30), 2)
        return f"{minutes}½ min" if half else f"{minutes} min"
    if seconds < 3_600:
        return f"{round(seconds / 60)} min"
    return duration(600 * round(seconds / 600))


def about_between(least_s: float, most_s: float) -> str:
    """`4 to 6 min`, `45 s to 1½ min`; `5 min` where both ends round to the same."""
    least, most = about(least_s), about(most_s)
    if least == most:
        return most
    number, _, unit = least.rpartition(" ")
    if most == f"{most.partition(' ')[0]} {unit}" and " " not in number:
        return f"{number} to {most}"
    return f"{least} to {most}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: list[str], total: int) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(names)
    more = total - len(names)
    return f"{shown} and {more:,} more" if more > 0 else shown


def folded(label_line: str, width: int | None, hang: int = 0) -> list[str]:
    """*line* in lines of at most *width* columns, broken at spaces; all but the first begin
    *hang* further in than it does.

    As it is where *width* is None: whoever reads a pipe wants one line. Paths and addresses stay
    whole, and so does a command, or copying it would break it.
    """
    if width is None or "fluxbatch " in label_line:
        return [label_line]
    from rich.cells import cell_len, chop_cells  # where somebody looks, and not for a script

    if cell_len(label_line) <= width:
        return [label_line]
    start = label_line[: len(label_line) - len(label_line.lstrip())]
    inner, most = start + " " * hang, max(width - len(start) - hang, 8)
    lines, now = [], start
    for word in label_line.lstrip().split(" "):
        pieces = [word] if "/" in word else chop_cells(word, most) or [word]
        for number, piece in enumerate(pieces):
            glue = " " if now.strip() and number == 0 else ""
            if now.strip() and cell_len(now + glue + piece) > width:
                lines.append(now.rstrip())
                now, glue = inner, ""
            now += glue + piece
    return [*lines, now]


def stopping_words(reason: str) -> str:
    """That nothing more is submitted, and why; what a second Ctrl-C would do."""
    if reason.startswith("SIG"):
        return "finishing what runs; Ctrl-C again leaves at once"
    return f"finishing what runs, buying no more: {reason}"


def label_line(label: str, text: str, width: int = 12, *, stripped: bool = True) -> str:
    """A label and what it is about; *stripped* of the blanks at its end, or as it is."""
    line = f"{label:{width}}{text}"
    return line.rstrip() if stripped else line


overview_line = partial(label_line, width=OVERVIEW_LABEL, stripped=False)


def local_time(at: str) -> str:
    """A time of the ledger as people read it, in UTC."""
    return at[:19].replace("T", " ")
