"""The integration tests: whole runs against the emulator."""
