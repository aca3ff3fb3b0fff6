"""The command line's verbs that wait for others' locks, many ledgers or the Hub, for programs.

Owns what each takes and answers: the plain values that the command line prints. All are async,
each in a thread; their twins for other code are `SyncDataset`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from fluxbatch.api.call_options import checked_path
from fluxbatch.api.dataset_verbs import DatasetVerbs
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.rating_store import ratings_in
from fluxbatch.dataset.ratings import parse_rating
from fluxbatch.export.export import write_export
from fluxbatch.export.filter import EVERYTHING, parse_filter
from fluxbatch.export.hub import Pushed, dataset_of, hub_token
from fluxbatch.export.push import HUB_FORMAT, hub_request, push_exported
from fluxbatch.export.rated import Rated, rate_images
from fluxbatch.infra.runtime import in_thread
from fluxbatch.report.spending_table import SpendingTable


class ThreadedVerbs(DatasetVerbs):
    """What may wait for others. Every method raises `FluxbatchError`."""

    async def rate(
        self,
        images: str | Path | Iterable[str | Path] = (),
        rating: str | int = "",
        *,
        where: str = "",
        note: str = "",
    ) -> Rated:
        """Say of *images* what is to become of them: *rating* is `"keep"`, `"reject"`, `"none"`, or
        1 to 5 stars; *note* says why.

        *images*: names of images or jobs, as `why` takes them, a job for all that it has; instead,
        *where* chooses by a filter. A run may be at work. Raises `ConfigError` for what is no
        rating, for a name that fits no image, and where no image fits.
        """
        given = [images] if isinstance(images, str | Path) else images
        names, change = [str(name) for name in given], parse_rating(str(rating), note)
        return await in_thread(partial(rate_images, self._folder, names, where, change))

    async def undo_rating(self) -> int:
        """Take the latest rating back, all images of one call together; answers of how many images.

        0: none is left.
        """
        return len(await in_thread(ratings_in(self._folder).undo))

    async def costs(self, by: str = "day", *, others: Iterable[str | Path] = ()) -> SpendingTable:
        """What was spent, is at risk and went to failures, added up by `day`, `run`, `model`, `key`
        or `axis:NAME`.

        *others*: datasets whose figures are added; one that is named twice counts once.
        """
        given = [others] if isinstance(others, str | Path) else others
        more = [dataset_at(checked_path("others", one)) for one in given]
        return await in_thread(partial(SpendingTable.read, [self._folder, *more], by))

    async def push(
        self,
        url: str,
        form: str = HUB_FORMAT,
        *,
        where: str = "",
        splits: Sequence[str] = (),
        shard_size: int | None = None,
        include_failed: bool = False,
        license_id: str | None = None,
        with_costs: bool = False,
        public: bool = False,
        replace_card: bool = False,
        on_text: Callable[[str], None] | None = None,
    ) -> Pushed:
        """Upload an export to `hf://datasets/OWNER/NAME`; called again, it goes on, or sends what
        has changed.

        With the token of `HF_TOKEN`, or of `hf auth login`. A new dataset is private unless
        *public*; *with_costs* tells what it cost, in rows and card. *on_text* is told what is sent,
        in words, in another thread. Raises `ConfigError` without a token and where another's files
        are there, `PushFailed` where the Hub refuses or is not reached.
        """
        dataset_of(url)
        request = hub_request(
            self._folder,
            form,
            where=parse_filter(where) if where else EVERYTHING,
            splits=splits,
            shard_size=shard_size,
            include_failed=include_failed,
            license_id=license_id,
            with_costs=with_costs,
        )

        def pushed() -> Pushed:
            token = hub_token()
            return push_exported(
                write_export(request),
                form,
                url,
                token,
                public=public,
                replace_card=replace_card,
                tell=on_text or _unheard,
            )

        return await in_thread(pushed)


def _unheard(_: str) -> None:
    return None
