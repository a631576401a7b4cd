"""`update`: its exit code when a container ends while its limits are changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.errors import NotFoundError
from runtime.model import Container, FieldOutcome, LimitChange, LimitOutcome, Missing, State, Verdict
from tests.app.fakes import container
from tests.fake_engine import FakeEngine
from tui.cli import common, exits, parser, update


class EndingEngine(FakeEngine):
    """Its container ends while its limits are changed: its cgroup is gone, or only what is read back."""

    def __init__(self, *containers: Container, gone: bool) -> None:
        super().__init__(containers)
        self.gone = gone

    async def update(self, key: str, change: LimitChange) -> LimitOutcome:
        (known,) = await self.containers()
        if not known.state.live:
            return await super().update(key, change)
        self.put(replace(known, state=State.EXITED, pid=None))
        if self.gone:
            raise NotFoundError("set pids", detail="the container's cgroup is gone")
        value = Verdict.UNREADABLE
        fields = [FieldOutcome(name, asked, Missing.GONE, asked, Missing.GONE, value) for name, asked in change.items()]
        return LimitOutcome(known.ref, tuple(fields))


@pytest.mark.parametrize("gone", [True, False])
async def test_a_container_that_ends_while_it_is_changed_is_changed_as_one_at_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    """By the engine's record, and `update` exits as it does for one at rest."""
    engine = EndingEngine(container("web"), gone=gone)
    monkeypatch.setattr(common, "engines", lambda _: [engine])
    args = parser.build().parse_args(["update", "--pids-limit", "99", "web"])
    assert await update._update(args) == exits.OK
    assert "recorded for the next start" in capsys.readouterr().out
