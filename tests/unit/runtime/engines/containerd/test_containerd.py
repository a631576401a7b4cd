"""containerd's messages into our model, its OCI specs as a record of limits, the logger that its shims run."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.containerd import client, images, lifecycle, logs, resources, store, translate, update
from runtime.engines.containerd.address import Address
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.engines.daemon.peer import Peer
from runtime.errors import ConflictError, EngineError, InvalidError, NotFoundError, UnsupportedError
from runtime.limits import HostFacts
from runtime.model import (
    UNLIMITED,
    Bind,
    ContainerSpec,
    DeviceRate,
    EventKind,
    GroupKind,
    LimitChange,
    Missing,
    State,
)
from runtime.oci import spec as oci
from runtime.oci.resources import ResourceContext
from runtime.oci.resources import resources as as_resources
from runtime.oci.users import User

FACTS = HostFacts(ncpu=4, cpus="0-3", mems="0", memory_total=8 << 30, swap_total=0, pid_max=4194304)
MB = 1024 * 1024


def record(spec: dict[str, Any] | None = None, **fields: Any) -> pb.Container:
    given = {"id": "web", "image": "docker.io/library/busybox:latest", **fields}
    return pb.Container(spec=AnyMessage(type_url=lifecycle.SPEC, value=json.dumps(spec or {}).encode()), **given)


def test_a_container_without_a_task_is_created() -> None:
    found = translate.container("containerd", "default", record({"process": {"args": ["sleep", "9"]}}), None)
    assert (found.ref.id, found.name, found.state, found.pid) == ("default/web", "web", State.CREATED, None)
    assert found.command == ("sleep", "9")
    assert (found.exit_code, found.finished_ns) == (None, None)


@pytest.mark.parametrize(
    ("status", "state", "pid"),
    [
        (pb.CREATED, State.CREATED, None),
        (pb.RUNNING, State.RUNNING, 7),
        (pb.PAUSED, State.PAUSED, 7),
        (pb.PAUSING, State.RUNNING, 7),
        (pb.STOPPED, State.EXITED, None),
        (pb.UNKNOWN, State.UNKNOWN, None),
    ],
)
def test_states_of_a_task(status: int, state: State, pid: int | None) -> None:
    process = pb.Process(container_id="web", id="web", pid=7, status=status, exit_status=3)  # type: ignore[arg-type]
    process.exited_at.CopyFrom(Timestamp(seconds=5, nanos=1))
    found = translate.container("containerd", "default", record(), process)
    assert (found.state, found.pid) == (state, pid)
    ended = state is State.EXITED
    assert (found.exit_code, found.finished_ns) == ((3, 5_000_000_001) if ended else (None, None))


def test_a_spec_that_is_no_json_does_no_harm() -> None:
    broken = record()
    broken.spec.value = b"\xff{"
    assert translate.container("containerd", "default", broken, None).command == ()
    broken.spec.value = b"[1]"
    assert translate.container("containerd", "default", broken, None).command == ()


def test_names_and_groups() -> None:
    pod = {"io.kubernetes.pod.name": "shop-1", "io.kubernetes.pod.namespace": "prod"}
    inner = {**pod, "io.kubernetes.container.name": "web"}
    assert translate.name("x", inner) == "shop-1/web"
    assert translate.name("x", pod) == "shop-1/pause"
    assert translate.name("x", {"nerdctl/name": "calm"}) == "calm"
    assert translate.name("x", {}) == "x"
    group = translate.group(inner, "containerd")
    assert group is not None
    assert (group.kind, group.name, group.engine) == (GroupKind.POD, "prod/shop-1", "containerd")
    compose = translate.group({"com.docker.compose.project": "shop"}, "containerd")
    assert compose is not None
    assert compose.kind is GroupKind.COMPOSE
    assert translate.group({}, "containerd") is None


def test_notes_and_labels_of_our_own() -> None:
    labelled = record(labels={"team": "a", "containerd.io/restart.policy": "on-failure:3"})
    notes = {"error": "no such program", "empty labels": ["flag"]}
    labelled.extensions[translate.EXTENSION].CopyFrom(
        AnyMessage(type_url=lifecycle.NOTES, value=json.dumps(notes).encode())
    )
    found = translate.container("containerd", "default", labelled, None)
    assert found.error == "no such program"
    assert found.labels == {"team": "a", "flag": "", "containerd.io/restart.policy": "on-failure:3"}
    assert found.restart_policy == "on-failure:3"
    assert found.restarts is None
    labelled.labels[translate.RESTART_COUNT] = "4"
    assert translate.container("containerd", "default", labelled, None).restarts == 4
    old = record(labels={"containerd.io/restart.status": "running"})
    assert translate.container("containerd", "default", old, None).restart_policy == "always"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/default/web", "/default/web"),
        ("system.slice:ctr:web", "/system.slice/ctr-web.scope"),
        (
            "kubepods-burstable-pod12_3.slice:cri-containerd:abc",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_3.slice/cri-containerd-abc.scope",
        ),
        ("-.slice:ctr:web", "/ctr-web.scope"),
        ("", ""),
        ("relative/path", ""),
    ],
)
def test_the_cgroup_by_the_spec(given: str, path: str) -> None:
    assert translate.cgroup_path({"linux": {"cgroupsPath": given}}) == path


@pytest.mark.parametrize(("path", "placed"), [("/jobs/web", False), ("/batch/web", True), ("", True)])
def test_a_cgroup_parent_other_than_the_default_counts_as_placement(path: str, placed: bool) -> None:
    assert translate.container("containerd", "jobs", record({"linux": {"cgroupsPath": path}}), None).placed is placed


def envelope(topic: str, event: Any) -> pb.Envelope:
    found = pb.Envelope(namespace="default", topic=topic, event=AnyMessage(value=event.SerializeToString()))
    found.timestamp.CopyFrom(Timestamp(seconds=1, nanos=2))
    return found


def test_events() -> None:
    started = translate.event(envelope("/tasks/start", pb.AboutContainer(id="web")), "containerd")
    assert started is not None
    assert (started.kind, started.ref.id, started.time_ns) == (EventKind.STARTED, "default/web", 1_000_000_002)
    ended = pb.TaskExit(container_id="web", id="web", exit_status=9)
    died = translate.event(envelope("/tasks/exit", ended), "containerd")
    assert died is not None
    assert (died.kind, died.detail) == (EventKind.DIED, {"exitCode": "9"})
    inside = pb.TaskExit(container_id="web", id="exec-1", exit_status=9)
    assert translate.event(envelope("/tasks/exit", inside), "containerd") is None, (
        "the end of a program that was run inside"
    )
    assert translate.event(envelope("/snapshot/prepare", pb.AboutContainer(id="web")), "containerd") is None
    assert translate.event(envelope("/tasks/start", pb.AboutContainer()), "containerd") is None


def test_names_of_one_image_are_together() -> None:
    entries = [pb.Image(name=name, target=pb.Descriptor(digest=digest)) for name, digest in (("a", "1"), ("b", "1"))]
    (found,) = translate.images(entries)
    assert (found.id, found.names, found.created_ns) == ("1", ("a", "b"), None)


# the record of limits


def change_of(change: LimitChange, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec after a change, as the engine makes it."""
    before = resources.persisted_limits(spec, FACTS, cgroup_v2=False)
    return resources.amended(spec, as_resources(change, ResourceContext(before, FACTS, cgroup_v2=False)))


def test_an_empty_spec_limits_nothing() -> None:
    held = resources.persisted_limits({}, FACTS, cgroup_v2=False)
    assert (held.cpus, held.memory, held.swap, held.pids, held.cpu_shares) == (*[UNLIMITED] * 4, 1024)
    assert (held.cpuset_cpus, held.memory_high, held.cpu_burst) == ("0-3", Missing.UNSUPPORTED, Missing.UNSUPPORTED)
    assert resources.persisted_limits({}, FACTS, cgroup_v2=True).memory_high is UNLIMITED


@given(
    cpus=st.one_of(st.none(), st.integers(1, 400).map(lambda n: n / 100), st.just(UNLIMITED)),
    memory=st.one_of(st.none(), st.integers(8, 4096).map(lambda n: n * MB), st.just(UNLIMITED)),
    pids=st.one_of(st.none(), st.integers(1, 10000), st.just(UNLIMITED)),
    shares=st.one_of(st.none(), st.integers(2, 262144)),
    rate=st.one_of(st.none(), st.integers(1, 10**9), st.just(UNLIMITED)),
)
def test_what_is_changed_is_recorded_and_what_is_lifted_leaves_nothing(
    cpus: Any, memory: Any, pids: Any, shares: Any, rate: Any
) -> None:
    spec: dict[str, Any] = {
        "process": {"args": ["sh"]},
        "linux": {"resources": {"devices": [{"allow": False}], "memory": {"limit": 64 * MB, "swap": 96 * MB}}},
    }
    rates = None if rate is None else (DeviceRate("8:0", rate),)
    change = LimitChange(cpus=cpus, memory=memory, pids=pids, cpu_shares=shares, io_read_bps=rates)
    after = change_of(change, spec)
    held = resources.persisted_limits(after, FACTS, cgroup_v2=False)
    for name, value in change.items():
        if name.value == "io_read_bps":
            assert held.io_read_bps == (rates if rate is not UNLIMITED else ())
        elif name.value == "cpus" and value is not UNLIMITED:
            assert held.cpus == pytest.approx(value, abs=1e-5)
        else:
            assert held.get(name) == value
    assert held.memory == (64 * MB if memory is None else memory)
    assert after["process"] == spec["process"]
    assert after["linux"]["resources"]["devices"] == [{"allow": False}]
    assert spec["linux"]["resources"]["memory"] == {"limit": 64 * MB, "swap": 96 * MB}, "the old one is left alone"
    assert -1 not in json.loads(json.dumps(after))["linux"]["resources"].get("memory", {}).values()


def test_memory_high_is_recorded_on_v2() -> None:
    held = ResourceContext(resources.persisted_limits({}, FACTS, cgroup_v2=True), FACTS, cgroup_v2=True)
    spec = resources.amended({}, as_resources(LimitChange(memory_high=32 * MB), held))
    assert resources.persisted_limits(spec, FACTS, cgroup_v2=True).memory_high == 32 * MB
    lifted = resources.amended(spec, as_resources(LimitChange(memory_high=UNLIMITED), held))
    assert resources.persisted_limits(lifted, FACTS, cgroup_v2=True).memory_high is UNLIMITED
    assert lifted["linux"]["resources"]["unified"] == {}


def test_the_network_of_a_pod_is_limited_on_its_pause_container_alone() -> None:
    def why(labels: dict[str, str], *spaces: dict[str, str], **asked: int) -> str:
        return update.forbids(record(labels=labels), {"linux": {"namespaces": list(spaces)}}, LimitChange(**asked))

    shared, own = {"type": "network", "path": "/var/run/netns/x"}, {"type": "network"}
    pod = {"io.kubernetes.pod.name": "shop-1", "io.cri-containerd.kind": "container"}
    assert "pause container" in why(pod, shared, net_egress=1000)
    assert why({**pod, "io.cri-containerd.kind": "sandbox"}, shared, net_egress=1000) == ""
    assert "somebody else" in why({}, shared, net_ingress=1000)
    assert "host's network" in why({}, {"type": "pid"}, net_ingress=1000)
    assert why({}, own, net_ingress=1000) == ""
    assert why(pod, shared, pids=9) == ""


# creation


def made(request: ContainerSpec, image: dict[str, Any]) -> dict[str, Any]:
    user = User(1000, 1000, (27,), "/home/u")
    return oci.document(request, image, user, {"pids": {"limit": 9}}, cgroup="/default/web", host="web")


def test_the_spec_of_a_new_container() -> None:
    image = {"Entrypoint": ["/entry"], "Cmd": ["serve"], "Env": ["A=image", "B=image"], "WorkingDir": "/srv"}
    request = ContainerSpec("x", env={"A": "own"}, binds=(Bind("/data", "/mnt", read_only=True),), read_only=True)
    spec = made(request, image)
    process = spec["process"]
    assert process["args"] == ["/entry", "serve"]
    assert process["env"] == [oci.PATH, "HOME=/home/u", "A=own", "B=image"]
    assert (process["cwd"], process["user"]["uid"], process["user"]["additionalGids"]) == ("/srv", 1000, [27])
    assert process["noNewPrivileges"] is True
    assert "CAP_SYS_ADMIN" not in json.dumps(spec)
    assert spec["root"]["readonly"] is True
    assert spec["mounts"][-1] == {
        "destination": "/mnt",
        "type": "bind",
        "source": "/data",
        "options": ["rbind", "rprivate", "ro"],
    }
    assert spec["linux"]["resources"]["pids"] == {"limit": 9}
    assert spec["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert made(ContainerSpec("x", ("ls",)), image)["process"]["args"] == ["/entry", "ls"]
    with pytest.raises(InvalidError):
        made(ContainerSpec("x"), {})


def test_unsupported_restart_policies_auto_remove_and_a_size_are_refused() -> None:
    assert set(lifecycle.creation((1, 6))) == {"network", "auto_remove", "storage_bytes", "restart_policy"}
    assert set(lifecycle.creation((1, 7))) == {"network", "auto_remove", "storage_bytes"}
    with pytest.raises(UnsupportedError, match=r"always or never"):
        lifecycle._labels(ContainerSpec("x", restart_policy="on-failure:2"), (1, 6), "create")
    labels = lifecycle._labels(
        ContainerSpec("x", restart_policy="on-failure:2", stop_signal="SIGINT"), (1, 7), "create"
    )
    assert labels == {translate.RESTART_POLICY: "on-failure:2", translate.STOP_SIGNAL: "SIGINT"}
    with pytest.raises(UnsupportedError):
        lifecycle._labels(ContainerSpec("x", auto_remove=True), (2, 0), "create")
    with pytest.raises(UnsupportedError, match="size"):
        lifecycle._labels(ContainerSpec("x", storage_bytes=1 << 30), (2, 0), "create")


def test_users_are_looked_up_in_the_uppermost_layer_without_leaving_it(tmp_path: Path) -> None:
    for name, line in (("upper", "svc:x:7:8::/svc:/bin/sh"), ("lower", "svc:x:1:1::/old:/bin/sh")):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/passwd").write_text(f"{line}\n")
    options = [f"lowerdir={tmp_path}/upper:{tmp_path}/lower", "upperdir=/none"]
    mounts = pb.MountsResponse(mounts=[pb.Mount(type="overlay", options=options)])
    assert lifecycle.user_of("svc", mounts) == User(7, 8, (), "/svc")
    (tmp_path / "upper/etc/passwd").unlink()
    (tmp_path / "upper/etc/passwd").symlink_to("/proc/self/root/etc/passwd")
    assert lifecycle.user_of("svc", mounts) == User(1, 1, (), "/old"), "a magic link is not followed"
    assert lifecycle.user_of("1234:5", mounts) == User(1234, 5, (), "/")


def test_users_that_are_minus_one_to_the_kernel_are_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\nsvc:x:4294967295:8::/svc:/bin/sh\n")
    mounts = pb.MountsResponse(mounts=[pb.Mount(type="bind", source=str(tmp_path))])
    for text in ("svc", "4294967295", "root:4294967295", "-1"):
        with pytest.raises(InvalidError, match="not the number of a user"):
            lifecycle.user_of(text, mounts)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("busybox", "busybox", "docker.io/library/busybox:latest"),
        ("library/busybox:1", "library/busybox:1", "docker.io/library/busybox:1"),
        ("quay.io/a/b", "quay.io/a/b", "quay.io/a/b:latest"),
        ("localhost:5000/a:2", "localhost:5000/a:2", "localhost:5000/a:2"),
    ],
)
def test_names_of_images(name: str, first: str, last: str) -> None:
    assert (images._names(name)[0], images._names(name)[-1]) == (first, last)


def test_chain_ids() -> None:
    """The example of the OCI image specification: a layer's name holds those of the layers below it."""
    one, two, three = images.chain_ids(["sha256:a", "sha256:b", "sha256:c"])
    assert one == "sha256:a"
    assert two == "sha256:" + hashlib.sha256(b"sha256:a sha256:b").hexdigest()
    assert three == "sha256:" + hashlib.sha256(f"{two} sha256:c".encode()).hexdigest()
    assert images.chain_ids([]) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.NOT_FOUND, NotFoundError),
        (Status.ALREADY_EXISTS, ConflictError),
        (Status.FAILED_PRECONDITION, ConflictError),
        (Status.INVALID_ARGUMENT, InvalidError),
        (Status.UNKNOWN, EngineError),
        (Status.UNAVAILABLE, EngineError),  # one container's shim is gone, not the daemon
    ],
)
def test_errors_keep_containerds_own_words(status: Status, kind: type[Exception]) -> None:
    error = client._refused("start it", GRPCError(status, "exec: no such file: unknown"))
    assert type(error) is kind
    assert (error.title, error.detail) == ("start it", "exec: no such file")


# logs


def test_where_the_output_goes(tmp_path: Path) -> None:
    assert logs.for_start(record(labels={"nerdctl/log-uri": "binary:///x"}), tmp_path, "default") == "binary:///x"
    own = logs.for_start(record(), tmp_path, "default")
    assert urlsplit(own).path == sys.executable
    process = pb.Process(stdout=own)
    assert logs.find(record(), process, tmp_path, "default") == tmp_path / "default/web/log"
    with pytest.raises(UnsupportedError):
        logs.find(record(), pb.Process(stdout="/run/fifo"), tmp_path, "default")


async def test_the_log_of_a_pods_container_is_kubelets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KUBELET_LOGS", tmp_path)
    link = tmp_path / "shop-1_prod_web-0a1b.log"
    link.write_bytes(b"2026-11-21T05:14:07.5+02:00 stdout F hello\n")
    process = pb.Process(stdout="/run/containerd/fifo")
    found = logs.find(record(id="0a1b"), process, tmp_path / "own", "k8s.io")
    assert found == link
    (line,) = [line async for line in logs.lines(found, follow=False, tail=None, ended=lambda: False)]
    assert (line.data, line.stream) == (b"hello", "stdout")


def run_logger(folder: Path, script: str) -> None:
    """The logger with a shell's output as descriptors 3 and 4, as a shim has it."""
    out, err, ready = os.pipe(), os.pipe(), os.pipe()
    keep = tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20) for descriptor in (out[0], err[0], ready[1]))
    for descriptor in (out[0], err[0], ready[1]):
        os.close(descriptor)
    closed = " ".join(f"{descriptor}<&-" for descriptor in keep)
    words = f'exec "$0" "$1" "$2" 3<&{keep[0]} 4<&{keep[1]} 5>&{keep[2]} {closed}'
    command = ["bash", "-c", words, sys.executable, str(logs.LOGGER), str(folder)]
    started = subprocess.Popen(command, pass_fds=keep, env={}, cwd="/")
    for descriptor in keep:
        os.close(descriptor)
    try:
        assert os.read(ready[0], 1) == b"", "it says that it is ready"
        assert (folder / "pid").exists()
        subprocess.run(["sh", "-c", script], stdout=out[1], stderr=err[1], check=True, timeout=10)
        started.send_signal(signal.SIGTERM)
        logs._settle(folder)
        assert started.poll() is None, "it waits for the end of the output"
    finally:
        os.close(out[1])
        os.close(err[1])
        os.close(ready[0])
        assert started.wait(timeout=10) == 0


async def test_the_logger_keeps_every_byte_of_both_streams(tmp_path: Path) -> None:
    folder = tmp_path / "a b/web"
    run_logger(folder, r"echo one; echo bad >&2; printf 'x\000y'")
    found = [line async for line in logs.lines(folder / "log", follow=False, tail=None, ended=lambda: True)]
    assert sorted((line.stream, line.data, line.partial) for line in found) == [
        ("stderr", b"bad", False),
        ("stdout", b"one", False),
        ("stdout", b"x\0y", True),
    ]


def test_a_full_log_is_rotated(tmp_path: Path) -> None:
    run_logger(tmp_path / "web", "yes 0123456789 | head -c 16000000")
    names = sorted(path.name for path in (tmp_path / "web").iterdir())
    assert names[:2] == ["log", "log.1"]
    assert all(path.stat().st_size < 30e6 for path in (tmp_path / "web").iterdir())


@pytest.mark.parametrize(
    ("path", "cgroup", "own"),
    [
        ("", "/default/web", "/default/web"),
        ("", "/system.slice/webserver.service", ""),
        ("/jobs/web", "/jobs/web/inner", "/jobs/web"),
        ("/jobs/web", "/outer/jobs/web", "/outer/jobs/web"),
        ("/jobs/we", "/jobs/webserver", ""),
        ("jobs.slice:run:web", "/jobs.slice/run-web.scope", "/jobs.slice/run-web.scope"),
    ],
)
async def test_a_containers_cgroup_is_a_whole_name_and_of_another_users_containerd_that_users(
    tmp_path: Path, path: str, cgroup: str, own: str
) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42/cgroup").write_text(f"0::{cgroup}\n")
    asked = client.ContainerdClient(tmp_path / "c.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "c.sock"))
        listening.listen()
        await asked._ready()
        asked.close()
        await asyncio.sleep(0.05)  # the loop closes a connection in its next rounds
    assert asked.peer == Peer(frozenset({os.geteuid()}))
    at = store.MetadataStore(asked, Address(tmp_path / "c.sock", "the test"), proc=tmp_path)
    task = pb.Process(id="web", pid=42, status=2)
    spec = {"linux": {"cgroupsPath": path}} if path else None
    found = store.StoredContainer("containerd", "default", record(spec, id="web"), task)
    (trusted,) = at.with_host_data([found])
    assert (trusted.pid, trusted.cgroup, trusted.trusted) == (42 if own else None, own, True)
    asked._uids.add(4321)
    (foreign,) = at.with_host_data([found])
    assert (foreign.pid, foreign.cgroup, foreign.trusted) == (None, "", False)


@pytest.mark.parametrize("identity", ["..", "../../etc", ""])
def test_a_log_is_in_the_folder_of_logs(tmp_path: Path, identity: str) -> None:
    with pytest.raises(InvalidError):
        logs.find(record(id=identity), None, tmp_path, "default")
