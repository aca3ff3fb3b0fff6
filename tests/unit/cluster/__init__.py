"""The unit tests of `fluxbatch.cluster`."""
