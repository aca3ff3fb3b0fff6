"""Model cards: what a model takes and what it costs."""

from __future__ import annotations

from collections.abc import Mapping

from fluxbatch.errors import ConfigError
from fluxbatch.models.card import (
    BadInput,
    InputField,
    ModelCard,
    Problem,
    quoted,
    unknown_input,
)
from fluxbatch.models.flux_depth_dev import FluxDepthDevCard, FluxDepthDevInput

__all__ = [
    "BadInput",
    "FluxDepthDevCard",
    "FluxDepthDevInput",
    "InputField",
    "ModelCard",
    "Problem",
    "find_card",
    "known_models",
    "quoted",
    "unknown_input",
]

_CARDS: Mapping[str, ModelCard] = {card.slug: card for card in (FluxDepthDevCard(),)}


def find_card(slug: str) -> ModelCard:
    """The card of the model *slug*; raise `ConfigError` naming the models there are."""
    try:
        return _CARDS[slug]
    except KeyError:
        raise ConfigError(f"no model {slug!r}; there is {', '.join(_CARDS)}") from None


def known_models() -> tuple[str, ...]:
    """Every slug with a card."""
    return tuple(_CARDS)
