"""The demo's guide above the footer: the victim's latency as a graph, the steps, an explanation, the next key."""

from __future__ import annotations

import asyncio
import os
import time

from rich.style import Style
from rich.text import Text
from textual import events
from textual.widgets import Static

from collectors.sampling.frame import Usage
from runtime.errors import PytopError
from runtime.limits.units import format_cpus
from runtime.model import ContainerRef, Missing, Verb
from tui.core.session import Changed, Session
from tui.demo.latency_graph import LatencyGraph
from tui.demo.measures import BUSY_SHARE, kept_share, outside_share, resource_use
from tui.demo.naming import accused
from tui.demo.progress import ALONE, NOISE, RELEASE, Mark, Progress
from tui.demo.rungs import RungSwitch
from tui.demo.scene import Reports, Scene
from tui.demo.stories import RATE_PER_S, REPORT_INTERVAL_S, playable
from tui.demo.story import Service, StoryStep, loaded, step
from tui.present import braille, demo_text
from tui.present.messages import Message, error_text, say

RECENT_S = 4.0  # of reports for the current latency
WARM_UP_S = 2.0  # of reports that are discarded
ALONE_S = 4.0  # for which the victim is measured alone
LOW_LINES = 30  # below this height of the terminal the graph is low
LOW_GRAPH_LINES, GRAPH_LINES = 4, 9
NEXT_KEY, SKIP_KEY = "n", "z"


class GuidePanel(Static):
    """The graph and lines of text about the current step; starts the noise when the victim has been measured alone."""

    DEFAULT_CSS = """
    GuidePanel {
        height: auto; max-height: 16; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis;
        background: $panel; color: $foreground; border-top: solid $accent;
    }
    """

    def __init__(self, session: Session, scene: Scene, *, ascii_only: bool = False) -> None:
        super().__init__("", markup=False, id="demo-guide")
        self._session = session
        self._scene = scene
        self._reports = Reports()
        self._alone: Service | None = None
        self._hurt: Service | None = None  # at its worst beside the hog
        self._trouble = ""
        self._busy_host = False
        self._noise_use: float | Missing | None = None  # the hog's, before a rung was taken
        self._noise_s: float | None = None  # CLOCK_MONOTONIC, when it started
        self._named_s: float | None = None  # from then on until the attribution named one of those that make it
        self._progress = Progress(())
        self._acting = asyncio.Lock()
        self._switch = RungSwitch(scene, session.update, self._freeze)
        self._graph = LatencyGraph(braille.charset(ascii_only, os.environ.get("TERM", "")))

    async def on_mount(self) -> None:
        """Subscribe to the session and read the victim's reports."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.run_worker(self._follow(), name="victim-reports")
        refused = (await self._scene.engine.capabilities()).limits
        self._progress = Progress(playable(self._scene.story.rungs, refused))
        self.redraw()

    def on_unmount(self) -> None:
        """Unsubscribe."""
        self._unsubscribe()

    def on_resize(self, _: events.Resize) -> None:
        """The graph has another size."""
        self.redraw()

    async def _follow(self) -> None:
        """Read the victim's reports to their end; errors are shown on the panel."""
        try:
            await self._reports.follow(self._scene.engine, self._scene.victim, self._reported)
        except PytopError as error:
            self._trouble = str(error)
        else:
            self._trouble = say(Message.VICTIM_ENDED)
        self.redraw()

    def _reported(self) -> None:
        self._graph.add(self._reports.recent(REPORT_INTERVAL_S))
        if self._reports.count == round((WARM_UP_S + ALONE_S) / REPORT_INTERVAL_S) and self._progress.next == ALONE:
            self._measured_alone()
        self.redraw()

    def _measured_alone(self) -> None:
        self._alone = self._reports.recent(ALONE_S)
        self._busy_host = self._host_is_busy()
        self._progress.done()
        self.run_worker(self._act(), name="start-noise")

    def _host_is_busy(self) -> bool:
        frame = self._session.frame
        if frame is None:
            return False
        ours = [frame.usages[ref].cpu for ref in self._scene.names if ref in frame.usages]
        share = outside_share(frame.host.cpu, ours, frame.host.ncpu)
        return share is not None and share > BUSY_SHARE

    # the steps

    def do_next(self) -> None:
        """Do the next step; the one that measures the victim alone is ended early."""
        if self._progress.next != ALONE:
            self.run_worker(self._act(), name="demo-step")
        elif self._reports.count > 1:
            self._measured_alone()

    def skip_next(self) -> None:
        """Leave the next step out."""
        if self._progress.next == ALONE:
            self.do_next()
        elif not self._acting.locked() and self._progress.next not in (None, NOISE):
            self._progress.skip()
            self.redraw()

    async def _act(self) -> None:
        """Do the next step, one at a time."""
        if self._acting.locked():
            return
        async with self._acting:
            try:
                await self._do(self._progress.next)
            except PytopError as error:
                self._trouble = f"{error.title}: {error_text(error)}"
        self.redraw()

    async def _do(self, step: str | None) -> None:
        self._trouble = ""
        if step is None:
            self._progress.again()
            return
        if step == NOISE:
            self._noise_s = time.monotonic()
            await self._scene.start_noise()
        elif step == RELEASE:
            await self._switch.to(None)
        else:
            if self._switch.held is None:
                self._noise_use = self._hog_use()
            switched = await self._switch.to(self._progress.rung)
            if not switched.ok:
                lines = [line for each in switched.outcomes for line in demo_text.outcome_lines("", each)]
                self._trouble = "; ".join(lines)
        self._progress.done()

    async def _freeze(self, ref: ContainerRef, frozen: bool) -> None:
        await self._session.perform(ref, Verb.PAUSE if frozen else Verb.UNPAUSE)

    # what is shown

    def _changed(self, what: Changed) -> None:
        if Changed.FRAME in what and self._noise_s is not None and self._named_s is None:
            hogs = [self._scene.members[member.name] for member in self._scene.story.noise]
            if accused(self._session.attribution, self._scene.victim, hogs) is not None:
                self._named_s = time.monotonic() - self._noise_s
        if Changed.FRAME in what or Changed.INVENTORY in what:
            self.redraw()

    def _usage(self) -> Usage | None:
        frame = self._session.frame
        return frame.usages.get(self._scene.hog) if frame is not None else None

    def _hog_use(self) -> float | Missing | None:
        usage = self._usage()
        return resource_use(usage, self._scene.story.resource) if usage is not None else None

    def _contained(self) -> bool:
        """A rung is held, of the guide or of the dashboard's ladder, or somebody has limited the hog's CPU by hand."""
        climbed = self._session.containment.state(self._scene.victim)
        if climbed is not None and climbed.rungs:
            return True
        usage = self._usage()
        return self._switch.held is not None or (usage is not None and isinstance(usage.cpu_limit, (int, float)))

    def redraw(self) -> None:
        """Draw the current step."""
        hog = self._session.containers.get(self._scene.hog)
        now = self._reports.recent(RECENT_S)
        live = hog is not None and (hog.state.live or not self._scene.noisy)
        current = step(self._alone, now, live, self._scene.noisy, self._contained(), self._hurt)
        if current is StoryStep.HURT and now is not None and (self._hurt is None or now.p99 > self._hurt.p99):
            self._hurt = now
        text = Text()
        width = max(20, self.size.width)
        height = LOW_GRAPH_LINES if self.app.size.height < LOW_LINES else GRAPH_LINES
        text.append_text(self._graph.draw(width, height, alone=self._alone, named_s=self._named_s))
        for line in (self._measures(now), *self._guide(current)):
            text.append("\n")
            text.append(line)
        text.append("\n")
        text.append_text(self._steps())
        self.update(text)

    def _measures(self, now: Service | None) -> str:
        if now is None:
            return say(Message.VICTIM_SILENT)
        measured = {"p50": now.p50, "p99": now.p99, "answered": min(now.answered, RATE_PER_S), "rate": RATE_PER_S}
        if self._alone is not None and self._scene.noisy:
            return say(Message.VICTIM_HURT, alone=self._alone.p99, **measured)
        return say(Message.VICTIM, **measured)

    def _steps(self) -> Text:
        """The steps with their marks; the next one can be pressed with the mouse as well."""
        text = Text()
        for id, mark in self._progress:
            style = Style(meta={"@click": "app.demo_next"}) if mark is Mark.NEXT else Style()
            bold = Style(bold=True) if mark in (Mark.NOW, Mark.NEXT) else Style()
            text.append(f"{demo_text.MARKS[mark]}{demo_text.STEP_NAMES.get(id, id)}", style + bold)
            text.append("  ")
        return text

    def _guide(self, current: StoryStep) -> tuple[str, str, str]:
        """Three lines: what is seen, what is next, what that costs."""
        story = demo_text.STORIES[self._scene.story.name]
        found = self._session.containers.get(self._scene.hog)
        name = found.name if found is not None else self._scene.story.hog
        if current is StoryStep.ENDED:
            return self._trouble or say(Message.HOG_ENDED, hog=name), say(Message.QUIT), ""
        if self._trouble:
            return self._trouble, *self._next_lines()
        match current:
            case StoryStep.STARTING | StoryStep.ALONE:
                where = say(Message.ONE_CORE) if self._scene.cpu is None else say(Message.CORE, number=self._scene.cpu)
                return story.about, say(Message.WAIT, where=where, key=NEXT_KEY), ""
            case StoryStep.HURT:
                return f"{name} {story.noise}", *self._next_lines()
            case StoryStep.LIMITED | StoryStep.RECOVERED:
                return self._held_line(recovered=current is StoryStep.RECOVERED), *self._next_lines()

    def _held_line(self, *, recovered: bool) -> str:
        """What holds now, what the hog kept, and whether the victim has recovered."""
        held = self._switch.held
        if held is not None:
            does = demo_text.RUNGS[held.id].does
        else:
            does = say(Message.HOG_MAY_USE, hog=self._scene.story.hog, cores=_cores(self._usage()))
        share = kept_share(self._hog_use(), self._noise_use)
        rest = say(Message.HOG_KEEPS, share=share) if share is not None else ""
        if recovered:
            return say(Message.DEMO_RECOVERED, does=does, keeps=rest)
        if self._busy_host or (self._alone is not None and loaded(self._alone)):
            return say(Message.DEMO_LOADED_HOST, does=does, keeps=rest)
        return say(Message.DEMO_LIMITED, does=does, keeps=rest)

    def _next_lines(self) -> tuple[str, str]:
        """The next step with its keys, and what it costs."""
        rung = self._progress.rung
        if rung is not None:
            words = demo_text.RUNGS[rung.id]
            next_step = say(Message.DEMO_NEXT, key=NEXT_KEY, skip=SKIP_KEY, does=words.title)
            return next_step, say(Message.DEMO_COSTS, costs=words.costs)
        again = Message.DEMO_RELEASE if self._progress.next == RELEASE else Message.DEMO_AGAIN
        return say(again, key=NEXT_KEY), say(Message.DEMO_BY_HAND)


def _cores(usage: Usage | None) -> str:
    if usage is None or not isinstance(usage.cpu_limit, (int, float)):
        return say(Message.UNLIMITED_CORES)
    return say(Message.CORES, cores=format_cpus(usage.cpu_limit))
