"""containerd over gRPC, as an extra: `pip install pytop-containers[containerd]`.

Importing this package needs nothing but the standard library; `runtime.containerd.engine` needs the extra.
"""
