"""What works on this host and what does not, found by trying it, with what to do about it."""

from runtime.doctor.check import Check, Level
from runtime.doctor.containerd import containerd_checks
from runtime.doctor.firewall import bridge_check, forwarding_check
from runtime.doctor.host import host_checks
from runtime.doctor.mode import mode_check
from runtime.doctor.podman import podman_checks
from runtime.doctor.records import record_checks

__all__ = [
    "Check",
    "Level",
    "bridge_check",
    "containerd_checks",
    "forwarding_check",
    "host_checks",
    "mode_check",
    "podman_checks",
    "record_checks",
]
