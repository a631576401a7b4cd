"""The limit editor: current values, new values, findings about the change, and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input
from textual.worker import Worker

from runtime.errors import NotFoundError, PytopError
from runtime.kernel.block import Disks
from runtime.limits import Finding, ReclaimProgress, Severity
from runtime.model import DEVICE_LIMITS, LimitChange, LimitName, LimitOutcome, Limits, Missing, Ref
from tui.app.services import services
from tui.app.widgets.limit_field import LimitField, heads
from tui.app.widgets.limit_footer import LimitFoot
from tui.app.widgets.plain import Plain, literal
from tui.core.session import Changed, Session
from tui.present import limit_form, limit_text
from tui.present.format import clean
from tui.present.limit_entries import ENTRIES
from tui.present.messages import Message, say
from tui.present.target_text import identity

PREVIEW_DELAY_S = 0.15  # without a key, before the change is previewed
NARROW_CELLS = 60  # below this width a column is left out
DETAIL_TOAST_S = 15.0  # how long a notification with details stays
BAR_CELLS = 24  # of the progress bar of a reclaim


class LimitEditor(ModalScreen[LimitOutcome | None]):
    """Changes limits of one container or group; dismissed with the outcome, or None when nothing was written.

    After Enter it closes if the kernel holds all requested values; any other outcome stays on the screen.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = set(LimitField.STYLES)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", show=False, priority=True),
        Binding("ctrl+s", "apply(True)", "Apply and show", show=False),
        Binding("f2,ctrl+o", "unfold", "What cannot be set, and why", show=False),
        Binding("f4", "shrink", "Give back memory, then apply", show=False),
        Binding("f6", "set_again", "Set again what was changed", show=False),
        Binding("f7", "accept", "Accept what was changed", show=False),
        Binding("f8", "next_lease", "For how long", show=False),
        Binding("up,shift+tab", "app.focus_previous", "Field above", show=False, priority=True),
        Binding("down", "app.focus_next", "Field below", show=False, priority=True),
        Binding("enter", "leave", "Close", show=False),
    ]

    def __init__(self, session: Session, ref: Ref) -> None:
        super().__init__()
        self.ref = ref
        self._session = session
        self._fields: dict[LimitName, LimitField] = {}
        for entry in ENTRIES:
            refusal = session.why_not(ref, entry.name)
            reason = refusal.detail if refusal is not None else ""
            self._fields[entry.name] = LimitField(entry, self._scale, reason=reason)
        self._heads = Plain(id="limit-heads")
        self._folded = Plain(id="limit-folded")
        self._result = Plain(id="limit-result")
        self._foot = LimitFoot(say(Message.EDITOR_KEYS))
        self._say = self._foot.say
        self._shown = self._writing = False
        self._outcome: LimitOutcome | None = None
        self._finished = False  # nothing more can be written: done, or the container is gone
        self._shrinking: Worker[None] | None = None
        self._unfolded = False
        self._held = Limits()
        self._recorded = Limits()
        self._disks = Disks()
        self._too_low = False  # a memory limit below what is in use was refused

    def compose(self) -> ComposeResult:
        """The form in a frame."""
        subject = self._session.find(self.ref)
        name = subject.name if subject is not None else self.ref.short
        with VerticalScroll(id="limits", classes="dialog", can_focus=False) as frame:
            frame.border_title = literal(say(Message.LIMITS_OF, name=clean(name)))
            if subject is not None:
                frame.border_subtitle = literal(identity(subject, services(self).glyphs))
            yield self._heads
            yield from self._fields.values()
            yield self._folded
            yield self._result
            yield self._foot

    def on_mount(self) -> None:
        """Focus the first field that can be set, and read the limits."""
        self._fold()
        self._focus(self._fields)
        self._unsubscribe = self._session.subscribe(self._changed)
        self._show_use()
        self._load()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """The styles were made when it was mounted: Textual would make all of them again before the first drawing."""
        event.refresh_styles, self._shown = self._shown, True

    def on_unmount(self) -> None:
        self._unsubscribe()

    def on_resize(self) -> None:
        """Leave out a column in a narrow terminal."""
        narrow = self.size.width < NARROW_CELLS
        self.set_class(narrow, "-narrow")
        for field in self._fields.values():
            field.narrowed(narrow)
        self._heads.show(heads(narrow))

    # changes of the session

    def _changed(self, what: Changed) -> None:
        if not self._finished and not self._writing and self._session.find(self.ref) is None:
            self._gone()
        elif not self._finished:
            self._show_use()

    def _show_use(self) -> None:
        frame = self._session.frame
        usage = frame.usages.get(self.ref) if frame is not None else None
        used = (*usage.io_devices, *usage.io_stacked) if usage is not None else ()
        for name, field in self._fields.items():
            field.use(limit_form.in_use(name, usage))
            if name in DEVICE_LIMITS:
                field.suggest(limit_form.example(name, self._disks, used))
        self._show_drift()

    def _show_drift(self) -> None:
        """Show which limits were changed by somebody else, and the keys for it."""
        self._foot.drifted(limit_text.drifts_text(self._session.drift.get(self.ref, ())))

    @work(group="load", exclusive=True)
    async def _load(self) -> None:
        try:
            limits = await self._session.limits(self.ref)
            self._disks = await self._session.disks()
            self._recorded = await self._session.recorded(self.ref)
        except NotFoundError:
            self._gone()
        except PytopError as error:
            self._say(str(error), bad=True)
        else:
            self._hold(limits)

    def _hold(self, limits: Limits) -> None:
        """Show the kernel's values; disable limits that the kernel does not offer."""
        focused = self.focused
        self._held = limits
        subject, engine = self._session.find(self.ref), self._session.capabilities.get(self.ref.engine)
        for name, field in self._fields.items():
            field.hold(limits.get(name))
            field.last(limit_text.lasting(name, limits.get(name), self._recorded))
            reason = limit_form.why_not_settable(name, limits, subject, engine)
            if reason is not None and not field.reason:
                field.close(reason)
        self._fold()
        if focused is None or focused.disabled:
            self._focus(self._fields)
        if limits.get(LimitName.CPUS) is Missing.GONE and not self._finished:
            self._say(say(Message.NOT_RUNNING_KEPT))

    def _fold(self) -> None:
        """Hide fields that cannot be set; one line lists them, a key shows the reasons."""
        closed = [field for field in self._fields.values() if field.reason]
        for field in closed:
            field.display = self._unfolded
        reasons = {field.entry.label: field.message_text for field in closed}
        self._folded.show(limit_text.folded_text(reasons, len(self._fields), unfolded=self._unfolded))
        self._folded.display = bool(closed) and self._outcome is None

    def action_unfold(self) -> None:
        """Show or hide the fields that cannot be set, with the reasons."""
        self._unfolded = not self._unfolded
        self._fold()

    # typing

    def _read(self) -> limit_form.Typed:
        texts = {name: field.text for name, field in self._fields.items()}
        return limit_form.parse(texts, self._held, self._disks)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        typed = self._read()
        for name, field in self._fields.items():
            if field.reason:
                continue
            if name in typed.errors:
                field.set_message(typed.errors[name], "refuse")
            elif not field.text or (field.input is event.input and field.refused):
                field.set_message("")  # other messages stay until the preview, so that the form does not jump
        self._say("")
        self._preview()

    def _scale(self, field: LimitField, factor: float) -> None:
        frame = self._session.frame
        ncpu = frame.host.ncpu if frame is not None else None
        text = limit_form.scaled(field.name_, field.input.value, field.held, factor, ncpu)
        if text is None:
            field.set_message(say(Message.NO_MULTIPLE), "warning")
        else:
            field.input.set(text)

    @work(group="preview", exclusive=True)
    async def _preview(self) -> None:
        """Show what the change would do, once typing has paused."""
        await asyncio.sleep(PREVIEW_DELAY_S)
        typed = self._read()
        if self._writing or self._finished:
            return
        if not typed.change:
            self._judge((), typed.errors)
            return
        try:
            preview = await self._session.preview(self.ref, typed.change)
        except NotFoundError:
            self._gone()
        except PytopError as error:
            self._judge((), typed.errors)
            self._say(str(error), bad=True)
        else:
            self._hold(preview.before)
            self._judge(preview.findings, typed.errors)

    def _judge(self, findings: Iterable[Finding], errors: Mapping[LimitName, str]) -> bool:
        """Show the worst finding of each field; True when one of them refuses the change."""
        worst: dict[LimitName, Finding] = {}
        for finding in findings:
            worst.setdefault(finding.name, finding)
        refused = [name for name, finding in worst.items() if finding.severity is Severity.REFUSE]
        self._too_low = refused == [LimitName.MEMORY] and self._held.memory is not Missing.GONE
        for name, field in self._fields.items():
            if field.reason or name in errors:
                continue
            found = worst.get(name)
            field.set_message(found.text if found else "", found.severity.value if found else "info")
        if self._too_low and not self._writing:
            self._say(say(Message.SHRINK_FIRST))
        return bool(refused)

    # writing

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_apply(False)

    def action_apply(self, stay: bool) -> None:
        """Write the typed values, unless they cannot be parsed or would do harm."""
        if self._writing or self._finished:
            return
        typed = self._read()
        if typed.errors:
            self._focus(typed.errors)
        elif not typed.change:
            self._say(say(Message.NOTHING_TO_CHANGE))
        else:
            self._begin()
            self._write(typed, stay, self._foot.lease_s)

    def _begin(self) -> None:
        """Reserve the status line for the write: cancel the preview of what was typed."""
        self._writing = True
        self.workers.cancel_group(self, "preview")

    @work(group="write")
    async def _write(self, typed: limit_form.Typed, stay: bool, lease_s: float = 0.0) -> None:
        self._say(say(Message.WRITING))
        try:
            preview = await self._session.preview(self.ref, typed.change)
            if self._judge(preview.findings, {}):
                self._say(say(Message.REFUSED_SHRINK if self._too_low else Message.REFUSED), bad=True)
                return
            leasing = partial(self._session.containment.lease, seconds=lease_s)
            outcome = await (leasing if lease_s else self._session.update)(self.ref, typed.change)
        except NotFoundError:
            self._gone()
        except PytopError as error:
            self._say(str(error), bad=True)
        else:
            self._show_outcome(outcome, stay)
        finally:
            self._writing = False

    def action_next_lease(self) -> None:
        """Choose after what time the change is taken back unless it is confirmed."""
        if not self._writing and not self._finished:
            self._foot.next_lease()

    def action_shrink(self) -> None:
        """Reclaim memory until the typed memory limit fits, then write the typed values."""
        if self._writing or self._finished:
            return
        typed = self._read()
        if typed.errors:
            self._focus(typed.errors)
        elif not isinstance(typed.change.memory, int):
            self._say(say(Message.SHRINK_NEEDS_LIMIT))
        elif self._foot.lease_s:
            self._say(say(Message.SHRINK_IS_NO_LEASE))
        else:
            self._begin()
            self._shrinking = self._shrink(typed.change, typed.change.memory)

    @work(group="shrink")
    async def _shrink(self, change: LimitChange, memory: int) -> None:
        self._foot.keys(say(Message.EDITOR_KEYS_SHRINKING))
        self._say(say(Message.SHRINKING))
        try:
            self._show_outcome(await self._session.shrink(self.ref, memory, self._progress, beside=change), True)
        except asyncio.CancelledError:
            if self.is_running:
                self._say(say(Message.SHRINK_STOPPED))
            raise
        except NotFoundError:
            self._gone()
        except PytopError as error:
            self._say(str(error), bad=True)
        finally:
            self._writing, self._shrinking = False, None
            if not self._finished and self.is_running:
                self._foot.keys(say(Message.EDITOR_KEYS))

    def _progress(self, so_far: ReclaimProgress) -> None:
        if self._shrinking is not None:
            self._say(limit_text.reclaim_text(so_far, BAR_CELLS))

    def action_set_again(self) -> None:
        """Write the expected values of the drifted limits again."""
        found = self._session.drift.get(self.ref, ())
        if found and not self._writing and not self._finished:
            self._begin()
            self._write(limit_form.Typed(self._session.expected(self.ref), {}), False)

    def action_accept(self) -> None:
        """Expect the kernel's present values from now on."""
        if self._session.drift.get(self.ref) and not self._writing and not self._finished:
            self._session.accept(self.ref)
            self._show_drift()
            self._say(say(Message.ACCEPTED))

    def _show_outcome(self, outcome: LimitOutcome, stay: bool) -> None:
        """Close with a notification if the kernel holds all requested values, else show every field."""
        self._outcome, self._finished = outcome, True
        if outcome.ok and not stay:
            container = self._session.find(self.ref)
            name = clean(container.name) if container is not None else self.ref.short
            text = "\n".join(limit_text.outcome_text(field) for field in outcome.fields)
            long = DETAIL_TOAST_S if any(field.detail for field in outcome.fields) else None
            self.app.notify(
                text or say(Message.DONE), title=say(Message.KERNEL_HOLDS, name=name), markup=False, timeout=long
            )
            self.dismiss(outcome)
            return
        self._result.show("\n".join(limit_text.outcome_lines(outcome.fields, wide=self.size.width >= NARROW_CELLS)))
        self._result.display = True
        for field in self._fields.values():
            field.display = False
        self._heads.display = self._folded.display = False
        self._say(*limit_text.conclusion(outcome))
        self._end()

    def _gone(self) -> None:
        """The container was removed while the form was open."""
        self._finished = True
        self._say(say(Message.CONTAINER_GONE), bad=True)
        self._end()

    def _end(self) -> None:
        for field in self._fields.values():
            field.input.disabled = True
        self._foot.keys(say(Message.EDITOR_KEYS_DONE))
        self.set_focus(None)

    def action_leave(self) -> None:
        """Close. A write under way is awaited, because its result must be seen; a reclaim is stopped."""
        if self._shrinking is not None:
            self._shrinking.cancel()
        elif self._writing:
            self._say(say(Message.STILL_WRITING))
        else:
            self.dismiss(self._outcome)

    # focus

    def _focus(self, names: Iterable[LimitName]) -> None:
        for name in names:
            if not self._fields[name].input.disabled:
                self._fields[name].input.focus()
                return
