"""The unit tests of `fluxbatch.dataset`."""
