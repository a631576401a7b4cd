"""Paths and names of an instance of the embedded engine. Instances with different ones share nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT_PIDS = 512
"""Tasks that a container may have unless its spec says otherwise."""


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """One instance.

    Attributes:
        state: directory of what survives a reboot: records, writable layers, logs.
        run: directory of what does not: locks, sockets, pipes of running containers.
        cgroup: parent cgroup of its containers and of its own processes, in every hierarchy.
        bridge: name of its network bridge, made on demand.
        subnet: network of the containers' addresses.
        idle: seconds without a request after which its zygote ends.
    """

    state: Path = Path("/var/lib/pytop-containers")
    run: Path = Path("/run/pytop-containers")
    cgroup: str = "pytop-containers"
    bridge: str = "pytop0"
    subnet: str = "10.213.0.0/16"
    idle: float = 300.0

    @property
    def records(self) -> Path:
        return self.state / "containers"

    def record(self, container_id: str) -> Path:
        return self.records / f"{container_id}.json"

    def data(self, container_id: str) -> Path:
        """The container's own files: writable layer, log, name."""
        return self.state / "data" / container_id

    def name(self, container_id: str) -> Path:
        """The file with the container's name, for one whose record is damaged."""
        return self.data(container_id) / "name"

    def layer(self, container_id: str) -> Path:
        """Where a writable layer that is a file system of its own is mounted."""
        return self.data(container_id) / "layer"

    def layer_image(self, container_id: str) -> Path:
        """The file that holds this file system."""
        return self.data(container_id) / "layer.img"

    def log(self, container_id: str) -> Path:
        return self.data(container_id) / "log"

    def live(self, container_id: str) -> Path:
        """The container's directory in `run`, until it is removed: locks, pipes, exit status."""
        return self.run / container_id

    def cgroup_of(self, container_id: str) -> str:
        return f"{self.cgroup}/{container_id}"

    @property
    def runtime_cgroup(self) -> str:
        """The cgroup of the instance's own processes, beside those of its containers."""
        return f"{self.cgroup}/runtime"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> EmbeddedConfig:
        fields = json.loads(text)
        return cls(**{**fields, "state": Path(fields["state"]), "run": Path(fields["run"])})
