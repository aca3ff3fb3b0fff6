"""Manifest formats: one file each, from bytes to records."""
