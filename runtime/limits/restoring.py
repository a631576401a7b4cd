"""The value by which a limit that has become another one is set to what it was."""

from __future__ import annotations

from runtime.model import UNLIMITED, DeviceRate, Value


def restoring(before: Value, now: Value) -> Value:
    """`before` itself; of device rates also "unlimited" for each device that was added since."""
    if not isinstance(before, tuple) or not isinstance(now, tuple):
        return before
    wanted = {each.device for each in before}
    new = (DeviceRate(each.device, UNLIMITED) for each in now if each.device not in wanted)
    return (*before, *new)
