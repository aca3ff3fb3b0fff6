"""Telemetry of a run, for OpenTelemetry; nothing of it is imported where no variable asks."""
