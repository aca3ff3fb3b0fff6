"""Ray clusters: connected to, and processes placed on their nodes. Ray ends here."""
