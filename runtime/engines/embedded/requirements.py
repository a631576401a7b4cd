"""What this host lets the embedded engine do, and in words why not."""

from __future__ import annotations

import platform
import re

from runtime.kernel import procfs
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.limits import unsupported_limits
from runtime.model import Capabilities, LimitName, Verb

OLDEST = (5, 12)
"""mount_setattr(2), by which binds become read-only as a whole."""
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
_LOOKING = frozenset({Verb.LOGS, Verb.WAIT, Verb.EVENTS})
IMPORT = "this engine has one image, 'host', which is this machine's own /usr"


def why_not(hierarchies: Hierarchies) -> str | None:
    """Why no container can be run here, None when it can."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    if platform.system() != "Linux" or found is None or (int(found[1]), int(found[2])) < OLDEST:
        return f"needs Linux {OLDEST[0]}.{OLDEST[1]} or later, this is {platform.system()} {platform.release()}"
    held = procfs.effective_capabilities()
    missing = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if missing:
        return f"needs root (missing here: {', '.join(missing)}); run it with sudo"
    if hierarchies.mode is Mode.NONE:
        return "no cgroups are mounted on this host"
    absent = unsupported_limits(hierarchies).get(LimitName.PIDS)
    return f"each container has a limit of processes, and {absent}" if absent is not None else None


def capabilities(hierarchies: Hierarchies) -> Capabilities:
    """What is unavailable here, with the reason."""
    verbs = {Verb.IMPORT: IMPORT}
    reason = why_not(hierarchies)
    if reason is not None:
        verbs.update({verb: reason for verb in Verb if verb not in _LOOKING and verb is not Verb.IMPORT})
    return Capabilities(verbs, unsupported_limits(hierarchies))
