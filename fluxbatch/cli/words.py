"""How the command line writes money, times, counts and failures. Pure functions on plain values."""

from __future__ import annotations

from collections.abc import Mapping

from fluxbatch.job import FailureClass, Quality
from fluxbatch.money import Micros, as_usd

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

_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def dollars(amount: Micros) -> str:
    """`$0.025`, `$1,250.00`."""
    sign = "-" if amount < 0 else ""
    whole, _, fraction = as_usd(Micros(abs(amount))).partition(".")
    return f"{sign}${int(whole):,}.{fraction}"


def duration(seconds: float) -> str:
    """`8 s`, `4 min 12 s`, `2 h 5 min`: two figures at most."""
    whole = round(seconds)
    for size, unit, next_size, next_unit in _STEPS:
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


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
    """`4 to 6 min`, `45 s to 1½ min`; `5 min` where both ends, told so coarsely, are the same."""
    least, most = about(least_s), about(most_s)
    if least == most:
        return most
    number, _, unit = least.rpartition(" ")
    if most == f"{most.partition(' ')[0]} {unit}" and " " not in number:
        return f"{number} to {most}"
    return f"{least} to {most}"


def clock(seconds: float) -> str:
    """`0:42`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(amount_bytes: float) -> str:
    """`812 kB`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount_bytes < 1_000:
            return f"{amount_bytes:.3g} {unit}" if unit != "B" else f"{amount_bytes:.0f} B"
        amount_bytes /= 1_000
    return f"{amount_bytes:,.1f} TB"


def listed(names: list[str], total: int) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(names)
    more = total - len(names)
    return f"{shown} and {more:,} more" if more > 0 else shown


def shortened(text: str, limit: int) -> str:
    """*text* on one line of at most *limit* characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def folded(line: str, width: int | None, hang: int = 0) -> list[str]:
    """*line* in lines of at most *width* columns, broken at spaces; all but the first begin
    *hang* further in than it does.

    As it is where *width* is None: whoever reads a pipe wants one line. Paths and addresses stay
    whole, and so does a command, or copying it would break it.
    """
    if width is None or "fluxbatch " in line:
        return [line]
    from rich.cells import cell_len, chop_cells  # where somebody looks, and not for a script

    if cell_len(line) <= width:
        return [line]
    start = line[: len(line) - len(line.lstrip())]
    inner, most = start + " " * hang, max(width - len(start) - hang, 8)
    lines, now = [], start
    for word in line.lstrip().split(" "):
        pieces = [word] if "/" in word else chop_cells(word, most) or [word]
        for number, piece in enumerate(pieces):
            glue = " " if now.strip() and number == 0 else ""
            if now.strip() and cell_len(now + glue + piece) > width:
                lines.append(now)
                now, glue = inner, ""
            now += glue + piece
    return [*lines, now]


def stopping_words(reason: str) -> str:
    """That nothing more is bought, and why; what a second Ctrl-C would do."""
    if reason.startswith("SIG"):
        return "finishing what runs; Ctrl-C again leaves at once"
    return f"finishing what runs, buying no more: {reason}"
