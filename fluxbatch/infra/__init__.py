"""The infrastructure: files, clocks, threads, network addresses, redaction."""
