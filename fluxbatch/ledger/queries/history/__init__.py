"""Queries of the history: of one job, and of the runs that it waited for."""
