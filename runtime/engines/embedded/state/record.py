"""The record of a container: its spec and its state, in one JSON file.

The file is replaced atomically under the record's lock (see `store`).

Versions of this program share the files. A field that a file lacks has its default; one that this version does not
know is kept as it is. A change that an older reader would misunderstand gets a new `FORMAT`, written as "format"; files
of format 1 do not say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, fields, replace
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from runtime.errors import EngineError
from runtime.limits.controllers.cpu import consistent
from runtime.model import (
    UNLIMITED,
    Bind,
    Container,
    ContainerRef,
    ContainerSpec,
    DeviceRate,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitName,
    State,
    Value,
)

FORMAT: Final = 1
KEY = "embedded"
_MAX_SHOWN_CHARS: Final = 60
COMPOSE = "com.docker.compose.project"  # the label by which Docker and Podman know a compose project


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container.

    Attributes:
        pid, pid_start, boot_id: identify the container's init uniquely; start time in clock ticks since boot.
        stop_wanted: a stop was requested, so the restart policy does not apply.
        restarts: restarts by the policy since the last start by a user.
        output_limited: it prints faster than its log takes (`process.log_rate`), and waits at its pipe.
        exit_code: how it has ended; kept over a restart by the policy, when it is that of the run before.
        starting: a start has begun and has neither succeeded nor been cleaned up.
        unknown: fields that a newer version has written, as they stand in the file; those of the spec under "spec".
        damage: why the file is not a record that this version can read; then all else is what is known without it.
    """

    id: str
    spec: ContainerSpec
    created_ns: int
    state: State = State.CREATED
    pid: int | None = None
    pid_start: int | None = None
    _: KW_ONLY
    boot_id: str = ""
    started_ns: int | None = None
    finished_ns: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    address: str = ""
    stop_wanted: bool = False
    restarts: int = 0
    starting: bool = False
    output_limited: bool = False
    unknown: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""

    def container(self) -> Container:
        spec, again = self.spec, self.state.live or self.state is State.RESTARTING
        return Container(
            ref=ContainerRef(KEY, self.id),
            name=spec.name,
            image=spec.image,
            state=self.state,
            pid=self.pid if self.state.live else None,
            command=spec.command,
            created_ns=self.created_ns,
            started_ns=self.started_ns,
            finished_ns=self.finished_ns,
            exit_code=None if again else self.exit_code,
            last_exit_code=self.exit_code if again else None,
            restarts=self.restarts,
            oom_killed=self.oom_killed,
            restart_policy=spec.restart_policy,
            addresses=(self.address.partition("/")[0],) if self.address and self.state.live else (),
            labels=dict(spec.labels),
            group=GroupRef(GroupKind.COMPOSE, spec.labels[COMPOSE], KEY) if spec.labels.get(COMPOSE) else None,
            error=self.damage or self.error,
            health="damaged" if self.damage else "",
            output_limited=self.output_limited and self.state.live,
            placed=False,
        )

    def ended(self, code: int, *, now_ns: int, oom_killed: bool = False, error: str = "") -> ContainerRecord:
        """This container after its end."""
        return replace(
            self,
            state=State.EXITED,
            pid=None,
            pid_start=None,
            finished_ns=now_ns,
            exit_code=code,
            oom_killed=oom_killed,
            error=error,
            address="",
            starting=False,
            output_limited=False,
        )

    def with_limits(self, change: LimitChange) -> ContainerRecord:
        """The record after a change of limits: the requested values replace those on record.

        Rates of disks that the change does not name stay; a disk whose rate becomes unlimited is left out. Limits that
        depend on a changed one are adapted (`cpu.consistent`), as on a live container.
        """
        asked: dict[LimitName, Value] = {}
        for name, value in change.items():
            held = self.spec.limits.get(name)
            asked[name] = _merged(held if isinstance(held, tuple) else (), value) if isinstance(value, tuple) else value
        return replace(self, spec=replace(self.spec, limits=consistent(self.spec.limits.merge(LimitChange.of(asked)))))


def _merged(held: tuple[DeviceRate, ...], asked: tuple[DeviceRate, ...]) -> tuple[DeviceRate, ...]:
    rates = {each.device: each for each in (*held, *asked)}
    limited = (each for each in rates.values() if each.rate is not UNLIMITED)
    return tuple(sorted(limited, key=lambda each: [int(part) for part in each.device.split(":")]))


def limits_to_json(change: LimitChange) -> dict[str, Any]:
    """A change as JSON: unlimited is the string "unlimited", rates are an object by disk."""

    def plain(value: Value) -> Any:
        if isinstance(value, tuple):
            return {each.device: plain(each.rate) for each in value}
        return "unlimited" if value is UNLIMITED else value

    return {name.value: plain(value) for name, value in change.items()}


def limits_from_json(document: Mapping[str, Any]) -> LimitChange:
    """The inverse of `limits_to_json`."""

    def value(plain: Any) -> Any:
        if isinstance(plain, dict):
            return tuple(DeviceRate(device, value(rate)) for device, rate in plain.items())
        return UNLIMITED if plain == "unlimited" else plain

    return LimitChange.of({LimitName(name): value(plain) for name, plain in document.items()})


def to_json(record: ContainerRecord) -> dict[str, Any]:
    """The record as a JSON object; `inspect` shows the same."""
    document = {name: getattr(record, name) for name in _FIELDS}
    later = record.unknown.get("spec", {})
    spec = {**later, **asdict(record.spec)}
    if not record.spec.storage_bytes:
        del spec["storage_bytes"]  # an earlier version refuses to start a container with a field that it does not know
    spec["limits"] = {**later.get("limits", {}), **limits_to_json(record.spec.limits)}
    return {**record.unknown, **document, "state": record.state.value, "spec": spec}


def state_to_json(record: ContainerRecord) -> dict[str, Any]:
    """The record's state as a JSON object: without spec, id and time of creation."""
    document = to_json(record)
    return {name: document[name] for name in _FIELDS if name not in ("spec", "id", "created_ns")}


def state_from_json(record: ContainerRecord, document: Mapping[str, Any]) -> ContainerRecord:
    """The record with the state that `state_to_json` gave. Raises `ValueError`, `TypeError` or `KeyError`."""
    known, _ = _split(document, _FIELDS)
    _check_types(ContainerRecord, known)
    return replace(record, **{**known, "state": State(document["state"])})


def dumps(record: ContainerRecord) -> bytes:
    """The record as its file holds it. A field of later versions is there only where it says something."""
    document = to_json(record)
    if not record.output_limited:
        del document["output_limited"]
    return json.dumps(document, separators=(",", ":")).encode()


def loads(data: bytes) -> ContainerRecord:
    """Raises `EngineError` for a file that is not a record, or one of a later format."""
    try:
        document = json.loads(data) if data else "empty"
        if not isinstance(document, dict):
            raise TypeError("it is empty" if not data else "it is no JSON object")
        written = document.get("format", 1)
        if written > FORMAT:
            raise EngineError(
                "read a container's record",
                detail=f"a newer version of this program has written it (format {written}; this one reads {FORMAT})",
                hint="Use the newer version",
            )
        known, unknown = _split(document, _FIELDS)
        _check_types(ContainerRecord, known)
        raw, later = _split(known.pop("spec"), _SPEC_FIELDS)
        _check_types(ContainerSpec, raw)
        limits, later_limits = _split(raw.get("limits", {}), tuple(LimitName))
        spec = ContainerSpec(
            **{
                **raw,
                "command": tuple(raw["command"]),
                "binds": tuple(_bind(bind) for bind in raw.get("binds", ())),
                "limits": limits_from_json(limits),
            }
        )
        if later_limits:
            later["limits"] = later_limits
        if later:
            unknown["spec"] = later
        return ContainerRecord(**{**known, "spec": spec, "state": State(document["state"]), "unknown": unknown})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"it lacks the field {error}" if isinstance(error, KeyError) else str(error)
        raise EngineError("read a container's record", detail=said) from error


def _bind(document: dict[str, Any]) -> Bind:
    _check_types(Bind, document)
    return Bind(**document)


@cache
def _types(kind: type) -> dict[str, tuple[tuple[type, ...], tuple[type, ...]]]:
    """By field of a dataclass: the types that its value in a file may have, and those of a collection's members."""
    found: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {}
    for name, hint in get_type_hints(kind).items():
        members = tuple(each for each in get_args(hint) if isinstance(each, type) and each is not type(None))
        if isinstance(hint, UnionType):
            found[name] = (members + (type(None),) * (type(None) in get_args(hint)), ())
        elif get_origin(hint) is not None:
            found[name] = (list,) if get_origin(hint) is tuple else (dict,), members if members != (Bind,) else (dict,)
        elif hint is LimitChange:
            found[name] = (dict,), ()
        else:
            found[name] = ({State: (str,), float: (int, float), ContainerSpec: (dict,)}.get(hint, (hint,)), ())
    return found


def _check_types(kind: type, document: Mapping[str, Any]) -> None:
    """Raise `TypeError` for a value of another type than its field of the dataclass has."""
    types = _types(kind)
    for name, value in document.items():
        if name not in types:
            raise TypeError(f"it has an unknown field {name[:_MAX_SHOWN_CHARS]!r} in its {kind.__name__}")
        accepted, members = types[name]
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if type(value) not in accepted or (members and any(type(each) not in members for each in inside)):
            raise TypeError(f"its field {name} has a value of a wrong type: {str(value)[:_MAX_SHOWN_CHARS]!r}")


def _split(document: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields with these names, and the others."""
    known = {name: value for name, value in document.items() if name in names}
    return known, {name: value for name, value in document.items() if name not in names}


_FIELDS: Final = tuple(entry.name for entry in fields(ContainerRecord) if entry.name not in ("unknown", "damage"))
_SPEC_FIELDS: Final = tuple(entry.name for entry in fields(ContainerSpec))


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """no, on-failure (with at most `max_restarts`), always, unless-stopped."""

    kind: str = "no"
    max_restarts: int | None = None

    def wants(self, code: int, *, restarts: int) -> bool:
        """Whether a container that exited with `code` without a stop request is to be restarted."""
        if self.kind == "on-failure":
            return code != 0 and (self.max_restarts is None or restarts < self.max_restarts)
        return self.kind in ("always", "unless-stopped")


def parse_policy(text: str) -> RestartPolicy | None:
    """None when the text is not a policy."""
    kind, colon, most = text.partition(":")
    if kind == "on-failure":
        if not colon:
            return RestartPolicy(kind)
        return RestartPolicy(kind, int(most)) if most.isdecimal() else None
    return RestartPolicy(kind or "no") if kind in ("", "no", "always", "unless-stopped") and not colon else None
