"""The model card of a dataset: a typed one, or one made from the provider's schema.

Owns when the provider is asked what a model takes: never for a typed card, once a day for any
other, and what it said is kept in the ledger and good enough where it cannot be asked again.
The price is the config's, else the card's, else the most one execution has cost in this
dataset; what the provider's page says is shown to people, and no cap rests on it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.settings import Settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.money import Micros, as_usd
from fluxbatch.errors import ApiError, ConfigError, KeyRefused, NotFound, TransientApiError
from fluxbatch.infra.runtime import Runtime, real_runtime
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.model_descriptions import (
    KeepModel,
    KeptModel,
    find_model,
    models_named,
    observed_price,
)
from fluxbatch.ledger.writer import commit
from fluxbatch.models import ModelCard, find_card, known_models

if TYPE_CHECKING:
    from fluxbatch.models.schema_card import SchemaCard
    from fluxbatch.provider import ModelInfo, Transport

FRESH = timedelta(days=1)
"""How long a model's description is used without asking again."""

_TRIES = 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model as far as it is known: its card, and what else its provider says of it."""

    card: ModelCard
    title: str = ""
    told_price: Micros | None = None
    fetched: datetime | None = None
    """When the provider described it; None for a typed card."""


async def resolve_for_run(
    settings: Settings,
    keys: Iterable[ApiKey],
    db: Database,
    transport: Transport,
    runtime: Runtime,
    say: Say,
) -> ModelCard:
    """The card of a run, what the provider said of it made durable in *db* first.

    Raises `ConfigError` for a model that cannot be run, `ApiError` where nothing is known of it
    and the provider does not answer.
    """
    slug = settings.model
    if slug in known_models():
        return find_card(slug, settings.price)
    kept = await runtime.to_thread(partial(find_model, db, slug))
    now = runtime.clock.now()
    if kept is None or not _is_fresh(kept, now.utc):
        try:
            info = await _asked(settings, next(iter(keys), None), transport, runtime)
        except ApiError as exc:
            if kept is None:
                raise
            say(f"{exc}; going by its description of {kept.fetched:%Y-%m-%d %H:%M} UTC")
        else:
            kept = _kept(slug, info, now.utc)
            _card(kept, None)  # what cannot be used is not kept
            await runtime.to_thread(partial(commit, db, KeepModel(kept)))
    price = settings.price or await runtime.to_thread(partial(observed_price, db, slug))
    card = _card(kept, price)
    if card.makes is not None:
        raise ConfigError(
            f"model {slug!r} makes {card.makes} (output_type {card.output_type!r}), and fluxbatch"
            " stores images only; nothing was spent"
        )
    _refuse_cap_without_price(settings, card, kept.told_price)
    return card


def describe(
    settings: Settings, folder: Folder | None, key: ApiKey | None = None
) -> ModelDescription:
    """What is known of the settings' model, for a plan: nothing is kept.

    A fresh description of the dataset's contacts nobody. Raises like `resolve_for_run`. Blocks.
    """
    slug = settings.model
    if slug in known_models():
        return ModelDescription(find_card(slug, settings.price))
    kept, observed = None, None
    with ExitStack() as stack:
        if folder is not None and folder.has_ledger():
            db = stack.enter_context(folder.reader())
            kept, observed = find_model(db, slug), observed_price(db, slug)
    if kept is None or not _is_fresh(kept, datetime.now(UTC)):
        try:
            info = _asked_in_a_thread(settings, key)
        except ApiError:
            if kept is None:
                raise
        else:
            kept = _kept(slug, info, datetime.now(UTC))
    card = _card(kept, settings.price or observed)
    return ModelDescription(card, kept.title, kept.told_price, kept.fetched)


def kept_card(db: Database, slug: str, price: Micros | None = None) -> ModelCard:
    """The card of a model this dataset has used; contacts nobody."""
    if slug in known_models():
        return find_card(slug, price)
    kept = find_model(db, slug)
    if kept is None:
        raise ConfigError(f"the ledger does not say what model {slug!r} takes; run it once")
    return _card(kept, price or observed_price(db, slug))


def kept_cards(db: Database) -> dict[str, ModelCard]:
    """Every model this dataset may have used, by slug."""
    return {slug: kept_card(db, slug) for slug in models_named(db)}


def _card(kept: KeptModel, price: Micros | None) -> SchemaCard:
    from fluxbatch.models.schema_card import SchemaCard  # a typed card needs none of its libraries

    return SchemaCard(kept.slug, kept.request_schema, price=price, output_type=kept.output_type)


def _kept(slug: str, info: ModelInfo, at: datetime) -> KeptModel:
    return KeptModel(slug, info.title, info.output_type, info.request_schema, info.told_price, at)


def _is_fresh(kept: KeptModel, now: datetime) -> bool:
    return kept.fetched <= now < kept.fetched + FRESH


async def _asked(
    settings: Settings, key: ApiKey | None, transport: Transport, runtime: Runtime
) -> ModelInfo:
    """The provider's description; it is public, so the key is sent only where that is refused."""
    from fluxbatch.provider import ProviderClient, RetryPolicy

    slug = settings.model
    unknown = f"what model {slug!r} takes is not known here yet, and the provider"
    for asking in dict.fromkeys((None, key)):
        client = ProviderClient(
            transport, settings.provider, asking, runtime, RetryPolicy(tries=_TRIES)
        )
        try:
            return await client.model(slug)
        except KeyRefused:
            continue
        except NotFound:
            near = difflib.get_close_matches(slug, known_models(), n=3)
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else f"with a typed card there is {', '.join(known_models())}"
            )
            raise ConfigError(f"the provider knows no model {slug!r}; {hint}") from None
        except ApiError as exc:
            raise TransientApiError(
                f"{unknown} cannot be asked: {exc}", request_id=exc.request_id
            ) from exc
    hint = "the key may not ask" if key is not None else "set EACHLABS_API_KEY"
    raise TransientApiError(f"{unknown} tells it to keys alone; {hint}")


def _asked_in_a_thread(settings: Settings, key: ApiKey | None) -> ModelInfo:
    """For callers without a loop, or inside of one that may not wait."""

    async def ask() -> ModelInfo:
        from fluxbatch.provider import open_transport

        async with open_transport(settings.provider) as transport:
            return await _asked(settings, key, transport, real_runtime())

    with start_blocking_portal("asyncio", name="fluxbatch-model") as portal:
        return portal.call(ask)


def _refuse_cap_without_price(
    settings: Settings, card: ModelCard, told_price: Micros | None
) -> None:
    caps = settings.budget
    named = {"budget.per_run": caps.per_run, "budget.per_day": caps.per_day,
             "budget.per_dataset": caps.per_dataset}  # fmt: skip
    name = next((name for name, cap in named.items() if cap is not None), None)
    if name is None or card.price is not None:
        return
    hint = f" (the provider's page says ${as_usd(told_price)})" if told_price is not None else ""
    raise ConfigError(
        f"{name} needs a price, and nobody knows that of {card.slug!r}: write `price:` in the"
        f" config, US dollars of one execution{hint}"
    )
