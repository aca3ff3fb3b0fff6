"""The logger `fluxbatch` of the standard library: what happens in a run, for whoever embeds us.

Owns levels and words. Until the program configures logging nothing is written. A record's
`fluxbatch` holds the event's values by their names; neither they nor the words hold a key.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.events import (
    EVENT_NAMES,
    WARNINGS,
    Event,
    Listener,
    OutputStored,
    PredictionMoved,
    RowsRead,
    event_fields,
)
from fluxbatch.infra.redaction import sanitize

_logger = logging.getLogger("fluxbatch")
_logger.addHandler(logging.NullHandler())
_DETAILS = (PredictionMoved, OutputStored, RowsRead)


def logging_listener(keys: Sequence[ApiKey]) -> Listener:
    """Hands events to the logger: warnings as such, what there are thousands of as DEBUG."""
    return partial(_log, keys)


def _log(keys: Sequence[ApiKey], event: Event) -> None:
    level = _level(event)
    if not _logger.isEnabledFor(level):
        return
    values = {
        name: _redacted(value, keys) if isinstance(value, str) else value
        for name, value in event_fields(event).items()
    }
    words = " ".join(f"{name}={value}" for name, value in values.items())
    _logger.log(level, "%s %s", EVENT_NAMES[type(event)], words, extra={"fluxbatch": values})


def _level(event: Event) -> int:
    if isinstance(event, WARNINGS):
        return logging.WARNING
    return logging.DEBUG if isinstance(event, _DETAILS) else logging.INFO


def _redacted(text: str, keys: Sequence[ApiKey]) -> str:
    for key in keys:
        text = key.redacted(text)
    return sanitize(text)
