"""The demo's guide above the footer: how the victim does, what to look at, which key to press next."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from collectors.sampling.frame import Usage
from runtime.errors import PytopError
from runtime.limits.units import format_cpus
from runtime.model import Missing, Unlimited
from tui.core.session import Changed, Session
from tui.demo.scene import RATE, REPORT_SECONDS, Reports, Scene
from tui.demo.story import Service, StoryStep, step

RECENT = 4.0  # seconds that "now" covers
WARM_UP = 2.0  # seconds of reports that do not count
ALONE = 4.0  # seconds that the victim is measured alone


class GuidePanel(Static):
    """Three lines of text that follow the story; when the victim has been measured alone it starts the hog."""

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
        self._trouble = ""

    def on_mount(self) -> None:
        """Follow the session until the panel goes."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.run_worker(self._follow(), name="the victim's reports")
        self.tell()

    def on_unmount(self) -> None:
        """Nothing is told any more."""
        self._unsubscribe()

    async def _follow(self) -> None:
        """Take the victim's reports until there are no more; what goes wrong is said on the panel."""
        try:
            await self._reports.follow(self._scene.engine, self._scene.victim, self._reported)
        except PytopError as error:
            self._trouble = str(error)
        else:
            self._trouble = "The victim does not run any more."
        self.tell()

    def _reported(self) -> None:
        if self._reports.count == round((WARM_UP + ALONE) / REPORT_SECONDS):
            self._alone = self._reports.recent(ALONE)
            self.run_worker(self._start_hog(), name="the hog")
        self.tell()

    async def _start_hog(self) -> None:
        try:
            await self._scene.start_hog()
        except PytopError as error:
            self._trouble = str(error)
            self.tell()

    def _changed(self, what: Changed) -> None:
        if Changed.FRAME in what or Changed.INVENTORY in what:
            self.tell()

    def tell(self) -> None:
        """Draw where the story stands now."""
        hog = self._session.containers.get(self._scene.hog)
        frame = self._session.frame
        use = frame.usages.get(self._scene.hog) if frame is not None else None
        now = self._reports.recent(RECENT)
        limit = use.cpu_limit if use is not None else Missing.NOT_SAMPLED
        live = hog is not None and (hog.state.live or not self._scene.hog_started)
        stands = step(self._alone, now, live, self._scene.hog_started, limit)
        self.update(Text("\n".join((self._measures(now), *self._guide(stands, now, use)))))

    def _measures(self, now: Service | None) -> str:
        if now is None:
            return "victim: no answers yet"
        alone = f" (alone {self._alone.p99:.0f} ms)" if self._alone is not None and self._scene.hog_started else ""
        answered = f"answers {min(now.answered, RATE):.0f} of {RATE} requests/s"
        return f"victim: p50 {now.p50:.0f} ms, p99 {now.p99:.0f} ms{alone}, {answered}"

    def _guide(self, stands: StoryStep, now: Service | None, use: Usage | None) -> tuple[str, str]:
        if self._trouble:
            return self._trouble, "Press q to quit: everything is removed."
        where = "one core" if self._scene.cpu is None else f"core {self._scene.cpu}"
        hog = self._session.containers.get(self._scene.hog)
        name = hog.name if hog is not None else "hog"
        match stands:
            case StoryStep.STARTING | StoryStep.ALONE:
                return (
                    f"Three containers share {where}. First the victim alone, then {name} starts.",
                    "Wait a few seconds.",
                )
            case StoryStep.HURT:
                return (
                    f"{name} burns CPU on the victim's core: see its cpu, psi, and the victim's p99.",
                    f"Next: move to {name} (arrow keys), press l, type 0.2, press Enter.",
                )
            case StoryStep.LIMITED:
                return (
                    f"{name} may use {_cores(use)}, {_throttled(use)}. The queue is worked off.",
                    "Watch the p99 fall.",
                )
            case StoryStep.RECOVERED:
                return (
                    f"Recovered: {name} may use {_cores(use)}, {_throttled(use)}.",
                    f"Next: Enter for {name}'s graphs; l, u, Enter lifts the limit; q ends it all.",
                )
            case StoryStep.ENDED:
                return f"{name} does not run any more.", "Press q to quit: everything is removed."


def _cores(use: Usage | None) -> str:
    if use is None or isinstance(use.cpu_limit, (Missing, Unlimited)):
        return "what it wants"
    return f"{format_cpus(use.cpu_limit)} cores"


def _throttled(use: Usage | None) -> str:
    if use is None or isinstance(use.throttled_share, Missing):
        return "limited"
    return f"throttled in {use.throttled_share:.0%} of its periods"
