"""The data of the gallery: a line of JSON for each image, or for a job that has none.

Owns the short names the page's script reads, and what is left out: queries of URLs may be tokens.
Texts are the ledger's own; nothing here is HTML, and nothing in a line can end the element it
stands in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from fluxbatch.dataset.control_files import ControlFiles
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.job import UPLOAD_PREFIX, Quality
from fluxbatch.infra.redaction import strip_query
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.quality_notes import noted_outputs
from fluxbatch.ledger.queries.report_gallery import ShownJob, ShownOutput, shown_jobs
from fluxbatch.report.output_dir import ReportDir
from fluxbatch.report.thumbnails import ThumbnailRequest, Thumbnails

_CHARS = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def script_json(value: object) -> str:
    """*value* as JSON that may stand in a `<script>`: no `<`, so no `</script>` and no `<!--`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.translate(_CHARS).encode("utf-8", "replace").decode()


class Gallery:
    """Everything the gallery shows; read once, page by page."""

    def __init__(
        self, db: Database, place: ReportDir, thumbs: Thumbnails, runs: Mapping[int, int]
    ) -> None:
        self._db = db
        self._place = place
        self._stored = open_images(place.dataset, db)
        self._controls_at = ControlFiles(self._stored, place.dataset.is_shared)
        self._thumbs = thumbs
        self._runs = runs
        self._twins = {one.output_seq: one.twin for one in noted_outputs(db) if one.twin}
        self._names = dict.fromkeys(self._twins.values(), "")
        self._controls: dict[str, int] = {}
        self._control_list: list[dict[str, Any]] = []
        self.images = 0
        self.undrawn = 0
        """Images without a thumbnail: their file is gone, or no image any more."""

    def lines(self, most: int) -> Iterator[str]:
        """At most *most* items, each a JSON object."""
        left = most
        with closing(self._thumbs.made_along(shown_jobs(self._db), self._wanted)) as pages:
            for job, outputs in chain.from_iterable(pages):
                for item in self._items(job, outputs):
                    if left == 0:
                        return
                    left -= 1
                    yield script_json(item)

    def controls(self) -> str:
        """The control images that the lines name by number; after the last line only."""
        return script_json(self._control_list)

    def _wanted(self, page: list[tuple[ShownJob, list[ShownOutput]]]) -> Iterator[ThumbnailRequest]:
        for job, outputs in page:
            if job.control_path is not None and job.control_sha256 is not None:
                opened = partial(self._controls_at.open, job.control_path, job.control_sha256)
                yield ThumbnailRequest(opened, job.control_sha256, must_match=True)
            for output in outputs:
                if output.path is not None and output.sha256 is not None:
                    yield ThumbnailRequest(partial(self._stored.open, output.path), output.sha256)

    def _items(self, job: ShownJob, outputs: list[ShownOutput]) -> Iterator[dict[str, Any]]:
        given = json.loads(job.input_json)
        control = self._control(job, given.pop("control_image", None))
        axes = json.loads(job.axes_json or "{}")
        common = {
            "id": job.user_id or (f"line {job.line}" if job.line else bytes(job.id).hex()[:8]),
            "job": bytes(job.id).hex(),
            "prompt": str(given.pop("prompt", "")),
            "state": job.state,
            "given": given or None,
            "axes": axes or None,
            "control": control,
            "why": job.reason,
            "failure": job.failure,
        }
        latest = max((output.prediction_seq for output in outputs), default=0)
        shown = [output for output in outputs if output.state == "stored"]
        if not any(output.prediction_seq == latest for output in shown) or job.state != "done":
            yield _without_nothing(common)
        for output in shown:
            is_earlier = output.prediction_seq < latest or job.state == "pending"
            yield _without_nothing({**common, **self._image(job, output, is_earlier=is_earlier)})

    def _image(self, job: ShownJob, output: ShownOutput, *, is_earlier: bool) -> dict[str, Any]:
        self.images += 1
        assert output.path is not None
        name = f"{bytes(job.id).hex()[:8]} image {output.number + 1}"
        if output.seq in self._names:
            self._names[output.seq] = name
        notes = json.loads(output.quality_json or "[]")
        thumb = self._thumbs.url(output.sha256)
        self.undrawn += thumb is None
        twin = self._twins.get(output.seq)
        if twin is not None:
            notes.append(Quality.DUPLICATE.value)
        return {
            "state": "earlier" if is_earlier else "done",
            "why": None,
            "failure": None,
            "number": output.number + 1,
            "thumb": thumb,
            "file": self._original(output.path),
            "path": output.path,
            "size": [output.width, output.height],
            "bytes": output.bytes,
            "notes": notes or None,
            "twin": self._names.get(twin) if twin is not None else None,
            "seed": output.seed,
            "prediction": output.provider_id,
            "run": self._runs.get(output.run_seq),
            "seconds": None if output.run_time_us is None else output.run_time_us / 1_000_000,
            "cost": output.cost,
            "estimated": bool(output.estimated) or None,
        }

    def _original(self, path: str) -> str | None:
        is_here = self._stored.file(path) is not None
        return self._place.original(path) if is_here else None

    def _control(self, job: ShownJob, given: object) -> int | None:
        if given is None:
            return None
        name = str(given)
        if not name.startswith(UPLOAD_PREFIX):
            name = strip_query(name)
        number = self._controls.get(name)
        if number is None:
            number = self._controls[name] = len(self._control_list)
            label = Path(job.control_path).name if job.control_path else name
            thumb = self._thumbs.url(job.control_sha256)
            self._control_list.append(_without_nothing({"label": label, "thumb": thumb}))
        return number


def _without_nothing(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
