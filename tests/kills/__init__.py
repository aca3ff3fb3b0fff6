"""The tests that kill a run."""
