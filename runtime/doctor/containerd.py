"""Whether a containerd is here that is not listed: Docker brings one along, which nobody needs to see."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from runtime import containerd
from runtime.doctor.check import Check, Level
from runtime.errors import InvalidError


def containerd_checks(environ: Mapping[str, str] = os.environ, *, listed: bool = False) -> Iterator[Check]:
    """One line where a socket is there and cannot be used from here; one that is `listed` tells about itself."""
    if listed:
        return
    try:
        address = containerd.find(environ)
    except InvalidError:
        return
    if address is None:
        return
    reason = containerd.lacking()
    if reason is not None:
        words = f"is at {address.socket}, and {reason.detail}: Docker's own containers need it not, others do"
        yield Check("engines", "containerd", Level.LIMITED, words, reason.hint)
    elif address.denied:
        words = f"is at {address.socket}, which may not be opened: Docker's own containers need it not, others do"
        yield Check("engines", "containerd", Level.LIMITED, words, "Run it as root (sudo)")
