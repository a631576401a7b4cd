"""What a group uses, and which cgroup is its own."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from collectors.sampling import shared_cgroups
from collectors.sampling import totals as groups
from collectors.sampling.frame import Frame, HostUsage, IoRates, NetRates, Usage
from collectors.sampling.metrics import METRICS
from runtime import limits
from runtime.errors import RefusedError
from runtime.kernel import cgroupfs
from runtime.kernel.cgroupfs import Hierarchies, Mode, Mount
from runtime.limits.lock import change_lock
from runtime.model import (
    UNLIMITED,
    Container,
    ContainerRef,
    GroupKind,
    GroupRef,
    LimitChange,
    LimitOutcome,
    Missing,
    Ref,
    State,
)
from tui.core.groups import Groups
from tui.core.hosts.local import LocalHost
from tui.core.subject import Group

A, B, C = (ContainerRef("x", name) for name in "abc")


def usage(**more: object) -> Usage:
    known: dict[str, object] = {id: 1 for id, metric in METRICS.items() if metric.summable and id in Usage._fields}
    known |= {"io": IoRates(1.0, 2.0, 3.0, 4.0), "net": NetRates(1.0, 2.0, 0.0, 0.0, 0.0, 0.0)}
    return Usage(at_ns=5, **(known | more))  # type: ignore[arg-type]


def total(usages: dict[Ref, Usage], networks: dict[Ref, int] | None = None) -> Usage:
    found = groups.total(usages, [A, B], networks or {})
    assert found is not None
    return found


def test_numbers_are_summed_and_what_has_no_sum_is_missing() -> None:
    found = total({A: usage(cpu=0.5, memory=10), B: usage(cpu=0.25, memory=5)})
    assert (found.cpu, found.memory, found.pids, found.io) == (0.75, 15, 2, IoRates(2.0, 4.0, 6.0, 8.0))
    assert found.throttled_share is Missing.UNSUPPORTED
    assert found.memory_peak is Missing.UNSUPPORTED


def test_a_part_of_a_sum_is_no_sum() -> None:
    found = total({A: usage(memory=Missing.DENIED), B: usage(memory=5)})
    assert found.memory is Missing.DENIED
    assert found.cpu == 2
    assert total({A: usage()}).cpu is Missing.NOT_SAMPLED  # B lives, and was not measured
    assert groups.total({}, [A, B], {}) is None


def test_one_without_a_limit_leaves_the_group_without() -> None:
    assert total({A: usage(memory_limit=5), B: usage(memory_limit=UNLIMITED)}).memory_limit is UNLIMITED
    assert total({A: usage(memory_limit=5), B: usage(memory_limit=6)}).memory_limit == 11


def test_the_network_is_counted_once_per_namespace() -> None:
    pod = total({A: usage(), B: usage()}, {A: 7, B: 7})
    apart = total({A: usage(), B: usage()}, {A: 7, B: 8})
    assert isinstance(pod.net, NetRates)
    assert isinstance(apart.net, NetRates)
    assert (pod.net.tx_bytes, apart.net.tx_bytes) == (2.0, 4.0)


def test_the_hosts_network_is_nobodys() -> None:
    shared = {"net": Missing.UNSUPPORTED, "net_shared": True}
    assert total({A: usage(**shared), B: usage(**shared)}).net_shared
    mixed = total({A: usage(**shared), B: usage()})
    assert isinstance(mixed.net, NetRates)
    assert not mixed.net_shared


def test_what_a_group_of_too_many_processes_wrote_is_the_sum_of_its_members() -> None:
    members = {A: usage(), B: usage()}
    unknown = IoRates(9.0, Missing.UNSUPPORTED, 9.0, 9.0)
    assert groups.io_with_writes(unknown, members, [A, B]) == IoRates(9.0, 4.0, 9.0, 9.0)
    assert groups.io_with_writes(unknown, members, [A, B, C]) == unknown  # C was not measured
    assert groups.io_with_writes(IoRates(9.0, 5.0, 9.0, 9.0), members, [A, B]) == IoRates(9.0, 5.0, 9.0, 9.0)
    assert groups.io_with_writes(Missing.DENIED, members, [A, B]) is Missing.DENIED


def test_a_group_measured_in_its_own_cgroup_has_network_and_missing_writes_of_its_members() -> None:
    shop = GroupRef(GroupKind.COMPOSE, "shop", "x")
    group = Group(shop, (A, B), "/shop", live=2, pid=3)
    observer = Groups(lambda: None)
    observer.inventory({ref: Container(ref, ref.id, "image", State.RUNNING, group=shop) for ref in (A, B)})
    observer.groups = {shop: group}
    inner = {"docker0": NetRates(1.0, 1.0, 0.0, 0.0, 0.0, 0.0)}
    own = usage(cpu=7.0, io=IoRates(9.0, Missing.UNSUPPORTED, 9.0, 9.0), net_interfaces=inner, net_internal=inner)
    seen = Frame(1, 1, 1, 1, 0, HostUsage(ncpu=1), usages={A: usage(), B: usage(), shop: own})
    frame = observer.observe(None, seen)
    assert frame is not None
    found = frame.usages[shop]
    assert (found.cpu, found.io) == (7.0, IoRates(9.0, 4.0, 9.0, 9.0))
    assert found.net == NetRates(2.0, 4.0, 0.0, 0.0, 0.0, 0.0)
    assert (found.net_interfaces, found.net_internal) == ({}, {})


def tree(top: Path, **processes: str) -> Hierarchies:
    """A unified tree: cgroup path (with "__" for "/") to the text of its cgroup.procs."""
    for path, text in processes.items():
        directory = top / path.replace("__", "/")
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(text)
    return Hierarchies(Mode.V2, {}, Mount(top))


def test_a_parent_that_holds_only_members_is_the_groups_own(tmp_path: Path) -> None:
    found = tree(tmp_path, shop="", shop__a="1\n", shop__b="2\n", shop__b__inner="3\n")
    assert shared_cgroups.cgroup_of_group(["/shop/a", "/shop/b"], found) == "/shop"
    assert shared_cgroups.cgroup_of_group(["/shop/b"], found) == ""  # a runs there too


def test_a_process_beside_the_members_takes_it_away(tmp_path: Path) -> None:
    found = tree(tmp_path, shop="", shop__a="1\n", shop__b="2\n")
    (tmp_path / "shop/cgroup.procs").write_text("99\n")
    assert shared_cgroups.cgroup_of_group(["/shop/a", "/shop/b"], found) == ""


@pytest.mark.parametrize("monitor", ["conmon", "libpod-conmon-0a1b.scope", "crio-conmon-0a1b"])
def test_the_monitors_of_a_pods_containers_do_not_take_it_away(tmp_path: Path, monitor: str) -> None:
    found = tree(tmp_path, pod="", pod__a="1\n")
    (tmp_path / "pod" / monitor).mkdir()
    (tmp_path / "pod" / monitor / "cgroup.procs").write_text("99\n")
    assert shared_cgroups.cgroup_of_group(["/pod/a"], found) == "/pod"


def test_what_an_engine_uses_for_all_is_nobodys_own(tmp_path: Path) -> None:
    found = tree(tmp_path, docker="", docker__a="1\n", docker__b="2\n")
    assert shared_cgroups.cgroup_of_group(["/docker/a", "/docker/b"], found) == ""
    assert shared_cgroups.chosen_parent("/docker/a") == ""
    assert shared_cgroups.chosen_parent("/batch.slice/docker-a.scope") == "/batch.slice"


def test_a_root_may_be_a_whole_path(tmp_path: Path) -> None:
    found = tree(tmp_path, jobs="", jobs__a="1\n", jobs__b="2\n")
    assert shared_cgroups.cgroup_of_group(["/jobs/a", "/jobs/b"], found) == "/jobs"
    assert shared_cgroups.cgroup_of_group(["/jobs/a", "/jobs/b"], found, {"/jobs"}) == ""
    assert shared_cgroups.chosen_parent("/jobs/a", {"/jobs"}) == ""
    assert shared_cgroups.chosen_parent("/x/jobs/a", {"/jobs"}) == "/x/jobs"


def test_another_instance_of_the_embedded_engine_has_its_own_root() -> None:
    assert shared_cgroups.chosen_parent("/pytop-demo-1a2b/a") == ""


async def test_where_nobody_chose_to_put_them_they_are_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tree(tmp_path, jobs="", jobs__a="1\n", jobs__b="2\n", batch="", batch__a="3\n", batch__b="4\n")
    paths = {ContainerRef("x", path): path for path in ("/jobs/a", "/jobs/b", "/batch/a", "/batch/b")}
    monkeypatch.setattr(cgroupfs, "detect", lambda: machine)
    monkeypatch.setattr(shared_cgroups, "cgroup_paths", lambda *_: shared_cgroups.CgroupPaths(paths))
    shop = GroupRef(GroupKind.COMPOSE, "shop", "x")
    everything = {
        ref: Container(
            *(ref, path, "", State.RUNNING),
            pid=5,
            placed=path.startswith("/batch") or path == "/jobs/b",
            group=shop if path.startswith("/jobs") else None,
        )
        for ref, path in paths.items()
    }
    groups = Groups(lambda: None)
    groups.inventory(everything)
    await groups.refresh()
    assert {ref.name: group.cgroup for ref, group in groups.groups.items()} == {"shop": "", "batch": "/batch"}


def test_members_far_apart_have_nothing_in_common(tmp_path: Path) -> None:
    found = tree(tmp_path, one="", one__a="1\n", two="", two__b="2\n")
    assert shared_cgroups.cgroup_of_group(["/one/a", "/two/b"], found) == ""


def machine_of(monkeypatch: pytest.MonkeyPatch, top: Path, **processes: str) -> Group:
    """A group with a cgroup of its own on a machine that has only this."""
    machine = tree(top, **processes)
    monkeypatch.setattr(cgroupfs, "detect", lambda: machine)
    return Group(GroupRef(GroupKind.SLICE, "batch"), (A, B), "/batch", live=2, pid=3)


async def test_a_group_in_which_this_program_was_started_is_not_limited_nor_its_memory_reclaimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = machine_of(monkeypatch, tmp_path, batch="", batch__a="3\n", batch__b=f"{os.getppid()}\n")
    for name in ("change", "shrink"):
        monkeypatch.setattr(limits, name, lambda *_, **__: pytest.fail("done"))
    with pytest.raises(RefusedError, match="this program runs in there"):
        await LocalHost([]).change_group_limits(group, LimitChange(pids=9))
    with pytest.raises(RefusedError, match="this program runs in there"):
        await LocalHost([]).reclaim(group, 1, lambda _: None, threading.Event())


async def test_limits_of_a_group_are_changed_by_one_client_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = machine_of(monkeypatch, tmp_path, batch="", batch__a="3\n", batch__b="4\n")
    done: list[LimitChange] = []

    def change(ref: Ref, _cgroup: object, asked: LimitChange, **_: object) -> LimitOutcome:
        done.append(asked)
        return LimitOutcome(ref, ())

    monkeypatch.setattr(limits, "change", change)
    host = LocalHost([])
    cgroup = host.inspection.cgroup(group)
    async with change_lock(cgroup, "another client"):
        waiting = asyncio.create_task(host.change_group_limits(group, LimitChange(pids=9)))
        await asyncio.sleep(0.1)
        assert not done, "written while another client held the lock"
    assert (await waiting).ref == group.ref
    assert done == [LimitChange(pids=9)]


def test_a_ref_of_a_group_is_never_one_of_a_container() -> None:
    group = GroupRef(GroupKind.COMPOSE, "shop", "docker")
    assert len({group, ContainerRef("docker", group.id), ContainerRef(*group[:3])}) == 3
    assert group.id == "compose:docker:shop"
    assert GroupRef(GroupKind.SLICE, "a.slice/b").short == "b"
