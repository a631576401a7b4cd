"""Which unit a cgroup is, how a limit becomes a property, and what systemd's answers are turned into."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields, Message, MessageType, Parser, new_error, new_method_return

from runtime import limits
from runtime.errors import (
    DeniedError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from runtime.kernel import cgroupfs, systemd, systemd_dbus
from runtime.kernel.cgroupfs import Cgroup, Hierarchies, Mode, Mount
from runtime.kernel.systemd import Unit, unit_of
from runtime.kernel.systemd_dbus import Manager
from runtime.limits.systemd import route
from runtime.limits.systemd.properties import INFINITY, TRANSLATIONS, bandwidth, holds
from runtime.model import UNLIMITED, ContainerRef, LimitChange, LimitName, Verdict
from tests.unit.fake_kernel import FakeKernel

REF = ContainerRef("found", "docker-1.scope")
MB = 1 << 20
UNIT = Unit("docker-1.scope", "/system.slice/docker-1.scope")


@pytest.mark.parametrize(
    ("cgroup", "name", "uid"),
    [
        ("/system.slice/docker-4f1a.scope", "docker-4f1a.scope", None),
        ("/system.slice", "system.slice", None),
        ("/system.slice/ssh.service", "ssh.service", None),
        ("/machine.slice/libpod-9.scope", "libpod-9.scope", None),
        ("/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope", "cri-containerd-1.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service", "user@1000.service", None),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-9.scope", "libpod-9.scope", 1000),
        ("/system.slice/_cpu.slice", "cpu.slice", None),
    ],
)
def test_a_unit_is_known_by_its_cgroup(cgroup: str, name: str, uid: int | None) -> None:
    assert unit_of(cgroup) == Unit(name, cgroup, uid)


@pytest.mark.parametrize(
    "cgroup",
    [
        "/",
        "",
        "/pytop-containers/4f1a",
        "/docker/4f1a",
        "/system.slice/.scope",
        "/machine.slice/libpod-9.scope/container",
        "/machine.slice/machine-a.scope/payload/system.slice/ssh.service",  # of the systemd in there
        "/system.slice/docker-1.scope/init.scope",
        "/user.slice/user@x.service/a.scope",
        "/user.slice/user@1.service/user@2.service/a.scope",
    ],
)
def test_delegated_and_unmanaged_cgroups_are_no_units(cgroup: str) -> None:
    assert unit_of(cgroup) is None


def test_the_object_path_of_a_unit() -> None:
    assert UNIT.path == "/org/freedesktop/systemd1/unit/docker_2d1_2escope"
    assert Unit("1a.slice", "/1a.slice").path == "/org/freedesktop/systemd1/unit/_31a_2eslice"
    assert UNIT.interface == "org.freedesktop.systemd1.Scope"


class Bus:
    """systemd's private socket, as far as it is spoken to here. `answers` sees each call and may refuse it."""

    def __init__(self, path: Path) -> None:
        self.properties: dict[str, Any] = {
            "ControlGroup": ("s", UNIT.cgroup),
            "Version": ("s", "252.39-1~deb12u2"),
            "MemoryLow": ("t", 0),
        }
        self.sets: list[dict[str, Any]] = []
        self.refuse: tuple[str, str] | None = None
        self.busy: Callable[[], None] = lambda: None
        self.idle = threading.Event()
        self.connection: socket.socket | None = None
        self.greeting = b"OK 0123456789abcdef0123456789abcdef\r\n"
        self.acts: Callable[[dict[str, Any]], None] = lambda properties: None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(BrokenPipeError, ConnectionResetError):
                self.connection = connection
                hello = connection.recv(1024)
                assert hello.startswith(b"\0AUTH EXTERNAL ")
                assert hello.endswith(b"\r\nBEGIN\r\n")
                connection.sendall(self.greeting)
                parser = Parser()
                while data := connection.recv(65536):
                    parser.add_data(data)
                    while (message := parser.get_next_message()) is not None:
                        answer = self._answer(message).serialise(serial=1)
                        with suppress(BrokenPipeError):  # what was asked for by who has gone is done all the same
                            connection.sendall(answer)
            self.idle.set()

    def _answer(self, message: Message) -> Message:
        member = message.header.fields[HeaderFields.member]
        if self.refuse is not None and member == "SetUnitProperties":
            return new_error(message, f"org.freedesktop.{self.refuse[0]}", "s", (self.refuse[1],))
        if member == "Get":
            unset = ("t", INFINITY)
            return new_method_return(message, "v", (self.properties.get(message.body[1], unset),))
        assert message.header.message_type is MessageType.method_call
        self.busy()
        name, runtime, properties = message.body
        assert (name, runtime) == (UNIT.name, True)
        self.sets.append({key: value for key, (_, value) in properties})
        self.acts(self.sets[-1])
        return new_method_return(message)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    booted = tmp_path / "system"
    booted.mkdir()
    monkeypatch.setattr(systemd, "BOOTED", booted)
    monkeypatch.setattr(systemd_dbus, "SYSTEM_SOCKET", tmp_path / "private")
    monkeypatch.setattr(systemd_dbus, "SYSTEM_BUS", tmp_path / "none")
    monkeypatch.setattr(route, "SETTLE_TIMEOUT_S", 0.05)
    served = Bus(tmp_path / "private")
    yield served
    served.close()


@pytest.fixture
def kernel(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A pure v2 host on which systemd writes what it is asked to."""
    (tmp_path / "kernel").mkdir()
    made = FakeKernel(tmp_path / "kernel", Mode.V2, monkeypatch)
    made.cgroup("system.slice")
    own = made.cgroup("system.slice/docker-1.scope").unified
    assert own
    monkeypatch.setattr(cgroupfs, "detect", lambda: made.hierarchies)
    monkeypatch.setattr(systemd, "TREE", tmp_path / "kernel" / "unified")
    files = {
        "MemoryMax": "memory.max",
        "MemoryHigh": "memory.high",
        "MemoryLow": "memory.low",
        "MemorySwapMax": "memory.swap.max",
        "TasksMax": "pids.max",
        "CPUWeight": "cpu.weight",
    }

    def act(properties: dict[str, Any]) -> None:
        for key, value in properties.items():
            if key in files:
                made.put(own / files[key], "max" if value == INFINITY else str(value))
        if "IOWeight" in properties:
            weight = properties["IOWeight"]
            made.put(own / "io.weight", f"default {weight}")
            made.put(own / "io.bfq.weight", f"default {weight if weight <= 100 else 100 + (weight - 100) // 11}")
        if "CPUQuotaPerSecUSec" in properties:
            rate, period = properties["CPUQuotaPerSecUSec"], properties["CPUQuotaPeriodUSec"]
            quota = "max 100000" if rate == INFINITY else f"{rate * period // 1_000_000} {period}"
            made.put(own / "cpu.max", quota)

    bus.acts = act
    return made


def change(kernel: FakeKernel, **fields: Any) -> limits.LimitOutcome:
    cgroup = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup)
    return limits.change(REF, cgroup, LimitChange(**fields), force=True)


def test_a_change_of_a_unit_goes_through_systemd_alone(bus: Bus, kernel: FakeKernel) -> None:
    kernel.writes.clear()
    outcome = change(kernel, cpus=0.5, memory=64 * MB, memory_high=UNLIMITED, pids=50)
    assert outcome.ok, outcome
    assert kernel.writes == []
    asked = {key: value for properties in bus.sets for key, value in properties.items()}
    assert asked == {
        "CPUQuotaPerSecUSec": 500_000,
        "CPUQuotaPeriodUSec": 100_000,
        "MemoryMax": 64 * MB,
        "MemoryHigh": INFINITY,
        "TasksMax": 50,
    }
    assert all("by systemd, until docker-1.scope ends" in field.detail for field in outcome.fields)


def test_values_unknown_to_systemd_are_sent_with_a_change_of_another_limit(bus: Bus, kernel: FakeKernel) -> None:
    own = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup).unified
    assert own
    kernel.put(own / "memory.high", str(32 * MB))
    kernel.put(own / "cpu.max", "40000 100000")
    assert change(kernel, memory=64 * MB).ok
    assert bus.sets == [{"MemoryHigh": 32 * MB}, {"MemoryMax": 64 * MB}]


def test_an_idle_class_that_was_set_without_systemd_is_recorded_with_the_next_change(
    bus: Bus, kernel: FakeKernel
) -> None:
    own = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup).unified
    assert own
    kernel.put(own / "cpu.idle", "1")
    kernel.put(own / "cpu.weight", "0")
    kernel.put(own / "memory.high", str(32 * MB))
    assert change(kernel, cpus=0.5, memory=64 * MB).ok
    quota = {"CPUQuotaPeriodUSec": 100_000, "CPUQuotaPerSecUSec": 500_000}
    assert bus.sets == [{"CPUWeight": 0}, {"MemoryHigh": 32 * MB}, quota, {"MemoryMax": 64 * MB}]
    bus.sets.clear()
    bus.properties["CPUWeight"] = ("t", 0)
    assert change(kernel, cpus=0.4).ok
    assert [list(each) for each in bus.sets] == [list(quota)]
    bus.sets.clear()
    bus.properties |= {"CPUWeight": ("t", INFINITY), "Version": ("s", "251")}  # which knows of no such class
    assert change(kernel, cpus=0.5).ok
    assert bus.sets == [quota]


def test_a_limit_without_a_property_is_written_and_reported(bus: Bus, kernel: FakeKernel) -> None:
    outcome = change(kernel, cpus=0.5, cpu_burst=20_000)
    assert outcome.ok, outcome
    burst = next(field for field in outcome.fields if field.name is LimitName.CPU_BURST)
    assert "systemd has nothing for cpu.max.burst" in burst.detail
    bus.properties["Version"] = ("s", "v251 (251.4)")
    outcome = change(kernel, cpu_idle=True)
    assert outcome.ok, outcome
    assert "systemd has nothing for cpu.idle" in outcome.fields[0].detail


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"cpus": 0.5, "memory": MB}, RefusedError),
        ({"cpus": 0.5, "cpuset_cpus": "4095"}, RefusedError),
        ({"cpus": 0.5, "io_weight": 300}, UnsupportedError),
        ({"cpus": 0.5}, None),
    ],
)
def test_a_controller_is_asked_for_only_when_the_change_is_to_be_made(
    bus: Bus, kernel: FakeKernel, fields: dict[str, Any], error: type[Exception] | None
) -> None:
    own = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup).unified
    assert own
    kernel.put(own / "cgroup.controllers", "memory pids")
    for directory in (own, own.parent):
        for name in ("io.weight", "io.bfq.weight"):  # a kernel without either
            (directory / name).unlink()
    act = bus.acts

    def give(properties: dict[str, Any]) -> None:
        if "CPUWeight" in properties:
            kernel.put(own / "cgroup.controllers", "cpu memory pids")
        act(properties)

    bus.acts = give
    cgroup = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup)
    assert cgroup.where("cpu") is None
    if error is not None:
        with pytest.raises(error):
            limits.change(REF, cgroup, LimitChange(**fields))
        assert bus.sets == []
        return
    outcome = limits.change(REF, cgroup, LimitChange(**fields))
    assert outcome.ok, outcome
    assert [list(each) for each in bus.sets] == [["CPUWeight"], ["CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec"]]


def test_a_controller_that_systemd_does_not_give_stays_missing(bus: Bus, kernel: FakeKernel) -> None:
    own = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup).unified
    assert own
    kernel.put(own / "cgroup.controllers", "memory pids")
    bus.refuse = ("DBus.Error.AccessDenied", "no")
    with pytest.raises(UnsupportedError, match="does not offer it"):
        change(kernel, cpus=0.5)


def test_the_bfq_weight_of_systemd_is_reported(bus: Bus, kernel: FakeKernel) -> None:
    outcome = change(kernel, io_weight=200)
    assert outcome.ok, outcome
    assert bus.sets == [{"IOWeight": 200}]
    assert outcome.fields[0].detail.endswith("disks with the BFQ scheduler go by io.bfq.weight, and that holds 109")
    assert "io.bfq.weight" not in change(kernel, io_weight=50).fields[0].detail
    own = cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup).unified
    assert own
    (own / "io.weight").unlink()
    bus.acts = lambda properties: kernel.put(own / "io.bfq.weight", "default 200")
    outcome = change(kernel, io_weight=200)  # where BFQ's is all there is, it has what was asked for
    assert outcome.ok, outcome
    assert bus.sets[-1] == {"IOWeight": 1200}
    assert "io.bfq.weight" not in outcome.fields[0].detail


def test_what_systemd_takes_and_does_not_do_is_taken_back(bus: Bus, kernel: FakeKernel) -> None:
    act = bus.acts
    bus.acts = lambda properties: None if "MemoryMax" in properties else act(properties)
    outcome = change(kernel, pids=50, memory=64 * MB)
    assert {field.name: field.verdict for field in outcome.fields} == {
        LimitName.PIDS: Verdict.ROLLED_BACK,
        LimitName.MEMORY: Verdict.FAILED,
    }
    assert "systemd took it, and memory.max holds max" in outcome.error
    assert bus.sets == [
        {"TasksMax": 50},
        {"MemoryMax": 64 * MB},
        {"MemoryMax": INFINITY},
        {"TasksMax": INFINITY},
    ]


@pytest.mark.parametrize("answers", [True, False])
def test_what_a_busy_systemd_may_do_later_is_reverted_and_reported(
    bus: Bus, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """As while it is being reloaded: what it was asked for is in its queue, and nobody can take it out again."""
    monkeypatch.setattr(systemd_dbus, "ANSWER_TIMEOUT_S", 1.0 if answers else 0.2)
    over = threading.Event()

    def busy() -> None:
        if answers and bus.connection is not None:
            select.select([bus.connection], [], [], 20)  # until more is asked for
            bus.busy = lambda: None
        elif not answers:
            over.wait(20)

    bus.busy = busy
    outcome = change(kernel, pids=50)
    assert not outcome.ok
    assert [field.verdict for field in outcome.fields] == [Verdict.FAILED]
    said = "it was set back" if answers else "it may still come, and is set back after it"
    assert outcome.fields[0].detail.endswith(f" s; {said}"), outcome
    bus.idle.clear()
    over.set()
    assert answers or bus.idle.wait(5)
    assert bus.sets == [{"TasksMax": 50}, {"TasksMax": INFINITY}]
    assert limits.read(cgroupfs.at(kernel.hierarchies, {}, UNIT.cgroup)).pids is UNLIMITED


def test_a_systemd_that_is_started_anew_meanwhile_is_asked_again_to_set_back(
    bus: Bus, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once() -> None:
        bus.busy = lambda: None
        raise BrokenPipeError

    bus.busy = once
    outcome = change(kernel, pids=50)
    assert not outcome.ok
    assert outcome.fields[0].detail.endswith("it was set back")
    assert bus.sets == [{"TasksMax": INFINITY}]


def test_a_cgroup_that_is_only_called_like_a_unit_is_written_to(bus: Bus, kernel: FakeKernel) -> None:
    bus.properties["ControlGroup"] = ("s", "/elsewhere.slice/docker-1.scope")
    outcome = change(kernel, pids=50)
    assert outcome.ok
    assert (bus.sets, outcome.fields[0].detail) == ([], "")


def test_a_systemd_that_does_not_answer_is_bypassed_and_that_is_reported(
    bus: Bus, kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_dbus, "SYSTEM_SOCKET", tmp_path / "nobody")
    outcome = change(kernel, pids=50)
    assert outcome.ok
    assert "written past systemd, which could not be asked" in outcome.fields[0].detail


def older(mode: Mode, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A host of systemd's with v1 controllers, where it keeps nothing in the v2 tree."""
    (tmp_path / "kernel").mkdir()
    made = FakeKernel(tmp_path / "kernel", mode, monkeypatch)
    monkeypatch.setattr(cgroupfs, "detect", lambda: made.hierarchies)
    made.cgroup("system.slice")
    return made


@pytest.mark.parametrize("mode", [Mode.V1, Mode.HYBRID])
def test_v1_files_are_written_and_a_note_says_what_systemd_may_overwrite(
    mode: Mode, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = older(mode, bus, tmp_path, monkeypatch)
    cgroup = kernel.cgroup("system.slice/docker-1.scope")
    wanted = LimitChange(cpu_idle=True, cpus=0.5, cpu_burst=20_000, cpuset_cpus="0", memory=64 * MB, pids=50)
    outcome = limits.change(REF, cgroup, wanted, force=True)
    assert outcome.ok, outcome
    assert bus.sets == []
    details = {field.name: field.detail for field in outcome.fields}
    ends = "written to the kernel, until docker-1.scope ends"
    assert details == {
        LimitName.CPU_IDLE: f"on cgroup v1 systemd has nothing for cpu.idle: {ends}",
        LimitName.CPU_BURST: f"on cgroup v1 systemd has nothing for cpu.cfs_burst_us: {ends}",
        LimitName.CPUSET_CPUS: f"on cgroup v1 systemd has nothing for cpuset.cpus: {ends}",
        **{
            name: f"written to the kernel: on cgroup v1 systemd may write its own {file} of docker-1.scope over it "
            "at a daemon-reload"
            for name, file in (
                (LimitName.CPUS, "cpu.cfs_quota_us"),
                (LimitName.MEMORY, "memory.limit_in_bytes"),
                (LimitName.PIDS, "pids.max"),
            )
        },
    }
    bus.properties["ControlGroup"] = ("s", "/elsewhere.slice/docker-1.scope")
    outcome = limits.change(REF, cgroup, LimitChange(pids=51))
    assert (outcome.ok, outcome.fields[0].detail) == (True, "")


@pytest.mark.parametrize("fields", [{"cpu_idle": True}, {"pids": 50}, {"cpuset_cpus": "0"}])
def test_the_daemons_unit_is_not_limited_in_place_of_its_container(
    fields: dict[str, Any], bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a hybrid host runc makes v1 cgroups only, and its processes stay in the unified cgroup of the daemon."""
    kernel = older(Mode.HYBRID, bus, tmp_path, monkeypatch)
    own = kernel.cgroup("docker-abc")
    daemon = tmp_path / "kernel" / "unified" / UNIT.cgroup[1:]
    daemon.mkdir(parents=True)
    outcome = limits.change(REF, Cgroup(own.v1, daemon), LimitChange(**fields))
    assert outcome.ok, outcome
    assert (bus.sets, outcome.fields[0].detail) == ([], "")


def test_a_controller_of_v2_beside_those_of_v1_is_none_that_systemd_knows(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = older(Mode.HYBRID, bus, tmp_path, monkeypatch)
    own = kernel.cgroup("system.slice/docker-1.scope")
    assert own.unified
    kernel.put(own.unified / "io.weight", "default 100")
    cgroup = Cgroup({name: path for name, path in own.v1.items() if name != "blkio"}, own.unified, frozenset({"io"}))
    outcome = limits.change(REF, cgroup, LimitChange(io_weight=300))
    assert outcome.ok, outcome
    assert (bus.sets, outcome.fields[0].detail) == ([], "")


def test_a_v1_controller_mounted_beside_systemds_tree_is_written_directly(
    bus: Bus, kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v1 = tmp_path / "kernel" / "unified" / "pids"  # below the tree, as the older tools want it
    beside = Hierarchies(Mode.HYBRID, {"pids": Mount(v1)}, kernel.hierarchies.unified)
    monkeypatch.setattr(cgroupfs, "detect", lambda: beside)
    (v1 / "system.slice/docker-1.scope").mkdir(parents=True)
    kernel.put(v1 / "system.slice/docker-1.scope/pids.max", "max")
    both = cgroupfs.at(beside, {"pids": UNIT.cgroup}, UNIT.cgroup)
    cgroup = Cgroup(both.v1, both.unified, both.controllers - {"pids"})
    kernel.writes.clear()
    outcome = limits.change(REF, cgroup, LimitChange(pids=50, memory=64 * MB), force=True)
    assert outcome.ok, outcome
    assert (kernel.writes, bus.sets) == ([("pids.max", "50")], [{"MemoryMax": 64 * MB}])
    details = {field.name: field.detail for field in outcome.fields}
    assert "by systemd" in details[LimitName.MEMORY]
    assert "may write its own pids.max" in details[LimitName.PIDS]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("systemd1.NoSuchUnit", NotFoundError),
        ("DBus.Error.AccessDenied", DeniedError),
        ("DBus.Error.InvalidArgs", InvalidError),
    ],
)
def test_a_refusal_has_systemds_message(bus: Bus, name: str, error: type) -> None:
    bus.refuse = (name, "Unit docker-1.scope: no.")
    with Manager(UNIT) as connection, pytest.raises(error, match=r"systemd answered: Unit docker-1\.scope: no\."):
        connection.set(UNIT, [("TasksMax", ("t", 5))])


def test_a_greeting_that_is_refused_and_a_socket_that_is_not_there(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.greeting = b"REJECTED EXTERNAL\r\n"
    with pytest.raises(DeniedError, match="REJECTED"):
        Manager(UNIT)
    monkeypatch.setattr(systemd_dbus, "SYSTEM_SOCKET", tmp_path / "nobody")
    with pytest.raises(UnavailableError):
        Manager(UNIT)


def test_silence_is_bounded(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_dbus, "ANSWER_TIMEOUT_S", 0.05)
    bus.greeting = b"OK"  # and no end of the line
    with pytest.raises(UnavailableError):
        Manager(UNIT)


@pytest.mark.parametrize("quota", [1000, 3333, 9990, 10001, 99999, 123_457])
@pytest.mark.parametrize("period", [1000, 30_000, 100_000, 333_333, 1_000_000])
def test_a_quota_comes_out_of_systemds_arithmetic_as_it_went_in(quota: int, period: int) -> None:
    properties = dict(bandwidth(Path("cpu.max"), f"{quota} {period}"))
    rate = properties["CPUQuotaPerSecUSec"][1]
    assert rate * period // 1_000_000 == quota


@pytest.mark.parametrize(
    ("text", "mask"),
    [("0", b"\x01"), ("0-1,9", b"\x03\x02"), ("64", bytes(8) + b"\x01"), ("\n", b"")],
)
def test_a_list_becomes_a_mask(text: str, mask: bytes) -> None:
    assert TRANSLATIONS["cpuset.cpus"](Path("cpuset.cpus"), text) == [("AllowedCPUs", ("ay", mask))]


def test_a_devices_other_rates_go_with_the_one_that_changes(tmp_path: Path) -> None:
    file = tmp_path / "io.max"
    file.write_text("8:0 rbps=max wbps=1000 riops=max wiops=70\n254:0 rbps=5 wbps=5 riops=5 wiops=5\n")
    properties = dict(TRANSLATIONS["io.max"](file, "8:0 rbps=500"))
    assert {name: value[0][1] for name, (_, value) in properties.items()} == {
        "IOReadBandwidthMax": 500,
        "IOWriteBandwidthMax": 1000,
        "IOReadIOPSMax": INFINITY,
        "IOWriteIOPSMax": 70,
    }


@pytest.mark.parametrize(
    ("name", "held", "text", "same"),
    [
        ("memory.max", "65536", "65537", True),
        ("memory.max", "65536", "131072", False),
        ("cpu.max", "max 100000", "max 30000", True),
        ("cpu.max", "5000 100000", "5000 50000", False),
        ("cpuset.cpus", "0-1", "0,1", True),
        ("io.weight", "default 300\n8:0 50", "300", True),
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=max", "8:0 wbps=max", True),
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=max", "8:0 rbps=max", False),
        ("io.max", "", "8:0 rbps=max", True),
        ("pids.max", "max", "max", True),
    ],
)
def test_whether_the_kernel_holds_it(tmp_path: Path, name: str, held: str, text: str, same: bool) -> None:
    (tmp_path / name).write_text(held)
    assert holds(tmp_path / name, text) is same
