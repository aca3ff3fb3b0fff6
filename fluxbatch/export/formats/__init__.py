"""Export formats: one file each, registered here by name."""
