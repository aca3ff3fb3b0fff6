"""The console of one invocation: data to stdout, messages to stderr, keys to neither.

Owns both streams and the one redaction: whatever is written passes `redact`, which takes out
every known key, what a URL or a header has of credentials, and every control character, and makes
visible what hides. A reader
that went away (`| head`) ends its stream and nothing else: a run must not die of a closed pipe.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from fluxbatch.config.api_keys import ApiKey

_KEY_VARIABLES = ("EACHLABS_API_KEY", "EACHLABS_API_KEYS", "EACH_API_KEY")
_SHORTEST_KEY = 6
"""A shorter text is no secret, and taking it out would garble every word."""
_SHORTEST_WITHIN = 8
"""A shorter one is taken out as a word of its own alone: `second` may be a part of `seconds`."""
_CREDENTIALS = re.compile(
    r"""(?P<user>https?://)[^\s/?#"'<>@]+@
    | (?P<query>[?&;](?!sslkey=)[^=&?\s"'<>]*
      (?:sig|credential|token|secret|password|passwd|key)[^=&\s"'<>]*=)[^&\s"'<>\\)]+
    | (?P<header>\b(?:webhook_secret|x-webhook-secret|x-api-key|authorization)
      \\?["']?\s*[:=]\s*\\?["']?(?:bearer\s+)?)[^\s"',}\\]+
    | (?P<hook>/\d+-\d+/)[0-9a-f]{40}\b""",
    re.I | re.X,
)
"""What other programs' words may hold: passwords in URLs, presigned requests, the headers that
carry a key, and a webhook's address, which ends in a secret of its own. PostgreSQL's `sslkey` is
the path of a file."""
_INVISIBLE = (
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    r"\ud800-\uf8ff\U000f0000-\U0010ffff"
)
"""Unicode's formats (Cf, the tags among them), line and paragraph ends, halves of pairs (Cs) and
private signs (Co): what hides, reorders or imitates what stands beside it."""
_CONTROL = re.compile(rf"(?P<control>[\x00-\x08\x0b-\x1f\x7f-\x9f])|(?P<invisible>[{_INVISIBLE}])")


class Console:
    """One invocation's voice. Verbs set `json`, `quiet` and `verbose` from their own flags."""

    def __init__(self, argv: Sequence[str] = ()) -> None:
        self.argv = tuple(argv)
        given = argv[: argv.index("--")] if "--" in argv else argv
        self.json = "--json" in given  # before parsing: a usage error wants its object too
        self.quiet = False
        self.verbose = bool({"-v", "--verbose"} & set(given) or os.environ.get("FLUXBATCH_DEBUG"))
        self.is_cut = False
        """Whether stdout could not be written, and not because its reader left."""
        self._keys: list[Sequence[ApiKey]] = []
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without UTF-8 loses a sign only

    def redact_key(self, keys: Sequence[ApiKey]) -> None:
        """From here on these keys never appear, nor those that come to them later."""
        self._keys.append(keys)

    def redact(self, text: str) -> str:
        """*text* as it may be shown: no key, no control characters but line ends and tabs, and
        what cannot be seen as JSON escapes it."""
        return _CONTROL.sub(_visible, self._redacted(text))

    def print(self, text: str) -> None:
        """A line of what was asked for."""
        self._print(self.redact(text) + "\n")

    def object(self, value: Mapping[str, Any]) -> None:
        """The JSON object that ends stdout under `--json`."""
        self.print(json.dumps(value, ensure_ascii=False))

    def answer(self, made: Callable[[], Mapping[str, Any]], lines: Iterable[str]) -> None:
        """What was asked for: an object under `--json`, else *lines*; the other is not made."""
        if self.json:
            self.object(made())
            return
        for line in lines:
            self.print(line)

    def info(self, text: str) -> None:
        """A line for whoever watches, unless they asked for quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line that quiet does not silence."""
        _write(sys.stderr, self.redact(text) + "\n")

    def failed(self, message: str, code: int, more: Mapping[str, Any] | None = None) -> int:
        """Say why the command ends here; answers *code*."""
        self.warn(f"error: {message}")
        if self.json:
            self.object({"exit": int(code), "error": message, **(more or {})})
        return int(code)

    def width(self, *, stderr: bool = False) -> int | None:
        """The columns of the terminal that a stream leads to; None where it leads to none."""
        stream = sys.stderr if stderr else sys.stdout
        return shutil.get_terminal_size().columns if stream.isatty() else None

    @cached_property
    def console(self) -> RichConsole:
        """stderr for the live screen. It writes what it is given: `clean` it first."""
        return _console()

    def close(self) -> None:
        """Everything is written, or nobody reads it."""
        self._print("")
        _write(sys.stderr, "")

    def _print(self, text: str) -> None:
        """A run is not ended by a full disk behind its stdout; it is said once."""
        if why := _write(sys.stdout, text):
            self.is_cut = True
            self.warn(f"cannot write to stdout: {why}")

    def _redacted(self, text: str) -> str:
        for key in chain.from_iterable(self._keys):
            text = key.redacted(text)
        for name in _KEY_VARIABLES:  # before the keys are read, an error may already quote them
            for part in os.environ.get(name, "").split(","):
                secret = part.rpartition("=")[2].strip()
                if len(secret) >= _SHORTEST_WITHIN:
                    text = text.replace(secret, "<key>")
                elif len(secret) >= _SHORTEST_KEY:
                    text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "<key>", text)
        return _CREDENTIALS.sub(_without_secret, text)


def _visible(found: re.Match[str]) -> str:
    """A blank for a control character; an escape that is as good within JSON as without."""
    sign = found["invisible"]
    return " " if sign is None else json.dumps(sign)[1:-1]


def _without_secret(found: re.Match[str]) -> str:
    """Its name, and that there was something."""
    if found["user"]:
        return found["user"]
    return (found["query"] or found["header"] or found["hook"]) + "<secret>"


def _console() -> RichConsole:
    from rich.console import Console as RichConsole

    class PatientConsole(RichConsole):
        def on_broken_pipe(self) -> None:
            self.quiet = True  # rich would end the process

    return PatientConsole(stderr=True, highlight=False, markup=False, emoji=False)


def open_streams() -> None:
    """Lead every closed standard stream to nowhere.

    Else the next file that is opened gets its number, and what is said would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _write(stream: TextIO, text: str) -> str:
    """Answers why it could not be written, and from then on leads *stream* to nowhere."""
    try:
        stream.write(text)
        stream.flush()
    except OSError as exc:
        # What is still in the buffer must go somewhere, or the interpreter complains at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        # EIO: the terminal is gone
        return "" if exc.errno in (errno.EPIPE, errno.EIO) else exc.strerror or str(exc)
    return ""
