"""How long the attribution takes to name the one that makes noise, measured beside a story without a screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from collectors.attribution.attributor import Attributor
from collectors.attribution.evidence import Attribution, Evidence
from collectors.sampling.sweep import Sweeper
from collectors.sampling.target import Target
from runtime.kernel import threads
from runtime.model import ContainerRef

INTERVAL_S = 0.5


class NamingClock:
    """Sweeps a story's containers from the noise's start on, until the victim's evidence names one of the hogs."""

    def __init__(self, victim: ContainerRef, hogs: Collection[ContainerRef]) -> None:
        self._victim = victim
        self._hogs = frozenset(hogs)
        self._sweeper = Sweeper()
        self._attributor = Attributor()
        self.evidence: Evidence | None = None
        self.named_s: float | None = None

    async def run(self, targets: Sequence[Target]) -> None:
        """Until it is named, or cancelled."""
        start = time.monotonic()
        try:
            while self.evidence is None:
                frame = await threads.measuring(self._sweeper.sweep, targets)
                self.evidence = accused(self._attributor.take(frame), self._victim, self._hogs)
                if self.evidence is None:
                    await asyncio.sleep(INTERVAL_S)
            self.named_s = time.monotonic() - start
        finally:
            await threads.measuring(self._sweeper.close)


def accused(attribution: Attribution, victim: ContainerRef, hogs: Collection[ContainerRef]) -> Evidence | None:
    """The strongest evidence that one of these hurts the victim."""
    return next((each for each in attribution.by_victim.get(victim, ()) if each.suspect.ref in hogs), None)
