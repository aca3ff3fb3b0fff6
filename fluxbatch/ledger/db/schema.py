"""The ledger's tables: one schema for SQLite and PostgreSQL.

Owns names, columns and indexes; no statement runs here. Times are RFC 3339 UTC
texts of fixed width, so that they sort and any tool can read them; what must
survive a clock jump stands beside as (boot id, microseconds since boot). Money is
integer micro-dollars. Column names never change their meaning. Foreign keys are
PostgreSQL's to enforce: on SQLite they would cost an import a tenth of its time, and
the tests run every operation on both. Source: docs/design/protocol.md 7.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 5

metadata = MetaData()

_Int = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's row id must be called INTEGER


def _seq() -> Column[int]:
    return Column("seq", _Int, primary_key=True, autoincrement=True)


def _refers(
    name: str, to: str, *, nullable: bool = False, primary_key: bool = False
) -> Column[int]:
    return Column(name, _Int, ForeignKey(to), nullable=nullable, primary_key=primary_key)


def _moment(name: str) -> tuple[Column[str], Column[int]]:
    """`<name>_at` in UTC and `<name>_boot_us`, microseconds of CLOCK_BOOTTIME under `boot_id`."""
    return Column(f"{name}_at", Text), Column(f"{name}_boot_us", _Int)


ledger_version = Table(
    "ledger_version",
    metadata,
    Column("version", Integer, nullable=False),
    Column("dataset", Text, nullable=False),  # this ledger's own random name, wherever it is moved
    Column("image_store", Text),  # the URL that outputs' paths begin at; null: the dataset's folder
)
"""One row. On SQLite `PRAGMA user_version` says the version as well, and decides."""

runs = Table(
    "runs",
    metadata,
    _seq(),
    Column("id", Text, nullable=False, unique=True),
    _refers("manifest_seq", "manifests.seq"),
    Column("started_at", Text, nullable=False),
    Column("continued_at", Text),  # the latest invocation that went on with it
    Column("invocations", Integer, nullable=False, server_default=text("1")),
    Column("ended_at", Text),  # null: not ended, the next invocation continues it
    Column("exit_code", Integer),  # of the latest invocation
    Column("reason", Text),
    Column("settings_json", Text, nullable=False),
    Column("tool_version", Text, nullable=False),
    Column("host", Text),
    Column("pid", Integer),
)

manifests = Table(
    "manifests",
    metadata,
    _seq(),
    Column("identity", Text, nullable=False, unique=True),  # sha256 of bytes and shaping settings
    Column("path", Text),
    Column("bytes", _Int),
    Column("model", Text, nullable=False),
    Column("settings_json", Text, nullable=False),
    Column("rows", _Int, nullable=False, server_default=text("0")),
    Column("invalid_rows", _Int, nullable=False, server_default=text("0")),
    Column("first_seen_at", Text, nullable=False),
    Column("imported_at", Text),  # null: the import was cut short and starts over
    Column("listed", Integer, nullable=False, server_default=text("0")),  # jobs.listed_in is fresh
    Column("shuffle", _Int),  # the seed of its jobs' positions; null: they are its rows' numbers
)

manifest_files = Table(
    "manifest_files",
    metadata,
    _refers("manifest_seq", "manifests.seq"),
    Column("path", Text, nullable=False),
    UniqueConstraint("manifest_seq", "path"),
)
"""The local control images a manifest named when it was imported."""

files = Table(
    "files",
    metadata,
    Column("path", Text, primary_key=True),
    Column("size", _Int, nullable=False),
    Column("mtime_ns", _Int, nullable=False),
    Column("inode", _Int, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("mime", Text, nullable=False),
)
"""Hashes of local files, good while size, time and inode stay."""

rows = Table(
    "rows",
    metadata,
    Column("manifest_seq", _Int, ForeignKey("manifests.seq"), primary_key=True),
    Column("number", _Int, primary_key=True, autoincrement=False),
    Column("line", _Int, nullable=False),
    Column("user_id", Text),
    _refers("job_seq", "jobs.seq", nullable=True),
    Column("error", Text),  # why the row is invalid; null where it names a job
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("meta_json", Text),
    Column("axes_json", Text),
    sqlite_with_rowid=False,  # one tree instead of two: rows come by the million
)

jobs = Table(
    "jobs",
    metadata,
    _seq(),
    Column("id", LargeBinary(16), nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("input_json", Text, nullable=False),
    Column("repeat", Integer, nullable=False, server_default=text("0")),
    Column("outputs_wanted", Integer, nullable=False, server_default=text("1")),
    Column("control_sha256", Text),  # of a local control image, uploaded when first needed
    Column("control_path", Text),
    Column("state", Text, nullable=False),
    Column("failure", Text),  # the failure class
    Column("reason", Text),
    Column("attempts_json", Text),  # failed attempts by class since the last `retry`
    Column("predictions", Integer, nullable=False, server_default=text("0")),
    Column("reseed", Integer, nullable=False, server_default=text("0")),
    _refers("listed_in", "manifests.seq", nullable=True),  # the last manifest that named it
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("position", _Int, nullable=False, server_default=text("0")),  # in line: its row's place
    Column("not_before", Text),  # no create before this moment (a retry's back-off)
    Column("created_at", Text, nullable=False),
    Column("ended_at", Text),
)

rerolls = Table(
    "rerolls",
    metadata,
    _refers("job_seq", "jobs.seq", primary_key=True),
    _refers("of_job_seq", "jobs.seq"),
    Column("number", Integer, nullable=False),  # of this job's rerolls, from 1
    Column("row_number", _Int, nullable=False),  # the first row that named the other when asked
    UniqueConstraint("of_job_seq", "number"),
)
"""Jobs made of another with another seed, because somebody asked for another image of its rows."""

predictions = Table(
    "predictions",
    metadata,
    _seq(),
    _refers("job_seq", "jobs.seq"),
    _refers("run_seq", "runs.seq"),
    Column("attempt", Integer, nullable=False),  # the job's first prediction is 1
    Column("provider_id", Text, unique=True),
    Column("state", Text, nullable=False),
    Column("at_risk", Integer, nullable=False, server_default=text("0")),
    Column("adopted", Text),  # how a lost create was found again: by input, time, webhook, hand
    Column("account", Text, nullable=False),
    Column("key_fingerprint", Text, nullable=False),
    Column("key_label", Text, nullable=False),
    Column("epoch", _Int, nullable=False, server_default=text("0")),
    Column("price", _Int, nullable=False),
    Column("reserved", _Int, nullable=False),  # what it holds of the caps now
    Column("cost", _Int),
    Column("estimated", Integer, nullable=False, server_default=text("0")),
    Column("budget_day", Text, nullable=False),
    Column("seed", _Int),
    Column("control_url", Text),  # what was sent for a local control image
    Column("boot_id", Text, nullable=False),
    *_moment("intended"),
    *_moment("send_by"),
    *_moment("left"),
    *_moment("answered"),
    *_moment("given_up"),
    Column("cancel_asked_at", Text),
    Column("ended_at", Text),
    Column("read_again_at", Text),  # timed out or lost, and read since: not alive
    Column("run_time_us", _Int),  # the provider's own figure
    Column("polls", Integer, nullable=False, server_default=text("0")),
    Column("failure", Text),
    Column("reason", Text),
    Column("request_id", Text),
    UniqueConstraint("job_seq", "attempt"),
)

outputs = Table(
    "outputs",
    metadata,
    _seq(),
    _refers("job_seq", "jobs.seq"),
    _refers("prediction_seq", "predictions.seq"),
    Column("number", Integer, nullable=False),  # within the prediction, from 0
    Column("state", Text, nullable=False),
    Column("url", Text),  # without its query: that may hold a token
    Column("path", Text, unique=True),  # relative to the dataset, or to `image_store`
    Column("sha256", Text),  # of the bytes as delivered
    Column("file_sha256", Text),  # of the file, where metadata was embedded
    Column("bytes", _Int),
    Column("mime", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("dhash", Text),
    Column("quality_json", Text),
    Column("reason", Text),
    Column("stored_at", Text),
    # 0: like no other, 1: perhaps a near-duplicate or one's original; null: nobody has looked yet
    Column("resembles", Integer),
    UniqueConstraint("prediction_seq", "number"),
)

fingerprint_keys = Table(
    "fingerprint_keys",
    metadata,
    Column("key", _Int, primary_key=True, autoincrement=False),
    _refers("output_seq", "outputs.seq", primary_key=True),
    sqlite_with_rowid=False,
)
"""Where to look for an image that nearly equals another: `domain.fingerprint_keys`."""

uploads = Table(
    "uploads",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("file_id", Text),
    Column("url", Text, nullable=False),
    Column("bytes", _Int, nullable=False),
    Column("mime", Text, nullable=False),
    Column("key_fingerprint", Text, nullable=False),
    Column("uploaded_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("used_at", Text),
)

models = Table(
    "models",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("output_type", Text, nullable=False),
    Column("request_schema_json", Text, nullable=False),
    Column("told_price", _Int),  # the provider's own estimate; no cap rests on it
    Column("fetched_at", Text, nullable=False),
)
"""Models without a typed card, as the provider described them."""

lanes = Table(
    "lanes",
    metadata,
    Column("account", Text, primary_key=True),
    Column("holder", Text),
    Column("epoch", _Int, nullable=False, server_default=text("0")),
    Column("expires_at", Text),
    Column("skew_us", _Int),  # the provider's clock less ours
)

budgets = Table(
    "budgets",
    metadata,
    Column("scope", Text, primary_key=True),  # run, day, dataset
    Column("key", Text, primary_key=True),  # the run's id, the day, or empty
    Column("cap", _Int),
    Column("reserved", _Int, nullable=False),
    Column("settled", _Int, nullable=False),
    Column("estimated", _Int, nullable=False),
)

history = Table(
    "history",
    metadata,
    _seq(),
    Column("at", Text, nullable=False),
    Column("subject", Text, nullable=False),  # run, job, prediction, output
    Column("subject_seq", _Int, nullable=False),
    Column("job_seq", _Int),
    Column("run_seq", _Int),
    Column("was", Text),
    Column("became", Text),
    Column("event", Text, nullable=False),
    Column("reason", Text),
    Column("request_id", Text),
)
"""Append-only: what changed from what to what, and why, in the same transaction."""


def _index_of_some(name: str, where: str, *columns: ColumnElement[Any]) -> None:
    """A partial index. Its condition is given for SQLite and taken over for PostgreSQL where that
    is spoken (`database.schema_statements`): its dialect is a tenth of a command's imports."""
    Index(name, *columns, sqlite_where=text(where))


_jobs, _predictions, _outputs = jobs.c, predictions.c, outputs.c
_index_of_some(
    "jobs_pending", "state = 'pending'", _jobs.listed_in, _jobs.priority.desc(), _jobs.position
)
# What is begun is counted every second; at its import a job is not, and pays nothing for it.
_index_of_some("jobs_begun", "state != 'pending'", _jobs.listed_in, _jobs.state)
# All money is summed at every start and about once a second: from here, not from the wide rows.
Index(
    "predictions_money",
    _predictions.run_seq,
    _predictions.state,
    _predictions.estimated,
    _predictions.budget_day,
    _predictions.reserved,
    _predictions.cost,
)
_LIVE = "state IN ('submitting', 'unknown', 'running')"
_index_of_some("predictions_live", _LIVE, _predictions.state)
_index_of_some("predictions_adopted", "adopted IS NOT NULL", _predictions.adopted)
_index_of_some("outputs_stored", "state = 'stored'", _outputs.prediction_seq, _outputs.bytes)
_index_of_some("outputs_wanted", "state = 'wanted'", _outputs.seq)
# Images are compared with others and looked at in their order, some time after they came.
_index_of_some("outputs_unseen", "state = 'stored' AND resembles IS NULL", _outputs.seq)
_index_of_some("outputs_resembling", "resembles = 1", _outputs.seq)
_index_of_some("outputs_noted", "quality_json != '[]'", _outputs.seq)
Index("outputs_of_job", _outputs.job_seq)
Index("rows_of_job", rows.c.job_seq)
Index("history_of_job", history.c.job_seq)
