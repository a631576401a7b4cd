"""The guard in the dashboard: on and off by a key, the head that says so, and why it cannot be turned on."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.kernel import run_directory, threads
from tests.app.driving import running, screen, toasts, town_session, until
from tui.core.guard.writer_lock import WriterLock
from tui.core.settings import Settings

POLICY = '[[protect]]\nname = "web"\ncpu_wait = 0.2\n[[contain]]\nname = "batch"\nlast_rung = "idle"\n'


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run directory of the test's own."""
    monkeypatch.setattr(run_directory, "candidates", lambda uid: (tmp_path / "run",))


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A directory with a right policy, a wrong one and a dry one; they are read anew at each turn."""
    for name, text in (
        ("guard", POLICY),
        ("wrong", POLICY.replace("idle", "iddle")),
        ("dry", "dry_run = true\n" + POLICY),
    ):
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        path.chmod(0o600)
    return tmp_path


def by(policies: Path, name: str = "guard") -> Settings:
    return Settings(guard=policies / f"{name}.toml")


async def lock(policy: str) -> WriterLock:
    return await threads.acting(WriterLock.acquire, policy)


async def test_a_key_turns_it_on_and_off_and_the_head_says_so(policies: Path) -> None:
    session, _, _ = town_session()
    async with running(session, chosen=by(policies)) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: "GUARD" in screen(pilot))
        assert f"on, by {policies}/guard.toml" in toasts(pilot)
        await pilot.press("A")
        await until(pilot, lambda: "GUARD" not in screen(pilot))
        assert "off: what it held was taken back" in toasts(pilot)
        (await lock("another")).close()  # nobody holds the lock any more


async def test_without_a_policy_it_says_why_not(policies: Path) -> None:
    session, _, _ = town_session()
    async with running(session, chosen=Settings()) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: toasts(pilot))
        assert "there is no policy" in toasts(pilot)
        assert "--guard POLICY.toml" in toasts(pilot)
        assert "GUARD" not in screen(pilot)


async def test_a_wrong_policy_says_what_is_wrong(policies: Path) -> None:
    session, _, _ = town_session()
    async with running(session, chosen=by(policies, "wrong")) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: "there is no 'iddle'" in toasts(pilot))
        assert "GUARD" not in screen(pilot)


async def test_another_guard_is_named(policies: Path) -> None:
    session, _, _ = town_session()
    held = await lock("/etc/first.toml")
    async with running(session, chosen=by(policies)) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: "/etc/first.toml" in toasts(pilot))
        assert "GUARD" not in screen(pilot)
        held.close()
        await pilot.press("A")
        await until(pilot, lambda: "GUARD" in screen(pilot))


@pytest.mark.parametrize(("name", "words"), [("guard", "--read-only"), ("dry", "on, by")])
async def test_a_read_only_dashboard_guards_in_a_dry_run_only(policies: Path, name: str, words: str) -> None:
    session, _, _ = town_session(read_only=True)
    async with running(session, chosen=by(policies, name)) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: words in toasts(pilot))
        await until(pilot, lambda: ("GUARD (dry run)" in screen(pilot)) == (name == "dry"))


async def test_leaving_the_dashboard_ends_it(policies: Path) -> None:
    session, _, _ = town_session()
    async with running(session, chosen=by(policies)) as pilot:
        await pilot.press("A")
        await until(pilot, lambda: "GUARD" in screen(pilot))
    (await lock("another")).close()
