"""The unit tests of `fluxbatch.provider`."""
