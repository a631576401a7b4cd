"""What a container is, what an engine can do, and every write to the kernel."""
