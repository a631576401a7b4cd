"""The sentences of the dashboard, the command line and the demo, by id; the arguments of each are named in its text.

The dashboard, the demo and the command line contain no other sentences, so a translation replaces this table. Errors
(`runtime.errors`), the registries of actions and keys (`tui.core.actions`, `tui.core.keys`) and the help of the command
line's arguments have texts of their own.
"""

from __future__ import annotations

from enum import Enum, unique

from runtime.errors import PytopError
from tui.present import format as fmt


@unique
class Message(Enum):
    """A sentence; `say` puts the arguments in."""

    # what does not work (`tui.core.problem`)
    MEASURING_FAILED = "measuring failed: {cause}"
    COMPARING_FAILED = "comparing the limits of {subject} failed: {cause}"
    ALL_GROUPS = "groups"
    OBSERVER_PAUSED = "{observer} failed {count} times and is paused: {cause}"
    TRIED_AGAIN = "It is tried again every {seconds:.0f} s"
    PART_FAILED = "{part} failed in an unexpected way: {cause}"
    PART_OF = "{part} of {owner}"
    PART_INVENTORY = "the list of containers"
    PART_GROUPS = "the list of groups"
    PART_DRIFT = "the comparison of limits"
    PART_SWEEPS = "measuring"
    PART_ANNOTATIONS = "the annotations"
    TRIED_ANEW = "It is tried again"
    OBSERVER_GROUPS = "totals of groups"
    OBSERVER_DRIFT = "the check for changed limits"
    OBSERVER_ANNOTATIONS = "annotations"
    OBSERVER_HISTORY = "history"
    OBSERVER_SCREEN = "the screen"
    READ_ONLY_MODE = "No changes: started with --read-only."
    # the dashboard
    UNKNOWN_THEME = "there is no theme {name!r} (there are {known})"
    SETTINGS = "Settings"
    ENGINE_ANSWERS_AGAIN = "It answers again."
    ERROR_WITHOUT_DETAIL = "It did not work."
    NOT_NOW = "{action}: not now"
    NOT_NOW_BECAUSE = "{action} (not now: {reason})"
    DONE = "done"
    THEME = "Theme"
    MEASURING = "Measuring"
    MEASURED_EVERY = "every {interval}"
    KEY_LOST = "{action} has lost its key {key!r} to another action."
    KEYS_SECTION = "config.toml, section keys"
    KEY_OF_ACTION = "key {keys}"
    KEY_OF_ACTION_ABOUT = "key {keys}: {about}"
    FILTER_WORKS_ELSEWHERE = "{key} filters the list, and searches a container's log."
    KEYS_ARE_LATIN = "Keys are Latin letters; '{key}' is none: switch the keyboard layout."
    UNEXPECTED = "Something failed"
    UNEXPECTED_AT = "{error} ({place}). The dashboard goes on; PYTOP_LOG=FILE keeps the whole error."
    CANNOT_DRAW = "a bug: the screen cannot be drawn: {error} ({place}). Please report it"
    CANNOT_RUN = "a bug: the dashboard cannot run: {error} ({place}). Please report it"
    COPIED = "Copied"
    COPIED_IN_TMUX = "{text} (in tmux only with: set -s set-clipboard on)"
    QUITTING = "Quitting"
    FINISHING = "First what has begun comes to its end: {changes}. At most {seconds:.0f} s; q again leaves at once."
    # the list
    FILTER_HINT = "name, image, engine, state or label"
    GROUPS = "Groups"
    NO_GROUPS = "No compose project, pod or slice is here."
    # a question
    CANNOT_BE_UNDONE = "Cannot be undone"
    ARE_YOU_SURE = "Are you sure?"
    LEAVE = "any other key: leave"
    CONFIRM = "y {label} it"
    # the screen of one container
    IT_IS_GONE = "{name}: it is gone"
    GONE = "gone"
    MADE_ANEW = "made anew {time}"
    UP_FOR = "up {age}"
    AGO = "{age} ago"
    VIRTUAL_MACHINE = "virtual machine"
    SYSTEMD_SERVICE = "systemd service"
    FOUND_BY = "found by {name}"
    KILLED_BY_SIGNAL = "killed by signal {number}"
    EXIT_STATUS = "exit status {code}"
    OUT_OF_MEMORY = "out of memory, {ending}"
    STARTED_AT = "started {time}"
    NO_OWN_CGROUP = "its containers have no cgroup that is theirs alone: limit them one by one"
    CHANGED_AT = "{clock} changed by somebody else ({key}: set again or accept): {limits}"
    KEY_BACK = "{key} back"
    KEYS_PAGES = "1-{count} page"
    # its pages
    SEARCH_HINT = "search"
    GROUP_GONE = "The group is gone."
    LOG_FOLLOWING = "following"
    LOG_RUN = "---- started {time} ----"
    LOG_HELD = "held; f follows again"
    LOG_ENDED = "the log has ended"
    LOG_LINES = "{count} lines"
    LOG_LINES_DROPPED = "{count} lines, {dropped} older ones dropped"
    LOG_SKIPPED = "too fast to show all of it"
    LOG_STDERR = "! is stderr"
    NOT_FOUND = "'{text}': not found"
    FOUND_AT = "'{text}': line {line}"
    PROCESS_COUNT = "{count} processes, {threads} threads; cpu in cores over {seconds:.0f} s"
    CPU_LEGEND = "{used} used  {throttled} held back by its limit  {limit} limit"
    MEMORY_LEGEND = "{limit} limit"
    # the help
    HELP = "Help"
    ESC_CLOSES = "esc closes"
    # the limit editor
    LIMITS_OF = "Limits of {name}"
    EDITOR_KEYS = "enter apply  ctrl-s apply and show  u unlimited  < half  > double  esc cancel"
    EDITOR_KEYS_SHRINKING = "esc stops it: the limits stay as they are"
    EDITOR_KEYS_DONE = "enter or esc closes"
    EXAMPLE = "e.g. {text}"
    NO_MULTIPLE = "there is no half or double of that"
    LIMIT_DRIFTED = "Changed by somebody else: {limits}. f6 sets it again, f7 accepts what the kernel holds."
    LIMITS_DRIFTED = "Changed by somebody else: {limits}. f6 sets them again, f7 accepts what the kernel holds."
    NOT_RUNNING_KEPT = "It is not running: the engine keeps a change for its next start."
    NOTHING_CAN_BE_SET = "Nothing can be set here (f2 says why for each): {reason}."
    NOTHING_CAN_BE_SET_OPEN = "Nothing can be set here (f2 folds for each): {reason}."
    NOT_TO_BE_SET = "Not to be set here (f2 says why): {names}"
    NOT_TO_BE_SET_OPEN = "Not to be set here (f2 folds): {names}"
    SHRINK_FIRST = "f4: make it give back memory first, then set the limit; nothing is killed"
    NOTHING_TO_CHANGE = "Nothing to change: type a new value."
    WRITING = "Writing, then reading back ..."
    REFUSED = "Refused: it would do harm. Nothing was changed."
    REFUSED_SHRINK = (
        "Refused: it would do harm. Nothing was changed."
        " F4: make it give back memory first, then set the limit; nothing is killed."
    )
    SHRINK_NEEDS_LIMIT = "f4 makes room for a lower memory limit: type one."
    SHRINKING = "Taking memory away ..."
    SHRINK_STOPPED = "Stopped. The limits are as they were."
    ACCEPTED = "Accepted: what the kernel holds now is expected from now on."
    KERNEL_HOLDS = "{name}: the kernel holds"
    CONTAINER_GONE = "The container is gone. Nothing was changed."
    STILL_WRITING = "Still writing: the result comes in a moment."
    ALL_AS_ASKED = "The kernel holds what was asked for."
    KEPT_FOR_NEXT_START = "The engine keeps it for the next start: while it is not running, the kernel holds nothing."
    NOT_ALL_AS_ASKED = "Not all is as asked."
    # the command line
    NEEDS_TERMINAL = "the dashboard needs a terminal: {reason}. Try `{command}`"
    INPUT_NO_TERMINAL = "the input is not one"
    OUTPUT_NO_TERMINAL = "the output is not one"
    TERM_IS = "TERM is {term}"
    TERM_NOT_SET = "TERM is not set"
    FINISHING_COMMAND = "finishing what has begun; Ctrl-C again leaves it unfinished"
    STILL_RUNNING = "it is still running; Ctrl-C once more kills it"
    RECLAIMING = "{name}: uses {current}, to come down to {target}; {reclaimed} given back"
    KEPT = "kept"
    UNTIL_RESTART = "until restart"
    RECORDED = "recorded for the next start"
    DEMO_REMOVED = "the demo's containers, cgroups, network and files are gone"
    # the command line's doctor
    ENGINE_WORKS = "An engine works here."
    NO_ENGINE_WORKS = "No engine works here; the marked lines say what is missing."
    NO_ANSWER = "no answer within {seconds:.0f} s"
    RESTART_ENGINE = "Restart it"
    ENGINE_ANSWER = "{product} at {endpoint}, {count} containers"
    MAKES_NONE = "{answer}; it makes none"
    CANNOT_MAKE = "{answer}; it cannot make containers: {reason}"
    NOT_HERE = "not here: {reason}"
    SET_UTF8 = "Set LANG=C.UTF-8, or start the dashboard with --ascii"
    NOT_A_TERMINAL = "the output is not a terminal"
    CANNOT_BE_DRAWN = "{term}: the dashboard cannot be drawn"
    SET_TERM = "Set TERM, for example xterm-256color"
    COLOURS = "{colours} (TERM={term})"
    COLOURS_OFF = "none, because NO_COLOR is set"
    COLOURS_16M = "16 million"
    # the demo's guide
    VICTIM_SILENT = "victim: no answers yet"
    VICTIM = "victim: p50 {p50:.0f} ms, p99 {p99:.0f} ms, answers {answered:.0f} of {rate} requests/s"
    VICTIM_HURT = (
        "victim: p50 {p50:.0f} ms, p99 {p99:.0f} ms (alone {alone:.0f} ms), answers {answered:.0f} of {rate} requests/s"
    )
    VICTIM_ENDED = "The victim does not run any more."
    QUIT = "Press q to quit: everything is removed."
    ONE_CORE = "one core"
    CORE = "core {number}"
    DEMO_BEGINS = "Three containers share {where}. First the victim alone, then {hog} starts."
    WAIT = "Wait a few seconds."
    DEMO_HURT = "{hog} burns CPU on the victim's core: see its cpu, psi, and the victim's p99."
    DEMO_LIMIT_IT = "Next: with the cursor on {hog} press l, type 0.2, press Enter."
    DEMO_LIMITED = "{hog} may use {cores}, {throttled}. The queue is worked off."
    WATCH_P99 = "Watch the p99 fall."
    DEMO_LOADED_HOST = "This host is loaded by others: the victim's p99 was {alone:.0f} ms when it ran alone."
    DEMO_RECOVERED = "Recovered: {hog} may use {cores}, {throttled}."
    DEMO_LIFT_IT = "Next: Enter for {hog}'s graphs; l, u, Enter lifts the limit; q ends it all."
    HOG_ENDED = "{hog} does not run any more."
    UNLIMITED_CORES = "what it wants"
    CORES = "{cores} cores"
    LIMITED = "limited"
    THROTTLED = "throttled in {share:.0%} of its periods"
    # the demo without a screen
    MEASURING_ALONE = "victim and neighbour run; measuring the victim alone"
    HOG_STARTS = "the hog starts"
    HOG_LIMIT = (
        "hog's CPU limit: requested {requested}, engine says {engine}, kernel says {kernel} ({verdict}) {detail}"
    )
    PHASE = "  {phase}: victim p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    LIMIT_NOT_HELD = "the kernel does not hold the limit that was asked for: nothing is proven"
    NOT_HURT = "the hog did not hurt the victim here (p99 {now:.1f} ms against {alone:.1f} ms alone)"
    HARDLY_HELPED = "the limit took away only {share:.0%} of the added p99"
    TOOK_AWAY = "the limit took away {share:.0%} of the p99 that the hog had added"
    HELPED = "containment helped: {why}"
    DID_NOT_HELP = "containment did NOT help: {why}"


def say(message: Message, **arguments: object) -> str:
    """The sentence with its arguments in."""
    return message.value.format(**arguments)


def error_text(error: PytopError) -> str:
    """What an error says below its title: what was answered, and what to do."""
    where = f" [{error.path}]" if error.path else ""
    parts = [f"{error.detail}{where}", error.hint]
    return "\n".join(fmt.clean(part) for part in parts if part) or say(Message.ERROR_WITHOUT_DETAIL)
