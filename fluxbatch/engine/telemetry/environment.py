"""The `OTEL_*` variables that ask for telemetry: which signals, and what is asked in vain.

Owns when telemetry is on: where an exporter is named, or an address to send to. The rest of the
variables (headers, sampling, intervals) is the SDK's own affair. Source:
docs/design/decisions.md "OpenTelemetry".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SIGNALS = ("traces", "metrics")
_PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class TelemetryWanted:
    """What the environment asks for."""

    signals: tuple[str, ...]
    """Of `SIGNALS`."""
    problems: tuple[str, ...]
    """What is asked for and not done, in words."""


def telemetry_wanted(environ: Mapping[str, str]) -> TelemetryWanted | None:
    """None where nothing asks for it, or `OTEL_SDK_DISABLED` is true."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    signals, problems = [], []
    for signal in SIGNALS:
        if not _is_asked_for(environ, signal):
            continue
        if problem := _problem(environ, signal):
            problems.append(problem)
        else:
            signals.append(signal)
    return TelemetryWanted(tuple(signals), tuple(problems)) if signals or problems else None


def _exporters(environ: Mapping[str, str], signal: str) -> set[str]:
    given = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    return {name.strip().lower() for name in given.split(",")} - {""}


def _is_asked_for(environ: Mapping[str, str], signal: str) -> bool:
    if exporters := _exporters(environ, signal):
        return exporters != {"none"}
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    return any(environ.get(name, "").strip() for name in endpoint)


def _problem(environ: Mapping[str, str], signal: str) -> str:
    exporters = _exporters(environ, signal)
    if exporters and "otlp" not in exporters:
        name = f"OTEL_{signal.upper()}_EXPORTER"
        return f"{name}: no {signal} are sent by {', '.join(sorted(exporters))!r}; there is otlp"
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := environ.get(name, "").strip().lower():
            if protocol == _PROTOCOL:
                return ""
            return f"{name}: no {signal} are sent by {protocol!r}; there is {_PROTOCOL}"
    return ""
