"""The tests of the maintenance verbs."""
