"""The stories as data: every rung has its words, takes back what it does, and acts on a container of its story."""

from __future__ import annotations

import pytest

from runtime.errors import NotFoundError
from runtime.model import ContainerRef, LimitChange, LimitName, LimitOutcome
from tests.fake_engine import FakeEngine
from tui.demo.progress import Mark, Progress
from tui.demo.rungs import RungSwitch
from tui.demo.scene import PROGRAMS, Scene, Setting
from tui.demo.stories import Site, Story, StoryName, playable, story
from tui.present import demo_text

SITE = Site(device="8:0")
STORIES = [story(name, SITE) for name in StoryName]


@pytest.mark.parametrize("told", STORIES, ids=lambda told: told.name)
def test_a_story_is_whole(told: Story) -> None:
    names = {told.victim.name, *(member.name for member in (*told.noise, *told.others))}
    assert len(names) == 1 + len(told.noise) + len(told.others)
    assert all((PROGRAMS / member.program).is_file() for member in (told.victim, *told.noise, *told.others))
    assert demo_text.STORIES[told.name].about
    for rung in told.rungs:
        assert rung.id in demo_text.RUNGS
        assert rung.changes
        for change in rung.changes:
            assert change.target in names
            assert change.freeze or change.change.names() == change.undo.names() != frozenset()


def test_lines_of_the_guide_fit_into_80_columns() -> None:
    for words in demo_text.STORIES.values():
        assert len(f"hog {words.noise}") <= 78
        assert len(words.about) <= 76
        assert len(words.title) <= 70
    assert all(len(f"   it costs: {rung.costs}") <= 120 for rung in demo_text.RUNGS.values())


def test_a_rung_whose_limit_is_refused_is_told_with_the_reason() -> None:
    memory = story(StoryName.MEMORY, SITE)
    found = {rung.id: reason for rung, reason in playable(memory.rungs, {LimitName.MEMORY_HIGH: "needs cgroup v2"})}
    assert found == {"reserve": "", "high": "needs cgroup v2", "memory": ""}


def test_progress_goes_from_step_to_step_and_over_what_is_refused() -> None:
    memory = story(StoryName.MEMORY, SITE)
    progress = Progress(playable(memory.rungs, {LimitName.MEMORY_HIGH: "needs cgroup v2"}))
    assert progress.next == "alone"
    progress.done()
    progress.done()
    assert progress.rung is not None
    assert progress.rung.id == "reserve"
    progress.skip()
    assert progress.next == "memory", "the one between is refused"
    assert dict(progress) == {
        "alone": Mark.DONE,
        "hog": Mark.NOW,
        "reserve": Mark.SKIPPED,
        "high": Mark.REFUSED,
        "memory": Mark.NEXT,
        "release": Mark.LATER,
    }
    progress.done()
    assert progress.next == "release"
    progress.done()
    assert progress.next is None
    progress.done()
    assert progress.next is None
    progress.again()
    assert progress.next == "reserve"


class Recorder:
    """What a switch asks for, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, LimitChange | bool]] = []

    async def update(self, ref: ContainerRef, change: LimitChange) -> LimitOutcome:
        if change.cpus == 13:
            raise NotFoundError("limit it")
        self.asked.append((ref.id, change))
        return LimitOutcome(ref, ())

    async def freeze(self, ref: ContainerRef, frozen: bool) -> None:
        self.asked.append((ref.id, frozen))


def switch_for(name: StoryName, recorder: Recorder) -> RungSwitch:
    told = story(name, SITE)
    members = {member.name: ContainerRef("fake", member.name) for member in (told.victim, *told.noise)}
    scene = Scene(FakeEngine([]), Setting("image"), told, 0, members=members)
    return RungSwitch(scene, recorder.update, recorder.freeze)


async def test_each_rung_takes_the_place_of_the_one_before() -> None:
    recorder = Recorder()
    switch = switch_for(StoryName.CPU, recorder)
    protect, _weight, _idle, cap = switch.scene.story.rungs
    await switch.to(protect)
    await switch.to(cap)
    await switch.to(None)
    assert recorder.asked == [
        ("victim", protect.changes[0].change),
        ("victim", protect.changes[0].undo),
        ("hog", cap.changes[0].change),
        ("hog", cap.changes[0].undo),
    ]
    assert len(switch.seconds) == 4


async def test_what_two_rungs_have_in_common_stays() -> None:
    recorder = Recorder()
    switch = switch_for(StoryName.MIXED, recorder)
    first, both = switch.scene.story.rungs
    await switch.to(first)
    await switch.to(both)
    assert recorder.asked == [("hog", LimitChange(cpu_idle=True)), ("backup", both.changes[1].change)]
    await switch.to(None)
    assert recorder.asked[2:] == [("backup", both.changes[1].undo), ("hog", LimitChange(cpu_idle=False))]


async def test_a_frozen_hog_is_thawed() -> None:
    recorder = Recorder()
    switch = switch_for(StoryName.FORKBOMB, recorder)
    await switch.to(switch.scene.story.rungs[1])
    await switch.to(None)
    assert recorder.asked == [("hog", True), ("hog", False)]
