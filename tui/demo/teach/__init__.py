"""What a container is, shown on a live one, chapter by chapter."""
