"""Containing whoever hurts a victim: the next rung, climbing it as a lease, what came of it, taking it back."""
