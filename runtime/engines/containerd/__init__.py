"""containerd over gRPC, as an extra: `pip install 'pytop-containers[containerd]'`.

`address` needs only the standard library; `engine` needs the extra.
"""
