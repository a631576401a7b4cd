"""What a decision of the guard is made from, and what it is made of: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import NamedTuple

from collectors.attribution.evidence import NO_ATTRIBUTION, Attribution, Evidence, Suspect
from collectors.sampling.frame import Usage
from runtime.model import Ref
from tui.core.guard.policy import Aim, Candidate


class GuardAction(StrEnum):
    """What the guard does for one victim now."""

    CLIMB = "climb"  # the next rung against the suspect, as a lease
    RENEW = "renew"  # its leases are prolonged
    RELEASE = "release"  # its leases are taken back: the last one on trial, or all
    NOTHING = "nothing"


class GuardReason(StrEnum):
    """Why."""

    WITHIN_TARGETS = "within_targets"
    TOO_SHORT = "harm_too_short"  # it has not held for `hold_s` yet
    NO_EVIDENCE = "no_evidence"  # nothing says who is the cause
    NOT_SURE = "not_sure"  # there is a suspect, and the evidence is not strong
    NOBODY = "nobody_to_blame"  # its own doing, diffuse load, the hypervisor
    UNTOUCHABLE = "untouchable"  # on the never-touch list, or holds the guard itself or what it was started from
    PROTECTED = "protected"  # the suspect is protected itself
    NOT_LISTED = "not_listed"  # the policy does not let it be contained
    WRONG_SUSPECT = "wrong_suspect"  # containing it did not help: everything was put back
    CONTESTED = "contested"  # somebody else changes its limits
    LAST_RUNG = "last_rung"  # the next rung is sharper than the policy allows
    FLOOR = "floor"  # the next rung goes below a floor of the policy
    LADDER_ENDS = "ladder_ends"  # there is no further rung, or it cannot be done here
    COOLING_DOWN = "cooling_down"
    BUDGET_SPENT = "budget_spent"
    NOT_ON_DISK = "audit_not_on_disk"  # the line of the audit cannot be kept, so nothing is begun
    REPORTED = "reported"  # dry run: the first rung was reported, what would follow is not known
    HARMED = "harmed"
    HARM_RETURNED = "harm_returned"  # on a trial release
    STILL_HARMED = "still_harmed"  # the rungs so far are not enough
    CALM_TOO_SHORT = "calm_too_short"  # within its targets, not yet for long enough for a trial
    TRIAL = "trial"  # calm for long enough: taken back, to see whether the harm returns
    ON_TRIAL = "on_trial"  # taken back a moment ago
    RECOVERED = "recovered"  # all was taken back, and the harm did not return
    SHARED = "another_victim_needs_it"  # calm, but another protected one still suffers from this suspect
    VICTIM_GONE = "victim_gone"
    EXPIRED = "expired"  # a lease has run out, or ended with its container
    STOPPING = "stopping"  # the guard was ended
    UNMEASURED = "unmeasured"  # none of its figures is known: nothing is done, and what is held runs out


class Harm(NamedTuple):
    """A figure that is above its target; shares of 0 to 1, or ms."""

    aim: Aim
    figure: float
    target: float


class HarmedPair(NamedTuple):
    """A victim and one of its suspects."""

    victim: Ref
    suspect: Suspect


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease of the guard's that holds. `expires_s` is on the clock of `Situation.now_s`."""

    id: str
    suspect: Suspect
    expires_s: float


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision depends on besides the policy.

    Attributes:
        now_s: CLOCK_MONOTONIC of the frame, in seconds.
        candidates: the containers and groups that live.
        held: the guard's leases by victim, the oldest first.
        p99_ms: what the commands have printed lately.
        refused: what was found out about a pair, and holds for a while.
        actions_left: of the budget of this hour.
    """

    _: KW_ONLY
    now_s: float
    candidates: Mapping[Ref, Candidate]
    usages: Mapping[Ref, Usage]
    attribution: Attribution = NO_ATTRIBUTION
    held: Mapping[Ref, tuple[HeldLease, ...]] = field(default_factory=dict)
    p99_ms: Mapping[Ref, float] = field(default_factory=dict)
    refused: Mapping[HarmedPair, GuardReason] = field(default_factory=dict)
    actions_left: int = 0


@dataclass(frozen=True, slots=True)
class VictimWatch:
    """What is remembered of a victim from frame to frame; times are seconds on the clock of `Situation.now_s`.

    Attributes:
        harmed_since, calm_since: since when it has been so without a break; None while it is not.
        climbed_at: the last rung that was taken for it.
        released_at: the last rung that was taken back on trial, while the trial is not decided.
        failed_trials: how often in a row the harm has returned: each doubles the calm before the next trial.
    """

    _: KW_ONLY
    harmed_since: float | None = None
    calm_since: float | None = None
    climbed_at: float | None = None
    released_at: float | None = None
    failed_trials: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done for one victim now, and why. `leases` are those to be renewed or released.

    `evidence` is that on which a climb rests, `suspect` whom the decision is about.
    """

    victim: Ref
    action: GuardAction
    reason: GuardReason
    _: KW_ONLY
    suspect: Suspect | None = None
    evidence: Evidence | None = None
    harm: Harm | None = None
    leases: tuple[str, ...] = ()
