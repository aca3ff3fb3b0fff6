"""The tests of exports."""
