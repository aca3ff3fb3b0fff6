"""The standbys of a ledger's server: whether one that is promoted may lack commits.

Source: docs/guide/many-machines.md "When something fails".
"""

from __future__ import annotations

from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.sql import postgres_statement

_FOLLOWED = postgres_statement(
    """
    SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
        (SELECT count(*) FROM pg_stat_replication
         WHERE coalesce(state, 'streaming') IN ('streaming', 'catchup'))
    """
)
"""Who may not see a standby's state sees at least that there is one."""


def why_standbys_lag(db: Database) -> str | None:
    """Why a commit does not wait for the standbys there are; None where it does, or none is."""
    ((names, commits, standbys),) = db.run(_FOLLOWED)
    if not standbys or (names and commits not in {"local", "off"}):
        return None
    why = f"synchronous_commit is {commits}" if names else "synchronous_standby_names is empty"
    return (
        f"the database's commits do not wait for its standby ({why}): one that is promoted may"
        " lack the latest creates, which are then looked for in the provider's listing"
    )
