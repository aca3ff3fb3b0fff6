"""The failures of a run that several processes share, counted in the ledger.

Owns the counts in `run_gates` and that they stop the run: in the same transaction as the failure
that is one too many, so that no process buys after it. Where no run is shared there is no gate, and
nothing is counted. Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

from fluxbatch.domain.failure_cap import LEAST_ENDED, failures_alike
from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import clean, postgres_statement

_AT_WORK = "run_seq = (SELECT max(run_seq) FROM run_gates)"
"""Runs of a dataset follow one another: the newest gate is of the one at work."""
_IS_PASSED = f"""
    stop_code IS NULL AND CAST(:failed AS integer) = 1 AND (
        failures + 1 > most_failures
        OR (ends + 1 >= {LEAST_ENDED} AND failures + 1 > failed_share * (ends + 1))
    )
"""
_COUNT_END = postgres_statement(
    f"""
    UPDATE run_gates
    SET ends = ends + CAST(:ended AS integer), failures = failures + CAST(:failed AS integer),
        stop_code = CASE WHEN {_IS_PASSED} THEN {int(ExitCode.STOPPED)} ELSE stop_code END,
        stop_reason = CASE WHEN {_IS_PASSED} THEN
            (failures + 1) || ' of ' || (ends + 1) || ' jobs failed, more than --max-failures '
            || failure_cap
        ELSE stop_reason END
    WHERE {_AT_WORK} AND failure_cap IS NOT NULL
    """
)
_IN_A_ROW = """
    CASE WHEN CAST(:kind AS text) IS NULL THEN 0
    WHEN latest_failure = CAST(:kind AS text) THEN alike + 1 ELSE 1 END
"""
_COUNT_PREDICTION = postgres_statement(
    f"""
    UPDATE run_gates
    SET latest_failure = CAST(:kind AS text), alike = {_IN_A_ROW},
        stop_code = CASE WHEN stop_code IS NULL AND {_IN_A_ROW} = most_alike
            THEN {int(ExitCode.STOPPED)} ELSE stop_code END,
        stop_reason = CASE WHEN stop_code IS NULL AND {_IN_A_ROW} = most_alike
            THEN most_alike || ' predictions in a row failed alike (' || CAST(:told AS text) || ')'
            ELSE stop_reason END
    WHERE {_AT_WORK} AND (alike > 0 OR CAST(:kind AS text) IS NOT NULL)
    """
)


def count_job_end(db: Database, *, failed: bool) -> None:
    """A job has reached an end, within the transaction that writes it."""
    if db.name != "postgresql":
        return
    before = db.rows.latest(_COUNT_END)
    if before is not None and not failed and not before["failed"]:
        before["ended"] += 1  # results one after the other can stop nothing: they are one count
    else:
        db.rows.write_last(_COUNT_END, {"ended": 1, "failed": int(failed)})


def count_prediction_end(db: Database, failure: FailureClass | None, reason: str | None) -> None:
    """A prediction has ended, within the transaction that writes it: *failure* None, with a result.

    The order in which they ended is the order in which they are counted.
    """
    if db.name != "postgresql":
        return
    kind, told = None, ""
    if failure is not None:
        kind = clean(failures_alike(failure, reason or failure.value))
        told = f"{failure}: {clean(reason) or failure}"
    before = db.rows.latest(_COUNT_PREDICTION)
    if before is None or kind is not None or before["kind"] is not None:
        db.rows.write_last(_COUNT_PREDICTION, {"kind": kind, "told": told})
