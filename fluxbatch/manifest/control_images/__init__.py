"""Control images: local files, URLs and objects, resolved to content."""
