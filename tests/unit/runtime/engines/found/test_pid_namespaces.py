"""Containers by their PID namespaces and virtual machines by their emulators, on trees of files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime.engines.found.scan import FoundContainer, Scanner
from runtime.kernel.cgroupfs import Mode
from runtime.kernel.own_cgroup import NO_OWN
from runtime.model import ContainerKind
from tests.unit.fake_machine import OLD, FakeMachine

ID = "0123456789abcdef" * 4
BOX, INNER = "pid:[2]", "pid:[3]"


@pytest.fixture(params=[Mode.V1, Mode.V2, Mode.HYBRID])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> FakeMachine:
    return FakeMachine(tmp_path, request.param)


def only(scanner: Scanner) -> FoundContainer:
    (one,) = scanner.scan()
    return one


def test_a_cgroup_in_which_only_they_are_is_their_own(machine: FakeMachine) -> None:
    machine.live(10, "/job/a", 1, space=BOX)
    machine.live(11, "/job/b", 2, space=BOX, parent=10)
    one = only(machine.scanner())
    assert (one.pid, one.identity.kind, one.identity.cgroup, one.shares) == (10, ContainerKind.CONTAINER, "/job", False)
    assert (one.identity.name, one.identity.found) == ("web-10", "its PID namespace")


def test_containers_that_share_a_cgroup_have_none_of_their_own(machine: FakeMachine) -> None:
    machine.live(9, "/job")
    machine.live(10, "/job", 1, space=BOX)
    one = only(machine.scanner())
    assert (one.identity.cgroup, one.shares, one.frozen) == (NO_OWN, True, False)
    assert one.identity.found == "its PID namespace; it shares its cgroup with other processes"


def test_in_the_root_there_is_no_cgroup_of_its_own(machine: FakeMachine) -> None:
    machine.live(10, "/", 1, space=BOX)
    assert only(machine.scanner()).identity.cgroup == NO_OWN


def test_two_below_one_cgroup_do_not_own_it(machine: FakeMachine) -> None:
    machine.live(10, "/job/a", 1, space=BOX)
    machine.live(20, "/job", 1, space="pid:[4]")
    found = {one.pid: one.identity.cgroup for one in machine.scanner().scan()}
    assert found == {10: "/job/a", 20: NO_OWN}


@pytest.mark.parametrize(
    ("command", "cgroup"), [("unshare -p -f x", "/job"), ("/usr/bin/bwrap x", "/job"), ("sh", NO_OWN)]
)
def test_the_parent_of_a_namespaces_init_belongs_to_it(machine: FakeMachine, command: str, cgroup: str) -> None:
    machine.live(9, "/job", command=command)
    machine.live(10, "/job", 1, space=BOX, parent=9)
    assert only(machine.scanner()).identity.cgroup == cgroup


def test_a_process_that_entered_by_nsenter_is_ignored(machine: FakeMachine) -> None:
    """A shell that nsenter has started is in the namespace, and its cgroup is that of whoever typed it."""
    machine.live(9, "/user.slice/session-2.scope")
    machine.live(10, "/job", 1, space=BOX)
    machine.live(11, "/user.slice/session-2.scope", 5, space=BOX, parent=9)
    machine.live(12, "/job", 6, space=BOX, parent=9)
    assert only(machine.scanner()).identity.cgroup == "/job"


def test_a_namespace_inside_is_a_part_of_it(machine: FakeMachine) -> None:
    machine.live(10, "/job", 1, space=BOX)
    machine.live(11, "/job/inner", 2, 1, space=INNER, parent=10)
    one = only(machine.scanner())
    assert (one.pid, one.identity.cgroup) == (10, "/job")


def test_another_users_namespace_is_known_by_its_numbers(machine: FakeMachine) -> None:
    machine.live(10, "/job", 1, space=None)
    machine.live(11, "/job", 2, space=None, parent=10)
    machine.live(12, "/other", space=None)  # in ours
    one = only(machine.scanner())
    assert (one.pid, one.identity.cgroup) == (10, "/job")


def test_a_cgroup_name_takes_precedence_over_a_namespace(machine: FakeMachine) -> None:
    machine.live(10, f"/docker/{ID}", 1, space=BOX)
    assert only(machine.scanner()).identity.id == ID


def test_ended_and_new_containers_are_noticed_at_the_next_scan(machine: FakeMachine) -> None:
    scanner = machine.scanner()
    machine.live(10, "/job", 1, space=BOX)
    before = only(scanner)
    (machine.proc / "10" / "stat").write_text("10 (x) Z " + "1 " * 18 + f"{OLD} 0\n")
    machine.live(20, "/new", 1, space=INNER)
    after = only(scanner)
    assert (before.pid, after.pid) == (10, 20)
    assert before.identity.id != after.identity.id


def test_a_number_that_is_used_again_is_another_container(machine: FakeMachine) -> None:
    machine.live(10, "/job", 1, space=BOX)
    before = only(machine.scanner())
    (machine.proc / "10" / "stat").write_text("10 (x) S " + "1 " * 18 + f"{OLD + 1} 0\n")
    assert only(machine.scanner()).identity.id != before.identity.id


def test_the_name_follows_the_exec_of_the_first_process(machine: FakeMachine) -> None:
    scanner = machine.scanner()
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    machine.live(10, "/job", 1, space=BOX, command="unshare --pid sleep 9", born=now)
    assert only(scanner).identity.name == "unshare-10"
    (machine.proc / "10" / "cmdline").write_bytes(b"sleep\x009\0")
    assert only(scanner).identity.name == "sleep-10"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/qemu-system-x86_64 -m 64 -name guest=db,debug-threads=on", "db"),
        ("qemu-system-aarch64 -name web", "web"),
        ("/usr/libexec/qemu-kvm -m 64", "qemu-kvm-10"),
        ("firecracker --id x", "firecracker-10"),
    ],
)
def test_an_emulator_is_a_virtual_machine(machine: FakeMachine, command: str, name: str) -> None:
    machine.live(10, "/vm", command=command)
    one = only(machine.scanner())
    assert (one.identity.name, one.identity.kind, one.identity.cgroup) == (name, ContainerKind.VM, "/vm")
    assert one.identity.found == "its emulator's process"


def test_an_emulator_in_a_shells_cgroup_has_none_of_its_own(machine: FakeMachine) -> None:
    machine.live(9, "/user.slice/session-2.scope", command="bash")
    machine.live(10, "/user.slice/session-2.scope", parent=9, command="qemu-system-x86_64 -m 64")
    assert only(machine.scanner()).shares


def test_services_leave_out_the_containers_in_them(machine: FakeMachine) -> None:
    machine.live(10, "/system.slice/box.service", command="boxd")
    machine.live(9, f"/system.slice/box.service/docker-{ID}.scope", 1, space=BOX, born=OLD - 1)
    machine.live(20, "/user.slice/user-5.slice/user@5.service/init.scope", command="systemd --user")
    machine.live(21, f"/user.slice/user-5.slice/user@5.service/user.slice/libpod-{ID[::-1]}.scope", 1, space=INNER)
    found = {(one.identity.name, one.identity.kind): one.pid for one in machine.scanner(services=True).scan()}
    assert found == {
        ("box", ContainerKind.SERVICE): 10,
        (f"docker-{ID[:12]}", ContainerKind.CONTAINER): 9,
        (f"podman-{ID[::-1][:12]}", ContainerKind.CONTAINER): 21,
    }


def test_a_service_in_a_namespace_of_its_own_is_one_row(machine: FakeMachine) -> None:
    machine.live(10, "/system.slice/private.service", 1, space=BOX)
    assert [one.identity.kind for one in machine.scanner(services=True).scan()] == [ContainerKind.SERVICE]
    assert [one.identity.kind for one in machine.scanner().scan()] == [ContainerKind.CONTAINER]


def test_a_cgroup_whose_processes_cannot_be_read_is_no_own_cgroup(machine: FakeMachine) -> None:
    machine.live(10, "/job", 1, space=BOX)
    machine.hide_processes("/job")
    assert only(machine.scanner()).identity.cgroup == NO_OWN
