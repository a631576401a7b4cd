"""Whether a victim has recovered, and whether the suspect is the wrong one. Pure."""

from __future__ import annotations

from typing import Final

RECOVERED_SHARE: Final = 0.8  # of the waiting, that must be gone
NO_WAIT_SHARE: Final = 0.03  # of time: below it the victim does not wait
FALLEN_SHARE: Final = 0.2  # of the waiting, that two rungs must take away
MIN_RUNGS: Final = 2  # that were climbed before a suspect is judged
VERDICT_AFTER_S: Final = 2.0  # of whole intervals after the last rung


def is_recovered(before: float, now: float | None) -> bool:
    """The waiting has fallen by 80 % or below what counts."""
    return now is not None and (now <= NO_WAIT_SHARE or now <= before * (1 - RECOVERED_SHARE))


def is_wrong_suspect(rungs: int, seconds: float, before: float, now: float | None) -> bool:
    """Two rungs have not taken a fifth of the waiting away; `seconds` were measured since the last one."""
    if rungs < MIN_RUNGS or seconds < VERDICT_AFTER_S or now is None or now <= NO_WAIT_SHARE:
        return False
    return now > before * (1 - FALLEN_SHARE)


def kept_share(before: float | None, now: float | None) -> float | None:
    """Of what the suspect used before, the share that it still uses; more than all counts as all."""
    return None if before is None or now is None or before <= 0 else min(1.0, now / before)
