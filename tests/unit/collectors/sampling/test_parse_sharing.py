"""Weights, idle class and CPUs out of kernel files: good content, bad content, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sampling import parse_sharing
from runtime.model import Missing

UNSUPPORTED = Missing.UNSUPPORTED


def test_weights_of_both_versions_count_alike() -> None:
    assert parse_sharing.cpu_weight(b"100\n") == 100
    assert parse_sharing.cpu_weight(b"0\n") == 1, "what the kernel shows in the idle class"
    assert [parse_sharing.cpu_shares(text) for text in (b"2\n", b"1024\n", b"262144\n")] == [1, 100, 10_000]
    for parse in (parse_sharing.cpu_weight, parse_sharing.cpu_shares):
        assert [parse(text) for text in (b"", b"-5\n", b"max\n", b"1 2\n")] == [UNSUPPORTED] * 4


def test_the_idle_class() -> None:
    assert [parse_sharing.flag(text) for text in (b"1\n", b"0\n")] == [True, False]
    assert [parse_sharing.flag(text) for text in (b"", b"2\n", b"-1\n", b"01\n", b"yes\n")] == [UNSUPPORTED] * 5


def test_io_weights_of_every_scheduler() -> None:
    assert parse_sharing.io_weight(b"default 250\n8:0 50\n") == 250
    assert parse_sharing.io_weight(b"100\n") == 100
    assert [parse_sharing.io_weight(text) for text in (b"", b"8:0 50\n", b"default\n", b"default -1\n")] == [
        UNSUPPORTED
    ] * 4


def test_lists_of_cpus() -> None:
    assert parse_sharing.cpu_list(b"0-3,8\n") == {0, 1, 2, 3, 8}
    assert parse_sharing.cpu_list(b"5\n") == {5}
    assert parse_sharing.cpu_list(b"0-1\n") is parse_sharing.cpu_list(b"0-1\n"), "parsed once"


@pytest.mark.parametrize("text", [b"\n", b"", b"a", b"3-1", b"1-", b"-1", b"1,,2", b"0-99999999999", b"1-2-3"])
def test_what_is_no_list_of_cpus_tells_nothing(text: bytes) -> None:
    assert parse_sharing.cpu_list(text) is UNSUPPORTED


@pytest.mark.parametrize(
    "parse", [parse_sharing.cpu_weight, parse_sharing.cpu_shares, parse_sharing.flag, parse_sharing.io_weight]
)
@given(data=st.binary(max_size=64))
def test_whatever_a_file_holds_nothing_raises(parse: object, data: bytes) -> None:
    found = parse(data)  # type: ignore[operator]
    assert isinstance(found, int) or found is UNSUPPORTED


@given(data=st.binary(max_size=64))
def test_whatever_a_list_holds_nothing_raises(data: bytes) -> None:
    assert isinstance(parse_sharing.cpu_list(data), (frozenset, Missing))
