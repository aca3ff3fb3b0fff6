"""The ways in which a prediction was found to be ours, as `predictions.adopted` has them."""

from __future__ import annotations

BY_INPUT = "by input"
"""`predictions.adopted` of what was found by its input alone."""


BY_TIME = "by time"
"""Of what was found by the time of its create alone."""


BY_IMAGE = "by its image"
"""Of what an image, its sidecar or its name told after the ledger was lost."""


PRESUMED = frozenset({BY_INPUT, BY_TIME, BY_IMAGE})
"""Not proved ours: never cancelled, for it may be a colleague's."""


BY_HAND = "by hand"
"""The user said so."""
