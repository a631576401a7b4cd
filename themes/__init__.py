"""Colour themes as data, their schema and their loader."""
