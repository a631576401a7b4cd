"""A change of limits through Podman's API as far as this version supports it.

The effect of `POST /containers/{id}/update` depends on the version (containers/podman, libpod/container_internal.go):

- 4.3 to 5.0 change the running container through the OCI runtime and record nothing: inspect shows the limits of the
  creation, there is no event, and a restart restores the limits of the creation. At rest nothing can be changed.
- 5.1 to 5.3 replace all recorded resources by those of the request, the device list too. So every request contains all
  recorded resources, taken from the OCI spec on disk, which is the record of a running container.
- From 5.4 on the request is merged into the record, at rest or running. There is an event.

The runtime's message about a refusal is lost ("exit status 1"), and runc has fewer limits than the kernel: limits that
the kernel does not hold afterwards are written to it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from runtime.engines.daemon.documents import shared_network
from runtime.errors import PytopError, UnsupportedError
from runtime.kernel import regular_file
from runtime.model import LimitChange
from runtime.oci.resources import merged

MIN_RECORDING_VERSION: Final = (5, 1)
MIN_MERGING_VERSION: Final = (5, 4)
MAX_SPEC_BYTES: Final = 16 << 20  # of an OCI spec; a usual one has 20,000


def at_rest(version: tuple[int, int]) -> str:
    """Why limits of a container that is not live cannot be changed; "" when they can."""
    if version < MIN_RECORDING_VERSION:
        return "Podman before 5.1 keeps no changed limits: change them while it runs, or create it anew"
    if version < MIN_MERGING_VERSION:
        return "Podman 5.1 to 5.3 forgets other limits in a change at rest: change them while it runs"
    return ""


def forbids(host: Mapping[str, Any], change: LimitChange) -> str:
    """Why this container cannot have these limits, by its HostConfig; "" when it can."""
    if str(host.get("Cgroups")) == "disabled":
        return "it was created without a cgroup of its own (--cgroups=disabled)"
    if change.net_egress is not None or change.net_ingress is not None:
        return shared_network(str(host.get("NetworkMode", "")))
    return ""


def whole(
    body: Mapping[str, Any], document: Mapping[str, Any], version: tuple[int, int], owners: Collection[int]
) -> dict[str, Any]:
    """The complete request, so that no other limit is lost from this version's record. Blocking: may read the OCI spec.

    The service names that file: it is read only when one of `owners` (uids) owns it. Raises `UnsupportedError` when
    that record cannot be read.
    """
    if not body or not MIN_RECORDING_VERSION <= version < MIN_MERGING_VERSION:
        return dict(body)
    path = str(document.get("OCIConfigPath", ""))
    try:
        spec = json.loads(regular_file.read(path, limit=MAX_SPEC_BYTES, owners=owners))["linux"]["resources"]
    except (PytopError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedError(
            "change limits",
            detail="this Podman forgets every limit that a change does not name, and its record cannot be read here",
            hint="Podman 5.4 or later does not; or run this on the container's own machine as its owner",
        ) from error
    return merged(spec if isinstance(spec, dict) else {}, body)
