"""containerd over gRPC, as an extra: `pip install 'pytop-containers[containerd]'`.

Importing this package needs nothing but the standard library; `runtime.engines.containerd.engine` needs the extra.
"""

from runtime.engines.containerd.address import DOCKERS, KEY, Address, find, lacking

__all__ = ["DOCKERS", "KEY", "Address", "find", "lacking"]
