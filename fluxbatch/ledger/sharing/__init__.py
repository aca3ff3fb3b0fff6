"""The sharing of a ledger by several processes, on PostgreSQL alone."""
