"""The tests' own support: servers, clocks, processes, pictures."""
