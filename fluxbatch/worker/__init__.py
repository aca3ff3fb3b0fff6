"""What is done for one job: bought, awaited, found again, fetched."""
