"""One frame of all hosts: what this machine measured, with the newest use that the others have sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from collectors.sampling.frame import Frame

LOCAL: Final = ""
MAX_AGE_FRAMES: Final = 3  # of this machine; after that another host's use is too old, and a gap


@dataclass(slots=True)
class _Remote:
    frame: Frame
    age: int = 0


class FrameMerger:
    """Joins frames by this machine's clock: times of different machines cannot be compared."""

    def __init__(self) -> None:
        self._remote: dict[str, _Remote] = {}

    def take(self, host: str, frame: Frame) -> Frame | None:
        """A frame of a host; the frame of all hosts when it is this machine's turn."""
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
