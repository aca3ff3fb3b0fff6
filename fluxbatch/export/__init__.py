"""Exports: what a dataset holds, in the formats other tools read.

A leaf room: nothing of the engine imports it. One file a format (`jsonl`, `csv`, `parquet`,
`imagefolder`, `webdataset`); `record` has the columns they share, `exporting` puts it together.
"""
