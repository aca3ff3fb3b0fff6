"""A run placed on a cluster's nodes: what each of them must have, before anything is bought."""
