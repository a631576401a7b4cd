"""Everything that can be done, each thing once: for keys, the command palette, the help and the foot of the screen.

Free of Textual. What cannot be done now stays visible, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Final

from runtime.model import Ref, Verb
from tui.core.session import Session
from tui.core.subject import Subject


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before something is done; `{name}` is the container. `danger` when it cannot be undone."""

    title: str
    body: str
    label: str
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done.

    Attributes:
        id: its name in the keymap; for a verb also the command line's.
        title: what it is called.
        keys: the keys at first, with commas between.
        call: the Textual action that does it.
        group: the heading in the help.
        verbs: what is asked of the engine; of several the one that is possible now.
        question: asked first.
        done: told afterwards, with the container's name before it.
        foot: the word in the foot of the screen; the lower `place`, the sooner it is there.
        about: one line of help.
    """

    id: str
    title: str
    keys: str
    call: str
    group: str
    about: str = ""
    _: KW_ONLY
    verbs: tuple[Verb, ...] = ()
    question: Question | None = None
    done: Mapping[Verb, str] | None = None
    foot: str = ""
    place: int = 0

    @property
    def of_container(self) -> bool:
        """It is about the selected container."""
        return self.group == CONTAINER

    def why_not(self, session: Session, ref: Ref | None) -> str | None:
        """Why it cannot be done now, in words for the user; None when it can."""
        if not self.of_container:
            return None
        if ref is None:
            return "no container is selected"
        if session.find(ref) is None:
            return "it is gone"
        reasons = [session.why_not(ref, verb) for verb in self.verbs]
        return None if not reasons or None in reasons else reasons[0]

    def verb(self, session: Session, ref: Ref) -> Verb:
        """The verb that is possible now, the first one when none is."""
        return next((verb for verb in self.verbs if session.why_not(ref, verb) is None), self.verbs[0])


CONTAINER: Final = "The selected container"
LIST: Final = "The list"
APP: Final = "The dashboard"

_STOP = Question("Stop {name}?", "It is asked to end, and killed when its grace time is over.", "Stop")
_RESTART = Question("Restart {name}?", "It is stopped and started again: what it was doing is lost.", "Restart")
_KILL = Question(
    "Kill {name}?", "All its processes end at once (SIGKILL), with no time to save anything.", "Kill", True
)
_REMOVE = Question(
    "Remove {name}?", "The container and what it wrote to its own file system are deleted.", "Remove", True
)
RUNNING_TOO: Final = " It is running, and is killed first."

_FREEZE = "freezes its processes, and lets them go on"
_WHERE = "by name, image, engine, state, label"
_OUTPUT = "its output, as it comes"
_FILES = "CPU, memory, swap, processes; read back from the kernel"
_STARTED, _STOPPED, _KILLED = {Verb.START: "started"}, {Verb.STOP: "stopped"}, {Verb.KILL: "killed"}
_RESTARTED, _REMOVED = {Verb.RESTART: "restarted"}, {Verb.REMOVE: "removed"}
_PAUSED = {Verb.PAUSE: "paused", Verb.UNPAUSE: "resumed"}


def _change(
    id: str, title: str, keys: str, done: Mapping[Verb, str], *, question: Question | None = None, place: int = 0
) -> Action:
    """Something that is asked of an engine; with a place in the foot of the screen if it has one."""
    about, foot = (_FREEZE if id == "pause" else ""), (id if place else "")
    call = f"app.change('{id}')"
    return Action(
        id, title, keys, call, CONTAINER, about, verbs=tuple(done), question=question, done=done, foot=foot, place=place
    )


_ALL: Final = (
    Action("detail", "Open", "enter", "open", CONTAINER, "graphs, logs, processes, isolation", foot="open", place=1),
    Action(
        "limits", "Change limits", "l", "app.limits", CONTAINER, _FILES, verbs=(Verb.UPDATE,), foot="limits", place=2
    ),
    Action(
        "logs", "Logs", "o", "app.logs", CONTAINER, "its output, as it comes", verbs=(Verb.LOGS,), foot="logs", place=7
    ),
    _change("start", "Start", "s", _STARTED, place=5),
    _change("stop", "Stop", "x", _STOPPED, question=_STOP, place=5),
    _change("restart", "Restart", "r", _RESTARTED, question=_RESTART),
    _change("pause", "Pause or resume", "p", _PAUSED, place=9),
    _change("kill", "Kill", "K", _KILLED, question=_KILL),
    _change("remove", "Remove", "D,delete", _REMOVED, question=_REMOVE, place=12),
    Action("filter", "Filter", "slash", "filter", LIST, _WHERE, foot="filter", place=4),
    Action("clear", "Clear the filter", "escape", "clear", LIST),
    Action("sort_next", "Sort by the next column", "greater_than_sign,right", "sort(1)", LIST, foot="sort", place=10),
    Action("sort_previous", "Sort by the column before", "less_than_sign,left", "sort(-1)", LIST),
    Action("sort_turn", "Turn the order round", "i", "sort_turn", LIST),
    Action("sort_cpu", "Sort by CPU", "C", "sort_by('cpu')", LIST),
    Action("sort_memory", "Sort by memory", "M", "sort_by('memory')", LIST),
    Action("sort_name", "Sort by name", "N", "sort_by('name')", LIST),
    Action("stopped", "Show or hide stopped containers", "a", "stopped", LIST, foot="stopped", place=11),
    Action("group", "Group or ungroup", "v", "group", LIST, "compose projects, pods, slices", foot="groups", place=8),
    Action("fold", "Fold or unfold a group", "space", "fold", LIST),
    Action("theme", "Next theme", "t", "app.next_theme", APP),
    Action("slower", "Measure less often", "minus", "app.interval(1)", APP),
    Action("faster", "Measure more often", "plus,equals_sign", "app.interval(-1)", APP),
    Action("refresh", "Ask the engines again", "f5,ctrl+r", "app.refresh", APP),
    Action("palette", "Commands", "colon,ctrl+p", "app.command_palette", APP, "every command, by name"),
    Action("help", "Help", "question_mark,f1", "app.help", APP, foot="help", place=3),
    Action("quit", "Quit", "q,ctrl+c", "app.quit", APP, "containers go on", foot="quit", place=6),
)

ACTIONS: Final[Mapping[str, Action]] = {action.id: action for action in _ALL}


def question(action: Action, subject: Subject, name: str) -> Question | None:
    """The question for this container or group, with its name in it."""
    asked = action.question
    if asked is None:
        return None
    body = asked.body
    if action.id == "remove" and subject.state.live:
        body += RUNNING_TOO
    return Question(asked.title.replace("{name}", name), body, asked.label, asked.danger)
