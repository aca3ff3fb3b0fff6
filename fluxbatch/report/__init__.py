"""The report: a dataset's money, pace, failures and images as one folder that opens offline.

A leaf: reads the ledger and the images, changes neither. Takes a `ReportDir` and returns what
it wrote.
"""

from fluxbatch.report.output_dir import ReportDir
from fluxbatch.report.report import WrittenReport, write_report

__all__ = ["ReportDir", "WrittenReport", "write_report"]
