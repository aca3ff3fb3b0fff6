"""Settings and API keys: their types, their bounds, and where they come from."""
