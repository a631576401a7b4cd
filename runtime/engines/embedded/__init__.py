"""The embedded engine: containers from namespaces and cgroups, with no daemon and no download.

Zygote, shims and inits live in this package too and need neither asyncio nor the engine, so nothing is imported here.
"""
