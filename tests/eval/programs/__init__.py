"""Loads that run inside the containers of the evaluation. Standard library only; each ends by itself (`--limit`)."""
