"""Plans: what a run would make, cost and take, before anything is spent."""
