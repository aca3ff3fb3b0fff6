"""Queries: everything that is read from the ledger. They change nothing."""
