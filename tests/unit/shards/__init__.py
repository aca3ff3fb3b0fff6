"""The unit tests of `fluxbatch.shards`."""
