"""The Textual app: themes, bindings, actions on containers, and notifications of errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual import events, work
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.widget import Widget

from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.model import ContainerRef, Ref, Verb
from themes.loader import load_all
from tui.app import keymap as keys
from tui.app import theming
from tui.app.acting import ActingApp
from tui.app.ascii_filter import AsciiOnly
from tui.app.guarding import GuardControl
from tui.app.palette import Commands
from tui.app.screens import registry
from tui.app.screens.list import ListScreen
from tui.app.typeahead import Dialog
from tui.core import settings, slow_changes
from tui.core.actions import ACTIONS, Action, question
from tui.core.keyboard_layout import is_foreign, latin_at
from tui.core.problem import Problem
from tui.core.session import Changed, Session, Subject
from tui.core.settings import INTERVALS_S, Settings
from tui.present import format as fmt
from tui.present import glyphs, problem_text
from tui.present.guard_messages import GuardMessage
from tui.present.messages import Message, say
from tui.present.table import DEFAULT_COLUMNS
from tui.present.target_text import target_line

LOAD_SCREENS_AFTER_S = 0.5  # from the start on, when the list is drawn
MAX_PENDING_SCREENS = 3  # writes queued for a slow terminal, above which frames are skipped
DEFAULT_THEME = "dark"
NO_COLOR_THEME = "ansi"  # sends no colours of its own, so that NO_COLOR can hold


class PytopApp(ActingApp):
    """Shows the containers of a session. Starts the session when mounted, closes it when unmounted."""

    CSS_PATH: ClassVar[list[str]] = ["app.tcss", "screens/dialogs.tcss", "screens/detail.tcss"]  # type: ignore[assignment]
    TITLE = "pytop-containers"
    COMMANDS: ClassVar[set[type[Provider]]] = {Commands}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.app_bindings(),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
    ]

    def __init__(
        self,
        session: Session,
        *,
        banner: Widget | None = None,
        cursor: Ref | None = None,
        theme: str | None = None,
        ascii_only: bool = False,
        chosen: Settings | None = None,
        grouped: bool = False,
    ) -> None:
        """`chosen` is read from the user's files when it is not given; `theme` takes precedence over them.

        `banner` is shown above the foot; `cursor` is where the cursor begins. `grouped`: start with containers listed
        under their groups.
        """
        colourless = "NO_COLOR" in os.environ
        super().__init__(ansi_color=True if colourless else None)
        self.session = session
        self.settings = settings.load(settings.home(os.environ), keys.VOCABULARY) if chosen is None else chosen
        self._theme_file = settings.state_file(os.environ) if chosen is None else None
        self.ascii_only = ascii_only
        console = os.environ.get("TERM") == "linux"  # the console font lacks most of the Unicode glyphs
        self.glyphs = glyphs.ASCII if ascii_only or console else glyphs.UNICODE
        self._banner, self._cursor = banner, cursor
        self.set_class(banner is not None, "-banner")
        self._grouped = grouped
        self._notified: frozenset[Problem] = frozenset()
        self._told_layout = False  # that keys are Latin letters
        self._clashing: set[str | None] = set()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._guarding = GuardControl(session, self.settings.guard, notify=self._notify_guard, failed=self.notify_error)
        themes, problems = load_all(self.settings.themes)
        self._themes = tuple(themes)
        self._problems = [*map(str, self.settings.problems), *problems]
        for entry in themes.values():
            self.register_theme(theming.textual_theme(entry))
        self.theme = self._choose(theme, colourless)
        if ascii_only:
            self._filters.append(AsciiOnly())
            self.add_class("-ascii")

    def _choose(self, asked: str | None, colourless: bool) -> str:
        """The initial theme: the one asked for, if it exists, else the last used, else the default."""
        default = NO_COLOR_THEME if colourless else DEFAULT_THEME
        last = settings.remembered(self._theme_file)
        if asked is None and not colourless and last in self._themes:
            return last
        name = asked or (None if colourless else self.settings.theme)
        if name is not None and name not in self._themes:
            self._problems.append(say(Message.UNKNOWN_THEME, name=name, known=", ".join(self._themes)))
            return default
        return name or default

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Defaults of our own style variables, for Textual themes that do not define them."""
        return dict(theming.FALLBACK)

    @property
    def keymap(self) -> Mapping[str, str]:
        """The user's keys by action."""
        return self.settings.keys

    @property
    def guard_head(self) -> Sequence[str]:
        """What the head says about the guard."""
        return self._guarding.head

    @property
    def behind(self) -> bool:
        """The terminal has not read the last writes yet; further writes would block the event loop."""
        writer = getattr(self._driver, "_writer_thread", None)
        return writer is not None and writer._queue.qsize() >= MAX_PENDING_SCREENS

    def _select(self, ref: Ref | None) -> None:
        """Put the list's cursor on this container, if it is listed."""
        found = next((screen for screen in self.screen_stack if isinstance(screen, ListScreen)), None)
        if ref is not None and found is not None:
            found.table.select(ref)

    def get_default_screen(self) -> ListScreen:
        """The list."""
        columns = self.settings.columns or DEFAULT_COLUMNS
        return ListScreen(self.session, self.glyphs, columns, self._banner, grouped=self._grouped, cursor=self._cursor)

    async def on_mount(self) -> None:
        """Start the session once the first screen is drawn."""
        self.listen_for_signals()
        self.set_keymap(dict(self.settings.keys))
        self._unsubscribe = self.session.subscribe(self._changed)
        self.run_worker(slow_changes.watch(lambda: self.session.under_way, self._notify_waiting), group="slow")
        for problem in self._problems:
            self.notify(problem, title=say(Message.SETTINGS), severity="warning", timeout=15, markup=False)
        self.run_worker(self._load_screens(), group="loading")
        await self.session.start()

    async def _load_screens(self) -> None:
        """Load the screens that a key opens, once the first frame is drawn."""
        await asyncio.sleep(LOAD_SCREENS_AFTER_S)
        for name in registry.SCREENS:
            await threads.waiting(registry.load, name)

    async def on_unmount(self) -> None:
        """Wait for changes under way, then close the session."""
        self._unsubscribe()
        await self._guarding.close()
        await self.session.close()

    def _changed(self, what: Changed) -> None:
        """Notify about new problems and about engines that answer again."""
        if Changed.PROBLEMS not in what:
            return
        problems = frozenset(self.session.problems)
        engines = {problem.engine for problem in problems}
        for problem in problems - self._notified:
            title, hint = (fmt.clean(words(problem)) for words in (problem_text.title, problem_text.hint))
            self.notify(hint or " ", title=title, severity="warning", markup=False)
        for engine in sorted({problem.engine for problem in self._notified} - engines):
            self.notify(say(Message.ENGINE_ANSWERS_AGAIN), title=engine, markup=False)
        self._notified = problems

    def _notify_guard(self, line: str) -> None:
        self.notify(line, title=say(GuardMessage.TITLE), timeout=8, markup=False)

    def _notify_waiting(self, what: str) -> None:
        """A change takes long, which is no failure."""
        self.notify(say(Message.STILL_WAITING, what=fmt.clean(what)), timeout=10, markup=False)

    def dead_key(self, key: events.Key) -> None:
        """Notify where the filter key works; once, that keys are Latin letters, for a layout that is not known."""
        letter = key.character or ""
        if is_foreign(letter) and latin_at(letter) is None and not self._told_layout:
            self._told_layout = True
            self.notify(say(Message.KEYS_ARE_LATIN, key=letter), severity="warning", timeout=8, markup=False)
        if key.key in keys.bound("filter", self.keymap) and not isinstance(self.screen, Dialog):
            sign = keys.format_keys("filter", self.keymap)[0]
            self.notify(say(Message.FILTER_WORKS_ELSEWHERE, key=sign), timeout=4, markup=False)

    # actions on a container

    def action_change(self, id: str) -> None:
        """Perform an action on the container that is selected now, even if the selection changes before it runs."""
        action, ref = ACTIONS[id], self.subject()
        found = self.session.find(ref) if ref is not None else None
        if not self.refused(action, ref) and found is not None:
            self._change(action, found, action.verb(self.session, found.ref))

    @work(group="changes")
    async def _change(self, action: Action, subject: Subject, verb: Verb) -> None:
        """Ask for confirmation where the action needs it, perform it, notify about the result."""
        ref = subject.ref
        name = fmt.clean(subject.name or ref.short)
        asked = question(action, subject, name)
        if asked is not None:
            target = target_line(self.session, subject, self.glyphs)
            dialog = registry.screen("confirm", asked.title, asked.body, asked.label, asked.danger, target=target)
            if not await self.push_screen_wait(dialog):
                return
            if self.refused(action, ref):
                return
        options = {"force": True} if verb is Verb.REMOVE and subject.state.live else {}
        try:
            await self.session.perform(ref, verb, **options)
        except PytopError as error:
            self.notify_error(error)
        else:
            self.notify((action.done or {}).get(verb, say(Message.DONE)), title=name, timeout=3, markup=False)

    def action_limits(self) -> None:
        """Open the limit editor."""
        ref = self.subject()
        if not self.refused(ACTIONS["limits"], ref) and ref is not None:
            self.push_screen(registry.screen("limits", self.session, ref))

    def action_logs(self) -> None:
        """Open the container's screen on its logs page."""
        ref = self.subject()
        if not self.refused(ACTIONS["logs"], ref) and ref is not None:
            self.push_screen(registry.screen("detail", self.session, ref, tab="logs"))

    def copy(self, text: str) -> None:
        """Put text into the clipboard of the user's terminal (OSC 52), and say what."""
        self.copy_to_clipboard(text)
        said = say(Message.COPIED_IN_TMUX, text=text) if "TMUX" in os.environ else text
        self.notify(said, title=say(Message.COPIED), timeout=3, markup=False)

    def action_copy(self, what: str) -> None:
        """Copy the name or the whole id of what is selected."""
        ref = self.subject()
        subject = self.session.find(ref) if ref is not None else None
        if not self.refused(ACTIONS[f"copy_{what}"], ref) and subject is not None:
            id = subject.ref.id if isinstance(subject.ref, ContainerRef) else subject.ref.short
            self.copy(fmt.clean(subject.name or id) if what == "name" else id)

    # actions on the dashboard

    def action_next_theme(self) -> None:
        """Switch to the next theme and remember it."""
        self.theme = self._themes[(self._themes.index(self.theme) + 1) % len(self._themes)]
        self.notify(self.theme, title=say(Message.THEME), timeout=2, markup=False)
        self.run_worker(threads.completing(settings.remember, self._theme_file, self.theme), group="theme")

    def action_interval(self, step: int) -> None:
        """Make the measuring interval one step longer or shorter."""
        now = self.session.interval
        beside = [s for s in INTERVALS_S if (s > now if step > 0 else s < now)]
        if beside:
            self.session.interval = min(beside) if step > 0 else max(beside)
            text = say(Message.MEASURED_EVERY, interval=fmt.seconds(self.session.interval))
            self.notify(text, title=say(Message.MEASURING), timeout=2, markup=False)

    @work(group="guard")
    async def action_guard(self) -> None:
        """Turn the guard on or off."""
        await self._guarding.toggle()

    @work(group="refresh", exclusive=True)
    async def action_refresh(self) -> None:
        """List every engine's containers again now."""
        await self.session.refresh()

    def action_matrix(self) -> None:
        """Open the matrix of victims and suspects; the one that is chosen there is then selected in the list."""
        self.push_screen(registry.screen("matrix", self.session), self._select)

    def action_help(self) -> None:
        """Open the help screen."""
        self.push_screen(registry.screen("help", self.session, self.subject(), self.keymap, self.glyphs))

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: object) -> None:
        """Notify that a key of the user's keymap was bound to another action already."""
        for binding in clashed_bindings:
            if binding.id not in self._clashing:
                self._clashing.add(binding.id)
                self.notify(
                    say(Message.KEY_LOST, action=binding.id, key=binding.key),
                    title=say(Message.KEYS_SECTION),
                    severity="warning",
                    markup=False,
                )
