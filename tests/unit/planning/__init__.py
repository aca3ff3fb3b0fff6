"""The unit tests of `fluxbatch.planning`."""
