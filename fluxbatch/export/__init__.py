"""Exports: a dataset in the formats other tools read.

A leaf: nothing of the engine imports it. One file a format (`formats`); `columns` has the
columns they share, `export` puts an export together.
"""
