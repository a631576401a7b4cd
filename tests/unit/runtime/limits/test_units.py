"""Limits as people write them: good and bad text, and that nothing is lost on the way there and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.errors import InvalidError
from runtime.kernel.cpu_weight import shares_to_weight, shares_to_weight_linear, weight_to_shares
from runtime.limits import units
from runtime.model import LIMITS, UNLIMITED, DeviceRate, LimitChange, LimitName, Unlimited, Value


@pytest.mark.parametrize("text", ["unlimited", "Unlimited", " max ", "-1", "none", "∞"])
def test_unlimited_has_several_names(text: str) -> None:
    assert units.parse_cpus(text) is UNLIMITED
    assert units.parse_bytes(text) is UNLIMITED
    assert units.parse_count(text) is UNLIMITED
    assert units.parse_cpuset(text) is UNLIMITED


@pytest.mark.parametrize(("text", "value"), [("1.5", 1.5), (" 2 ", 2.0), (".5", 0.5), ("0.01", 0.01), ("3.", 3.0)])
def test_cores(text: str, value: float) -> None:
    assert units.parse_cpus(text) == value


@pytest.mark.parametrize(
    "text", ["", "0", "-2", "nan", "inf", "1e3", "1_0", "1,500", "50%", "٣", "99999999", "1.5 cores"]
)
def test_what_is_not_cores(text: str) -> None:
    with pytest.raises(InvalidError, match=r"0\.5 or 2") as caught:
        units.parse_cpus(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("1.5 GiB", 3 << 29),
        ("64K", 65536),
        ("64kb", 65536),
        ("0", 0),
        ("1048576", 1 << 20),
        ("10b", 10),
        ("2t", 2 << 40),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_bytes(text: str, value: int) -> None:
    assert units.parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "m", "1x", "-5", "1.2.3m", "nan", "5 m b", "1e9", "9999999p", "9" * 5000])
def test_what_is_not_bytes(text: str) -> None:
    with pytest.raises(InvalidError, match="512m"):
        units.parse_bytes(text)


@pytest.mark.parametrize("text", ["0", "", "1.5", "-2", "²", "4194305", "9" * 5000])
def test_what_is_not_a_count(text: str) -> None:
    with pytest.raises(InvalidError, match="whole number"):
        units.parse_count(text)


@pytest.mark.parametrize("text", ["1", "262145", "", "1024.0", "unlimited", "-1"])
def test_what_is_not_shares(text: str) -> None:
    with pytest.raises(InvalidError, match="262144"):
        units.parse_shares(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", "0"), ("0-2,4", "0-2,4"), (" 3,1,2 ", "1-3"), ("0-0", "0"), ("5,5,5", "5"), ("0,1", "0-1")],
)
def test_lists_become_canonical(text: str, value: str) -> None:
    assert units.parse_cpuset(text) == value


@pytest.mark.parametrize("text", ["", ",", "1,", "2-1", "a", "0-", "-3", "1;2", "0-99999", "9999", "٣"])
def test_what_is_not_a_list(text: str) -> None:
    with pytest.raises(InvalidError, match="0-2,4"):
        units.parse_cpuset(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_bytes_to_read(value: int, text: str) -> None:
    assert units.human_bytes(value) == text


PARSERS: list[Callable[[str], object]] = [
    units.parse_cpus,
    units.parse_bytes,
    units.parse_count,
    units.parse_shares,
    units.parse_cpuset,
]


@given(st.one_of(st.text(), st.text(alphabet="0123456789.-,kmgtpib \u0663\u00b2eEnaf+_", max_size=40)))
@example("\ud800")
@example("9" * 5000)
def test_no_text_crashes_a_parser(text: str) -> None:
    for parse in PARSERS:
        try:
            value = parse(text)
        except InvalidError:
            continue
        assert value is UNLIMITED or isinstance(value, float | int | str)


@given(st.one_of(st.just(UNLIMITED), st.integers(0, LIMITS[LimitName.MEMORY].maximum)))
def test_bytes_round_trip(value: int | Unlimited) -> None:
    assert units.parse_bytes(units.format_bytes(value)) == value


@given(st.one_of(st.just(UNLIMITED), st.integers(1, 65536 * 1000).map(lambda n: n / 1000)))
def test_cores_round_trip(value: float | Unlimited) -> None:
    assert units.parse_cpus(units.format_cpus(value)) == value


@given(st.frozensets(st.integers(0, LIMITS[LimitName.CPUSET_CPUS].maximum), min_size=1, max_size=200))
def test_lists_round_trip(numbers: frozenset[int]) -> None:
    text = units.format_cpuset(numbers)
    assert units.cpuset_numbers(text) == numbers
    assert units.parse_cpuset(text) == text


def rates(most: int) -> st.SearchStrategy[tuple[DeviceRate, ...]]:
    numbers = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: f"{pair[0]}:{pair[1]}")
    rate = st.builds(DeviceRate, numbers, st.just(UNLIMITED) | st.integers(1, most))
    return st.lists(rate, min_size=1, max_size=3, unique_by=lambda each: each.device).map(tuple)


@given(
    st.fixed_dictionaries(
        {
            LimitName.CPUS: st.integers(1, 65536 * 1000).map(lambda n: n / 1000),
            LimitName.CPU_SHARES: st.integers(2, 262_144),
            LimitName.CPUSET_CPUS: st.frozensets(st.integers(0, 300), min_size=1).map(units.format_cpuset),
            LimitName.CPU_PERIOD: st.integers(1_000, 1_000_000),
            LimitName.CPU_BURST: st.integers(0, LIMITS[LimitName.CPU_BURST].maximum),
            LimitName.CPU_IDLE: st.booleans(),
            LimitName.IO_WEIGHT: st.integers(1, 10_000),
            LimitName.IO_READ_BPS: rates(LIMITS[LimitName.MEMORY].maximum),
            LimitName.IO_WRITE_IOPS: rates(LIMITS[LimitName.IO_READ_IOPS].maximum),
            LimitName.NET_EGRESS: st.integers(
                LIMITS[LimitName.NET_EGRESS].minimum, LIMITS[LimitName.NET_EGRESS].maximum
            ),
            LimitName.MEMORY: st.integers(1, LIMITS[LimitName.MEMORY].maximum),
            LimitName.MEMORY_RESERVATION: st.integers(0, LIMITS[LimitName.MEMORY].maximum),
            LimitName.SWAP: st.integers(0, LIMITS[LimitName.MEMORY].maximum),
            LimitName.PIDS: st.integers(1, LIMITS[LimitName.PIDS].maximum),
        }
    )
)
def test_what_the_editor_shows_it_reads_back_and_it_is_valid(values: dict[LimitName, Value]) -> None:
    read_back = {name: units.parse_value(name, units.format_value(name, value)) for name, value in values.items()}
    assert read_back == values
    units.validate(LimitChange.of(values))


@given(st.floats())
def test_no_number_of_cores_crashes_the_check(value: float) -> None:
    valid = math.isfinite(value) and 0 < value <= LIMITS[LimitName.CPUS].maximum
    with nullcontext() if valid else pytest.raises(InvalidError):
        units.validate(LimitChange(cpus=value))


def test_shares_and_weight_meet_where_the_runtimes_say() -> None:
    assert [shares_to_weight(n) for n in (2, 1024, 262_144)] == [1, 100, 10_000]
    assert [shares_to_weight_linear(n) for n in (2, 1024, 262_144)] == [1, 39, 10_000]
    assert [weight_to_shares(n) for n in (1, 100, 10_000)] == [2, 1024, 262_144]


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_more_shares_never_weigh_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    for convert in (shares_to_weight, shares_to_weight_linear):
        assert 1 <= convert(low) <= convert(high) <= 10_000


@given(st.integers(2, 262_144))
def test_shares_round_trip_through_the_weight(shares: int) -> None:
    weight = shares_to_weight(shares)
    back = weight_to_shares(weight)
    assert back >= shares
    assert shares_to_weight(back) == weight
    assert back == 262_144 or shares_to_weight(back + 1) > weight


@given(st.integers(-5, 20_000))
def test_any_weight_becomes_shares(weight: int) -> None:
    assert 2 <= weight_to_shares(weight) <= 262_144


@pytest.mark.parametrize(
    ("text", "cores"), [("500m", 0.5), ("1,5", 1.5), ("0,125", 0.125), (",5", 0.5), ("1500m", 1.5), ("2", 2.0)]
)
def test_cores_as_people_write_them(text: str, cores: float) -> None:
    assert units.parse_cpus(text) == cores


@pytest.mark.parametrize(
    ("text", "hint"),
    [("50%", "50% of one core is 0.5"), ("1,500", "500m is 0.5"), ("5mm", "500m"), ("m", "500m"), ("%", "0.5")],
)
def test_what_could_mean_two_things_is_refused_with_what_to_write(text: str, hint: str) -> None:
    """The words do not sound as if it had been read; those of the other units go through the same function."""
    with pytest.raises(InvalidError) as caught:
        units.parse_cpus(text)
    assert caught.value.title == f"'{text}' is not a number of CPU cores"
    assert hint in caught.value.hint
