"""The interface to Linux: cgroup file systems, /proc, system calls."""
