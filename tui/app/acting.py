"""What is done about who hurts whom: containing, keeping, taking back, testing, undoing; each is asked for and told."""

from __future__ import annotations

from collections.abc import Awaitable

from textual import work

from runtime.errors import PytopError
from runtime.model import LimitOutcome, Ref
from tui.app import keymap as keys
from tui.app.leaving import LeavingApp
from tui.app.screens import registry
from tui.core.actions import ACTIONS, Action
from tui.core.containment_actions import victim_of
from tui.core.session import Session
from tui.core.settings import Settings
from tui.present import containment_text, limit_text
from tui.present import format as fmt
from tui.present.matrix import suspect_name
from tui.present.messages import Message, error_text, say

OUTCOME_TOAST_S = 8.0  # what came of a rung stays as long


class ActingApp(LeavingApp):
    """The actions of containment, and how every action tells that it failed or cannot be done now."""

    session: Session
    settings: Settings

    def notify_error(self, error: PytopError) -> None:
        """Show an error: what was tried, what was answered, what to do."""
        self.notify(error_text(error), title=fmt.clean(error.title), severity="error", timeout=10, markup=False)

    def subject(self) -> Ref | None:
        """The container that the screen on top is about."""
        ref: Ref | None = getattr(self.screen, "ref", None)
        return ref

    def refused(self, action: Action, ref: Ref | None) -> bool:
        """Whether the action is unavailable; if so, notify with the reason."""
        refusal = action.why_not(self.session, ref)
        if refusal is not None:
            title = say(Message.NOT_NOW, action=action.title)
            self.notify(f"{refusal.detail}.", title=title, severity="warning", markup=False)
        return refusal is not None

    def name_of(self, ref: Ref) -> str:
        """A container's or group's name, made safe to draw."""
        subject = self.session.find(ref)
        return fmt.clean(subject.name if subject is not None and subject.name else ref.short)

    def _victim(self, id: str) -> Ref | None:
        """The victim that an action is for now; None when it cannot be done, which is then told."""
        ref = self.subject()
        if self.refused(ACTIONS[id], ref) or ref is None:
            return None
        return victim_of(self.session, ref)

    def action_climb(self) -> None:
        """Ask for the next rung in favour of the selected victim, with what it will do and cost; then do it."""
        victim = self._victim("climb")
        if victim is not None:
            self._climb(victim)

    @work(group="changes")
    async def _climb(self, victim: Ref) -> None:
        planned = await self.session.containment.propose(victim)
        if isinstance(planned, PytopError):
            self.notify_error(planned)
            return
        again = keys.bound("climb", self.settings.keys)
        suspect = suspect_name(planned.suspect, self.name_of)
        title = say(Message.CONTAIN, suspect=suspect, victim=self.name_of(victim))
        body = containment_text.next_rung_text(planned)
        dialog = registry.screen("confirm", title, body, say(Message.DO_IT), False, again=again)
        if not await self.push_screen_wait(dialog):
            return
        try:
            outcome = await self.session.containment.climb(victim)
        except PytopError as error:
            self.notify_error(error)
        else:
            text = containment_text.climbed_text(outcome)
            self.notify(text, title=self.name_of(victim), timeout=OUTCOME_TOAST_S, markup=False)

    def action_step_back(self) -> None:
        """Take the last rung for the selected victim back."""
        victim = self._victim("step_back")
        if victim is not None:
            self._tell(victim, Message.STEPPED_BACK, self.session.containment.step_back(victim))

    def action_confirm(self) -> None:
        """Keep what is leased for the selected victim, or of the selected container."""
        ref = self.subject()
        if not self.refused(ACTIONS["confirm"], ref) and ref is not None:
            self._tell(ref, Message.CONFIRMED_LEASE, self.session.containment.confirm(ref))

    def action_probe(self) -> None:
        """Test whether the suspect of the selected victim is the cause."""
        victim = self._victim("probe")
        if victim is not None:
            self.notify(say(Message.PROBING), title=self.name_of(victim), timeout=OUTCOME_TOAST_S, markup=False)
            self._probe(victim)

    @work(group="changes")
    async def _probe(self, victim: Ref) -> None:
        try:
            outcome = await self.session.containment.probe(victim)
        except PytopError as error:
            self.notify_error(error)
        else:
            suspect = suspect_name(outcome.evidence.suspect, self.name_of)
            text = containment_text.probe_text(outcome, self.name_of(victim), suspect)
            self.notify(text, title=self.name_of(victim), timeout=OUTCOME_TOAST_S, markup=False)

    @work(group="changes")
    async def _tell(self, ref: Ref, done: Message, doing: Awaitable[object]) -> None:
        """Wait for a change, and notify that it is done, or why not."""
        try:
            await doing
        except PytopError as error:
            self.notify_error(error)
        else:
            self.notify(say(done), title=self.name_of(ref), timeout=4, markup=False)

    def action_undo(self) -> None:
        """Ask to undo the last change of limits that was made from here, with what it will set; then do it."""
        self._replay("undo")

    def action_redo(self) -> None:
        """Ask to redo what was undone last; then do it."""
        self._replay("redo")

    @work(group="changes")
    async def _replay(self, id: str) -> None:
        changes, back = self.session.undoing, id == "undo"
        preview = changes.next_undo if back else changes.next_redo
        if preview is None:
            nothing = Message.NOTHING_TO_UNDO if back else Message.NOTHING_TO_REDO
            self.notify(say(nothing), title=ACTIONS[id].title, severity="warning", timeout=4, markup=False)
            return
        name = self.name_of(preview.ref)
        title = say(Message.UNDO_OF if back else Message.REDO_OF, name=name)
        body = containment_text.undo_text(preview, name, redo=not back)
        again = keys.bound(id, self.settings.keys)
        if not await self.push_screen_wait(registry.screen("confirm", title, body, id, False, again=again)):
            return
        try:
            outcome = await (changes.undo() if back else changes.redo())
        except PytopError as error:
            self.notify_error(error)
        else:
            self.tell_outcome(outcome, name)

    def tell_outcome(self, outcome: LimitOutcome, name: str) -> None:
        """Notify what the kernel holds after a change."""
        text = "\n".join(limit_text.outcome_text(field) for field in outcome.fields)
        title = say(Message.KERNEL_HOLDS, name=name)
        self.notify(text or say(Message.DONE), title=title, timeout=OUTCOME_TOAST_S, markup=False)
