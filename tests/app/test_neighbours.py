"""Who hurts whom on the screen: the WHY line, from victim to culprit and back, the matrix, one key a rung."""

from __future__ import annotations

import pytest

from collectors.attribution.evidence import NO_ATTRIBUTION, Suspect, SuspectKind
from runtime.errors import InvalidError, RefusedError
from runtime.model import UNLIMITED, LimitChange
from tests.app.containment_fakes import (
    API,
    BATCH,
    HURT,
    IDLE,
    WEB,
    ScriptedContainment,
    ScriptedUndo,
    hurt_session,
    lease,
)
from tests.app.driving import main, question, running, screen, selected, table, toasts, until
from tests.evidence import attributed, evidence
from tui.app.screens.confirm import ConfirmScreen
from tui.app.screens.detail import DetailScreen
from tui.app.screens.matrix import MatrixScreen
from tui.core.undo import UndoPreview

SIZES = pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])


@SIZES
async def test_the_selected_rows_why_is_told_in_words(size: tuple[int, int]) -> None:
    session, _ = hurt_session()
    async with running(session, size) as pilot:
        assert selected(pilot) == "batch"
        assert "WHY batch hurts api (waits 79% for cpu), web (waits 40% for cpu)" in screen(pilot)
        await pilot.press("j")
        assert selected(pilot) == "web"
        await until(pilot, lambda: "WHY web waits 40%" in screen(pilot))
        table(pilot).select(IDLE.ref)
        await until(pilot, lambda: "WHY" not in screen(pilot))


async def test_on_a_low_screen_the_line_goes_and_the_rows_stay() -> None:
    session, _ = hurt_session()
    async with running(session, (80, 12)) as pilot:
        assert "WHY" not in screen(pilot)
        assert "idle" in screen(pilot)


async def test_the_line_goes_with_the_evidence() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        session.attribution = NO_ATTRIBUTION
        await until(pilot, lambda: "WHY" not in screen(pilot))


@pytest.mark.parametrize(("ascii_only", "hurts", "hurt"), [(False, "»batch", "«api"), (True, ">batch", "<api")])
async def test_victims_and_culprits_have_a_sign_beside_the_colour(ascii_only: bool, hurts: str, hurt: str) -> None:
    session, _ = hurt_session()
    async with running(session, ascii_only=ascii_only) as pilot:
        assert hurts in screen(pilot)
        assert hurt in screen(pilot)
        assert " idle" in screen(pilot)


# from victim to culprit


async def test_w_goes_from_a_victim_to_its_culprit_and_back() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        table(pilot).select(WEB.ref)
        await pilot.press("w")
        assert selected(pilot) == "batch"
        await pilot.press("w")
        assert selected(pilot) == "web", "back to whom it came from, although api is hurt more"
        table(pilot).select(BATCH.ref)
        await pilot.press("w")
        assert selected(pilot) == "api"


async def test_w_without_a_culprit_says_so_and_stays() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        table(pilot).select(IDLE.ref)
        await pilot.press("w")
        await until(pilot, lambda: "Nobody hurts it" in toasts(pilot))
        assert selected(pilot) == "idle"


async def test_w_to_one_that_the_filter_hides_says_what_to_do() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        await pilot.press("slash", "a", "p", "i", "enter")
        await until(pilot, lambda: table(pilot).refs == [API.ref])
        await pilot.press("w")
        await until(pilot, lambda: "clear the filter" in toasts(pilot))


# the matrix


@SIZES
async def test_the_matrix_follows_the_frames_and_q_leads_back(size: tuple[int, int]) -> None:
    session, _ = hurt_session()
    async with running(session, size) as pilot:
        await pilot.press("W")
        await until(pilot, lambda: isinstance(pilot.app.screen, MatrixScreen) and "50% cpu" in screen(pilot))
        session.attribution = attributed(evidence(WEB.ref, BATCH.ref, 0.31))
        await until(pilot, lambda: "31% cpu" in screen(pilot) and "50% cpu" not in screen(pilot))
        session.attribution = NO_ATTRIBUTION
        await until(pilot, lambda: "Nobody waits for what others use." in screen(pilot))
        await pilot.press("q")
        await until(pilot, lambda: pilot.app.screen is main(pilot))


async def test_enter_in_the_matrix_selects_the_victim_in_the_list() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        await pilot.press("W")
        await until(pilot, lambda: isinstance(pilot.app.screen, MatrixScreen) and "50% cpu" in screen(pilot))
        await pilot.press("j", "enter")
        await until(pilot, lambda: pilot.app.screen is main(pilot))
        assert selected(pilot) == "web"


async def test_the_matrix_contains_for_the_victim_in_its_row() -> None:
    session, containment = hurt_session()
    async with running(session) as pilot:
        await pilot.press("W")
        await until(pilot, lambda: isinstance(pilot.app.screen, MatrixScreen) and "50% cpu" in screen(pilot))
        await pilot.press("j", "m")
        await question(pilot)
        await pilot.press("y")
        await until(pilot, lambda: containment.done == [("climb", WEB.ref)])


# one key a rung


@pytest.mark.parametrize("key", ["m", "y"])
@pytest.mark.parametrize("where", [API, BATCH])
async def test_a_rung_is_told_before_it_is_climbed(where: object, key: str) -> None:
    session, containment = hurt_session()
    async with running(session) as pilot:
        table(pilot).select(where.ref)  # type: ignore[attr-defined]
        await pilot.press("m")
        await question(pilot)
        assert containment.done == []
        assert "y or m: do it" in screen(pilot)
        await pilot.press(key)
        await until(pilot, lambda: containment.done == [("climb", API.ref)])


async def test_another_key_leaves_everything_as_it_is() -> None:
    session, containment = hurt_session()
    async with running(session) as pilot:
        await pilot.press("m")
        await question(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmScreen))
        assert containment.done == []


async def test_what_cannot_be_contained_says_why() -> None:
    session, containment = hurt_session()
    containment.refusal = InvalidError("contain batch", detail="it is marked untouchable")
    async with running(session) as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "contain batch: it is marked untouchable" in toasts(pilot))
        assert pilot.app.screen is main(pilot)
        table(pilot).select(IDLE.ref)
        await pilot.press("m")
        await until(pilot, lambda: "nobody hurts it, and it hurts nobody." in toasts(pilot))


async def test_a_rung_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: ScriptedContainment, victim: object) -> object:
        raise RefusedError("contain batch", detail="cpu.idle: Permission denied")

    monkeypatch.setattr(ScriptedContainment, "climb", refuse)
    session, _ = hurt_session()
    async with running(session) as pilot:
        await pilot.press("m")
        await question(pilot)
        await pilot.press("m")
        await until(pilot, lambda: "cpu.idle: Permission denied" in toasts(pilot))


async def test_the_lease_counts_down_in_the_row_and_in_the_head() -> None:
    session, containment = hurt_session()
    async with running(session, (120, 30)) as pilot:
        containment.leases = (lease(seconds=4.5),)
        await until(pilot, lambda: "lease batch 4s" in screen(pilot))
        assert "CPU idle on, taken back in 4s" in screen(pilot)
        assert "c keeps it" in screen(pilot)
        await until(pilot, lambda: "lease batch 3s" in screen(pilot))


async def test_a_lease_of_another_dashboard_is_told_with_its_user() -> None:
    session, containment = hurt_session()
    async with running(session, (120, 30)) as pilot:
        containment.leases = (lease(pid=1),)
        await until(pilot, lambda: "(root, process 1)" in screen(pilot))


@pytest.mark.parametrize(("key", "what"), [("b", "step_back"), ("c", "confirm"), ("P", "probe")])
async def test_a_rung_back_keep_and_test(key: str, what: str) -> None:
    session, containment = hurt_session()
    async with running(session) as pilot:
        await pilot.press("m")
        await question(pilot)
        await pilot.press("y")  # after `m` keys are dropped for a moment, as after every key that has no binding
        await until(pilot, lambda: containment.done)
        table(pilot).select(API.ref)
        await pilot.press(key)
        await until(pilot, lambda: containment.done[1:] == [(what, API.ref)])


@pytest.mark.parametrize(("key", "words"), [("b", "nothing was done for it"), ("c", "there is none for it")])
async def test_nothing_to_take_back_or_to_keep_says_so(key: str, words: str) -> None:
    session, containment = hurt_session(NO_ATTRIBUTION)
    async with running(session) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: words in toasts(pilot))
        assert containment.done == []


async def test_the_containers_own_screen_tells_it_and_takes_the_keys_too() -> None:
    session, containment = hurt_session()
    async with running(session) as pilot:
        table(pilot).select(API.ref)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen) and "WHY api waits 79%" in screen(pilot))
        await pilot.press("m")
        await question(pilot)
        await pilot.press("m")
        await until(pilot, lambda: containment.done == [("climb", API.ref)])


async def test_who_blames_nobody_is_told_and_cannot_be_contained() -> None:
    session, _ = hurt_session(attributed(evidence(BATCH.ref, Suspect(SuspectKind.OWN_QUOTA), 0.9)))
    async with running(session) as pilot:
        assert "WHY batch" in screen(pilot)
        assert "by its own CPU limit" in screen(pilot)
        assert "contains it" not in screen(pilot)
        assert HURT.by_victim


async def test_a_toast_does_not_cover_the_line() -> None:
    session, _ = hurt_session()
    async with running(session) as pilot:
        pilot.app.notify("something was done", timeout=60)
        await until(pilot, lambda: "something was done" in screen(pilot))
        assert "web (waits 40% for cpu) · w shows api" in screen(pilot)


# undo and redo


@pytest.mark.parametrize(("key", "name"), [("U", "undo"), ("ctrl+y", "redo")])
async def test_undo_and_redo_tell_what_they_will_set_and_what_the_kernel_holds_then(key: str, name: str) -> None:
    session, _ = hurt_session()
    preview = UndoPreview(BATCH.ref, LimitChange(cpus=UNLIMITED), LimitChange(cpus=0.2))
    async with running(session) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: "No limit was changed" in toasts(pilot) or "Nothing was undone" in toasts(pilot))
        session.undoing.next_undo = session.undoing.next_redo = preview
        await pilot.press(key)
        await question(pilot)
        assert "CPU cores from 0.2 to unlimited" in screen(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is main(pilot))
        assert session.undoing.done == []
        await pilot.press(key)
        await question(pilot)
        await pilot.press(key)
        await until(pilot, lambda: session.undoing.done == [(name, BATCH.ref)])
        await until(pilot, lambda: "batch: the kernel holds: CPU cores unlimited (was 0.2)" in toasts(pilot))


async def test_an_undo_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: ScriptedUndo) -> object:
        raise RefusedError("undo the last change", detail="cpus is 0.3 now: somebody else has changed it")

    monkeypatch.setattr(ScriptedUndo, "undo", refuse)
    session, _ = hurt_session()
    session.undoing.next_undo = UndoPreview(BATCH.ref, LimitChange(cpus=UNLIMITED), LimitChange(cpus=0.2))
    async with running(session) as pilot:
        await pilot.press("U")
        await question(pilot)
        await pilot.press("y")
        await until(pilot, lambda: "somebody else has changed it" in toasts(pilot))
