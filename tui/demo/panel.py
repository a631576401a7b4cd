"""The demo's guide above the footer: the victim's latency, an explanation, the next key to press."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from collectors.sampling.frame import Usage
from runtime.errors import PytopError
from runtime.limits.units import format_cpus
from runtime.model import Missing, Unlimited
from tui.core.session import Changed, Session
from tui.demo.scene import RATE_PER_S, REPORT_INTERVAL_S, Reports, Scene
from tui.demo.story import Service, StoryStep, loaded, step
from tui.present.messages import Message, say

RECENT_S = 4.0  # of reports for the current latency
WARM_UP_S = 2.0  # of reports that are discarded
ALONE_S = 4.0  # for which the victim is measured alone


class GuidePanel(Static):
    """Three lines of text about the current step; starts the hog when the victim has been measured alone."""

    DEFAULT_CSS = """
    GuidePanel {
        height: auto; max-height: 6; padding: 0 1;
        background: $panel; color: $foreground; border-top: solid $accent;
    }
    """

    def __init__(self, session: Session, scene: Scene) -> None:
        super().__init__("", markup=False, id="demo-guide")
        self._session = session
        self._scene = scene
        self._reports = Reports()
        self._alone: Service | None = None
        self._hurt: Service | None = None  # at its worst beside the hog
        self._trouble = ""

    def on_mount(self) -> None:
        """Subscribe to the session and read the victim's reports."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.run_worker(self._follow(), name="victim-reports")
        self.redraw()

    def on_unmount(self) -> None:
        """Unsubscribe."""
        self._unsubscribe()

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
        if self._reports.count == round((WARM_UP_S + ALONE_S) / REPORT_INTERVAL_S):
            self._alone = self._reports.recent(ALONE_S)
            self.run_worker(self._start_hog(), name="start-hog")
        self.redraw()

    async def _start_hog(self) -> None:
        try:
            await self._scene.start_hog()
        except PytopError as error:
            self._trouble = str(error)
            self.redraw()

    def _changed(self, what: Changed) -> None:
        if Changed.FRAME in what or Changed.INVENTORY in what:
            self.redraw()

    def redraw(self) -> None:
        """Draw the current step."""
        hog = self._session.containers.get(self._scene.hog)
        frame = self._session.frame
        usage = frame.usages.get(self._scene.hog) if frame is not None else None
        now = self._reports.recent(RECENT_S)
        limit = usage.cpu_limit if usage is not None else Missing.NOT_SAMPLED
        live = hog is not None and (hog.state.live or not self._scene.hog_started)
        current = step(self._alone, now, live, self._scene.hog_started, limit, self._hurt)
        if current is StoryStep.HURT and now is not None and (self._hurt is None or now.p99 > self._hurt.p99):
            self._hurt = now
        self.update(Text("\n".join((self._measures(now), *self._guide(current, now, usage)))))

    def _measures(self, now: Service | None) -> str:
        if now is None:
            return say(Message.VICTIM_SILENT)
        measured = {"p50": now.p50, "p99": now.p99, "answered": min(now.answered, RATE_PER_S), "rate": RATE_PER_S}
        if self._alone is not None and self._scene.hog_started:
            return say(Message.VICTIM_HURT, alone=self._alone.p99, **measured)
        return say(Message.VICTIM, **measured)

    def _guide(self, current: StoryStep, now: Service | None, usage: Usage | None) -> tuple[str, str]:
        if self._trouble:
            return self._trouble, say(Message.QUIT)
        where = say(Message.ONE_CORE) if self._scene.cpu is None else say(Message.CORE, number=self._scene.cpu)
        hog = self._session.containers.get(self._scene.hog)
        name = hog.name if hog is not None else "hog"
        match current:
            case StoryStep.STARTING | StoryStep.ALONE:
                return say(Message.DEMO_BEGINS, where=where, hog=name), say(Message.WAIT)
            case StoryStep.HURT:
                return say(Message.DEMO_HURT, hog=name), say(Message.DEMO_LIMIT_IT, hog=name)
            case StoryStep.LIMITED:
                limited = say(Message.DEMO_LIMITED, hog=name, cores=_cores(usage), throttled=_throttled(usage))
                if self._alone is not None and loaded(self._alone):
                    return limited, say(Message.DEMO_LOADED_HOST, alone=self._alone.p99)
                return limited, say(Message.WATCH_P99)
            case StoryStep.RECOVERED:
                recovered = say(Message.DEMO_RECOVERED, hog=name, cores=_cores(usage), throttled=_throttled(usage))
                return recovered, say(Message.DEMO_LIFT_IT, hog=name)
            case StoryStep.ENDED:
                return say(Message.HOG_ENDED, hog=name), say(Message.QUIT)


def _cores(usage: Usage | None) -> str:
    if usage is None or isinstance(usage.cpu_limit, (Missing, Unlimited)):
        return say(Message.UNLIMITED_CORES)
    return say(Message.CORES, cores=format_cpus(usage.cpu_limit))


def _throttled(usage: Usage | None) -> str:
    if usage is None or isinstance(usage.throttled_share, Missing):
        return say(Message.LIMITED)
    return say(Message.THROTTLED, share=usage.throttled_share)
