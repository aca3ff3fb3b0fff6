"""The report: a dataset's money, pace, failures and images as one folder that opens offline.

A leaf: reads the ledger and the images, changes neither. Takes a `Place`, answers what it wrote.
"""

from fluxbatch.report.output_dir import Place
from fluxbatch.report.report import Written, write_report

__all__ = ["Place", "Written", "write_report"]
