"""Queries: everything that is read from the ledger, and nothing that changes it."""
