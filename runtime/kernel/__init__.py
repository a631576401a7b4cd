"""The thin seam to Linux: cgroup file systems, /proc, system calls."""
