"""What one container is expected to have: by its engine's record, by what was set here, and by what the kernel held."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field

from runtime.model import LimitName, Limits, Missing, Value
from tui.core.drift.compare import CPUSETS, belied, moved
from tui.core.subject import EngineRef


@dataclass(slots=True)
class Expectation:
    """What is known of one container or group since its process began.

    Attributes:
        engine: who keeps the record.
        begun: differs after a restart.
        settled: the monotonic time from which on differences count.
        left: what the kernel held when it was last as expected.
        own: limits that were set here.
        record: the engine's, as far as it can be compared, when it was last told.
        unsure: the record is to be asked for.
        ask_at: the monotonic time from which on it may be asked for; `pause` is what was waited after the last failure.
        due: what the record says anew and the kernel was not yet seen to hold.
        follows: a change may have moved these with it, so they are taken as they are.
        swept: what was compared when the files were last read, and no drift was found.
        read_at: the monotonic time of that; 0 is never.
    """

    engine: EngineRef
    begun: object
    settled: float
    _: KW_ONLY
    left: dict[LimitName, Value] = field(default_factory=dict)
    own: set[LimitName] = field(default_factory=set)
    record: dict[LimitName, Value] = field(default_factory=dict)
    unsure: bool = True
    ask_at: float = 0.0
    pause: float = 0.0
    due: dict[LimitName, Value] = field(default_factory=dict)
    follows: set[LimitName] = field(default_factory=set)
    generation: int = 0
    busy: int = 0
    swept: object = None
    read_at: float = 0.0

    def ask(self) -> None:
        """Something has changed: ask for the record, and read the files before those of others."""
        self.unsure, self.ask_at, self.swept, self.read_at = True, 0.0, None, 0.0

    def differences(self, held: Limits, above: Limits, ncpu: int) -> dict[LimitName, Value]:
        """What is expected where the kernel holds something else."""
        found = {name: value for name, value in self.due.items() if belied(name, held, value, above, ncpu)}
        for name, value in self.left.items():
            if name not in self.due and name not in self.follows and moved(name, held, value, above):
                found[name] = value
        return found

    def take(self, held: Limits, but: Collection[LimitName]) -> None:
        """What the kernel holds is as it should be, `but` for some."""
        for name in LimitName:
            value = held.get(name)
            if name in but or isinstance(value, Missing):
                continue
            if name in CPUSETS and name in self.due:
                self.left[name] = self.due[name]  # the parent may have less of it at this time
            elif name not in self.left or name in self.due or name in self.follows:
                self.left[name] = value
            self.due.pop(name, None)
        self.follows.clear()
