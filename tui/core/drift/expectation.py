"""The limits that one container is expected to have."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field

from runtime.model import LimitName, Limits, Missing, Value
from tui.core.drift.compare import CPUSETS, differs_from_record, has_changed
from tui.core.subject import EngineRef


@dataclass(slots=True)
class Expectation:
    """The expected limits of one container or group since its start.

    Attributes:
        engine: keeps the record.
        incarnation: another one after a restart.
        settled_at: monotonic time from which on differences count.
        last_seen: the kernel's values when they were last as expected.
        set_here: limits that were set here.
        record: the engine's record of the last read, as far as it can be compared.
        record_wanted: the record is to be read.
        record_wanted_at: monotonic time before which the record is not read.
        retry_pause: seconds of the pause after the last failure to read it.
        pending: new values of the record that the kernel was not yet seen to hold.
        side_effects: limits that a change may have adjusted too; their values are accepted at the next read.
        generation: counts changes; a read that began before the last one is dropped.
        busy: changes that are under way here.
        sampled: the sampled limits for which the files were last read without finding a drift.
        compared_at: monotonic time of the last comparison of the sampled limits.
        read_at: monotonic time of the last read of the files; 0 is never.
    """

    engine: EngineRef
    incarnation: object
    settled_at: float
    _: KW_ONLY
    last_seen: dict[LimitName, Value] = field(default_factory=dict)
    set_here: set[LimitName] = field(default_factory=set)
    record: dict[LimitName, Value] = field(default_factory=dict)
    record_wanted: bool = True
    record_wanted_at: float = 0.0
    retry_pause: float = 0.0
    pending: dict[LimitName, Value] = field(default_factory=dict)
    side_effects: set[LimitName] = field(default_factory=set)
    generation: int = 0
    busy: int = 0
    sampled: object = None
    compared_at: float = -math.inf
    read_at: float = 0.0

    def request_record(self) -> None:
        """After a change: read the record again, and the files before those of other containers."""
        self.record_wanted, self.record_wanted_at, self.sampled, self.read_at = True, 0.0, None, 0.0
        self.compared_at = -math.inf

    def differences(self, held: Limits, above: Limits, ncpu: int) -> dict[LimitName, Value]:
        """The expected values of limits of which the kernel holds another."""
        expected = {
            name: value for name, value in self.pending.items() if differs_from_record(name, held, value, above, ncpu)
        }
        for name, value in self.last_seen.items():
            if name not in self.pending and name not in self.side_effects and has_changed(name, held, value, above):
                expected[name] = value
        return expected

    def take(self, held: Limits, drifted: Collection[LimitName]) -> None:
        """Expect the kernel's values from now on, except for the limits that have drifted."""
        for name in LimitName:
            value = held.get(name)
            if name in drifted or isinstance(value, Missing):
                continue
            if name in CPUSETS and name in self.pending:
                self.last_seen[name] = self.pending[name]  # the parent may have fewer of these CPUs or nodes for now
            elif name not in self.last_seen or name in self.pending or name in self.side_effects:
                self.last_seen[name] = value
            self.pending.pop(name, None)
        self.side_effects.clear()
