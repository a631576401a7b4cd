"""The embedded engine: containers from namespaces and cgroups, with no daemon and no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.engines.embedded.config import NativeConfig

if TYPE_CHECKING:
    from runtime.engines.embedded.engine import NativeEngine

__all__ = ["NativeConfig", "NativeEngine"]


def __getattr__(name: str) -> type[NativeEngine]:
    """Load the engine when it is asked for: zygote and shims live in this package too, and do without asyncio."""
    if name == "NativeEngine":
        from runtime.engines.embedded.engine import NativeEngine

        return NativeEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
