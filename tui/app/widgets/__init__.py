"""Widgets: the container list, graphs, dialogs."""
