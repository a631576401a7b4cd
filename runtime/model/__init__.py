"""The words of the project: what a container is, what can be limited, what came of a change.

Everything here is frozen and says its unit. CPU is in cores (1.5), memory in bytes, time in nanoseconds. Unlimited is
a value of its own (`UNLIMITED`), and a value that is not there says why (`Missing`).
"""

from runtime.model.container import Container, ContainerKind, ContainerRef, GroupKind, GroupRef, Port, Ref, State
from runtime.model.engine import Capabilities, EngineInfo, Verb
from runtime.model.events import Event, EventKind, LogLine
from runtime.model.limits import (
    DEVICE_LIMITS,
    LIMITS,
    NETWORK_LIMITS,
    DeviceRate,
    LimitChange,
    LimitDefinition,
    LimitName,
    Limits,
    LimitUnit,
    Value,
)
from runtime.model.outcome import FieldOutcome, LimitOutcome, Verdict
from runtime.model.resource import Resource
from runtime.model.spec import Bind, ContainerSpec, Image
from runtime.model.values import UNLIMITED, Missing, Unlimited

__all__ = [
    "DEVICE_LIMITS",
    "LIMITS",
    "NETWORK_LIMITS",
    "UNLIMITED",
    "Bind",
    "Capabilities",
    "Container",
    "ContainerKind",
    "ContainerRef",
    "ContainerSpec",
    "DeviceRate",
    "EngineInfo",
    "Event",
    "EventKind",
    "FieldOutcome",
    "GroupKind",
    "GroupRef",
    "Image",
    "LimitChange",
    "LimitDefinition",
    "LimitName",
    "LimitOutcome",
    "LimitUnit",
    "Limits",
    "LogLine",
    "Missing",
    "Port",
    "Ref",
    "Resource",
    "State",
    "Unlimited",
    "Value",
    "Verb",
    "Verdict",
]
