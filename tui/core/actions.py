"""The registry of actions: keys, the command palette, the help and the foot of the screen are made from it.

Titles, help lines and questions are texts by the action's id, so a translation replaces this table. It does not import
Textual. An action that is not possible now stays visible, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Final

from runtime.errors import InvalidError, NotFoundError, PytopError
from runtime.model import Ref, Verb
from tui.core import containment_actions as containment
from tui.core.session import Session
from tui.core.subject import Subject


@dataclass(frozen=True, slots=True)
class Question:
    """The question before an action.

    Attributes:
        title: `{name}` in it is the container's name.
        label: the verb on the button.
        danger: it cannot be undone.
        if_live: added to the body when the container is live.
    """

    title: str
    body: str
    label: str
    danger: bool = False
    if_live: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Attributes:
        id: its name in the keymap; for a verb also the command line's.
        title: its name on the screen.
        keys: the default keys, separated by commas.
        call: the Textual action that does it.
        group: the heading in the help.
        about: one line of help.
        verbs: what is asked of the engine; of several the one that is possible now.
        question: asked before it is done; None for an action that needs no confirmation.
        done: the notification afterwards, by verb; its title is the container's name.
        foot: the word in the foot of the screen, empty for none.
        place: the order in the foot; where there is little room, those with the lowest numbers are shown.
        refusal: of an action that asks no engine, the error in which it would end now for what is selected.
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
    refusal: Callable[[Session, Ref], PytopError | None] | None = None

    @property
    def of_container(self) -> bool:
        """It acts on the selected container."""
        return self.group == CONTAINER or self.refusal is not None

    def why_not(self, session: Session, ref: Ref | None) -> PytopError | None:
        """The error in which it would end now, with the reason as its detail; None when it can be done."""
        if not self.of_container:
            return None
        if ref is None:
            return InvalidError(self.title, detail="no container is selected")
        if session.find(ref) is None:
            return NotFoundError(self.title, detail="it is gone")
        if self.refusal is not None:
            return self.refusal(session, ref)
        refusals = [session.why_not(ref, verb) for verb in self.verbs]
        return None if not refusals or None in refusals else refusals[0]

    def verb(self, session: Session, ref: Ref) -> Verb:
        """The verb that is possible now, the first one when none is."""
        return next((verb for verb in self.verbs if session.why_not(ref, verb) is None), self.verbs[0])


CONTAINER: Final = "The selected container"
NEIGHBOURS: Final = "Noisy neighbours"
LIST: Final = "The list"
APP: Final = "The dashboard"

_STOP = Question("Stop {name}?", "It is asked to end, and killed when its grace time is over.", "Stop")
_RESTART = Question("Restart {name}?", "It is stopped and started again: what it was doing is lost.", "Restart")
_KILL = Question(
    "Kill {name}?", "All its processes end at once (SIGKILL), with no time to save anything.", "Kill", True
)
_REMOVE = Question(
    "Remove {name}?",
    "The container and what it wrote to its own file system are deleted.",
    "Remove",
    True,
    if_live=" It is running, and is killed first.",
)
_STARTED, _STOPPED, _KILLED = {Verb.START: "started"}, {Verb.STOP: "stopped"}, {Verb.KILL: "killed"}
_RESTARTED, _REMOVED = {Verb.RESTART: "restarted"}, {Verb.REMOVE: "removed"}
_PAUSED = {Verb.PAUSE: "paused", Verb.UNPAUSE: "resumed"}


def _change(
    id: str,
    title: str,
    keys: str,
    done: Mapping[Verb, str],
    *,
    about: str = "",
    question: Question | None = None,
    place: int = 0,
) -> Action:
    """An action that asks an engine for the verbs of `done`; it is in the foot of the screen if it has a place."""
    call, foot = f"app.change('{id}')", (id if place else "")
    return Action(
        id, title, keys, call, CONTAINER, about, verbs=tuple(done), question=question, done=done, foot=foot, place=place
    )


_ALL: Final = (
    Action("detail", "Open", "enter", "open", CONTAINER, "graphs, logs, processes, isolation", foot="open", place=1),
    Action(
        "limits",
        "Change limits",
        "l",
        "app.limits",
        CONTAINER,
        "CPU, memory, swap, processes; read back from the kernel",
        verbs=(Verb.UPDATE,),
        foot="limits",
        place=2,
    ),
    Action(
        "logs", "Logs", "o", "app.logs", CONTAINER, "its output, as it comes", verbs=(Verb.LOGS,), foot="logs", place=7
    ),
    _change("start", "Start", "s", _STARTED, place=5),
    _change("stop", "Stop", "x", _STOPPED, question=_STOP, place=5),
    _change("restart", "Restart", "r", _RESTARTED, question=_RESTART),
    _change("pause", "Pause or resume", "p", _PAUSED, about="freezes its processes, and lets them go on", place=9),
    _change("kill", "Kill", "K", _KILLED, question=_KILL),
    _change("remove", "Remove", "D,delete", _REMOVED, question=_REMOVE, place=12),
    Action("copy_name", "Copy the name", "y", "app.copy('name')", CONTAINER, "or drag with Shift held, to mark text"),
    Action("copy_id", "Copy the id", "Y", "app.copy('id')", CONTAINER),
    Action(
        "climb",
        "Contain who hurts it, one rung more",
        "m",
        "app.climb",
        NEIGHBOURS,
        "the mildest rung first; taken back by itself unless it is confirmed",
        refusal=containment.why_no_climb,
        foot="contain",
        place=3,
    ),
    Action(
        "step_back", "Take the last rung back", "b", "app.step_back", NEIGHBOURS, refusal=containment.why_no_step_back
    ),
    Action(
        "confirm",
        "Keep what was leased",
        "c",
        "app.confirm",
        NEIGHBOURS,
        "it is told to the engine, and not taken back any more",
        refusal=containment.why_no_confirm,
        foot="keep",
        place=2,
    ),
    Action(
        "culprit",
        "From a victim to its culprit, and back",
        "w",
        "culprit",
        NEIGHBOURS,
        refusal=containment.why_no_culprit,
        foot="why",
        place=4,
    ),
    Action("matrix", "Who hurts whom", "W", "app.matrix", NEIGHBOURS, "victims down, suspects across"),
    Action(
        "probe",
        "Test the suspect",
        "P",
        "app.probe",
        NEIGHBOURS,
        "the idle class on and off, three times: is it the cause?",
        refusal=containment.why_no_probe,
    ),
    Action("undo", "Undo your last change", "U", "app.undo", NEIGHBOURS, "of limits, from this dashboard; asks first"),
    Action("redo", "Redo what was undone", "ctrl+y", "app.redo", NEIGHBOURS),
    Action("filter", "Filter", "slash", "filter", LIST, "by name, image, engine, state, label", foot="filter", place=4),
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
    Action("guard", "Guard on or off", "A", "app.guard", APP, "contains who hurts protected ones, by a policy"),
    Action("refresh", "Ask the engines again", "f5,ctrl+r", "app.refresh", APP),
    Action("palette", "Commands", "colon,ctrl+p", "app.command_palette", APP, "every command, by name"),
    Action("help", "Help", "question_mark,f1", "app.help", APP, foot="help", place=3),
    Action("quit", "Quit", "q,ctrl+c", "app.quit", APP, "from the list; containers go on", foot="quit", place=6),
)

ACTIONS: Final[Mapping[str, Action]] = {action.id: action for action in _ALL}


def question(action: Action, subject: Subject, name: str) -> Question | None:
    """The question about this container or group, with its name in the title."""
    template = action.question
    if template is None:
        return None
    body = template.body + (template.if_live if subject.state.live else "")
    return Question(template.title.replace("{name}", name), body, template.label, template.danger)
