"""One frame of all hosts: this machine's, with the newest usages of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from collectors.sampling.frame import Frame

LOCAL: Final = ""
MAX_AGE_FRAMES: Final = 3  # frames of this machine, after which another host's usages are too old and become gaps


@dataclass(slots=True)
class _Remote:
    frame: Frame
    age: int = 0


class FrameMerger:
    """Merges frames by this machine's clock, since clocks of different machines cannot be compared."""

    def __init__(self) -> None:
        self._remote: dict[str, _Remote] = {}

    def take(self, host: str, frame: Frame) -> Frame | None:
        """Take a frame of a host; for one of this machine the result is the frame of all hosts."""
        if host != LOCAL:
            self._remote[host] = _Remote(frame)
            return None
        for name, remote in list(self._remote.items()):
            remote.age += 1
            if remote.age > MAX_AGE_FRAMES:
                del self._remote[name]
        if not self._remote:
            return frame
        usages, problems = dict(frame.usages), dict(frame.problems)
        for remote in self._remote.values():
            usages.update(remote.frame.usages)
            problems.update(remote.frame.problems)
        return replace(frame, usages=usages, problems=problems)
