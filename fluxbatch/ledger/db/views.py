"""Views with plain names, for people with a SQL tool of their own.

Owns `results` (a line per row and output), `costs` (a line per run) and `failures`
(a line per row without its result). Money is in dollars here and nowhere else;
the engine never reads a view.
"""

from __future__ import annotations

from fluxbatch.ledger.db.sql import SqlDialect

_RESULTS = """
CREATE VIEW results AS
SELECT r.manifest_seq AS manifest,
       r.number AS row_number,
       r.line AS line,
       r.user_id AS id,
       CASE WHEN r.job_seq IS NULL THEN 'invalid' ELSE j.state END AS status,
       {prompt} AS prompt,
       p.seed AS seed,
       j.model AS model,
       j.input_json AS input,
       o.number AS output_number,
       o.path AS path,
       o.sha256 AS sha256,
       o.bytes AS bytes,
       o.mime AS mime,
       o.width AS width,
       o.height AS height,
       p.provider_id AS prediction_id,
       {p_cost} AS cost_usd,
       p.estimated AS cost_is_estimated,
       o.stored_at AS stored_at,
       COALESCE(r.error, j.reason) AS reason,
       r.meta_json AS meta,
       r.axes_json AS axes
FROM rows r
LEFT JOIN jobs j ON j.seq = r.job_seq
LEFT JOIN outputs o ON o.job_seq = j.seq AND o.state = 'stored'
LEFT JOIN predictions p ON p.seq = o.prediction_seq
"""

_COSTS = """
CREATE VIEW costs AS
SELECT u.id AS run,
       u.started_at AS started_at,
       u.ended_at AS ended_at,
       SUM(CASE WHEN p.state NOT IN ('unsent', 'refused', 'absent') THEN 1 ELSE 0 END) AS creates,
       SUM(CASE WHEN p.state = 'succeeded' THEN 1 ELSE 0 END) AS succeeded,
       {settled} AS settled_usd,
       {estimated} AS estimated_usd,
       {reserved} AS reserved_usd,
       {on_failures} AS spent_on_failures_usd
FROM runs u
LEFT JOIN predictions p ON p.run_seq = u.seq
GROUP BY u.seq, u.id, u.started_at, u.ended_at
"""

_FAILURES = """
CREATE VIEW failures AS
SELECT r.manifest_seq AS manifest,
       r.number AS row_number,
       r.line AS line,
       r.user_id AS id,
       COALESCE(j.failure, 'invalid') AS failure,
       COALESCE(r.error, j.reason) AS reason,
       {prompt} AS prompt,
       j.ended_at AS ended_at
FROM rows r
LEFT JOIN jobs j ON j.seq = r.job_seq
WHERE r.job_seq IS NULL OR j.state = 'failed'
"""


def view_statements(name: SqlDialect) -> list[str]:
    """The `CREATE VIEW` statements of one dialect."""
    words = {
        "prompt": _json_text(name, "j.input_json", "prompt"),
        "p_cost": _usd(name, "p.cost"),
        "settled": _usd(name, "SUM(CASE WHEN p.estimated = 0 THEN p.cost END)"),
        "estimated": _usd(name, "SUM(CASE WHEN p.estimated = 1 THEN p.cost END)"),
        "reserved": _usd(name, "SUM(p.reserved)"),
        "on_failures": _usd(
            name,
            "SUM(CASE WHEN p.state IN ('errored', 'cancelled', 'timed_out', 'lost')"
            " THEN p.cost END)",
        ),
    }
    return [view.format(**words) for view in (_RESULTS, _COSTS, _FAILURES)]


def _json_text(name: SqlDialect, column: str, key: str) -> str:
    if name == "sqlite":
        return f"json_extract({column}, '$.{key}')"
    # A text of PostgreSQL holds no NUL, and one that is asked for fails the whole view.
    return f"CAST(REPLACE({column}, '\\u0000', '\\ufffd') AS json) ->> '{key}'"


def _usd(name: SqlDialect, micros: str) -> str:
    if name == "sqlite":
        return f"COALESCE({micros}, 0) / 1000000.0"
    return f"CAST(COALESCE({micros}, 0) AS numeric) / 1000000"
