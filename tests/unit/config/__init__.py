"""The unit tests of `fluxbatch.config`."""
