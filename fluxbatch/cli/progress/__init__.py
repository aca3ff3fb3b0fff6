"""The progress of a run while it goes on: live screen, plain lines, event log."""
