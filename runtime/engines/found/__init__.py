"""Containers that no engine answers for, found from the cgroup tree and from namespaces alone."""
