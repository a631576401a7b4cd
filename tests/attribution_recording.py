"""Recorded scenarios of attribution: frames with labels in one JSON file, which replay without root.

The file has `format` (1), `labels` and `frames`. Refs are replaced by names: "engine/id" or, with a host,
"engine/id@host"; groups are left out, as no suspect is one. A `Missing` is {"missing": NAME}, `UNLIMITED` is
{"unlimited": true}, a set of CPUs is a sorted list. A field that is not in the file has its default, so a recording
stays readable when `Usage` gets a field more.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collectors.attribution.evidence import Resource, SuspectKind
from collectors.sampling.frame import (
    DiskLatency,
    Frame,
    HostProgram,
    HostUsage,
    IoRates,
    NetRates,
    Pressure,
    Usage,
)
from runtime.model import UNLIMITED, ContainerRef, Missing, Ref

FORMAT: Final = 1
MAPPED: Final = {
    "io_devices": IoRates,
    "io_stacked": IoRates,
    "net_interfaces": NetRates,
    "net_internal": NetRates,
    "pressure": Pressure,
    "disks": DiskLatency,
}
"""Fields that map a name to one of these."""
SINGLE: Final = {"io": IoRates, "net": NetRates}


@dataclass(frozen=True, slots=True)
class Culprit:
    """A pair that is to be named, by the names of `Labels.names`.

    `suspect` is a container's name, or that of a unit or program of the host, or "" for a kind that has no name. The
    harm goes from `start_s` to `end_s`, in seconds after the first frame.
    """

    victim: str
    suspect: str
    resource: Resource
    kind: SuspectKind = SuspectKind.CONTAINER
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What is true of a recording. `names` has the name of every container by "engine/id".

    A pair of `culprits` is to be named; every other container, unit or process that is named is wrongly accused.
    `seed`, `kind` and `split` ("calibration" or "judgement") say for what the recording may be used.
    """

    scenario: str
    names: Mapping[str, str]
    culprits: tuple[Culprit, ...] = ()
    seed: int = 0
    split: str = "judgement"
    notes: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def key(ref: Ref) -> str:
    """The name of a container in the file."""
    return f"{ref.engine}/{ref.id}" + (f"@{ref.host}" if ref.host else "")


def ref_of(text: str) -> ContainerRef:
    """The container of a name in the file."""
    engine, _, rest = text.partition("/")
    identity, _, host = rest.partition("@")
    return ContainerRef(engine, identity, host)


def save(frames: Sequence[Frame], labels: Labels, path: Path) -> None:
    """Write a recording; values that are defaults are left out."""
    document = {
        "format": FORMAT,
        "labels": _plain(dataclasses.asdict(labels)),
        "frames": [_frame(frame) for frame in frames],
    }
    lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in document.pop("frames"))
    head = json.dumps(document, indent=1)[:-2]
    path.write_text(f'{head},\n "frames": [\n{lines}\n]\n}}\n', encoding="utf-8")


def load(path: Path) -> tuple[list[Frame], Labels]:
    """The frames of a recording and what is true of them."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        raise ValueError(f"{path}: format {document['format']}, not {FORMAT}")
    labels = document["labels"]
    culprits = tuple(
        Culprit(**{**each, "resource": Resource(each["resource"]), "kind": SuspectKind(each["kind"])})
        for each in labels.pop("culprits")
    )
    return [_read_frame(each) for each in document["frames"]], Labels(culprits=culprits, **labels)


# to JSON


def _frame(frame: Frame) -> dict[str, Any]:
    return {
        **{name: getattr(frame, name) for name in ("seq", "at_ns", "wall_ns", "interval_ns", "cost_ns")},
        "host": _differing(_fields(frame.host), _host_defaults()),
        "usages": {
            key(ref): _differing(usage._asdict(), Usage._field_defaults)
            for ref, usage in frame.usages.items()
            if isinstance(ref, ContainerRef)
        },
    }


def _host_defaults() -> dict[str, Any]:
    return _fields(HostUsage(ncpu=0))


def _fields(data: Any) -> dict[str, Any]:
    return {each.name: getattr(data, each.name) for each in dataclasses.fields(data)}


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items() if name not in defaults or value != defaults[name]}


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.name}
    if value is UNLIMITED:
        return {"unlimited": True}
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, frozenset):
        return sorted(value)
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(_fields(value))
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


# from JSON


def _read_frame(document: Mapping[str, Any]) -> Frame:
    host = {name: _value(name, value) for name, value in document["host"].items()}
    host["programs"] = tuple(
        HostProgram(**{name: _value(name, value) for name, value in each.items()}) for each in host.get("programs", ())
    )
    usages = {
        ref_of(name): Usage(**{field: _value(field, value) for field, value in usage.items()})
        for name, usage in document["usages"].items()
    }
    numbers = (document[name] for name in ("seq", "at_ns", "wall_ns", "interval_ns", "cost_ns"))
    return Frame(*numbers, HostUsage(**host), usages=usages)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict) and "missing" in value:
        return Missing[value["missing"]]
    if isinstance(value, dict) and "unlimited" in value:
        return UNLIMITED
    if name == "cpus":
        return frozenset(value)
    if name in SINGLE:
        return SINGLE[name](**_values(value))
    if name in MAPPED:
        return {each: MAPPED[name](**_values(found)) for each, found in value.items()}
    if isinstance(value, dict):
        return _values(value)
    return value


def _values(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value("", value) for name, value in document.items()}
