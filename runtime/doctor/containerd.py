"""Checks for containerd daemons on this host that are not in the list of engines, such as the one Docker installs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from runtime.doctor.check import Check, Level
from runtime.engines.containerd import address as containerd
from runtime.errors import InvalidError


def containerd_checks(environ: Mapping[str, str] = os.environ, *, listed: Collection[str] = ()) -> Iterator[Check]:
    """One check for each daemon whose socket exists but cannot be used; the keys in `listed` are checked elsewhere."""
    try:
        addresses = containerd.find(environ)
    except InvalidError:
        return
    reason = containerd.missing_dependency()
    for address in addresses:
        if address.key in listed:
            continue
        if reason is not None:
            why, remedy = reason.detail, reason.hint
        elif address.denied:
            why, remedy = "it may not be opened", "Run it as root (sudo)"
        else:
            continue
        words = f"is at {address.socket}, and {why}"
        if address.may_be_dockers:
            words += ": Docker's own containers need it not, others do"
        yield Check("engines", address.key, Level.LIMITED, words, remedy)
