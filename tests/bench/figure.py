"""One figure of a benchmark: a ratio, its bound, and what it was compared with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` must not exceed `bound`; `compared` says in words what was divided by what, with the absolute medians."""

    name: str
    ratio: float
    bound: float
    compared: str

    @property
    def ok(self) -> bool:
        return self.ratio <= self.bound

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "OVER"
        return f"{mark} {self.name:<34} {self.ratio:8.2f}  bound {self.bound:6.2f}  {self.compared}"


class Unavailable(Exception):  # noqa: N818  (it is not an error: the machine lacks what to compare with)
    """What the benchmark compares with is not on this machine."""
