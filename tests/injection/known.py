"""Cases that were bad once, which every sample begins with, and those that are accepted, each with the reason."""

from __future__ import annotations

from typing import Final

from tests.injection.harness import Case

KNOWN: Final[tuple[str, ...]] = (
    "ENOSPC | client: inotify_add_watch",  # a raw OSError out of logs and stop
    "EMFILE | client: inotify_init1",
    "EIO | client: open for reading at oci/cri_log.py",  # the watch of logs stayed open
    "ENOLCK | client: flock",  # a raw OSError
    "EMFILE | client: memfd_create",  # the zygote's socket stayed open
    "EIO | client: sendfile",
    "EMFILE | client: open for reading at engines/embedded/process/zygote_socket.py",
    "ENOSPC | client: fsync at engines/embedded/state/store.py",  # a record without a container stayed after create
    "EMFILE | shim: open at kernel/procfs.py",  # a start time that was lost: the container could not be ended
    "ENOMEM | zygote: open at kernel/cgroupfs.py",  # a zygote that knew no cgroups for as long as it lived
    "ENOMEM | client: recv at engines/embedded/process/launcher.py",  # a second shim for the same start
    "EIO | shim: read at kernel/regular_file.py",  # a start that nobody had recorded
    "EMFILE | client: open at kernel/procfs.py",  # a descriptor of init stayed open
)
"""Parts of the text of cases that were bad once."""
_ACCEPTED: Final[dict[tuple[str, str], str]] = {}
"""Of a case and of each of its problems a part of the text, and the reason why that is right."""


def why_accepted(case: Case, problems: list[str]) -> str:
    """Why what a case has left is right; "" where it is not."""
    for (about, problem), reason in _ACCEPTED.items():
        if about in str(case) and all(problem in each for each in problems):
            return reason
    return ""
