"""The contract between the dashboard and whatever runs containers: a small core, and facets that an engine may have.

An engine is reached through `Engine` alone. Callers ask its `Capabilities` before they offer a verb, and its `Facets`
before they offer more than containers; nobody asks for its name. Every engine passes the one conformance suite in
tests/engines.
"""

from runtime.engines.protocol.boot import BOOT_POLICIES, Boot, is_started_at_boot
from runtime.engines.protocol.build import Build, BuildProgress, BuildSpec
from runtime.engines.protocol.core import Engine
from runtime.engines.protocol.exec import Exec, ExecSession, ExecSpec
from runtime.engines.protocol.facets import Facets, required
from runtime.engines.protocol.images import Images
from runtime.engines.protocol.networks import Network, Networks, NetworkSpec
from runtime.engines.protocol.volumes import Volume, Volumes

__all__ = [
    "BOOT_POLICIES",
    "Boot",
    "Build",
    "BuildProgress",
    "BuildSpec",
    "Engine",
    "Exec",
    "ExecSession",
    "ExecSpec",
    "Facets",
    "Images",
    "Network",
    "NetworkSpec",
    "Networks",
    "Volume",
    "Volumes",
    "is_started_at_boot",
    "required",
]
