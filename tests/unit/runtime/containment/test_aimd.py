"""The quota of a suspect: never below its floor, near what the victim leaves, and no decrease that brings nothing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runtime.containment import aimd
from runtime.containment.aimd import Quota, QuotaStep

SHARES = st.floats(0.0, 1.0)


@given(st.floats(0.0, 64.0), st.lists(SHARES, max_size=200))
def test_it_stays_between_floor_and_ceiling(ceiling: float, waits: list[float]) -> None:
    quota = aimd.begin(ceiling)
    for wait in waits:
        quota = aimd.decide(quota, wait)
        assert quota.floor - 1e-9 <= quota.cores <= quota.ceiling + 1e-9


@given(st.floats(0.5, 16.0), st.floats(0.1, 0.95))
def test_it_converges_where_the_victim_begins_to_wait(ceiling: float, part: float) -> None:
    """A machine where the victim waits in proportion to what the suspect takes beyond `knee`."""
    knee = max(aimd.FLOOR_CORES * 2, part * ceiling)
    quota = aimd.begin(ceiling)
    seen = []
    for _ in range(300):
        quota = aimd.decide(quota, min(1.0, max(0.0, (quota.cores - knee) / ceiling * 3)))
        seen.append(quota.cores)
    step = max(aimd.INCREASE_CORES, aimd.INCREASE_SHARE * ceiling)
    slack = aimd.WAITING_SHARE * ceiling / 3 + step  # where the wait reaches the threshold, and one increase more
    settled = seen[100:]
    assert max(settled) <= knee + slack + 0.01
    assert min(settled) >= knee * aimd.DECREASE_FACTOR - 0.01


def test_a_decrease_that_brings_nothing_is_taken_back_and_tried_later() -> None:
    quota = aimd.begin(2.0)
    steps: list[QuotaStep] = []
    for _ in range(60):
        before, quota = quota, aimd.decide(quota, 0.5)
        steps.append(quota.last)
        if before.last is QuotaStep.DECREASED:
            assert (quota.last, quota.cores) == (QuotaStep.TAKEN_BACK, 2.0)
    tries = [number for number, step in enumerate(steps) if step is QuotaStep.DECREASED]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]


def test_without_waiting_all_is_given_back() -> None:
    quota = Quota(cores=0.2, ceiling=1.0)
    for _ in range(20):
        quota = aimd.decide(quota, 0.0)
    assert quota.cores == 1.0
    assert quota.last is QuotaStep.HELD


def test_at_the_floor_it_holds() -> None:
    quota = aimd.decide(Quota(cores=aimd.FLOOR_CORES, ceiling=1.0), 0.9)
    assert (quota.cores, quota.last) == (aimd.FLOOR_CORES, QuotaStep.HELD)
