"""Translates Podman's documents to the model and back. Pure: the caller passes the function that looks up a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from runtime.engines.daemon.documents import UNLIMITED_BYTES, ports
from runtime.kernel.cpu_bandwidth import cores, period_or_default
from runtime.kernel.signals import parse_signal
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
    Limits,
    Missing,
    State,
    Unlimited,
)
from runtime.oci.resources import HIGH, NO_RATE
from runtime.oci.timestamps import parse_time_ns

_COMPOSE: Final = ("com.docker.compose.project", "io.podman.compose.project")
_STATES: Final = {
    "configured": State.CREATED,
    "created": State.CREATED,
    "initialized": State.CREATED,
    "running": State.RUNNING,
    "paused": State.PAUSED,
    "stopping": State.STOPPING,
    "removing": State.REMOVING,
    "stopped": State.EXITED,
    "exited": State.EXITED,
}
_EVENTS: Final = {
    "create": EventKind.CREATED,
    "start": EventKind.STARTED,
    "died": EventKind.DIED,
    "die": EventKind.DIED,
    "pause": EventKind.PAUSED,
    "unpause": EventKind.UNPAUSED,
    "update": EventKind.UPDATED,
    "remove": EventKind.REMOVED,
    "rename": EventKind.RENAMED,
    "oom": EventKind.OOM,
    "health_status": EventKind.HEALTH,
}
Device = Callable[[str], str | None]  # "/dev/sda" -> "8:0"


def container(document: Mapping[str, Any], key: str, pod: str = "") -> Container:
    """Translate an inspect document; `pod` is the name of the container's pod."""
    state, config = document.get("State") or {}, document.get("Config") or {}
    labels = {str(name): str(value) for name, value in (config.get("Labels") or {}).items()}
    status = _STATES.get(str(state.get("Status", "")), State.UNKNOWN)
    ended = status is State.EXITED
    policy = (document.get("HostConfig") or {}).get("RestartPolicy") or {}
    retries = policy.get("MaximumRetryCount") or 0
    health = state.get("Health") or state.get("Healthcheck") or {}
    return Container(
        ref=ContainerRef(key, str(document["Id"])),
        name=str(document.get("Name", "")),
        image=str(document.get("ImageName") or config.get("Image") or document.get("Rootfs") or ""),
        state=status,
        pid=int(state.get("Pid") or 0) or None if status.live else None,
        command=_command(document),
        created_ns=parse_time_ns(str(document.get("Created", ""))) or 0,
        started_ns=parse_time_ns(str(state.get("StartedAt", ""))),
        finished_ns=parse_time_ns(str(state.get("FinishedAt", ""))) if ended else None,
        exit_code=int(state.get("ExitCode", 0)) if ended else None,
        last_exit_code=int(state.get("ExitCode", 0)) if status is State.RESTARTING else None,
        restarts=int(document.get("RestartCount") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        health=str(health.get("Status", "")),
        restart_policy=(policy.get("Name") or "no") + (f":{retries}" if retries else ""),
        addresses=_addresses(document.get("NetworkSettings") or {}),
        ports=ports((document.get("NetworkSettings") or {}).get("Ports") or {}),
        labels=labels,
        group=_group(labels, key, pod),
        error=str(state.get("Error", "")),
    )


def row(document: Mapping[str, Any], key: str) -> Container:
    """One entry of the list of containers, which tells less than an inspect."""
    labels = {str(name): str(value) for name, value in (document.get("Labels") or {}).items()}
    state = _STATES.get(str(document.get("State", "")).lower(), State.UNKNOWN)
    identity, created = str(document["Id"]), document.get("Created")
    ended, names = state is State.EXITED, document.get("Names") or ()
    pod = str(document.get("PodName") or str(document.get("Pod") or "")[:12])
    return Container(
        ref=ContainerRef(key, identity),
        name=str(names[0]) if names else identity[:12],
        image=str(document.get("Image", "")),
        state=state,
        pid=int(document.get("Pid") or 0) or None if state.live else None,
        command=tuple(str(word) for word in document.get("Command") or ()),
        created_ns=_second_ns(created) if isinstance(created, int) else parse_time_ns(str(created)) or 0,
        started_ns=_second_ns(document.get("StartedAt")) or None,
        finished_ns=_second_ns(document.get("ExitedAt")) or None if ended else None,
        exit_code=int(document.get("ExitCode") or 0) if ended else None,
        labels=labels,
        group=_group(labels, key, pod),
    )


def _second_ns(seconds: object) -> int:
    """Seconds since the epoch as nanoseconds; 0 for what Podman gives for "never"."""
    return seconds * 1_000_000_000 if isinstance(seconds, int) and seconds > 0 else 0


def _command(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The command of Path and Args; Podman repeats a command of one word in both."""
    path, words = document.get("Path"), [str(word) for word in document.get("Args") or ()]
    if not path:
        return tuple(words)
    return (str(path),) if words == [path] else (str(path), *words)


def _addresses(network: Mapping[str, Any]) -> tuple[str, ...]:
    addresses = [
        entry.get("IPAddress") or entry.get("GlobalIPv6Address")
        for entry in (network.get("Networks") or {"": network}).values()
        if entry
    ]
    return tuple(str(address) for address in addresses if address)


def _group(labels: Mapping[str, str], key: str, pod: str) -> GroupRef | None:
    """The group: its pod, which has its own cgroup, else its compose project."""
    if pod:
        return GroupRef(GroupKind.POD, pod, key)
    project = next((labels[name] for name in _COMPOSE if labels.get(name)), "")
    return GroupRef(GroupKind.COMPOSE, project, key) if project else None


def event(document: Mapping[str, Any], key: str) -> Event | None:
    """Translate a line of the event stream; None when it is not about a container."""
    actor = document.get("Actor") or {}
    kind = _EVENTS.get(str(document.get("Action", "")))
    if document.get("Type") != "container" or kind is None or not actor.get("ID"):
        return None
    moment = int(document.get("timeNano") or 0) or int(document.get("time") or 0) * 1_000_000_000
    attributes = {str(name): str(value) for name, value in (actor.get("Attributes") or {}).items()}
    if kind is EventKind.HEALTH:
        attributes["health"] = str(document.get("HealthStatus") or attributes.get("health_status", ""))
    return Event(kind, ContainerRef(key, str(actor["ID"])), moment, attributes)


def image(document: Mapping[str, Any]) -> Image:
    """Translate an entry of the image list or an image's inspect document."""
    created = document.get("Created")
    return Image(
        id=str(document["Id"]),
        names=tuple(str(name) for name in document.get("RepoTags") or () if name != "<none>:<none>"),
        size=int(document.get("Size") or 0),
        created_ns=created * 1_000_000_000 if isinstance(created, int) else parse_time_ns(str(created)),
    )


def record(host: Mapping[str, Any], ncpu: int, device: Device) -> Limits:
    """Podman's record of limits (HostConfig). Zero and less mean "not set", which is unlimited for most fields."""
    period, quota = period_or_default(int(host.get("CpuPeriod") or 0)), int(host.get("CpuQuota") or 0)
    memory, both = _size(host.get("Memory")), _size(host.get("MemorySwap"))
    pids = int(host.get("PidsLimit") or 0)
    everything = f"0-{ncpu - 1}" if ncpu > 1 else "0"
    high = str((host.get("CgroupConf") or {}).get(HIGH, ""))

    def rates(name: str) -> tuple[DeviceRate, ...]:
        entries = ((device(str(entry.get("Path"))), int(entry.get("Rate") or 0)) for entry in host.get(name) or ())
        return tuple(sorted(DeviceRate(path, rate) for path, rate in entries if path and 0 < rate < NO_RATE))

    return Limits(
        cpus=cores(quota, period),
        cpu_period=period,
        cpu_shares=int(host.get("CpuShares") or 0) or 1024,
        cpuset_cpus=str(host.get("CpusetCpus") or everything),
        cpuset_mems=str(host.get("CpusetMems") or "") or Missing.UNSUPPORTED,
        memory=memory,
        memory_high=(_size(high) if high.isdecimal() else UNLIMITED) if high else Missing.UNSUPPORTED,
        memory_reservation=_size(host.get("MemoryReservation")),
        swap=max(0, both - memory) if isinstance(both, int) and isinstance(memory, int) else UNLIMITED,
        pids=pids if pids > 0 else UNLIMITED,
        io_read_bps=rates("BlkioDeviceReadBps"),
        io_write_bps=rates("BlkioDeviceWriteBps"),
        io_read_iops=rates("BlkioDeviceReadIOps"),
        io_write_iops=rates("BlkioDeviceWriteIOps"),
    )


def _size(value: object) -> int | Unlimited:
    number = int(str(value or 0))
    return number if 0 < number < UNLIMITED_BYTES else UNLIMITED


def create_body(spec: ContainerSpec, limits: Mapping[str, Any]) -> dict[str, Any]:
    """The SpecGenerator that creates a container; `limits` are the OCI resources of `oci.resources`."""
    policy, _, count = spec.restart_policy.partition(":")
    body: dict[str, Any] = {
        "image": spec.image,
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "netns": {"nsmode": spec.network},
        "mounts": [_mount(bind) for bind in spec.binds],
        "restart_policy": policy,
        "stop_signal": parse_signal(spec.stop_signal),
        "stop_timeout": max(0, round(spec.stop_timeout)),
        "read_only_filesystem": spec.read_only,
        "remove": spec.auto_remove,
    }
    if spec.storage_bytes:
        body["storage_opts"] = {"size": str(spec.storage_bytes)}
    if count.isdecimal():
        body["restart_tries"] = int(count)
    for name, value in (
        ("name", spec.name),
        ("work_dir", spec.workdir),
        ("user", spec.user),
        ("hostname", spec.hostname),
        ("command", list(spec.command)),
    ):
        if value:
            body[name] = value
    if limits:
        body["resource_limits"] = dict(limits)
    return body


def _mount(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "ro"] if bind.read_only else ["rbind"]
    return {"type": "bind", "source": bind.source, "destination": bind.target, "options": options}
