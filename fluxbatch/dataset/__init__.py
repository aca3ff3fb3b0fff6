"""A dataset on disk: its folder, lock, images, model card and status."""
