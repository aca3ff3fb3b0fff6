"""The unit tests of `fluxbatch.engine`."""
