"""Tests of the guide: what its pages show is what happens."""
