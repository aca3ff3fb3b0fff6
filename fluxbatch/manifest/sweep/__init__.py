"""Sweeps: axes and the numbered cells they span."""
