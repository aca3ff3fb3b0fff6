"""The unit tests of `fluxbatch.infra`."""
