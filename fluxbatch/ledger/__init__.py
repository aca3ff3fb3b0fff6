"""The ledger: everything that must survive of rows, jobs, predictions, outputs and money."""
