"""What a container is, what an engine can do, and every write to the kernel."""

__version__ = "0.1.0"
