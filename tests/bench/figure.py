"""One figure of a benchmark: a ratio, its bound, and what it was compared with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`ratio` must not exceed `bound`; `compared` says in words what was divided by what, with the absolute medians.

    `wall_time` is False for what a loaded machine does not change much: CPU seconds, system calls, requests, bytes.
    Those alone are compared with the history in docs/performance.md, as nobody controls how long a machine in CI takes.
    A yardstick is a figure of another program in the same run: it has no bound, and is printed to be compared with.
    """

    name: str
    ratio: float
    bound: float | None
    compared: str
    wall_time: bool = True

    @property
    def ok(self) -> bool:
        return self.bound is None or self.ratio <= self.bound

    def __str__(self) -> str:
        bound = f"bound {self.bound:6.2f}" if self.bound is not None else "yardstick   "
        mark = "--  " if self.bound is None else "ok  " if self.ok else "OVER"
        return f"{mark} {self.name:<36} {self.ratio:8.2f}  {bound}  {self.compared}"


class Unavailable(Exception):  # noqa: N818  (it is not an error: the machine lacks what to compare with)
    """What the benchmark compares with is not on this machine."""
