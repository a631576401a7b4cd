"""What the embedded engine needs of this host, and the reasons for what is missing."""

from __future__ import annotations

import platform

from runtime.kernel import procfs
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.kernel.version import OLDEST_KERNEL, is_new_enough
from runtime.limits import unsupported_limits
from runtime.model import Capabilities, LimitName, Verb

_NEEDED = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    5: "KILL",
    6: "SETGID",
    7: "SETUID",
    8: "SETPCAP",
    21: "SYS_ADMIN",
    27: "MKNOD",
}
_READING = frozenset({Verb.LOGS, Verb.WAIT, Verb.EVENTS})
IMPORT = "this engine has one image, 'host', which is this machine's own /usr"


def why_not(hierarchies: Hierarchies) -> str | None:
    """Why no container can be run here; None when one can. Raises `OSError` where that cannot be found out."""
    if not is_new_enough():
        return f"needs Linux {OLDEST_KERNEL} or later, this is {platform.system()} {platform.release()}"
    held = procfs.own_capabilities()
    missing = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if missing:
        return f"needs root (missing here: {', '.join(missing)}); run it with sudo"
    if hierarchies.mode is Mode.NONE:
        return "no cgroups are mounted on this host"
    absent = unsupported_limits(hierarchies).get(LimitName.PIDS)
    return f"each container has a limit of processes, and {absent}" if absent is not None else None


def capabilities(hierarchies: Hierarchies) -> Capabilities:
    """The verbs and limits that are unavailable here, with the reasons."""
    verbs = {Verb.IMPORT: IMPORT}
    reason = why_not(hierarchies)
    if reason is not None:
        verbs.update({verb: reason for verb in Verb if verb not in _READING and verb is not Verb.IMPORT})
    return Capabilities(verbs, unsupported_limits(hierarchies))
