"""The unit tests of `fluxbatch.manifest`."""
