"""Where a played story stands: which of its steps are done, skipped or impossible here, and which is next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tui.demo.stories import StoryRung


class Mark(StrEnum):
    """What became of a step."""

    DONE = "done"
    NOW = "now"
    NEXT = "next"
    LATER = "later"
    SKIPPED = "skipped"
    REFUSED = "refused"


ALONE = "alone"
NOISE = "hog"
RELEASE = "release"


@dataclass(slots=True)
class Progress:
    """The steps of a story in order: alone, the noise, each rung, the release.

    `rungs` are with the reason why one cannot be taken here, "" where it can. Alone is done by itself.
    """

    rungs: Sequence[tuple[StoryRung, str]]
    at: int = 0  # the step that is next
    marks: dict[str, Mark] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rung, reason in self.rungs:
            if reason:
                self.marks[rung.id] = Mark.REFUSED

    @property
    def ids(self) -> tuple[str, ...]:
        """The steps' ids."""
        return (ALONE, NOISE, *(rung.id for rung, _ in self.rungs), RELEASE)

    @property
    def next(self) -> str | None:
        """The step that is next, None after the last."""
        return self.ids[self.at] if self.at < len(self.ids) else None

    @property
    def rung(self) -> StoryRung | None:
        """The next step's rung, None where it is another step."""
        return next((rung for rung, _ in self.rungs if rung.id == self.next), None)

    def done(self) -> None:
        """The next step was done: it is the one that holds now."""
        self._leave(Mark.NOW)

    def skip(self) -> None:
        """The next step is left out; what holds now goes on."""
        self._leave(Mark.SKIPPED)

    def _leave(self, mark: Mark) -> None:
        id = self.next
        if id is None:
            return
        if mark is Mark.NOW:
            for each, old in self.marks.items():
                if old is Mark.NOW:
                    self.marks[each] = Mark.DONE
        self.marks[id] = mark
        self.at += 1
        while self.next is not None and self.marks.get(self.next) is Mark.REFUSED:
            self.at += 1

    def again(self) -> None:
        """Begin the rungs again, after the release."""
        self.at = len((ALONE, NOISE))
        for rung, reason in self.rungs:
            self.marks.pop(rung.id, None)
            if reason:
                self.marks[rung.id] = Mark.REFUSED
        self.marks.pop(RELEASE, None)
        while self.next is not None and self.marks.get(self.next) is Mark.REFUSED:
            self.at += 1

    def __iter__(self) -> Iterator[tuple[str, Mark]]:
        for number, id in enumerate(self.ids):
            yield id, self.marks.get(id, Mark.NEXT if number == self.at else Mark.LATER)
