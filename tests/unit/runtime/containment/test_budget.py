"""How often something may act."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.containment.budget import HOUR_S, ActionBudget, Spent


def test_no_more_than_the_budget_in_any_hour() -> None:
    budget = ActionBudget(2)
    assert budget.why_not("a", 0.0) is None
    budget.spend("a", 0.0)
    budget.spend("b", 1800.0)
    assert budget.why_not("c", 1801.0) is Spent.BUDGET
    assert budget.left(1801.0) == 0
    assert budget.why_not("c", HOUR_S) is None, "the first is an hour old"
    assert budget.left(HOUR_S) == 1


def test_a_target_cools_down() -> None:
    budget = ActionBudget(10, cool_down_s=60.0)
    budget.spend("a", 100.0)
    assert budget.why_not("a", 159.0) is Spent.COOL_DOWN
    assert budget.why_not("b", 159.0) is None
    assert budget.why_not("a", 160.0) is None


@given(st.integers(0, 5), st.lists(st.floats(0.0, 300.0), max_size=100))
def test_any_hour_has_at_most_so_many(limit: int, gaps: list[float]) -> None:
    budget = ActionBudget(limit)
    now, made = 0.0, []
    for gap in gaps:
        now += gap
        if budget.why_not("x", now) is None:
            budget.spend("x", now)
            made.append(now)
        assert sum(1 for at in made if now - at < HOUR_S) <= limit
