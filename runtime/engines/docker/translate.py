"""Translates Docker's documents to the model and back. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runtime.engines.daemon.documents import UNLIMITED_BYTES, ports
from runtime.errors import InvalidError, UnsupportedError
from runtime.kernel import block
from runtime.kernel.cpu_bandwidth import cores, period_or_default
from runtime.model import (
    UNLIMITED,
    Bind,
    Container,
    ContainerRef,
    ContainerSpec,
    DeviceRate,
    Event,
    EventKind,
    GroupKind,
    GroupRef,
    Image,
    LimitChange,
    LimitName,
    Limits,
    Missing,
    Port,
    State,
    Unlimited,
)
from runtime.oci.timestamps import parse_time_ns

KEY: Final = "docker"
DEFAULT_BLKIO_WEIGHT: Final = 100
MIN_BLKIO_WEIGHT, MAX_BLKIO_WEIGHT = 10, 1000
KERNEL_ONLY: Final = frozenset(
    {
        LimitName.CPU_BURST,
        LimitName.CPU_IDLE,
        LimitName.MEMORY_HIGH,
        LimitName.NET_EGRESS,
        LimitName.NET_INGRESS,
    }
)
"""Limits that no version of Docker's API has."""
DEVICE_RATES: Final[Mapping[LimitName, str]] = {
    LimitName.IO_READ_BPS: "BlkioDeviceReadBps",
    LimitName.IO_WRITE_BPS: "BlkioDeviceWriteBps",
    LimitName.IO_READ_IOPS: "BlkioDeviceReadIOps",
    LimitName.IO_WRITE_IOPS: "BlkioDeviceWriteIOps",
}
"""Docker's fields for the rates of block devices."""
_COMPOSE: Final = "com.docker.compose.project"
_EXIT_STATUS: Final = re.compile(r"\((\d+)\)")  # in "Exited (137) 2 hours ago", "Restarting (1) 3 seconds ago"
_HEALTH: Final = re.compile(r"\((healthy|unhealthy|health: starting)\)")  # in "Up 2 hours (healthy)"
_STATES: Final = {
    "created": State.CREATED,
    "running": State.RUNNING,
    "paused": State.PAUSED,
    "restarting": State.RESTARTING,
    "removing": State.REMOVING,
    "exited": State.EXITED,
    "stopped": State.EXITED,
    "dead": State.DEAD,
}
_EVENTS: Final = {
    "create": EventKind.CREATED,
    "start": EventKind.STARTED,
    "die": EventKind.DIED,
    "pause": EventKind.PAUSED,
    "unpause": EventKind.UNPAUSED,
    "update": EventKind.UPDATED,
    "destroy": EventKind.REMOVED,
    "rename": EventKind.RENAMED,
    "oom": EventKind.OOM,
    "health_status": EventKind.HEALTH,
}


def container(document: Mapping[str, Any], key: str = KEY) -> Container:
    """Translate an inspect document."""
    state, config = document.get("State") or {}, document.get("Config") or {}
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    status = _STATES.get(str(state.get("Status", "")), State.UNKNOWN)
    ended = status in (State.EXITED, State.DEAD)
    host = document.get("HostConfig") or {}
    policy = host.get("RestartPolicy") or {}
    retries = policy.get("MaximumRetryCount") or 0
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = (
        network.get("IPAddress") or network.get("GlobalIPv6Address") for network in networks.values() if network
    )
    return Container(
        ref=ContainerRef(key, str(document["Id"])),
        name=str(document.get("Name", "")).removeprefix("/"),
        image=str(config.get("Image") or document.get("Image", "")),
        state=status,
        pid=int(state.get("Pid") or 0) or None,
        command=tuple(str(word) for word in (document.get("Path"), *(document.get("Args") or ())) if word is not None),
        created_ns=parse_time_ns(str(document.get("Created", ""))) or 0,
        started_ns=parse_time_ns(str(state.get("StartedAt", ""))),
        finished_ns=parse_time_ns(str(state.get("FinishedAt", ""))) if ended else None,
        exit_code=int(state.get("ExitCode", 0)) if ended else None,
        last_exit_code=int(state.get("ExitCode", 0)) if status is State.RESTARTING else None,
        restarts=int(document.get("RestartCount") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        health=str((state.get("Health") or {}).get("Status", "")),
        restart_policy=(policy.get("Name") or "no") + (f":{retries}" if retries else ""),
        addresses=tuple(str(address) for address in addresses if address),
        ports=ports((document.get("NetworkSettings") or {}).get("Ports") or {}),
        labels=labels,
        group=GroupRef(GroupKind.COMPOSE, labels[_COMPOSE], key) if labels.get(_COMPOSE) else None,
        error=str(state.get("Error", "")),
        placed=bool(host.get("CgroupParent")),
    )


def row(document: Mapping[str, Any], key: str = KEY) -> Container:
    """One entry of the list of containers, which tells less than an inspect: no pid and no times but the creation's."""
    labels = {str(name): str(value) for name, value in (document.get("Labels") or {}).items()}
    state = _STATES.get(str(document.get("State", "")), State.UNKNOWN)
    status = str(document.get("Status", ""))
    code = int(found[1]) if (found := _EXIT_STATUS.search(status)) is not None else None
    health = _HEALTH.search(status)
    identity, created = str(document["Id"]), document.get("Created")
    networks = ((document.get("NetworkSettings") or {}).get("Networks") or {}).values()
    addresses = (network.get("IPAddress") or network.get("GlobalIPv6Address") for network in networks if network)
    return Container(
        ref=ContainerRef(key, identity),
        name=_own_name(document.get("Names") or ()) or identity[:12],
        image=str(document.get("Image", "")),
        state=state,
        command=_words(str(document.get("Command") or "")),
        created_ns=created * 1_000_000_000 if isinstance(created, int) else 0,
        exit_code=code if state in (State.EXITED, State.DEAD) else None,
        last_exit_code=code if state is State.RESTARTING else None,
        health=health[1].removeprefix("health: ") if health else "",
        addresses=tuple(str(address) for address in addresses if address),
        ports=_row_ports(document.get("Ports") or ()),
        labels=labels,
        group=GroupRef(GroupKind.COMPOSE, labels[_COMPOSE], key) if labels.get(_COMPOSE) else None,
        placed=False,  # not told
    )


def _own_name(names: Sequence[str]) -> str:
    """Without the names by which links of other containers know it, "/other/alias"."""
    return next((str(name)[1:] for name in names if str(name).count("/") == 1), "")


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError:  # a quotation mark of its own
        return tuple(command.split())


def _row_ports(entries: Sequence[Mapping[str, Any]]) -> tuple[Port, ...]:
    """[{"IP", "PrivatePort", "PublicPort", "Type"}], without address and public port for one that is only exposed."""
    return tuple(
        Port(
            int(entry.get("PrivatePort") or 0),
            int(entry.get("PublicPort") or 0) or None,
            str(entry.get("IP", "")),
            str(entry.get("Type") or "tcp"),
        )
        for entry in entries
    )


def event(document: Mapping[str, Any], key: str = KEY) -> Event | None:
    """Translate a line of the event stream, by Action and Actor (v1.52 has no more); None if not of a container."""
    if document.get("Type") != "container":
        return None
    action, _, health = str(document.get("Action", "")).partition(": ")
    actor = document.get("Actor") or {}
    kind = _EVENTS.get(action)
    if kind is None or not actor.get("ID"):
        return None
    moment = int(document.get("timeNano") or 0) or int(document.get("time") or 0) * 1_000_000_000
    attributes = {str(name): str(value) for name, value in (actor.get("Attributes") or {}).items()}
    if kind is EventKind.HEALTH:
        attributes["health"] = health
    return Event(kind, ContainerRef(key, str(actor["ID"])), moment, attributes)


def image(document: Mapping[str, Any]) -> Image:
    """Translate an entry of the image list."""
    names = tuple(str(name) for name in document.get("RepoTags") or () if name != "<none>:<none>")
    created = document.get("Created")
    return Image(
        id=str(document["Id"]),
        names=names,
        size=int(document.get("Size") or 0),
        created_ns=created * 1_000_000_000 if isinstance(created, int) else None,
    )


def record(host: Mapping[str, Any], ncpu: int | None) -> Limits:
    """Docker's record of limits (HostConfig). Zero means "not set", which is unlimited for most fields.

    `ncpu` is None when the number of CPUs of the daemon's machine is unknown.
    """
    period = period_or_default(int(host.get("CpuPeriod") or 0))
    quota, nano = int(host.get("CpuQuota") or 0), int(host.get("NanoCpus") or 0)
    cpus: float | Unlimited = UNLIMITED
    if quota:  # takes precedence over NanoCpus at the next start
        cpus = cores(quota, period)
    elif nano:
        cpus = nano / 1e9
    memory, both = _size(host, "Memory"), _size(host, "MemorySwap")
    pids = int(host.get("PidsLimit") or 0)
    everything = "" if ncpu is None else f"0-{ncpu - 1}" if ncpu > 1 else "0"
    return Limits(
        cpus=cpus,
        cpu_period=period,
        cpu_shares=int(host.get("CpuShares") or 0) or 1024,
        cpuset_cpus=str(host.get("CpusetCpus") or everything) or Missing.UNSUPPORTED,
        cpuset_mems=str(host.get("CpusetMems") or "") or Missing.UNSUPPORTED,
        memory=memory,
        memory_high=Missing.UNSUPPORTED,
        memory_reservation=_size(host, "MemoryReservation"),
        swap=max(0, both - memory) if isinstance(both, int) and isinstance(memory, int) else UNLIMITED,
        pids=pids if pids > 0 else UNLIMITED,
        io_weight=int(host.get("BlkioWeight") or 0) or DEFAULT_BLKIO_WEIGHT,
        io_read_bps=device_rates(host, DEVICE_RATES[LimitName.IO_READ_BPS]),
        io_write_bps=device_rates(host, DEVICE_RATES[LimitName.IO_WRITE_BPS]),
        io_read_iops=device_rates(host, DEVICE_RATES[LimitName.IO_READ_IOPS]),
        io_write_iops=device_rates(host, DEVICE_RATES[LimitName.IO_WRITE_IOPS]),
    )


def device_rates(host: Mapping[str, Any], name: str) -> tuple[DeviceRate, ...] | Missing:
    """Translate a list of {"Path", "Rate"}. May look a device's path up. Blocking."""
    rates: list[DeviceRate] = []
    for entry in host.get(name) or ():
        try:
            rates.append(DeviceRate(block.number(str(entry.get("Path", ""))), int(entry.get("Rate") or 0)))
        except InvalidError:
            return Missing.UNSUPPORTED  # a disk of another machine, or a removed one
    return tuple(sorted(rates))


def fits_blkio_weight(weight: int) -> bool:
    """Whether Docker accepts this weight."""
    return MIN_BLKIO_WEIGHT <= weight <= MAX_BLKIO_WEIGHT


def _size(host: Mapping[str, Any], name: str) -> int | Unlimited:
    value = int(host.get(name) or 0)
    return value if 0 < value < UNLIMITED_BYTES else UNLIMITED


def host_config(spec: ContainerSpec) -> dict[str, Any]:
    """The HostConfig of a new container."""
    config: dict[str, Any] = {
        "NetworkMode": spec.network,
        "Binds": [_bind(bind) for bind in spec.binds],
        "RestartPolicy": _policy(spec.restart_policy),
        "ReadonlyRootfs": spec.read_only,
        "AutoRemove": spec.auto_remove,
    }
    if spec.storage_bytes:
        config["StorageOpt"] = {"size": str(spec.storage_bytes)}
    return {**config, **initial_limits(spec.limits)}


def _bind(bind: Bind) -> str:
    return f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "")


def _policy(text: str) -> dict[str, Any]:
    name, _, count = text.partition(":")
    policy: dict[str, Any] = {"Name": name}
    if count.isdigit():
        policy["MaximumRetryCount"] = int(count)
    return policy


def initial_limits(change: LimitChange) -> dict[str, Any]:
    """Limits at creation, where a missing field means unlimited. Raises for limits that Docker would silently drop."""
    for name, value in change.items():
        nothing = value is UNLIMITED or (value in (0, False) and name in (LimitName.CPU_BURST, LimitName.CPU_IDLE))
        if name in KERNEL_ONLY and not nothing:
            raise UnsupportedError(
                f"create it with {name.value.replace('_', ' ')}",
                detail="Docker's API does not know it",
                hint="Set it when it runs, with `update`; it is lost at a restart",
            )
    if isinstance(change.swap, int) and not isinstance(change.memory, int):
        raise InvalidError("limit swap alone", detail="Docker counts swap on top of memory", hint="Set memory as well")
    fields: dict[str, Any] = {}
    if isinstance(change.cpus, int | float) and change.cpu_period is not None:
        fields.update(CpuQuota=max(1000, round(change.cpus * change.cpu_period)), CpuPeriod=change.cpu_period)
    elif isinstance(change.cpus, int | float):
        fields["NanoCpus"] = round(change.cpus * 1e9)
    elif change.cpu_period is not None:
        fields["CpuPeriod"] = change.cpu_period
    if change.cpu_shares is not None:
        fields["CpuShares"] = change.cpu_shares
    if isinstance(change.cpuset_cpus, str):
        fields["CpusetCpus"] = change.cpuset_cpus
    if isinstance(change.cpuset_mems, str):
        fields["CpusetMems"] = change.cpuset_mems
    if isinstance(change.memory, int):
        fields["Memory"] = change.memory
        if change.swap is not None:
            fields["MemorySwap"] = change.memory + change.swap if isinstance(change.swap, int) else -1
    if isinstance(change.memory_reservation, int):
        fields["MemoryReservation"] = change.memory_reservation
    if isinstance(change.pids, int):
        fields["PidsLimit"] = change.pids
    if change.io_weight is not None:
        if not fits_blkio_weight(change.io_weight):
            raise InvalidError(
                f"create it with an I/O weight of {change.io_weight}",
                hint=f"Docker takes {MIN_BLKIO_WEIGHT} to {MAX_BLKIO_WEIGHT}",
            )
        fields["BlkioWeight"] = change.io_weight
    for name, field in DEVICE_RATES.items():
        rates = getattr(change, name.value)
        if rates:
            limited = (each for each in rates if isinstance(each.rate, int))
            fields[field] = [{"Path": block.node(each.device), "Rate": each.rate} for each in limited]
    return fields


def create_body(spec: ContainerSpec) -> dict[str, Any]:
    """The document that creates a container."""
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "StopSignal": spec.stop_signal,
        "StopTimeout": max(0, round(spec.stop_timeout)),
        "HostConfig": host_config(spec),
    }
    for name, value in (("WorkingDir", spec.workdir), ("User", spec.user), ("Hostname", spec.hostname)):
        if value:
            body[name] = value
    if spec.command:
        body["Cmd"] = list(spec.command)
    return body
