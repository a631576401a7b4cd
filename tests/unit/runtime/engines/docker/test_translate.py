"""Docker's documents into our model: what it leaves out, writes as zero, or has dropped in newer versions."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.engines.docker import translate
from runtime.errors import InvalidError, UnsupportedError
from runtime.model import (
    UNLIMITED,
    Bind,
    ContainerRef,
    ContainerSpec,
    EventKind,
    LimitChange,
    Missing,
    Port,
    State,
)
from runtime.oci.timestamps import parse_time_ns

NS = 1795230847123456789
ID = "ab" * 32


def document(**more: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "Name": "/web",
        "Created": "2026-11-21T03:14:07.123456789Z",
        "Path": "sh",
        "Args": ["-c", "true"],
        "State": {"Status": "running", "Pid": 42, "StartedAt": "2026-11-21T03:14:07.123456789Z", "ExitCode": 0},
        "Config": {"Image": "busybox", "Labels": {"com.docker.compose.project": "shop"}},
        "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None},
            "Networks": {
                "bridge": {"IPAddress": "172.17.0.2"},
                "v6": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"},
            },
        },
        **more,
    }


def test_a_restart_loop() -> None:
    """The other engines: test_a_restart_loop_is_told_with_its_count_and_its_last_exit, on each of them."""
    state = {"Status": "restarting", "Pid": 0, "ExitCode": 1}
    waiting = translate.container(document(RestartCount=3, State=state))
    assert (waiting.restarts, waiting.last_exit_code, waiting.exit_code) == (3, 1, None)
    running = translate.container(document(RestartCount=3))
    assert (running.restarts, running.last_exit_code) == (3, None), "Docker sets it to 0 at a start"
    listed = {"Id": ID, "State": "restarting", "Status": "Restarting (137) 2 seconds ago"}
    assert (translate.row(listed).last_exit_code, translate.row(listed).restarts) == (137, None)


def test_a_running_container() -> None:
    container = translate.container(document())
    assert container.ref == ContainerRef("docker", ID)
    assert (container.name, container.image, container.state, container.pid) == ("web", "busybox", State.RUNNING, 42)
    assert container.command == ("sh", "-c", "true")
    assert (container.created_ns, container.started_ns, container.finished_ns) == (NS, NS, None)
    assert container.exit_code is None
    assert (container.restart_policy, container.group_name) == ("on-failure:3", "shop")
    assert container.addresses == ("172.17.0.2", "fd00::2")
    assert container.ports == (Port(80, 8080, "0.0.0.0"), Port(53, protocol="udp"))


@pytest.mark.parametrize(("above", "placed"), [("", False), ("/batch", True), ("batch.slice", True)])
def test_a_requested_cgroup_parent(above: str, placed: bool) -> None:
    assert translate.container(document(HostConfig={"CgroupParent": above})).placed is placed


def test_an_ended_container() -> None:
    state = {
        "Status": "exited",
        "Pid": 0,
        "ExitCode": 137,
        "OOMKilled": True,
        "StartedAt": "2026-11-21T03:14:07Z",
        "FinishedAt": "2026-11-21T04:14:08.5+01:00",
    }
    container = translate.container(document(State=state))
    assert (container.state, container.pid, container.exit_code, container.oom_killed) == (
        State.EXITED,
        None,
        137,
        True,
    )
    assert container.finished_ns == NS // 10**9 * 10**9 + 1_500_000_000


def test_a_minimal_document() -> None:
    container = translate.container({"Id": ID, "State": {"Status": "never-heard-of"}})
    assert (container.state, container.labels, container.addresses) == (State.UNKNOWN, {}, ())


@pytest.mark.parametrize("text", ["", "0001-01-01T00:00:00Z", "yesterday"])
def test_the_zero_time_is_no_time(text: str) -> None:
    assert parse_time_ns(text) is None


def event(action: str, **more: Any) -> dict[str, Any]:
    actor = {"ID": ID, "Attributes": {"name": "web", "exitCode": "137"}}
    return {"Type": "container", "Action": action, "Actor": actor, "timeNano": NS, **more}


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("create", EventKind.CREATED),
        ("start", EventKind.STARTED),
        ("die", EventKind.DIED),
        ("pause", EventKind.PAUSED),
        ("unpause", EventKind.UNPAUSED),
        ("update", EventKind.UPDATED),
        ("rename", EventKind.RENAMED),
        ("oom", EventKind.OOM),
        ("destroy", EventKind.REMOVED),
    ],
)
def test_events_by_action_and_actor_alone(action: str, kind: EventKind) -> None:
    found = translate.event(event(action))
    assert found is not None
    assert (found.kind, found.ref.id, found.time_ns, found.detail["exitCode"]) == (kind, ID, NS, "137")


def test_health_says_which() -> None:
    found = translate.event(event("health_status: unhealthy"))
    assert found is not None
    assert (found.kind, found.detail["health"]) == (EventKind.HEALTH, "unhealthy")


@pytest.mark.parametrize("action", ["exec_create: sh -c true", "exec_start: ls", "attach", "kill", "top", ""])
def test_other_actions_are_no_events(action: str) -> None:
    assert translate.event(event(action)) is None


def test_an_image_event_is_not_a_containers() -> None:
    assert translate.event(event("create", Type="image")) is None


def test_the_record_has_zero_for_what_was_never_set() -> None:
    held = translate.record({}, 4)
    assert (held.cpus, held.memory, held.swap, held.pids) == (UNLIMITED,) * 4
    assert (held.cpu_shares, held.cpuset_cpus, held.memory_reservation) == (1024, "0-3", UNLIMITED)
    assert held.memory_high is Missing.UNSUPPORTED


@pytest.mark.parametrize(
    ("host", "cpus"),
    [
        ({"NanoCpus": 1_500_000_000}, 1.5),
        ({"CpuQuota": 25_000}, 0.25),
        ({"CpuQuota": 25_000, "CpuPeriod": 50_000}, 0.5),
        ({"CpuQuota": -1}, UNLIMITED),
        ({"NanoCpus": 300_000_000, "CpuQuota": -1}, UNLIMITED),  # what the next start makes of it
    ],
)
def test_both_forms_of_a_cpu_limit_in_the_record(host: dict[str, int], cpus: object) -> None:
    assert translate.record(host, 2).cpus == cpus


def test_swap_in_the_record_is_apart_from_memory() -> None:
    assert translate.record({"Memory": 100, "MemorySwap": 150}, 2).swap == 50
    assert translate.record({"Memory": 100, "MemorySwap": -1}, 2).swap is UNLIMITED
    everything = translate.record({"Memory": translate.UNLIMITED_BYTES, "MemorySwap": translate.UNLIMITED_BYTES}, 2)
    assert (everything.memory, everything.swap) == (UNLIMITED, UNLIMITED)


def test_every_field_of_a_spec_arrives() -> None:
    body = translate.create_body(
        ContainerSpec(
            image="busybox",
            command=("sh", "-c", "true"),
            env={"A": "1=2", "B": ""},
            labels={"l": "ü"},
            workdir="/w",
            user="7",
            hostname="h",
            network="none",
            binds=(Bind("/a", "/b", read_only=True), Bind("/c", "/d")),
            limits=LimitChange(
                cpus=0.5,
                cpu_shares=512,
                cpuset_cpus="0",
                cpuset_mems="0",
                memory=100,
                memory_reservation=50,
                swap=20,
                pids=9,
            ),
            restart_policy="on-failure:3",
            stop_signal="SIGINT",
            stop_timeout=7.0,
            read_only=True,
            auto_remove=True,
        )
    )
    assert body == {
        "Image": "busybox",
        "Cmd": ["sh", "-c", "true"],
        "Env": ["A=1=2", "B="],
        "Labels": {"l": "ü"},
        "WorkingDir": "/w",
        "User": "7",
        "Hostname": "h",
        "StopSignal": "SIGINT",
        "StopTimeout": 7,
        "HostConfig": {
            "NetworkMode": "none",
            "Binds": ["/a:/b:ro", "/c:/d"],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "ReadonlyRootfs": True,
            "AutoRemove": True,
            "NanoCpus": 500_000_000,
            "CpuShares": 512,
            "CpusetCpus": "0",
            "CpusetMems": "0",
            "Memory": 100,
            "MemorySwap": 120,
            "MemoryReservation": 50,
            "PidsLimit": 9,
        },
    }


def test_unlimited_at_creation_is_left_out() -> None:
    assert translate.initial_limits(LimitChange(cpus=UNLIMITED, memory=UNLIMITED, pids=UNLIMITED)) == {}
    assert translate.initial_limits(LimitChange(memory=100, swap=UNLIMITED)) == {"Memory": 100, "MemorySwap": -1}


def test_limits_that_docker_would_silently_drop_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="memory high"):
        translate.initial_limits(LimitChange(memory_high=100))
    with pytest.raises(InvalidError, match="swap alone"):
        translate.initial_limits(LimitChange(swap=100))
