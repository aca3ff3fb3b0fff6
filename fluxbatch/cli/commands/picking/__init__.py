"""The verbs of looking and picking: serve, rate, reroll."""
