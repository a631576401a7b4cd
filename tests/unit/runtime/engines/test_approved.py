"""What engines' documents are read as, and what is sent to them, against the record in tests/data/approved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from runtime.engines.containerd import resources as containerd_resources
from runtime.engines.docker import translate as docker
from runtime.engines.docker import update as docker_update
from runtime.engines.podman import translate as podman
from runtime.engines.podman import update as podman_update
from runtime.kernel import block
from runtime.limits import HostFacts
from runtime.model import UNLIMITED, Bind, Container, ContainerSpec, DeviceRate, LimitChange
from runtime.oci.resources import ResourceContext
from tests.approved import approve, stable, told

ID = "f" * 64
FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0-1", memory_total=8 << 30, swap_total=1 << 30, pid_max=32768)
STATES = (
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "stopped",
    "dead",
    "initialized",
    "odd",
    "",
)
TIME, LATER = "2026-01-02T03:04:05.678901234Z", "2026-01-02T04:04:05Z"
STATE: Mapping[str, Any] = {
    "Pid": 42,
    "StartedAt": TIME,
    "FinishedAt": LATER,
    "ExitCode": 3,
    "OOMKilled": True,
    "Error": "no such file",
    "Health": {"Status": "healthy"},
    "Healthcheck": {"Status": "starting"},
}
NETWORKS = {
    "Networks": {"a": {"IPAddress": "10.0.0.2"}, "b": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}, "c": None}
}
INSPECT: Mapping[str, Any] = {
    "Id": ID,
    "Name": "/web",
    "Created": TIME,
    "Path": "sh",
    "Args": ["-c", "true", None],
    "Image": "sha256:abc",
    "ImageName": "docker.io/library/web:1",
    "RestartCount": 2,
    "Config": {"Image": "web:1", "Labels": {"com.docker.compose.project": "shop", "n": 1}},
    "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}},
    "NetworkSettings": {**NETWORKS, "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None}},
}
DOCKER_ROW: Mapping[str, Any] = {
    "Id": ID,
    "Names": ["/other/alias", "/web"],
    "Image": "web:1",
    "Command": "sh -c 'true'",
    "Created": 1_700_000_000,
    "Labels": {"com.docker.compose.project": "shop"},
    "Ports": [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ],
    "NetworkSettings": NETWORKS,
}
PODMAN_ROW: Mapping[str, Any] = {
    "Id": ID,
    "Names": ["web", "alias"],
    "Image": "web:1",
    "Command": ["sh", "-c", "true"],
    "Created": TIME,
    "StartedAt": 1_700_000_000,
    "ExitedAt": 1_700_000_100,
    "ExitCode": 4,
    "Pid": 42,
    "Labels": {"io.podman.compose.project": "shop"},
    "Pod": "",
    "Ports": [{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"}],
}
HOSTS: tuple[Mapping[str, Any], ...] = (
    {},
    {
        "NanoCpus": 500_000_000,
        "Memory": 1 << 30,
        "MemorySwap": (1 << 30) + (1 << 20),
        "MemoryReservation": 1 << 20,
        "PidsLimit": 7,
        "CpuShares": 512,
        "CpusetCpus": "0",
        "CpusetMems": "0",
        "BlkioWeight": 300,
        "BlkioDeviceReadBps": [{"Path": "/dev/x", "Rate": 9}],
        "RestartPolicy": {"Name": "always"},
    },
    {"CpuQuota": 50_000, "CpuPeriod": 25_000, "Memory": 1 << 30, "MemorySwap": -1, "PidsLimit": -1},
)
CHANGES = (
    *(LimitChange(cpus=value) for value in (0.5, 4.0, UNLIMITED)),
    LimitChange(cpu_period=20_000),
    LimitChange(cpus=0.25, cpu_period=20_000),
    *(LimitChange(memory=value) for value in (1 << 20, 1 << 31, UNLIMITED)),
    *(LimitChange(swap=value) for value in (0, 1 << 20, UNLIMITED)),
    LimitChange(memory=1 << 20, swap=1 << 21),
    *(LimitChange(memory_reservation=value) for value in (0, 1 << 20, UNLIMITED)),
    *(LimitChange(pids=value) for value in (9, UNLIMITED)),
    *(LimitChange(cpuset_cpus=value, cpuset_mems=value) for value in ("0-1", UNLIMITED)),
    LimitChange(cpu_shares=100),
    *(LimitChange(io_weight=value) for value in (1, 10, 1000, 1001)),
    LimitChange(io_write_bps=(DeviceRate("8:0", 5),), io_read_iops=(DeviceRate("8:0", UNLIMITED),)),
    LimitChange(cpu_burst=1),
    LimitChange(cpu_idle=False, memory_high=UNLIMITED),
)


@pytest.fixture(autouse=True)
def no_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and numbers of disks do not depend on the machine."""
    monkeypatch.setattr(block, "number", lambda name: f"number of {name}")
    monkeypatch.setattr(block, "node", lambda number: f"/dev/{number}")
    monkeypatch.setattr(block, "name", lambda number: f"name of {number}")


def asked(change: LimitChange) -> str:
    return ", ".join(f"{name.value}={value}" for name, value in change.items())


def without_each(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document without one of its entries each; "Id" is always there."""
    for name in document:
        if name != "Id":
            yield f"without {name}", {key: value for key, value in document.items() if key != name}


def against(whole: Container, other: Container) -> str:
    """The fields in which another container differs."""
    names = (field.name for field in dataclasses.fields(Container))
    pairs = ((name, getattr(whole, name), getattr(other, name)) for name in names)
    return ", ".join(f"{name}={stable(after)}" for name, before, after in pairs if before != after)


def variants(what: str, document: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Container]) -> Iterator[str]:
    """What is read of the document, and what differs without each of its entries."""
    whole = read(document)
    yield f"{what}: {stable(whole)}"
    for one, less in without_each(document):
        yield f"{what} {one}: {against(whole, read(less))}"


def test_containers_of_docker() -> None:
    whole = docker.container({**INSPECT, "State": {**STATE, "Status": "running"}})
    lines = [
        f"{status}: {against(whole, docker.container({**INSPECT, 'State': {**STATE, 'Status': status}}))}"
        for status in STATES
    ]
    for status in ("running", "exited", "restarting"):
        lines += variants(f"inspect {status}", {**INSPECT, "State": {**STATE, "Status": status}}, docker.container)
        for name in STATE:
            state = {key: value for key, value in STATE.items() if key != name}
            other = docker.container({**INSPECT, "State": {**state, "Status": status}})
            lines.append(f"inspect {status} without its {name}: {against(whole, other)}")
        row = {**DOCKER_ROW, "State": status, "Status": "Exited (137) 2 hours ago"}
        lines += variants(f"row {status}", row, docker.row)
    first = docker.row({**DOCKER_ROW, "State": "restarting", "Status": "Created"})
    for words in ("Up 2 hours (healthy)", "Up 1 second (health: starting)", "Restarting (1) 3 seconds ago", "Created"):
        other = docker.row({**DOCKER_ROW, "State": "restarting", "Status": words})
        lines.append(f"row {words!r}: {against(first, other)}")
    approve("docker_containers", lines)


def test_containers_of_podman() -> None:
    def inspected(document: Mapping[str, Any]) -> Container:
        return podman.container(document, "podman")

    def listed(document: Mapping[str, Any]) -> Container:
        return podman.row(document, "podman")

    whole = inspected({**INSPECT, "State": {**STATE, "Status": "running"}})
    lines = []
    for status in STATES:
        document = {**INSPECT, "State": {**STATE, "Status": status}}
        lines.append(f"{status}: {against(whole, inspected(document))}")
        lines.append(f"{status} in a pod: {against(whole, podman.container(document, 'podman', 'pod1'))}")
        if status in ("running", "exited", "restarting"):
            lines += variants(f"inspect {status}", document, inspected)
            lines += variants(f"row {status}", {**PODMAN_ROW, "State": status}, listed)
            for name in STATE:
                state = {key: value for key, value in STATE.items() if key != name}
                other = inspected({**INSPECT, "State": {**state, "Status": status}})
                lines.append(f"inspect {status} without its {name}: {against(whole, other)}")
    for names in (["<none>:<none>"], ["a:1", "<none>:<none>", "b:2"], None):
        image = {"Id": ID, "RepoTags": names, "Size": 5, "Created": 1_700_000_000}
        lines.append(f"image {names}: {told(podman.image, image)}; docker: {told(docker.image, image)}")
    approve("podman_containers", lines)


def test_limits_on_record() -> None:
    lines = [f"docker {host}: {told(docker.record, host, FACTS.ncpu)}" for host in HOSTS]
    lines += [f"podman {host}: {told(podman.record, host, FACTS.ncpu, lambda name: '8:0')}" for host in HOSTS]
    documents: tuple[dict[str, Any], ...] = (
        {},
        {"linux": {"resources": {"cpu": {"quota": 50_000, "period": 25_000, "shares": 7, "cpus": "1", "mems": "1"}}}},
        {"linux": {"resources": {"memory": {"limit": 5, "swap": 7, "reservation": 3}, "pids": {"limit": 9}}}},
        {"linux": {"resources": {"unified": {"memory.high": "11"}, "blockIO": {"weight": 13}}}},
        {"linux": {"resources": {"memory": {"limit": 5, "swap": -1}, "pids": {"limit": -1}}}},
        {"linux": {"resources": {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4}]}}}},
    )
    for document in documents:
        for v2 in (False, True):
            limits = told(containerd_resources.persisted_limits, document, FACTS, cgroup_v2=v2)
            lines.append(f"containerd {document} on v{1 + v2}: {limits}")
    approve("recorded_limits", lines)


def test_changes_as_docker_is_told() -> None:
    lines = []
    for change in CHANGES:
        for number, host in enumerate(HOSTS):
            for v2 in (False, True):
                held = ResourceContext(docker.record(host, FACTS.ncpu), FACTS, cgroup_v2=v2)
                sent = told(docker_update.body, change, host, held, device_limits=v2)
                lines.append(f"{asked(change)}; host {number} on v{1 + v2}: {sent}")
        lines.append(f"{asked(change)}; new: {told(docker.initial_limits, change)}")
    approve("docker_updates", lines)


def test_what_creates_a_container() -> None:
    specs = (
        ContainerSpec("i"),
        ContainerSpec(
            "i",
            ("sh", "-c", "true"),
            "web",
            env={"A": "1"},
            labels={"l": "2"},
            workdir="/w",
            user="7:8",
            hostname="h",
            network="none",
            binds=(Bind("/s", "/t"), Bind("/r", "/o", read_only=True)),
            limits=LimitChange(cpus=0.5, memory=1 << 20),
            restart_policy="on-failure:3",
            stop_signal="SIGINT",
            stop_timeout=0.4,
            read_only=True,
            auto_remove=True,
            storage_bytes=1 << 20,
        ),
    )
    lines = [f"docker: {told(docker.create_body, spec)}" for spec in specs]
    lines += [f"podman: {told(podman.create_body, spec, limits)}" for spec in specs for limits in ({}, {"pids": 1})]
    lines += [
        f"podman {version} at rest: {podman_update.at_rest(version)}" for version in ((5, 0), (5, 1), (5, 3), (5, 4))
    ]
    lines += [
        f"podman forbids {host} {asked(change)}: {podman_update.forbids(host, change)}"
        for host in ({}, {"Cgroups": "disabled"}, {"NetworkMode": "host"}, {"NetworkMode": "container:x"})
        for change in (LimitChange(cpus=1.0), LimitChange(net_egress=10**6))
    ]
    approve("new_containers", lines)


def test_events_of_docker_and_podman() -> None:
    actor = {"ID": ID, "Attributes": {"name": "web", "exitCode": "137", "containerExitCode": "4", "image": "i"}}
    actions = (
        *docker._EVENTS,
        "health_status: healthy",
        "exec_die",
        "died",
        "remove",
        "restart",
        "cleanup",
        "sync",
        "",
    )
    lines = []
    for action in actions:
        base = {
            "Type": "container",
            "Action": action,
            "Status": action,
            "status": action,
            "Actor": actor,
            "timeNano": 9,
        }
        for what, document in (
            ("whole", base),
            ("in seconds", {key: value for key, value in {**base, "time": 3}.items() if key != "timeNano"}),
            ("of an image", {**base, "Type": "image"}),
            ("without an actor", {key: value for key, value in base.items() if key != "Actor"}),
            (
                "with an id",
                {"id": ID, "from": "i", **{k: v for k, v in base.items() if k != "Actor"}, "HealthStatus": "unhealthy"},
            ),
        ):
            lines.append(f"docker {action} {what}: {told(docker.event, document)}")
            lines.append(f"podman {action} {what}: {told(podman.event, document, 'podman')}")
    approve("daemon_events", dict.fromkeys(lines))
