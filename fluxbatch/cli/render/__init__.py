"""The words and objects that verbs print: pure functions on values."""
