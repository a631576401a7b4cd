"""The embedded engine: containers from namespaces and cgroups, with no daemon and no download."""
