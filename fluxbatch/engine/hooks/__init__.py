"""Hooks: code of other packages that a run hands each new image."""
