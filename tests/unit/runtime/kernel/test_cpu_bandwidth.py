"""Cores, quota and period."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.kernel.cpu_bandwidth import DEFAULT_PERIOD_US, cores, exact_quota_us, period_or_default, quota_us
from runtime.model import UNLIMITED, Missing


@given(st.integers(1_000, 10**9), st.integers(1_000, 1_000_000))
def test_a_quota_is_read_back_from_its_cores(quota: int, period: int) -> None:
    read = cores(quota, period)
    assert isinstance(read, float)
    assert exact_quota_us(read, period) == quota_us(read, period) == quota


@pytest.mark.parametrize("quota", [-1, 0, -1000])
def test_no_quota_is_unlimited(quota: int) -> None:
    assert cores(quota, 100_000) is UNLIMITED


def test_the_kernel_takes_no_quota_below_a_millisecond() -> None:
    assert (exact_quota_us(0.001, 100_000), quota_us(0.001, 100_000)) == (100, 1_000)


@pytest.mark.parametrize("period", [0, -1, None, Missing.DENIED])
def test_a_period_that_is_not_known_is_the_default(period: int | Missing | None) -> None:
    assert period_or_default(period) == DEFAULT_PERIOD_US == 100_000
    assert period_or_default(20_000) == 20_000
