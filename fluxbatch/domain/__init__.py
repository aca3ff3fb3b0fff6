"""The values of the domain: rows, jobs, predictions, money, names. Pure data, no I/O."""
