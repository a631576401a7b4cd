"""What an engine is and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.model.limits import LimitName


class Verb(StrEnum):
    """What can be asked of an engine about a container."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    REMOVE = "remove"
    UPDATE = "update"
    LOGS = "logs"
    WAIT = "wait"
    EVENTS = "events"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do here and now. Whatever is not listed as unavailable is available.

    `verbs` and `limits` map what cannot be done to the reason, in words for the user. `at_rest` is the reason why
    limits can be changed only while a container is live, empty when the engine keeps a change for the next start.
    `creation` maps fields of `ContainerSpec` to the reason why they cannot be asked for: a network, a restart policy,
    removal at the end. `unrecorded` are limits that change without the engine's record keeping it: what it says of
    them is how the container was created.
    """

    verbs: Mapping[Verb, str] = field(default_factory=dict)
    limits: Mapping[LimitName, str] = field(default_factory=dict)
    at_rest: str = ""
    creation: Mapping[str, str] = field(default_factory=dict)
    unrecorded: frozenset[LimitName] = frozenset()

    def why_not(self, what: Verb | LimitName) -> str | None:
        """The reason why `what` is unavailable, or None when it is available."""
        if isinstance(what, Verb):
            return self.verbs.get(what)
        return self.limits.get(what)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who answers: key (as in `ContainerRef.engine`), product and version, where it was found."""

    key: str
    product: str
    version: str
    endpoint: str
    detail: Mapping[str, str] = field(default_factory=dict)
