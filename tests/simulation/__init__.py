"""Engine and provider in one process under virtual time, thousands of times, each different."""
