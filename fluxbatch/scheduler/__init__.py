"""Who may create when, and whether the caps allow it: pure decisions on plain state."""
