"""The limit editor: from keys to a change and back to what the kernel holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual import events
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widgets import Input, Static

from runtime.errors import ConflictError, RefusedError
from runtime.kernel import block
from runtime.kernel.block import Disks
from runtime.limits import ReclaimProgress
from runtime.model import (
    UNLIMITED,
    Capabilities,
    ContainerRef,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Missing,
    State,
    Verb,
    Verdict,
)
from tests.app import driving, fakes, limit_fakes
from tests.app.driving import tamper, toasts, until
from tui.app.app import PytopApp
from tui.app.screens.limit_editor import LimitEditor
from tui.app.widgets.limit_field import LimitField
from tui.core.drift.detector import Drift
from tui.core.inspector import GONE


async def editor(app: PytopApp, pilot: Pilot[None]) -> LimitEditor:
    await until(pilot, lambda: app.subject() is not None and app.session.frame is not None)
    await pilot.press("l")
    await until(pilot, lambda: isinstance(app.screen, LimitEditor))
    screen = app.screen
    assert isinstance(screen, LimitEditor)
    await until(pilot, lambda: field(screen, "cpu-shares").held == 1024)
    return screen


def field(screen: LimitEditor, name: str) -> LimitField:
    return screen.query_one(f"#field-{name}", LimitField)


def status(screen: LimitEditor) -> str:
    return str(screen.query_one("#limit-status", Static).render())


async def test_lowering_a_hog_takes_five_keys() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await editor(app, pilot)
        await pilot.press("0", ".", "2", "enter")
        await until(pilot, lambda: not isinstance(app.screen, LimitEditor))
        assert engine.changes == [LimitChange(cpus=0.2)]
        assert "CPU cores 0.2 (was unlimited)" in toasts(pilot)


async def test_a_change_for_a_time_is_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    app, engine = limit_fakes.app()
    asked: list[tuple[LimitChange, float]] = []

    async def lease(ref: ContainerRef, change: LimitChange, seconds: float) -> LimitOutcome:
        asked.append((change, seconds))
        fields = (FieldOutcome(LimitName.CPUS, 0.2, UNLIMITED, Missing.DENIED, 0.2, Verdict.APPLIED),)
        return LimitOutcome(ref, fields)

    monkeypatch.setattr(app.session.containment, "lease", lease, raising=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await editor(app, pilot)
        await pilot.press("0", ".", "2", "f8", "f8")
        await until(pilot, lambda: "Taken back in 5m unless you keep it" in driving.screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, LimitEditor))
        assert (asked, engine.changes) == ([(LimitChange(cpus=0.2), 300.0)], [])
        assert "CPU cores 0.2 (was unlimited)" in toasts(pilot)


async def test_after_the_longest_time_a_change_is_for_good_again() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await editor(app, pilot)
        assert "f8 for a time" in driving.screen(pilot)
        await pilot.press("0", ".", "2", *["f8"] * 5)
        assert "Taken back" not in driving.screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: engine.changes == [LimitChange(cpus=0.2)])


async def test_making_room_is_for_good_and_says_so() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        field(screen, "memory").input.focus()
        await pilot.press("6", "4", "m", "f8", "f4")
        await until(pilot, lambda: "f4 makes room for good" in status(screen))
        assert engine.changes == []


async def test_what_it_will_do_is_said_while_typing() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("0", ".", "5")
        cpus = field(screen, "cpus")
        await until(pilot, lambda: bool(cpus.message_text))
        assert (
            cpus.message_text == "0.5 cores: it used 1.9 in the last minute, so it will be throttled most of the time"
        )
        assert not engine.changes


async def test_a_harmful_value_is_refused_with_the_figures_and_nothing_is_written() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        field(screen, "memory").input.focus()
        await pilot.press("1", "6", "m", "enter")
        await until(pilot, lambda: "Refused" in status(screen))
        assert "it uses 120.0 MiB, and 80.0 MiB of it cannot be reclaimed" in field(screen, "memory").message_text
        assert not engine.changes
        assert field(screen, "memory").text == "16m"


async def test_a_refusal_outlasts_what_the_typing_was_about_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        asked = 0
        real = app.session.preview

        async def preview(*words: Any) -> Any:
            nonlocal asked
            asked += 1
            return await real(*words)

        monkeypatch.setattr(app.session, "preview", preview)
        monkeypatch.setattr("tui.app.screens.limit_editor.PREVIEW_DELAY_S", 1.0)  # longer than a refusal takes
        field(screen, "memory").input.value = "16m"
        await asyncio.sleep(0.1)
        screen.action_apply(False)
        await until(pilot, lambda: "Refused" in status(screen))
        await asyncio.sleep(1.5)
        assert asked == 1
        assert "Refused" in status(screen)


async def test_a_malformed_value_keeps_what_was_typed_and_gets_the_focus_back() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("0", ".", "2", "x")
        field(screen, "pids").input.focus()
        await pilot.press("5", "0", "enter")
        await pilot.pause()
        assert screen.focused is field(screen, "cpus").input
        assert field(screen, "cpus").text == "0.2x"
        assert "'0.2x' is not a number of CPU cores" in field(screen, "cpus").message_text
        assert field(screen, "pids").text == "50"
        assert not engine.changes


@pytest.mark.parametrize(("keys", "text"), [("<", "2"), (">", "8"), ("u", "unlimited"), ("unlimited", "unlimited")])
async def test_quick_keys_for_cpu(keys: str, text: str) -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        names = {"<": "less_than_sign", ">": "greater_than_sign"}
        await pilot.press(*(names.get(key, key) for key in keys))
        await pilot.pause()
        assert field(screen, "cpus").text == text


async def test_a_digit_after_unlimited_begins_anew() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("u", "3")
        assert field(screen, "cpus").text == "3"
        field(screen, "pids").input.focus()
        await pilot.press("u", "enter")
        await until(pilot, lambda: bool(engine.changes))
        assert engine.changes == [LimitChange(cpus=3.0, pids=UNLIMITED)]


async def test_what_cannot_be_set_says_why() -> None:
    reasons = {LimitName.SWAP: "this engine does not know swap"}
    app, _ = limit_fakes.app(capabilities=Capabilities(limits=reasons))
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        assert field(screen, "swap").message_text == "this engine does not know swap"
        assert field(screen, "memory-high").message_text == "this kernel does not offer it"
        assert field(screen, "memory-high").query_one(Input).disabled


async def test_a_result_that_is_not_as_asked_stays_until_it_is_dismissed() -> None:
    app, engine = limit_fakes.app()
    engine.verdicts[LimitName.CPUS] = (Verdict.IGNORED, UNLIMITED, "the kernel still holds the old value")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("0", ".", "2", "enter")
        await until(pilot, lambda: "Not all is as asked" in status(screen))
        shown = str(screen.query_one("#limit-result", Static).render())
        row = next(line for line in shown.splitlines() if line.startswith("CPU cores"))
        assert row.split() == ["CPU", "cores", "0.2", "0.2", "unlimited", "IGNORED"]
        assert "the kernel still holds the old value" in shown
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not screen)


async def test_a_container_at_rest_keeps_a_change_for_its_next_start() -> None:
    hog = fakes.container("hog", state=State.EXITED)
    app, engine = limit_fakes.app(hog=hog)
    app.session.kernel = GONE  # type: ignore[attr-defined]
    engine.verdicts[LimitName.CPUS] = (Verdict.UNREADABLE, Missing.GONE, "")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LimitEditor))
        screen = app.screen
        assert isinstance(screen, LimitEditor)
        await until(pilot, lambda: "not running" in status(screen))
        await pilot.press("1", "enter")
        await until(pilot, lambda: "keeps it for the next start" in status(screen))
        assert engine.changes == [LimitChange(cpus=1.0)]


async def test_the_whole_result_is_shown_when_asked_for() -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("1", "ctrl+s")
        await until(pilot, lambda: "holds what was asked for" in status(screen))
        assert "APPLIED" in str(screen.query_one("#limit-result", Static).render())
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen)


async def test_what_is_to_be_known_of_a_limit_that_holds_is_said_either_way() -> None:
    words = "written past systemd, whose next daemon-reload undoes it"
    for key in ("enter", "ctrl+s"):
        app, engine = limit_fakes.app()
        engine.verdicts[LimitName.CPUS] = (Verdict.APPLIED, 0.2, words)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await editor(app, pilot)
            await pilot.press("0", ".", "2", key)
            if key == "enter":
                await until(pilot, lambda pilot=pilot: words in toasts(pilot))
            else:
                await until(pilot, lambda screen=screen: "holds what was asked for" in status(screen))
                assert words in str(screen.query_one("#limit-result", Static).render())


@pytest.mark.parametrize("last", ["ctrl+s", "enter"])
async def test_keys_that_come_all_at_once_are_taken_in_their_order(last: str) -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await editor(app, pilot)
        for key, character in (("0", "0"), ("full_stop", "."), ("3", "3"), (last, None)):
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: bool(engine.changes))
        assert engine.changes == [LimitChange(cpus=0.3)]


async def test_a_container_that_vanishes_is_said_so() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("1")
        engine.drop(limit_fakes.HOG.ref)
        await until(pilot, lambda: "is gone" in status(screen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen)
        assert not engine.changes


async def test_escape_does_not_leave_a_write_half_seen() -> None:
    app, engine = limit_fakes.app()
    engine.hold.clear()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("1", "enter")
        await until(pilot, lambda: bool(engine.changes))
        await pilot.press("escape", "enter")
        await pilot.pause()
        assert app.screen is screen
        assert "Still writing" in status(screen)
        engine.hold.set()
        await until(pilot, lambda: app.screen is not screen)
        assert len(engine.changes) == 1


async def test_an_engine_that_refuses_is_quoted_and_the_form_stays() -> None:
    app, engine = limit_fakes.app()
    engine.failures[Verb.UPDATE] = ConflictError("update hog", detail="it is being removed")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("1", "enter")
        await until(pilot, lambda: "it is being removed" in status(screen))
        assert field(screen, "cpus").text == "1"
        assert not field(screen, "cpus").input.disabled


async def test_it_is_usable_on_a_tiny_terminal() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(40, 10)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press(*["down"] * 3)
        await pilot.pause()
        focused = screen.focused
        assert focused is field(screen, "pids").input
        assert screen.region.contains_region(focused.region)
        await pilot.press("9", "enter")
        await until(pilot, lambda: bool(engine.changes))
        assert engine.changes == [LimitChange(pids=9)]


async def test_what_cannot_be_set_is_one_line_until_its_reasons_are_asked_for() -> None:
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        high = field(screen, "memory-high")
        assert not high.display
        assert "mem high" in str(screen.query_one("#limit-folded", Static).render())
        await pilot.press("f2")
        await until(pilot, lambda: high.display)
        assert "this kernel does not offer it" in high.reason
        assert "this kernel does not offer it" in driving.screen(pilot)


async def test_memory_below_use_is_stepped_down_on_demand_and_a_stop_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, engine = limit_fakes.app()
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def shrink(ref: object, memory: int, progress: Callable[[ReclaimProgress], None], **_: object) -> None:
        progress(ReclaimProgress(100 << 20, memory, 20 << 20))
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    monkeypatch.setattr(app.session, "shrink", shrink)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        field(screen, "memory").input.focus()
        await pilot.press("1", "6", "m")
        await until(pilot, lambda: "f4" in status(screen))
        await pilot.press("f4")
        await until(pilot, begun.is_set)
        assert "uses 100M, to come down to 16M" in status(screen)
        await pilot.press("escape")
        await until(pilot, stopped.is_set)
        await until(pilot, lambda: "Stopped. The limits are as they were." in status(screen))
        assert not engine.changes
        assert app.screen is screen


async def test_a_disk_rate_is_typed_with_its_disk_and_mistakes_say_which_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(block._names, "8:0", "/dev/sda")
    app, engine = limit_fakes.app()
    app.session.kernel = replace(limit_fakes.KERNEL, io_write_bps=())  # type: ignore[attr-defined]
    app.session.disks = sda  # type: ignore[method-assign]
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        row = field(screen, "io-write-bps")
        assert row.input.placeholder == "e.g. sda 10m"
        row.input.focus()
        await pilot.press(*"sdz", "space", *"10m")
        await until(pilot, lambda: "there is no disk sdz. There are: sda" in row.message_text)
        await pilot.press("ctrl+u", *"sda", "space", *"10", "enter")
        await until(pilot, lambda: "less than 4.0 KiB a second would hang it" in row.message_text)
        await pilot.press("m", "enter")
        await until(pilot, lambda: not isinstance(app.screen, LimitEditor))
        assert engine.changes == [LimitChange(io_write_bps=(DeviceRate("8:0", 10 << 20),))]
        assert "disk write" in toasts(pilot)


async def sda() -> Disks:
    return Disks({"8:0": "/dev/sda"}, {})


async def test_a_memory_limit_without_a_unit_is_refused_with_what_was_meant() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        field(screen, "memory").input.focus()
        await pilot.press(*"100", "enter")
        await until(pilot, lambda: "Refused" in status(screen))
        assert "a number alone is bytes, 100m is megabytes" in field(screen, "memory").message_text
        assert not engine.changes


def drifted(app: PytopApp) -> None:
    """Somebody else has changed the hog's cores."""
    tamper(app.session, limit_fakes.HOG.ref, Drift(LimitName.CPUS, 0.5, 1.5, 1))


async def test_f6_sets_again_what_somebody_else_has_changed() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        drifted(app)
        line = screen.query_one("#limit-drift", Static)
        await until(pilot, lambda: "CPU cores 1.5, expected 0.5. f6 sets it again" in str(line.render()))
        await pilot.press("f6")
        await until(pilot, lambda: engine.changes == [LimitChange(cpus=0.5)])


async def test_f7_accepts_what_somebody_else_has_changed_and_says_so() -> None:
    app, engine = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("f7")
        assert status(screen) == ""  # there is nothing to accept
        drifted(app)
        line = screen.query_one("#limit-drift", Static)
        await until(pilot, lambda: line.display)
        await pilot.press("f7")
        await until(pilot, lambda: not line.display)
        assert "Accepted" in status(screen)
        assert not app.session.drift
        assert not engine.changes


async def test_where_nothing_can_be_set_the_editor_says_why_on_one_line() -> None:
    reason = "it has no cgroup of its own"
    app, _ = limit_fakes.app(capabilities=Capabilities(limits=dict.fromkeys(LimitName, reason)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, LimitEditor))
        line = app.screen.query_one("#limit-folded", Static)
        assert str(line.render()) == f"Nothing can be set here (f2 says why for each): {reason}."


async def test_what_holds_the_memory_is_said_once_with_what_to_make_of_it() -> None:
    app, engine = limit_fakes.app()

    async def shrink(*_: object, **__: object) -> None:
        raise RefusedError("make room", detail="144 MiB have no swap to go to", hint="The limits are as they were")

    app.session.shrink = shrink  # type: ignore[method-assign, assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        field(screen, "memory").input.focus()
        await pilot.press(*"32m", "f4")
        await until(pilot, lambda: "no swap" in status(screen))
        assert status(screen) == "make room: 144 MiB have no swap to go to. The limits are as they were"
        assert not engine.changes


async def test_the_form_is_not_laid_out_anew_by_figures_that_move() -> None:
    """Some 20 ms of CPU each time: it would be felt at each key, and paid at each sweep."""
    app, _ = limit_fakes.app(script=lambda seq, targets: {t.ref: fakes.usage(1 + seq % 90 / 100) for t in targets})
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await editor(app, pilot)
        await pilot.press("0", ".", "5")
        await until(pilot, lambda: "cores" in field(screen, "cpus").message_text)
        layouts: list[object] = []
        screen.screen_layout_refresh_signal.subscribe(app, layouts.append, immediate=True)
        shown = set()

        def moved() -> bool:
            shown.add(field(screen, "cpus").uses)
            return len(shown) > 5

        await until(pilot, moved)
        assert layouts == []
        await pilot.press("1", "2", "3")
        await pilot.pause(0.4)
        assert len(layouts) <= 5  # one at each key is the field's own; it was some ten at each


async def test_opening_the_form_makes_few_widgets_and_their_styles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took half a second: nine widgets for each limit, whose styles were made four times. Looked for elsewhere: the
    dialogs of confirmation and help have less than ten widgets, the pages of a container one or two each."""
    app, _ = limit_fakes.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.subject() is not None)
        styled: Counter[object] = Counter()
        apply = Stylesheet.apply

        def counting(stylesheet: Stylesheet, node: DOMNode, **options: Any) -> None:
            if isinstance(node, LimitField | Input):
                styled[node] += 1
            apply(stylesheet, node, **options)

        monkeypatch.setattr(Stylesheet, "apply", counting)
        app.action_limits()
        await until(pilot, lambda: "CPU cores" in driving.screen(pilot))
        fields = list(app.screen.query(LimitField))
        assert len(app.screen.query("*")) <= 2 * len(fields) + 10
        focused = app.screen.focused
        again = {node for node, count in styled.items() if count > 1}
        assert again <= {focused, *(field.input for field in fields if field.reason)}, "focused or disabled since"
        assert max(styled.values()) <= 2
