"""Containers by the names of their cgroups, on trees of regular files; what an engine lists is not shown twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.found.names import recognise, unescape
from runtime.engines.found.scan import Scanner
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import Container, ContainerKind, ContainerRef, GroupKind, State
from tests.unit.fake_machine import FakeMachine
from tui.core.deduplication import unclaimed

ID = "0123456789abcdef" * 4
POD = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("path", "name", "cgroup", "kind"),
    [
        (f"/docker/{ID}", "docker-0123456789ab", f"/docker/{ID}", ContainerKind.CONTAINER),
        (f"/docker/{ID}/init.scope", "docker-0123456789ab", f"/docker/{ID}", ContainerKind.CONTAINER),
        (f"/docker/{ID}/docker/{ID[::-1]}", "docker-0123456789ab", f"/docker/{ID}", ContainerKind.CONTAINER),
        (
            f"/system.slice/docker-{ID}.scope",
            "docker-0123456789ab",
            f"/system.slice/docker-{ID}.scope",
            ContainerKind.CONTAINER,
        ),
        (f"/libpod_parent/libpod-{ID}", "podman-0123456789ab", f"/libpod_parent/libpod-{ID}", ContainerKind.CONTAINER),
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            "podman-0123456789ab",
            f"/machine.slice/libpod-{ID}.scope",
            ContainerKind.CONTAINER,
        ),
        (f"/x/crio-{ID}.scope", "cri-o-0123456789ab", f"/x/crio-{ID}.scope", ContainerKind.CONTAINER),
        (
            f"/x/cri-containerd-{ID}.scope",
            "containerd-0123456789ab",
            f"/x/cri-containerd-{ID}.scope",
            ContainerKind.CONTAINER,
        ),
        ("/lxc.payload.web/system.slice/a.service", "web", "/lxc.payload.web", ContainerKind.CONTAINER),
        ("/lxc/web", "web", "/lxc/web", ContainerKind.CONTAINER),
        (
            r"/machine.slice/machine-my\x2dbox.scope/payload",
            "my-box",
            r"/machine.slice/machine-my\x2dbox.scope",
            ContainerKind.CONTAINER,
        ),
        (
            "/machine.slice/systemd-nspawn@box.service",
            "box",
            "/machine.slice/systemd-nspawn@box.service",
            ContainerKind.CONTAINER,
        ),
        (
            r"/machine.slice/machine-qemu\x2d3\x2dwin\x2d11.scope/libvirt/emulator",
            "win-11",
            r"/machine.slice/machine-qemu\x2d3\x2dwin\x2d11.scope",
            ContainerKind.VM,
        ),
        ("/machine/qemu-1-db.libvirt-qemu", "db", "/machine/qemu-1-db.libvirt-qemu", ContainerKind.VM),
        (f"/pytop-other/{ID}", "pytop-0123456789ab", f"/pytop-other/{ID}", ContainerKind.CONTAINER),
        (f"/x/libpod-payload-{ID}", "podman-0123456789ab", f"/x/libpod-payload-{ID}", ContainerKind.CONTAINER),
        (f"/x/nerdctl-{ID}.scope", "nerdctl-0123456789ab", f"/x/nerdctl-{ID}.scope", ContainerKind.CONTAINER),
        (f"/moby/{ID}", "docker-0123456789ab", f"/moby/{ID}", ContainerKind.CONTAINER),
        (f"/default/{ID}", "containerd-0123456789ab", f"/default/{ID}", ContainerKind.CONTAINER),
        (f"/k8s.io/{ID}/a", "containerd-0123456789ab", f"/k8s.io/{ID}", ContainerKind.CONTAINER),
        (f"/actions_job/{ID}", "container-0123456789ab", f"/actions_job/{ID}", ContainerKind.CONTAINER),
        (
            f"/system.slice:cri-containerd:{ID}",
            "containerd-0123456789ab",
            f"/system.slice:cri-containerd:{ID}",
            ContainerKind.CONTAINER,
        ),
        (f"/x/crio:{ID}", "cri-o-0123456789ab", f"/x/crio:{ID}", ContainerKind.CONTAINER),
        ("/lxc.payload/web/init.scope", "web", "/lxc.payload/web", ContainerKind.CONTAINER),
        ("/machine/plain.libvirt-qemu/emulator", "plain", "/machine/plain.libvirt-qemu", ContainerKind.VM),
        (
            r"/machine.slice/machine-b\xc3\xbcro.scope",
            "b\N{LATIN SMALL LETTER U WITH DIAERESIS}ro",
            r"/machine.slice/machine-b\xc3\xbcro.scope",
            ContainerKind.CONTAINER,
        ),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            "podman-0123456789ab",
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
            ContainerKind.CONTAINER,
        ),
    ],
)
def test_names(path: str, name: str, cgroup: str, kind: ContainerKind) -> None:
    found = recognise(path)
    assert found is not None
    assert (found.name, found.cgroup, found.kind) == (name, cgroup, kind)
    assert found.found
    if ID in cgroup:
        assert found.id == ID


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/user.slice/user-1000.slice/session-1.scope",
        f"/libpod_parent/libpod-conmon-{ID}",
        f"/x/crio-conmon-{ID}.scope",
        "/lxc.monitor.web",
        "/system.slice/ssh.service",
        "/machine.slice",
        f"/libpod_parent/{ID}",
        f"/machine.slice/machine-libpod_pod_{ID}.slice",
        f"/kubepods/burstable/pod{POD}",
        "/lxc",
        f"/docker/{ID[:-1]}",
    ],
)
def test_what_is_no_container(path: str) -> None:
    assert recognise(path) is None


@pytest.mark.parametrize(
    "above",
    [
        f"/kubepods/burstable/pod{POD}",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice",
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD.replace('-', '_')}.slice",
        f"/kubelet/kubepods/besteffort/pod{POD}",
    ],
)
def test_pods(above: str) -> None:
    for leaf in (ID, f"cri-containerd-{ID}.scope"):
        found = recognise(f"{above}/{leaf}")
        assert found is not None
        assert found.group is not None
        assert (found.id, found.group.name) == (ID, POD)


def test_a_pods_name_and_its_containers_in_one() -> None:
    """containerd without the systemd driver, given systemd's form of a path."""
    found = recognise(f"/system.slice/kubepods-pod{POD.replace('-', '_')}.slice:cri-containerd:{ID}")
    assert found is not None
    assert found.group is not None
    assert (found.id, found.name, found.group.name) == (ID, "containerd-0123456789ab", POD)


def test_a_static_pods_uid_has_no_dashes() -> None:
    found = recognise(f"/kubepods/pod{ID[:32]}/{ID}")
    assert found is not None
    assert found.group is not None
    assert (found.name, found.group.name) == ("k8s-0123456789ab", ID[:32])


@pytest.mark.parametrize(
    "path",
    [
        f"/libpod_parent/{ID[::-1]}/libpod-{ID}",
        f"/machine.slice/machine-libpod_pod_{ID[::-1]}.slice/libpod-{ID}.scope",
        f"/user.slice/user-5.slice/user@5.service/user.slice/user-libpod_pod_{ID[::-1]}.slice/libpod-{ID}.scope/container",
    ],
)
def test_podmans_pods(path: str) -> None:
    found = recognise(path)
    assert found is not None
    assert found.group is not None
    assert (found.id, found.group.kind, found.group.name) == (ID, GroupKind.POD, ID[::-1])


def test_services_only_on_request() -> None:
    assert recognise("/system.slice/ssh.service") is None
    found = recognise("/system.slice/ssh.service", services=True)
    assert found is not None
    assert (found.name, found.kind) == ("ssh", ContainerKind.SERVICE)


def test_a_users_manager_is_no_service_and_keeps_its_own() -> None:
    manager = "/user.slice/user-1000.slice/user@1000.service"
    assert recognise(manager, services=True) is None
    assert recognise(f"{manager}/init.scope", services=True) is None
    service = recognise(f"{manager}/app.slice/sync.service/x", services=True)
    container = recognise(f"{manager}/user.slice/libpod-{ID}.scope", services=True)
    assert service is not None
    assert container is not None
    assert (service.name, service.cgroup) == ("sync", f"{manager}/app.slice/sync.service")
    assert (container.id, container.kind) == (ID, ContainerKind.CONTAINER)


def test_a_container_in_a_service_is_a_container() -> None:
    found = recognise(f"/system.slice/box.service/docker-{ID}.scope", services=True)
    assert found is not None
    assert (found.id, found.kind) == (ID, ContainerKind.CONTAINER)


def test_units_are_unescaped() -> None:
    assert unescape(r"a\x2db\x40c") == "a-b@c"


@pytest.mark.parametrize("mode", [Mode.V1, Mode.V2, Mode.HYBRID])
def test_a_tree(tmp_path: Path, mode: Mode) -> None:
    machine = FakeMachine(tmp_path, mode)
    machine.looks_from("/mine/" + ID)
    machine.live(10, f"/docker/{ID[::-1]}/inner", 7)
    machine.live(11, f"/docker/{ID[::-1]}", 1)
    machine.live(12, "/mine/" + ID)
    machine.live(13, "/plain")
    (one,) = machine.scanner().scan()  # and never what holds ourselves
    assert (one.identity.id, one.pid, one.identity.cgroup) == (ID[::-1], 11, f"/docker/{ID[::-1]}")
    assert one.command == ("/bin/web", "--port", "1")


def test_a_found_namespace_has_the_v1_cgroup_that_is_its_own_and_not_that_of_its_daemon(tmp_path: Path) -> None:
    """What is frozen, killed and limited by this path is the cgroup of the container, never all of the daemon's."""
    proc = tmp_path / "proc"
    v1, unified = tmp_path / "pids" / "box", tmp_path / "v2" / "system.slice" / "other.service"
    for directory, members in ((v1, "10\n"), (unified, "5\n10\n")):
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(members)
    for pid, space in (("self", "home"), ("10", "inner")):
        (proc / pid / "ns").mkdir(parents=True)
        (proc / pid / "ns" / "pid").symlink_to(f"pid:[{space}]")
    (proc / "self" / "cgroup").write_text("1:pids:/\n0::/mine\n")
    (proc / "10" / "cgroup").write_text("1:pids:/box\n0::/system.slice/other.service\n")
    (proc / "10" / "status").write_text("PPid:\t5\nNSpid:\t10\t1\n")
    (proc / "10" / "stat").write_text("10 (x) S " + "1 " * 18 + "100 0\n")
    hierarchies = Hierarchies(Mode.HYBRID, {"pids": Mount(tmp_path / "pids")}, Mount(tmp_path / "v2"))
    (one,) = Scanner(hierarchies=hierarchies, proc=proc).scan()
    assert (one.pid, one.identity.cgroup, one.shares) == (10, "/box", False)


def container(engine: str, identity: str, pid: int | None, found: str = "") -> Container:
    return Container(ContainerRef(engine, identity), "x", "", State.RUNNING, pid=pid, found=found)


def test_what_an_engine_lists_is_not_shown_twice() -> None:
    docker = container("docker", ID, 5)
    rows = [
        docker,
        container("found", ID, 5, "cgroup"),
        container("found", "b" * 64, 5, "pid"),
        container("found", "c" * 64, 6, "x"),
    ]
    everything = {row.ref: row for row in rows}
    assert [ref.id for ref in unclaimed(everything)] == [ID, "c" * 64]
    assert list(unclaimed(everything, wait=True)) == [docker.ref]


def test_an_id_with_a_namespace_hides_the_found_container() -> None:
    row = container("containerd", f"k8s.io/{ID}", None)
    found = container("found", ID, 9, "cgroup")
    assert list(unclaimed({row.ref: row, found.ref: found})) == [row.ref]


def test_two_containers_without_their_own_cgroup_are_not_merged() -> None:
    first, second = (
        replace(container("found", each * 64, pid, "pid"), cgroup=NO_OWN) for each, pid in (("a", 5), ("b", 6))
    )
    docker = container("docker", ID, 6)
    assert list(unclaimed({row.ref: row for row in (first, second, docker)})) == [first.ref, docker.ref]
