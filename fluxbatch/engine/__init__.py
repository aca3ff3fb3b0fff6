"""A run: the composition root and everything that lives as long as one run."""
