"""The ground the rest stands on: files, clocks, threads, addresses, words of strangers."""
