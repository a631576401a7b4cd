"""The sentences of the guard, by id, as `tui.present.messages` has those of everything else."""

from __future__ import annotations

from enum import Enum, unique


@unique
class GuardMessage(Enum):
    """A sentence of the guard; `messages.say` puts the arguments in."""

    # the guard
    STARTED = "guards by {policy}"
    STARTED_DRY = "a dry run by {policy}: it changes nothing"
    STOPPED = "ended: what it held was taken back"
    CLIMBED = "{victim}: {harm}, because of {suspect}: {rung} of {target}{change}, for {seconds:.0f} s ({why})"
    WOULD_CLIMB = (
        "{victim}: {harm}, because of {suspect}: would set {rung} of {target}{change}, for {seconds:.0f} s ({why})"
    )
    RENEWED = "{victim}: {why}: goes on for {seconds:.0f} s"
    WOULD_RENEW = "{victim}: {why}: would go on for {seconds:.0f} s"
    RELEASED = "{victim}: {why}: {rung} of {target} is taken back"
    WOULD_RELEASE = "{victim}: {why}: would take back what it had set"
    NOT_DONE = "{victim}: {why}"
    NOT_DONE_HARMED = "{victim}: {harm}{because}: nothing is done, {why}"
    BECAUSE = ", because of {suspect}"
    FAILED = "{victim}: {rung} of {target}: {error}"
    LOST = "{victim}: {rung} against {suspect} has ended: {why}"
    NO_FIGURE = "{victim}: its p99 is not known: {error}"
    CPU_WAIT = "waits {figure:.0%} of the time for CPU (target {target:.0%})"
    MEMORY_WAIT = "stalls {figure:.0%} of the time for memory (target {target:.0%})"
    IO_WAIT = "stalls {figure:.0%} of the time for a disk (target {target:.0%})"
    MEMORY_PRESSURE = "has {figure:.0%} of memory pressure (target {target:.0%})"
    P99 = "has a p99 of {figure:.1f} ms (target {target:g} ms)"
    WITHIN_TARGETS = "within its targets"
    TOO_SHORT = "it has not lasted long enough yet"
    NO_EVIDENCE = "nothing shows who is the cause"
    NOT_SURE = "the evidence is not strong"
    NOBODY = "nobody else is to blame"
    UNTOUCHABLE = "it is never to be touched"
    PROTECTED = "it is protected itself"
    NOT_LISTED = "the policy does not let it be contained"
    WRONG_SUSPECT = "it was the wrong suspect: everything was put back"
    CONTESTED = "somebody else has taken it back"
    LAST_RUNG = "the policy goes no further"
    FLOOR = "the next step is below a floor of the policy"
    LADDER_ENDS = "there is no further step"
    COOLING_DOWN = "it waits for what the last step does"
    BUDGET_SPENT = "the actions of this hour are spent"
    NOT_ON_DISK = "it waits for the audit trail"
    REPORTED = "what would come after that is not known in a dry run"
    HARMED = "harmed for long enough"
    HARM_RETURNED = "the harm has returned"
    STILL_HARMED = "still harmed"
    CALM_TOO_SHORT = "within its targets, not yet for long enough"
    TRIAL = "on trial, whether the harm returns"
    ON_TRIAL = "on trial"
    RECOVERED = "recovered: the harm has not returned"
    SHARED = "another protected one still needs it"
    VICTIM_GONE = "it is gone"
    UNMEASURED = "none of its figures is known: what was set runs out"
    EXPIRED = "its time was over, or its container has ended"
    STOPPING = "the guard ends"
    FROZEN = " (it stands still)"
    POLICY_RIGHT = (
        "{path}: right; {protect} entries of protected ones, {contain} of those that may be contained, {never} of those"
        " never to be touched{dry}"
    )
    POLICY_DRY = "; a dry run"
    NORMAL_WEIGHT = "goes on without a high CPU weight: {error}"
    # the guard in the dashboard
    TITLE = "Guard"
    ON = "on, by {policy}"
    OFF = "off: what it held was taken back"
    HEAD = "GUARD"
    HEAD_DRY = "GUARD (dry run)"
