"""Tests of plugins: packages of others, installed beside fluxbatch."""
