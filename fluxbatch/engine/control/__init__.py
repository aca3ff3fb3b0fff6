"""The control of a run that several processes share, at each of them."""
