"""Something that does not work and that the user should know of, as an id with arguments.

The words are in `tui.present.problem_text`; an engine's own words come with the error that it raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ProblemKind(Enum):
    """What does not work."""

    ENGINE = "engine"  # it cannot be asked
    MEASUREMENT = "measurement"  # the sweeps of a host fail
    COMPARISON = "comparison"  # the limits of `subject` cannot be compared with what is expected
    OBSERVER = "observer"  # the frame observer `subject` is paused
    PART = "part"  # the task or callback `subject` of the session failed in an unexpected way


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
        engine: the key of the engine that cannot be asked; "" for the other kinds.
        host: the machine.
        subject: the name of the container, the engine, the observer or the part that it is about; a part's is its
            kind, and the engine and host of which it is, with spaces between.
        cause: what the error said, on one line.
        hint: what the error said to do about it; may be empty.
    """

    kind: ProblemKind
    engine: str = ""
    host: str = ""
    subject: str = ""
    cause: str = ""
    hint: str = ""
