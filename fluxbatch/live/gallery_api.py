"""The images of the live page as JSON: which fit, what each is, and what is said of it.

Owns the short names that the page's script reads. Texts are the ledger's own; the page shows them
as text. Ratings are held in memory and read anew when they have changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fluxbatch.dataset.rating_store import Ratings
from fluxbatch.dataset.ratings import ImageRating, RatingChange, Verdict
from fluxbatch.domain.job import UPLOAD_PREFIX
from fluxbatch.errors import ConfigError
from fluxbatch.infra.redaction import strip_query
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.queries.live_images import (
    LiveImage,
    image_hashes,
    live_image,
    newest_images,
)
from fluxbatch.ledger.reader import LedgerReader

MOST_ITEMS = 300
"""Details given at once."""
_MOST_RATED = 100_000
CHOICES = ("", "keep", "reject", "unrated")


class LiveGallery:
    """What the page asks of images and ratings."""

    def __init__(self, read: LedgerReader, ratings: Ratings) -> None:
        self._read = read
        self._ratings = ratings
        self._known: Mapping[str, ImageRating] = {}
        self._revision = -1

    async def known(self) -> Mapping[str, ImageRating]:
        """Ratings by an image's sha256."""
        revision = await self._read(self._ratings.revision)
        if revision != self._revision:
            self._known = await in_thread(self._ratings.read)
            self._revision = revision
        return self._known

    async def newest(self, after: int, text: str, choice: str) -> dict[str, Any]:
        """Numbers of the images that fit, newest first."""
        found = await self._read(partial(newest_images, after=after, text=text))
        known = await self.known()
        if choice:
            found = [one for one in found if _verdict(known.get(one[1])) == choice]
        return {"seqs": [seq for seq, _ in found]}

    async def judged(self) -> dict[str, int]:
        """How many images are kept, rejected and not judged."""
        known = await self.known()
        everything = await self._read(newest_images)
        counts = Counter(_verdict(known.get(sha256)) for _, sha256 in everything)
        return {"all": len(everything), **{name: counts[name] for name in CHOICES[1:]}}

    async def items(self, seqs: Sequence[int]) -> list[dict[str, Any]]:
        """Details of the images of these numbers, as many as are there."""
        known = await self.known()
        found = [await self._read(partial(live_image, seq=seq)) for seq in seqs[:MOST_ITEMS]]
        return [_item(one, known.get(one.sha256)) for one in found if one is not None]

    async def rate(self, asked: Any) -> int:
        """Apply what the page has sent; raise `ConfigError` for what is no rating."""
        if not isinstance(asked, dict):
            raise ConfigError("a rating is an object of seqs and what is said of them")
        seqs = asked.get("seqs")
        if not isinstance(seqs, list) or len(seqs) > _MOST_RATED or not all(map(_is_int, seqs)):
            raise ConfigError(f"seqs: at most {_MOST_RATED:,} numbers of images")
        change = _change(asked)
        images = await self._read(partial(image_hashes, seqs=seqs))
        if seqs and not images:
            raise ConfigError("there is no such image any more; load the page again")
        return await in_thread(partial(self._ratings.rate, images, change))

    async def undo(self) -> int:
        """Take the latest change back; answers of how many images."""
        return len(await in_thread(self._ratings.undo))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _change(asked: Mapping[str, Any]) -> RatingChange:
    verdict, stars, note = asked.get("rating"), asked.get("stars"), asked.get("note")
    if verdict not in (None, "keep", "reject", "none"):
        raise ConfigError("rating: keep, reject or none")
    if not (stars is None or _is_int(stars)) or not (note is None or isinstance(note, str)):
        raise ConfigError("stars is a number and note a text")
    clears = verdict == "none"
    return RatingChange(
        None if clears or verdict is None else Verdict(verdict), stars, note, clears
    )


def _verdict(rated: ImageRating | None) -> str:
    return rated.verdict.value if rated is not None and rated.verdict is not None else "unrated"


def _item(image: LiveImage, rated: ImageRating | None) -> dict[str, Any]:
    given = json.loads(image.input_json)
    control = given.pop("control_image", None)
    if control is not None and not str(control).startswith(UPLOAD_PREFIX):
        control = strip_query(str(control))
    job = bytes(image.job_id).hex()
    name = image.user_id or (f"#{image.number}" if image.number else job[:8])
    return {
        "seq": image.seq,
        "job": job,
        "id": f"{name} reroll {image.reroll}" if image.reroll else name,
        "prompt": str(given.pop("prompt", "")),
        "given": given,
        "axes": json.loads(image.axes_json or "{}"),
        "control": control,
        "has_control": image.control_path is not None,
        "path": image.path,
        "size": [image.width, image.height],
        "bytes": image.bytes,
        "seed": image.seed,
        "cost": image.cost,
        "attempt": image.attempt,
        "at": image.stored_at,
        "notes": json.loads(image.quality_json or "[]"),
        **(rated or ImageRating()).as_fields(),
        "who": rated.who if rated is not None else None,
    }
