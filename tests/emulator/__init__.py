"""The emulator's own tests: what a strict provider owes its clients, and that it delivers."""
