"""The database under the ledger: connections, schema, statements, migrations."""
