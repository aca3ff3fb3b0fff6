"""The unit tests of `fluxbatch.api`."""
