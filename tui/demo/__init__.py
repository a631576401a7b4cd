"""The demo: a victim, a hog and a quiet neighbour, live or headless."""
