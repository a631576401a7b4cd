"""The demo's guide above the footer: how the victim does, what to look at, which key to press next."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from collectors.frame import Usage
from runtime.limits.units import format_cpus
from runtime.model import Missing, Unlimited
from tui.demo.scene import RATE, Reports, Scene
from tui.demo.story import Service, Step, step
from tui.session import Changed, Session

RECENT = 4.0  # seconds that "now" covers


class GuidePanel(Static):
    """Three lines of text that follow the story; fed by the director and by the session's frames."""

    DEFAULT_CSS = """
    GuidePanel {
        height: auto; max-height: 6; padding: 0 1;
        background: $panel; color: $foreground; border-top: solid $accent;
    }
    """

    def __init__(self, session: Session, scene: Scene, reports: Reports) -> None:
        super().__init__("", markup=False, id="demo-guide")
        self._session = session
        self._scene = scene
        self._reports = reports
        self.alone: Service | None = None
        self.trouble = ""

    def on_mount(self) -> None:
        """Follow the session until the panel goes."""
        self._unsubscribe = self._session.subscribe(self._changed)
        self.tell()

    def on_unmount(self) -> None:
        self._unsubscribe()

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
        stands = step(self.alone, now, live, self._scene.hog_started, limit)
        self.update(Text("\n".join((self._measures(now), *self._guide(stands, now, use)))))

    def _measures(self, now: Service | None) -> str:
        if now is None:
            return "victim: no answers yet"
        text = f"victim  p50 {now.p50:.0f} ms  p99 {now.p99:.0f} ms  {now.answered:.0f} of {RATE} requests/s answered"
        if self.alone is not None and self._scene.hog_started:
            text += f"  (alone: p99 {self.alone.p99:.0f} ms)"
        return text

    def _guide(self, stands: Step, now: Service | None, use: Usage | None) -> tuple[str, str]:
        if self.trouble:
            return self.trouble, "Press q to quit: everything is removed."
        where = "one core" if self._scene.cpu is None else f"core {self._scene.cpu}"
        hog = self._session.containers.get(self._scene.hog)
        name = hog.name if hog is not None else "hog"
        match stands:
            case Step.STARTING | Step.ALONE:
                return (
                    f"Three containers share {where}. The victim is measured alone; then {name} starts.",
                    "Wait a few seconds.",
                )
            case Step.HURT:
                return (
                    f"{name} burns CPU on the victim's core: look at CPU, at pressure, and at the victim's p99.",
                    f"Next: select {name} (arrow keys), press l, type 0.2, press Enter.",
                )
            case Step.LIMITED:
                return (
                    f"{name} may use {_cores(use)} and is {_throttled(use)}; the victim works off its queue.",
                    "Watch the p99 fall.",
                )
            case Step.RECOVERED:
                return (
                    f"Recovered: {name} may use {_cores(use)}, is {_throttled(use)}, and the victim's p99 is back.",
                    f"Next: Enter on {name} shows its graphs; l then unlimited lifts it; q quits and removes all.",
                )
            case Step.ENDED:
                return f"{name} does not run any more.", "Press q to quit: everything is removed."


def _cores(use: Usage | None) -> str:
    if use is None or isinstance(use.cpu_limit, (Missing, Unlimited)):
        return "what it wants"
    return f"{format_cpus(use.cpu_limit)} cores"


def _throttled(use: Usage | None) -> str:
    if use is None or isinstance(use.throttled_share, Missing):
        return "limited"
    return f"throttled in {use.throttled_share:.0%} of its periods"
