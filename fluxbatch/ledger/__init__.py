"""Everything that must survive: rows, jobs, predictions, outputs, money, and their history."""
