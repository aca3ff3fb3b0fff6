"""The unit tests of `fluxbatch.cli`."""
