"""The text and the JSON objects that verbs print: pure functions on values."""
