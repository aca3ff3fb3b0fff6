"""The scheduling of creates within limits and caps: pure decisions on plain state."""
