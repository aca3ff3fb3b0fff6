"""Work that costs nothing when it is done twice, in shards over several processes."""
