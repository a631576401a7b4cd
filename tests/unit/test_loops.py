"""What the tests share: how often their loops go round."""

from __future__ import annotations

import pytest

from tests.loops import cycles


def test_a_tenth_of_a_loop_unless_all_of_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTOP_LONG", raising=False)
    assert (cycles(1000), cycles(12, least=4), cycles(3)) == (100, 4, 1)
    monkeypatch.setenv("PYTOP_LONG", "1")
    assert (cycles(1000), cycles(12, least=4)) == (1000, 12)
