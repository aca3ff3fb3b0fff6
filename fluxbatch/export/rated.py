"""The images that a rating is given to, by a filter or by name, and what that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxbatch.dataset.find_job import find_job
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.rating_store import ratings_in
from fluxbatch.dataset.ratings import ImageRating, RatingChange, with_rating
from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import results_with_samples
from fluxbatch.export.filter import Filter, parse_filter
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import images_of_job
from fluxbatch.ledger.queries.runs_and_failures import latest_manifest


@dataclass(frozen=True, slots=True)
class Rated:
    """What a rating was given to."""

    images: int
    changed: int
    """How many of them were not rated like that before."""


def rate_images(folder: Folder, names: Sequence[str], where: str, change: RatingChange) -> Rated:
    """Make *change* to the images of these *names*, or to those that fit the filter *where*.

    A job's name stands for all its images. Raises `ConfigError` where both are given or neither,
    and where no image fits; `SinkError` where the ratings cannot be written.
    """
    if bool(names) == bool(where):
        raise ConfigError("name images or jobs, or give a filter (where): one of them")
    ratings = ratings_in(folder)
    with folder.reader() as db:
        if where:
            images = filtered_images(db, parse_filter(where), ratings.read())
        else:
            images = named_images(db, folder, names)
    if not images:
        raise ConfigError("no image fits, so nothing was rated")
    return Rated(len(images), ratings.rate(images, change))


def filtered_images(db: Database, chosen: Filter, ratings: Mapping[str, ImageRating]) -> list[str]:
    """The sha256 of the latest manifest's images that fit."""
    manifest = latest_manifest(db)
    found: dict[str, None] = {}
    for _, samples in results_with_samples(db, manifest.seq) if manifest is not None else ():
        for sample in samples:
            sha256 = sample.record["sha256"]
            if sha256 is not None and chosen.matches(with_rating(sample.record, ratings)):
                found[sha256] = None
    return list(found)


def named_images(db: Database, folder: Folder, names: Sequence[str]) -> list[str]:
    """The sha256 of these images; of a job, of all that it has. Raises `ConfigError` for a name
    that fits nothing, or has no image."""
    found: dict[str, None] = {}
    for name in names:
        ref = find_job(db, folder, name)
        images = images_of_job(db, ref.job_seq) if ref.job_seq is not None else []
        mine = [sha256 for seq, sha256 in images if ref.output_seq in (None, seq)]
        if not mine:
            raise ConfigError(f"{name!r} has no image yet")
        found.update(dict.fromkeys(mine))
    return list(found)
