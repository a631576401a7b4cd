"""The table of limits, and the two classes that are written after it."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest

from runtime.limits import units
from runtime.model import (
    DEVICE_LIMITS,
    LIMITS,
    NETWORK_LIMITS,
    UNLIMITED,
    DeviceRate,
    LimitChange,
    LimitDefinition,
    LimitName,
    Limits,
    LimitUnit,
    Missing,
    Unlimited,
    Value,
)

RATE = DeviceRate("8:0", 4096)
EXAMPLES: dict[type, Value] = {float: 1.5, int: 4096, bool: True, str: "0-2", tuple: (RATE,)}
WRONG: dict[type, Value] = {float: "1.5", int: 1.5, bool: 1.5, str: 3, tuple: 4096}


def hint(limit: LimitDefinition) -> object:
    return tuple[DeviceRate, ...] if limit.by_device else limit.value_type


def test_the_table_the_names_and_both_classes_agree() -> None:
    names = [name.value for name in LimitName]
    assert [name.value for name in LIMITS] == names
    assert [field.name for field in fields(LimitChange)] == names
    assert [field.name for field in fields(Limits)] == names


@pytest.mark.parametrize("name", LimitName)
def test_the_types_of_the_fields_are_those_of_the_table(name: LimitName) -> None:
    limit = LIMITS[name]
    change = get_type_hints(LimitChange)[name.value]
    held = get_type_hints(Limits)[name.value]
    plain = hint(limit)
    assert change == (plain | Unlimited | None if limit.unlimited else plain | None)  # type: ignore[operator]
    # A list of CPUs that is held is always a list: without a limit it is the parent's.
    lifted = limit.unlimited and limit.value_type is not str
    assert held == (plain | Unlimited | Missing if lifted else plain | Missing)  # type: ignore[operator]


@pytest.mark.parametrize("name", LimitName)
def test_every_limit_is_put_in_and_read_out_by_its_name(name: LimitName) -> None:
    value = EXAMPLES[LIMITS[name].value_type]
    change, held = LimitChange.of({name: value}), Limits.of({name: value})
    assert getattr(change, name.value) == getattr(held, name.value) == value
    assert change.get(name) == held.get(name) == value
    assert list(change.items()) == [(name, value)]
    assert change.names() == {name}
    assert [other for other, what in held.items() if what is not Missing.UNSUPPORTED] == [name]


@pytest.mark.parametrize("name", LimitName)
def test_a_value_of_another_type_is_refused(name: LimitName) -> None:
    wrong = WRONG[LIMITS[name].value_type]
    with pytest.raises(TypeError, match=name.value):
        LimitChange.of({name: wrong})
    with pytest.raises(TypeError, match=name.value):
        Limits.of({name: wrong})


@pytest.mark.parametrize("name", LimitName)
def test_both_ends_of_the_range_are_valid_and_can_be_typed(name: LimitName) -> None:
    limit = LIMITS[name]
    for number in (limit.minimum, limit.maximum):
        if name is LimitName.CPUS and number == 0:
            continue
        value: Value = number
        if limit.value_type is str:
            value = str(number)
        elif limit.by_device:
            value = (DeviceRate("8:0", number),)
        elif limit.value_type is bool:
            value = bool(number)
        units.validate(LimitChange.of({name: value}))
        if not limit.by_device:  # a disk is looked up by its name
            assert units.parse_value(name, units.format_value(name, value)) == value


def test_changes_are_merged_and_taken_apart() -> None:
    one = LimitChange(cpus=1.5, memory=4096)
    other = LimitChange(memory=UNLIMITED, pids=7)
    assert one.merge(other) == LimitChange(cpus=1.5, memory=UNLIMITED, pids=7)
    assert one.merge(LimitChange()) == one == LimitChange().merge(one)
    assert one.without({LimitName.CPUS, LimitName.PIDS}) == LimitChange(memory=4096)
    assert one.only({LimitName.CPUS, LimitName.PIDS}) == LimitChange(cpus=1.5)
    assert not one.without(one.names())


def test_limits_that_are_not_named_are_missing_for_the_reason_given() -> None:
    gone = Limits.of({}, absent=Missing.GONE)
    assert {value for _, value in gone.items()} == {Missing.GONE}
    held = Limits.of({LimitName.PIDS: 7, LimitName.SWAP: Missing.DENIED}, absent=Missing.NOT_SAMPLED)
    assert (held.pids, held.swap, held.memory) == (7, Missing.DENIED, Missing.NOT_SAMPLED)
    assert held.merge({LimitName.PIDS: UNLIMITED, LimitName.MEMORY: 1}) == Limits.of(
        {LimitName.PIDS: UNLIMITED, LimitName.SWAP: Missing.DENIED, LimitName.MEMORY: 1}, absent=Missing.NOT_SAMPLED
    )


def test_limits_by_kind() -> None:
    assert {name for name in LimitName if "bps" in name or "iops" in name} == DEVICE_LIMITS
    assert {name for name in LimitName if name.startswith("net_")} == NETWORK_LIMITS
    assert {name for name, limit in LIMITS.items() if limit.unit is LimitUnit.SWITCH} == {LimitName.CPU_IDLE}
