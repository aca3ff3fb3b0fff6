"""The unit tests of `fluxbatch.worker`."""
