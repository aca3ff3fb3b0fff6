"""The unit tests of `fluxbatch.scheduler`."""
