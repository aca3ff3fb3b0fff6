"""The Python API: datasets, plans and runs for callers in Python."""
