"""Programs that run inside the demo's containers. They import nothing but the standard library."""
