"""Problems in words: every kind has a title, every observer of a session a name."""

from __future__ import annotations

import pytest

from tests.fake_engine import FakeEngine
from tui.core.problem import Problem, ProblemKind
from tui.core.session import Session
from tui.present import problem_text


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem(ProblemKind.ENGINE, engine="x", cause="x is away", hint="Start it"), "x is away. Start it"),
        (Problem(ProblemKind.ENGINE, engine="x", cause="x is away"), "x is away"),
        (Problem(ProblemKind.MEASUREMENT, cause="no more descriptors"), "measuring failed: no more descriptors"),
        (Problem(ProblemKind.COMPARISON, subject="web", cause="E"), "comparing the limits of web failed: E"),
        (Problem(ProblemKind.COMPARISON, cause="E"), "comparing the limits of groups failed: E"),
        (
            Problem(ProblemKind.OBSERVER, subject="history", cause="E"),
            "history failed 3 times and is paused: E. It is tried again every 60 s",
        ),
    ],
)
def test_a_problem_on_one_line(problem: Problem, line: str) -> None:
    assert problem_text.line(problem) == line


async def test_every_observer_of_a_session_has_a_name() -> None:
    session = Session([FakeEngine()])
    names = [observer.name for observer, _ in session._measurement._observers._observers]
    assert set(names) == problem_text.OBSERVER_NAMES.keys()
    await session.close()
