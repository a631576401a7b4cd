"""What the embedded engine needs of this host, and the reasons for what is missing."""

from __future__ import annotations

import platform
import re

from runtime.kernel import procfs
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.limits import unsupported_limits
from runtime.model import Capabilities, LimitName, Verb

OLDEST_KERNEL = (5, 12)
"""It has mount_setattr(2), which makes a bind read-only with everything mounted below it."""
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
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    if platform.system() != "Linux" or found is None or (int(found[1]), int(found[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return f"needs Linux {oldest} or later, this is {platform.system()} {platform.release()}"
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
