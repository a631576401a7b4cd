"""Faults at the kernel seam of the embedded engine: each call fails, or its process is killed there; see `__main__`."""
