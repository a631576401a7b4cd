"""Podman's documents into our model, 4.3's and 5.x's, and its SpecGenerator out of it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from runtime.engines.podman import translate
from runtime.model import (
    UNLIMITED,
    Bind,
    ContainerSpec,
    DeviceRate,
    EventKind,
    GroupKind,
    GroupRef,
    Missing,
    Port,
    State,
)
from runtime.oci.resources import NO_RATE

NS = 1795230847123456789
ID = "ab" * 32
PORTS = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": None}


def document(**more: Any) -> dict[str, Any]:
    """An inspect document as 5.x writes it under API version 4.0.0."""
    return {
        "Id": ID,
        "Name": "web",
        "Created": "2026-11-21T03:14:07.123456789+01:00",
        "Path": "sleep",
        "Args": ["600"],
        "State": {"Status": "running", "Pid": 77, "StartedAt": "2026-11-21T03:14:08Z", "Health": {"Status": "healthy"}},
        "Image": "cd" * 32,
        "ImageName": "localhost/busybox:latest",
        "Config": {"Image": "busybox", "Labels": {"a": "b"}, "Entrypoint": ["sleep"], "Tty": False},
        "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
        "NetworkSettings": {"Networks": {"podman": {"IPAddress": "10.88.0.2"}}, "Ports": PORTS},
        **more,
    }


def test_a_running_container() -> None:
    found = translate.container(document(), "podman-alice")
    assert (found.ref.engine, found.ref.id, found.name) == ("podman-alice", ID, "web")
    assert (found.state, found.pid, found.exit_code, found.health) == (State.RUNNING, 77, None, "healthy")
    assert (found.image, found.command) == ("localhost/busybox:latest", ("sleep", "600"))
    assert (found.restart_policy, found.addresses) == ("on-failure:3", ("10.88.0.2",))
    assert found.ports == (Port(80, 8080, "", "tcp"), Port(53, None, "", "udp"))
    assert found.created_ns % 10**9 == 123456789
    assert found.group is None


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("created", State.CREATED),
        ("configured", State.CREATED),
        ("initialized", State.CREATED),
        ("paused", State.PAUSED),
        ("stopping", State.STOPPING),
        ("stopped", State.EXITED),
        ("exited", State.EXITED),
        ("removing", State.REMOVING),
        ("never-heard-of", State.UNKNOWN),
    ],
)
def test_states(said: str, state: State) -> None:
    ended = {"Status": said, "Pid": 9, "ExitCode": 3, "FinishedAt": "2026-11-21T03:14:09Z", "OOMKilled": True}
    found = translate.container(document(State=ended), "podman")
    assert found.state is state
    assert found.pid == (9 if state.live else None), "the pid of what has ended may be another's by now"
    assert (found.exit_code, found.finished_ns is not None) == ((3, True) if state is State.EXITED else (None, False))
    assert found.oom_killed


def test_a_minimal_document() -> None:
    found = translate.container({"Id": ID}, "podman")
    assert (found.state, found.labels, found.addresses, found.command) == (State.UNKNOWN, {}, (), ())


def test_a_command_of_one_word_is_in_path_and_args() -> None:
    assert translate.container(document(Path="top", Args=["top"]), "podman").command == ("top",)


def test_pod_and_compose_project_are_groups_and_the_pod_comes_first() -> None:
    labels = {"io.podman.compose.project": "shop"}
    config = {"Config": {"Labels": labels}}
    alone = translate.container(document(**config), "podman")
    assert alone.group == GroupRef(GroupKind.COMPOSE, "shop", "podman")
    inside = translate.container(document(**config), "podman", "cart")
    assert inside.group == GroupRef(GroupKind.POD, "cart", "podman")


def event(action: str, **more: Any) -> dict[str, Any]:
    actor = {"ID": ID, "Attributes": {"name": "web", "containerExitCode": "137", "podId": ""}}
    return {"Type": "container", "Action": action, "Actor": actor, "timeNano": NS, "time": NS // 10**9, **more}


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("create", EventKind.CREATED),
        ("start", EventKind.STARTED),
        ("died", EventKind.DIED),
        ("remove", EventKind.REMOVED),
        ("update", EventKind.UPDATED),
        ("rename", EventKind.RENAMED),
    ],
)
def test_events(action: str, kind: EventKind) -> None:
    found = translate.event(event(action), "podman")
    assert found is not None
    assert (found.kind, found.ref.id, found.time_ns, found.detail["name"]) == (kind, ID, NS, "web")


def test_events_that_are_no_containers_or_say_nothing_new() -> None:
    assert translate.event(event("create", Type="pod"), "podman") is None
    assert translate.event(event("exec"), "podman") is None
    assert translate.event(event("init"), "podman") is None
    assert translate.event({"cause": "events_logger is none", "response": 500}, "podman") is None


def test_health_is_read_from_the_libpod_part_of_an_event() -> None:
    found = translate.event(event("health_status", HealthStatus="unhealthy"), "podman")
    assert found is not None
    assert found.detail["health"] == "unhealthy"


def device(path: str) -> str | None:
    return {"/dev/sda": "8:0", "/dev/sdb": "8:16"}.get(path)


def test_the_record() -> None:
    found = translate.record(
        {
            "CpuPeriod": 50_000,
            "CpuQuota": 25_000,
            "NanoCpus": 0,
            "Memory": 64 << 20,
            "MemorySwap": 96 << 20,
            "PidsLimit": 2048,
            "CgroupConf": {"memory.high": "33554432"},
            "BlkioDeviceReadBps": [{"Path": "/dev/sdb", "Rate": 7}, {"Path": "/dev/sda", "Rate": 9}],
            "BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": NO_RATE}, {"Path": "/dev/gone", "Rate": 5}],
        },
        4,
        device,
    )
    assert (found.cpus, found.cpu_period, found.memory, found.swap, found.pids) == (
        0.5,
        50_000,
        64 << 20,
        32 << 20,
        2048,
    )
    assert found.memory_high == 32 << 20
    assert found.io_read_bps == (DeviceRate("8:0", 9), DeviceRate("8:16", 7))
    assert found.io_write_bps == ()
    assert found.cpu_burst is Missing.UNSUPPORTED, "Podman keeps none, so it is lost at the next start"


def test_what_the_record_does_not_say_is_unlimited_and_minus_one_is_too() -> None:
    for host in ({}, {"CpuQuota": -1, "Memory": -1, "MemorySwap": -1, "PidsLimit": -1, "BlkioDeviceReadBps": None}):
        found = translate.record(host, 2, device)
        assert (found.cpus, found.memory, found.swap, found.pids) == (UNLIMITED,) * 4
        assert (found.cpuset_cpus, found.cpu_shares) == ("0-1", 1024)


def test_a_container_to_make() -> None:
    spec = ContainerSpec(
        "busybox",
        ("sleep", "9"),
        name="web",
        env={"A": "b c"},
        workdir="/tmp",
        user="1000",
        network="none",
        binds=(Bind("/a", "/b", read_only=True), Bind("/c", "/d")),
        restart_policy="on-failure:2",
        stop_signal="SIGRTMIN+3",
        auto_remove=True,
    )
    body = translate.create_body(spec, {"cpu": {"quota": 1}, "unified": {"memory.high": "5"}})
    assert body["resource_limits"] == {"cpu": {"quota": 1}, "unified": {"memory.high": "5"}}
    assert (body["restart_policy"], body["restart_tries"]) == ("on-failure", 2)
    assert body["stop_signal"] == signal.SIGRTMIN + 3
    assert [entry["options"] for entry in body["mounts"]] == [["rbind", "ro"], ["rbind"]]
    assert (body["netns"], body["remove"], body["command"]) == ({"nsmode": "none"}, True, ["sleep", "9"])
    assert "hostname" not in body
