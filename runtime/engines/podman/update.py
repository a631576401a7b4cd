"""A change of limits through Podman's API as far as this Podman can make it.

What `POST /containers/{id}/update` does differs with the version (containers/podman, libpod/container_internal.go):

- 4.3 to 5.0 have the OCI runtime change the running container and record nothing: inspect goes on telling what it was
  created with, no event is sent, and a restart brings that back. At rest there is nothing that could be changed.
- 5.1 to 5.3 put the resources that are sent in the place of all that were recorded, the device list too. So everything
  that is recorded is sent along, from the OCI spec on disk, which is the record of a container that runs.
- From 5.4 on the record is merged, and the container is at rest or running. There is an event.

The runtime's own words about a refusal are lost on the way ("exit status 1"), and runc knows fewer limits than the
kernel: what is not held afterwards is written to the kernel.
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

RECORDS_SINCE: Final = (5, 1)
MERGES_SINCE: Final = (5, 4)
MAX_SPEC_BYTES: Final = 16 << 20  # bytes of an OCI spec; a usual one has 20,000


def at_rest(version: tuple[int, int]) -> str:
    """Why limits of a container that is not live cannot be changed, "" when they can."""
    if version < RECORDS_SINCE:
        return "Podman before 5.1 keeps no changed limits: change them while it runs, or create it anew"
    if version < MERGES_SINCE:
        return "Podman 5.1 to 5.3 forgets other limits in a change at rest: change them while it runs"
    return ""


def forbids(host: Mapping[str, Any], change: LimitChange) -> str:
    """Why this container cannot have such limits, by its HostConfig; "" when it can."""
    if str(host.get("Cgroups")) == "disabled":
        return "it was created without a cgroup of its own (--cgroups=disabled)"
    if change.net_egress is not None or change.net_ingress is not None:
        return shared_network(str(host.get("NetworkMode", "")))
    return ""


def whole(
    body: Mapping[str, Any], document: Mapping[str, Any], version: tuple[int, int], owners: Collection[int]
) -> dict[str, Any]:
    """What is sent, so that nothing else is lost from the record of this version. Blocking: may read the OCI spec.

    The service names that file: it is read only when one of `owners`, by uid, owns it. Raises `UnsupportedError` where
    that record cannot be read.
    """
    if not body or not RECORDS_SINCE <= version < MERGES_SINCE:
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
