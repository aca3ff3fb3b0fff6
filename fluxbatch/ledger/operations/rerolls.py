"""The user's `reroll`: new jobs for rows that have their image, each with another seed.

Owns the `rerolls` table and the manifest that all rerolls of a model are listed in. A run of the
user's own manifest never submits them, and its import neither removes nor repeats them: they
belong to the job they were made of, whatever manifest names that.
Source: docs/design/protocol.md 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Text, bindparam, func, insert, null, select, update

from fluxbatch.domain.job import JobId, JobState, canonical_json, hash_of, reroll_seed
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Statement, constant, insert_all, insert_numbered
from fluxbatch.ledger.db.timestamps import utc_text
from fluxbatch.ledger.queries.rerolled_jobs import reroll_manifest, rerolls_identity

_m, _j, _r, _rr = schema.manifests.c, schema.jobs.c, schema.rows.c, schema.rerolls.c
_ORIGIN = Statement(
    lambda _: (
        select(
            _j.seq, _j.id, _j.model, _j.input_json, _j.repeat, _j.outputs_wanted,
            _j.control_sha256, _j.control_path,
        )
        .where(_j.id == bindparam("job_id"))
        .with_for_update()
    )
)  # fmt: skip
_HIGHEST = Statement(
    lambda _: select(func.coalesce(func.max(_rr.number), constant(0))).where(
        _rr.of_job_seq == bindparam("of_job_seq")
    )
)
_FIND = Statement(lambda _: select(_j.seq).where(_j.id == bindparam("job_id")))
_INSERT_MANIFEST = Statement(
    lambda d: insert_numbered(
        d,
        schema.manifests,
        ("identity", "model", "settings_json", "first_seen_at", "imported_at"),
    )
)
_INSERT_JOB = Statement(
    lambda d: insert_numbered(
        d,
        schema.jobs,
        ("id", "model", "input_json", "repeat", "outputs_wanted", "control_sha256",
         "control_path", "state", "listed_in", "position", "created_at"),
    )
)  # fmt: skip
_INSERT_REROLL = Statement(lambda d: insert_all(d, schema.rerolls))
_LAST_ROW = Statement(
    lambda _: select(func.coalesce(func.max(_r.number), constant(0))).where(
        _r.manifest_seq == bindparam("manifest_seq")
    )
)
_COPY_ROW = Statement(
    lambda _: insert(schema.rows).from_select(
        ["manifest_seq", "number", "line", "user_id", "job_seq", "error", "priority",
         "meta_json", "axes_json"],
        select(
            bindparam("to_manifest", type_=_r.manifest_seq.type),
            bindparam("to_number", type_=_r.number.type),
            _r.line,
            _r.user_id,
            bindparam("new_job_seq", type_=_r.job_seq.type),
            null().cast(Text),
            _r.priority,
            _r.meta_json,
            _r.axes_json,
        ).where(
            _r.manifest_seq == bindparam("from_manifest"), _r.number == bindparam("row_number")
        ),
    )
)  # fmt: skip
_UNLIST_FAILED = Statement(
    lambda _: (
        update(schema.jobs)
        .where(
            _j.state == constant(JobState.FAILED),
            _j.listed_in == bindparam("manifest_seq"),  # not a row's own job that a reroll equals
            _j.seq.in_(select(_rr.job_seq).where(_rr.of_job_seq == bindparam("of_job_seq"))),
        )
        .values(listed_in=null())
    )
)
_WITHDRAW = Statement(
    lambda _: (
        update(schema.jobs)
        .where(
            _j.state == constant(JobState.PENDING),
            _j.listed_in == bindparam("manifest_seq"),
        )
        .values(listed_in=null())
    )
)
_WITHDRAWN = Statement(
    lambda _: (
        select(_j.seq)
        .join_from(schema.rerolls, schema.jobs, _j.seq == _rr.job_seq)
        .where(
            _rr.of_job_seq == bindparam("of_job_seq"),
            _j.state == constant(JobState.PENDING),
            _j.listed_in.is_(None),
        )
        .order_by(_rr.number)
    )
)
_LIST_AGAIN = Statement(
    lambda _: (
        update(schema.jobs)
        .where(_j.seq == bindparam("job_seq"))
        .values(listed_in=bindparam("manifest_seq", type_=_j.listed_in.type))
    )
)
_COUNT_ROWS = Statement(
    lambda _: (
        update(schema.manifests)
        .where(_m.seq == bindparam("manifest_seq"))
        .values(rows=bindparam("row_count"))
    )
)


class RerollPick(NamedTuple):
    """A job to be made once more, by the first row that names it."""

    job_id: JobId
    row_number: int
    after: int
    """How many rerolls it had when it was picked: where it has more by now, nothing is made."""


@dataclass(frozen=True, slots=True)
class AddedRerolls:
    """What `AddRerolls` did."""

    manifest_seq: int
    """Of the manifest that the model's rerolls are listed in."""
    added: int
    known: int
    """Made already: the job is in the ledger, or somebody was quicker."""


@dataclass(slots=True)
class _Picked:
    """What was done for one job."""

    times: int = 0
    made: int = 0
    """Numbers that were given."""


@dataclass(frozen=True, slots=True)
class AddRerolls:
    """A pending job for each pick, listed for `reroll` alone; one job may be picked several
    times. What earlier ones left pending serves first, and is withdrawn where nothing picks it."""

    at: Timestamp
    model: str
    manifest_seq: int
    """Whose rows the picks name."""
    picks: Sequence[RerollPick]

    def apply(self, db: Database) -> AddedRerolls:
        db.take_time()
        manifest_seq = reroll_manifest(db, self.model)
        if manifest_seq is None:
            manifest_seq = db.insert(
                _INSERT_MANIFEST,
                {
                    "identity": rerolls_identity(self.model),
                    "model": self.model,
                    "settings_json": "{}",
                    "first_seen_at": utc_text(self.at),
                    "imported_at": utc_text(self.at),
                },
            )
        ((before,),) = db.run(_LAST_ROW, {"manifest_seq": manifest_seq})
        number = before
        db.run(_WITHDRAW, {"manifest_seq": manifest_seq})
        picked: dict[JobId, _Picked] = {}
        for pick in self.picks:
            so_far = picked.setdefault(pick.job_id, _Picked())
            number += self._add(db, pick, manifest_seq, number + 1, so_far)
            so_far.times += 1
        db.run(_COUNT_ROWS, {"manifest_seq": manifest_seq, "row_count": number})
        added = number - before
        return AddedRerolls(manifest_seq, added, len(self.picks) - added)

    def _add(
        self, db: Database, pick: RerollPick, listed_in: int, position: int, so_far: _Picked
    ) -> bool:
        """Whether its job is a new one."""
        (origin,) = db.run(_ORIGIN, {"job_id": pick.job_id})
        of_job_seq, _, model, given, repeat = origin[:5]
        ((highest,),) = db.run(_HIGHEST, {"of_job_seq": of_job_seq})
        if highest - so_far.made != pick.after - so_far.times:
            return False
        for (seq,) in db.run(_WITHDRAWN, {"of_job_seq": of_job_seq})[:1]:
            db.run(_LIST_AGAIN, {"job_seq": seq, "manifest_seq": listed_in})
            return False
        # One that failed is done with: the next seed stands for it.
        db.run(_UNLIST_FAILED, {"of_job_seq": of_job_seq, "manifest_seq": listed_in})
        number, name, text = _next(pick.job_id, model, json.loads(given), repeat, highest + 1)
        found = db.run(_FIND, {"job_id": name})
        if found:
            seq = int(found[0][0])
        else:
            seq = self._insert(db, origin, name, text, listed_in, position)
            place = {
                "to_manifest": listed_in,
                "to_number": position,
                "new_job_seq": seq,
                "from_manifest": self.manifest_seq,
                "row_number": pick.row_number,
            }
            db.run(_COPY_ROW, place)
        db.run(
            _INSERT_REROLL,
            {
                "job_seq": seq,
                "of_job_seq": of_job_seq,
                "number": number,
                "row_number": pick.row_number,
            },
        )
        so_far.made += number - highest
        return not found

    def _insert(
        self, db: Database, origin: DbRow, name: JobId, text: bytes, listed_in: int, position: int
    ) -> int:
        """Its number: the job that *origin* is, but for its input."""
        _, _, model, _, repeat, wanted, sha256, path = origin
        return db.insert(
            _INSERT_JOB,
            {
                "id": name,
                "model": model,
                "input_json": text.decode(),
                "repeat": repeat,
                "outputs_wanted": wanted,
                "control_sha256": sha256,
                "control_path": path,
                "state": JobState.PENDING,
                "listed_in": listed_in,
                "position": position,
                "created_at": utc_text(self.at),
            },
        )


def _next(
    origin: JobId, model: str, given: dict[str, Any], repeat: int, number: int
) -> tuple[int, JobId, bytes]:
    """The number, id and input of the first reroll from *number* on that is another job."""
    while True:
        text = canonical_json({**given, "seed": reroll_seed(origin, number)})
        name = hash_of(model, text, repeat)
        if name != origin:
            return number, name, text
        number += 1
