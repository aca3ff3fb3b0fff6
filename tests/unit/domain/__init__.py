"""The unit tests of `fluxbatch.domain`."""
