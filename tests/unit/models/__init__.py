"""The unit tests of `fluxbatch.models`."""
