"""The unit tests of `fluxbatch.sink`."""
