"""The work on one job: submitted, awaited, resolved, fetched."""
