"""The datasets of a database that have used an account: all of them count against its limits.

Owns which those are, and that each can be read before anything is bought.
Source: docs/design/protocol.md 10.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from fluxbatch.errors import ConfigError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.postgres_rights import identifier
from fluxbatch.ledger.db.sql import postgres_statement

_OTHER_DATASETS = postgres_statement(
    """
    SELECT DISTINCT dataset, pg_get_userbyid(n.nspowner), CAST(current_user AS text),
        has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    FROM fluxbatch.lane_datasets JOIN pg_namespace n ON n.nspname = dataset
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'predictions'
    WHERE account IN (SELECT json_array_elements_text(CAST(:accounts AS json)))
        AND dataset <> current_schema()
    ORDER BY dataset
    """
)


def readable_datasets(db: Database, accounts: Collection[str]) -> list[str]:
    """The other datasets of the database that have used *accounts*; raises `ConfigError` for one
    that may not be read: what it made counts against the same limits."""
    rows = db.run(_OTHER_DATASETS, {"accounts": json.dumps(sorted(accounts))})
    for dataset, owner, user, may_read in rows:
        if not may_read:
            schema, name = identifier(dataset), identifier(user)
            raise ConfigError(
                f"the user {user!r} may not read the dataset {dataset!r}, which has used an account"
                f" of this run, and whose creates count against the same limits; let {owner!r},"
                f" its owner, run:  GRANT USAGE ON SCHEMA {schema} TO {name};"
                f" GRANT SELECT ON {schema}.predictions TO {name}"
            )
    return [dataset for dataset, *_ in rows]
