"""The control of a run at work: what several processes share, at each of them; keys that come."""
