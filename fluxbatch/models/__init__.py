"""Model cards: the inputs of a model and its price."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fluxbatch.domain.money import Micros
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

_CARDS: Mapping[str, Callable[[Micros | None], ModelCard]] = {
    FluxDepthDevCard.slug: FluxDepthDevCard,
}


def find_card(slug: str, price: Micros | None = None) -> ModelCard:
    """The typed card of the model *slug*, at *price* where one is given.

    Raises `ConfigError` naming the models there are.
    """
    if slug not in _CARDS:
        raise ConfigError(f"no model {slug!r}; there is {', '.join(_CARDS)}")
    return _CARDS[slug](price)


def known_models() -> tuple[str, ...]:
    """Every slug with a typed card."""
    return tuple(_CARDS)
