"""The tests of fluxbatch."""
