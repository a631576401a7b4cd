"""Runs one life with one fault, and judges what is left."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.process import zygote, zygote_socket
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, cgroups, syscalls
from tests.injection import faults, life
from tests.injection.seam import CLIENT, INIT, SHIM, ZYGOTE, Seam, Site

CHILD_TIMEOUT_S: Final = 45.0
_LEFT_TIMEOUT_S: Final = 5.0
_BACKLOG: Final = 64
SETTLE_S: Final = 1.0
DISK: Final = "pytop-small-disk"
"""The source of mounts that a harness makes itself."""
NOT_MET: Final = "the site was not met again"
NOT_KILLED: Final = "the client was not killed"
ALLOWED: Final = {
    "": {None},
    "list": {None},
    "create": {None, "created"},
    "start": {"created", "running"},
    "log": {"running"},
    "update": {"running"},
    "stop": {"running", "stopping", "exited"},
    "remove": {"exited", None},
    "end": {None},
}
"""The states that a container may be in when its client was stopped in a verb; None: it is not listed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One life: its network, whether its zygote is there already, and the fault; without a site it is recorded."""

    network: str
    warm: bool
    site: Site | None = None
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.fault} | {self.site} | network {self.network}, {'warm' if self.warm else 'cold'}"


@dataclass(slots=True)
class Told:
    """What a child said, by key, and how it ended."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    status: int = 0

    def values(self, key: str) -> list[Any]:
        return [line[key] for line in self.lines if key in line]

    def last(self, key: str, default: Any = None) -> Any:
        return (self.values(key) or [default])[-1]


class Harness:
    """Lives, one after the other; each has an instance of its own, below `folder`."""

    def __init__(self, seam: Seam, folder: Path) -> None:
        self.seam, self.folder = seam, folder
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)

    def record(self, network: str, *, warm: bool) -> list[Site]:
        """The sites of a life without a fault."""
        self.seam.plan = None
        problems = self.run(Case(network, warm))
        if problems:
            raise AssertionError(f"a life without a fault: {problems}")
        return self.seam.sites()

    def run(self, case: Case) -> list[str]:
        """What is wrong after this case."""
        self.seam.plan = None if case.site is None else (case.site, case.fault)
        self.seam.shared.clear()
        config = self.new_config()
        try:
            return self._run(case, config)
        finally:
            self.clean(config)

    def new_config(self) -> EmbeddedConfig:
        tag = secrets.token_hex(3)
        place = self.folder / tag
        return EmbeddedConfig(
            place / "state", place / "run", f"pytop-test-{tag}", f"pt-{tag}", "10.214.0.0/20", idle=120.0
        )

    def _run(self, case: Case, config: EmbeddedConfig) -> list[str]:
        if case.warm:
            self._start_zygote(config)
        enter = partial(self.seam.enter, CLIENT)
        client = self.child(lambda say: life.lead(config, case.network, say, enter))
        told = heard(client)
        problems = wrong_with_client(case, told)
        if case.site is not None and not self.seam.shared.made:
            return [*(each for each in problems if not each.startswith(NOT_KILLED)), NOT_MET]
        return problems + self.aftermath(case, config, told)

    def aftermath(self, case: Case, config: EmbeddedConfig, told: Told) -> list[str]:
        """What is wrong afterwards: with what others see, with the next use, with what is left after each removal."""
        problems = self._observed(case, config, told)
        used = heard(self.child(lambda say: life.use_and_remove(config, case.network, say)))
        if used.status or used.values("wrong"):
            problems.append(f"it cannot be used afterwards: {used.lines} {used.status}")
        problems += self._left(config, whole=False)
        ended = heard(self.child(lambda say: life.destroy(config, say)))
        if ended.status or ended.values("wrong"):
            problems.append(f"the instance cannot be removed: {ended.lines} {ended.status}")
        return problems + self._left(config, whole=True)

    def _observed(self, case: Case, config: EmbeddedConfig, told: Told) -> list[str]:
        """What is wrong with what two programs see that look at once.

        Where a start or an end is still under way they may differ, and look again a moment later.
        """
        for patience_s in (SETTLE_S, 2.0, 5.0, 0.0):
            observers = [self.child(lambda say: life.observe(config, say)) for _ in range(2)]
            seen = [heard(each) for each in observers]
            problems = [
                f"an observer failed: {each.lines} {each.status}"
                for each in seen
                if each.status or each.values("wrong")
            ]
            if problems:
                break
            lists = [each.last("containers", []) for each in seen]
            if _stable(lists[0]) != _stable(lists[1]):
                problems.append(f"two observers differ: {lists}")
            problems += _wrong_with_state(case, told, lists[0])
            if not problems:
                break
            time.sleep(patience_s)
        return problems

    # -- processes

    def child(self, main: Callable[[life.Say], Awaitable[None]]) -> tuple[int, int]:
        """Fork a process that does this; its pid, and the pipe by which it tells."""
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            os.close(write)
            return pid, read
        os.close(read)

        def say(**line: Any) -> None:
            data = json.dumps(line).encode() + b"\n"
            try:
                os.write(write, data)
            except OSError:  # a fault of strace's, which comes once
                os.write(write, data)

        code = 70
        try:
            asyncio.run(main(say))  # type: ignore[arg-type]
            code = 0
        except BaseException:  # noqa: BLE001  (it is told)
            self.seam.role = None
            say(wrong=life.in_short())
        finally:
            os._exit(code)

    def _start_zygote(self, config: EmbeddedConfig) -> None:
        """A zygote that is a fork of this process; a client finds it by its socket."""
        config.run.mkdir(parents=True, mode=0o700)
        name = zygote_socket.own_name()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        directory = os.open(config.run, os.O_PATH | os.O_CLOEXEC)
        listener.bind(f"/proc/self/fd/{directory}/{name}")
        listener.listen(_BACKLOG)
        os.close(directory)
        pid = os.fork()
        if not pid:
            try:
                log = os.open(config.run / "zygote.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                null = os.open(os.devnull, os.O_RDWR)
                for number, fd in enumerate((null, null, log)):
                    os.dup2(fd, number)
                self.seam.enter(ZYGOTE)
                zygote.main([str(listener.fileno()), config.to_json(), name])
            except BaseException:  # noqa: BLE001  (it is told in the log)
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(1)
        listener.close()
        os.waitpid(pid, 0)

    # -- what is left

    def _left(self, config: EmbeddedConfig, *, whole: bool) -> list[str]:
        """What is left of containers, or (`whole`) of the instance, after a while."""
        deadline = time.monotonic() + _LEFT_TIMEOUT_S
        while True:
            found = self._found(config, whole=whole)
            if not found or time.monotonic() > deadline:
                return [f"left: {', '.join(sorted(set(found)))}"] if found else []
            time.sleep(0.01)

    def _found(self, config: EmbeddedConfig, *, whole: bool) -> list[str]:
        hierarchies = cgroupfs.detect()
        others = [mount.path / config.cgroup for mount in hierarchies.others]
        found: list[str] = []
        for directory in (*sandbox_cgroup.find(hierarchies, config.cgroup).directories, *others):
            if whole and directory.exists():
                found.append(str(directory))
            with suppress(OSError):
                found += ["a container's cgroup" for name in os.listdir(directory) if len(name) == 64]
        for place in (config.state, config.run):
            if whole and place.exists():
                found.append(f"{place}: {os.listdir(place)}")
        for place in (config.state / "data", config.run, config.records):
            with suppress(OSError):
                found += [f"{place.name}/{name[:16]}" for name in os.listdir(place) if len(name) >= 64]
        for _, name in socket.if_nameindex():
            if name.startswith(config.bridge) and (whole or name != config.bridge):
                found.append(f"interface {name}")
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        if any(str(self.folder) in line and DISK not in line for line in mounts):
            found.append("a mount")
        keep = () if whole else ("pytop-zygote", "pytop-prefork")
        return found + [f"process {name}" for _, name in descendants() if not name.startswith(keep or "\0")]

    def clean(self, config: EmbeddedConfig) -> None:
        """Whatever a failed case has left."""
        if self._found(config, whole=True):
            with suppress(Exception):
                heard(self.child(lambda say: life.destroy(config, say)))
        for pid, _ in descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _LEFT_TIMEOUT_S
        while descendants() and time.monotonic() < deadline:
            time.sleep(0.01)
        with suppress(PytopError):
            cgroups.remove(sandbox_cgroup.find(cgroupfs.detect(), config.cgroup))
        shutil.rmtree(config.state.parent, ignore_errors=True)


def descendants() -> list[tuple[int, str]]:
    """Every living process below this one, which gets the orphans; those that have ended are reaped."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parents: dict[int, tuple[int, str]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                head, _, rest = Path("/proc", entry, "stat").read_text().rpartition(")")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if state != "Z":
                parents[int(entry)] = int(parent), head.partition("(")[2]
    found, mine = [], {os.getpid()}
    grown = True
    while grown:
        new = {pid for pid, (parent, _) in parents.items() if parent in mine and pid not in mine}
        grown = bool(new)
        mine |= new
        found += [(pid, parents[pid][1]) for pid in new]
    return found


def heard(child: tuple[int, int]) -> Told:
    """What a child has told, at its end; one that takes too long is killed."""
    pid, read = child
    deadline, data = time.monotonic() + CHILD_TIMEOUT_S, b""
    told = Told()
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(read, select.POLLIN)
    ended = False
    while not ended:
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready:
            os.kill(pid, signal.SIGKILL)
            told.lines.append({"wrong": f"it did not end within {CHILD_TIMEOUT_S:g} s"})
            deadline = time.monotonic() + 1
        ended = any(fd == pidfd for fd, _ in ready)
        if any(fd == read for fd, _ in ready):
            more = os.read(read, 1 << 20)
            data += more
            if not more:
                poll.unregister(read)
    os.set_blocking(read, False)
    with suppress(BlockingIOError):
        while more := os.read(read, 1 << 20):
            data += more
    os.close(read)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    told.status = os.waitstatus_to_exitcode(status)
    told.lines += [json.loads(line) for line in data.splitlines()]
    return told


# -- judgement


def stopped_in(told: Told) -> str:
    """The verb in which the client ended; "end" after the last."""
    began, done = told.values("began"), told.values("done")
    if len(done) == len(life.VERBS):
        return "end"
    return str(began[-1]) if began else ""


def wrong_with_client(case: Case, told: Told) -> list[str]:
    problems = [f"{told.last('failed', '')}: {wrong}" for wrong in told.values("wrong")]
    killed = case.site is not None and case.site.role == CLIENT and case.fault in faults.KILLS
    if killed:
        if told.status != -signal.SIGKILL:
            problems.append(f"{NOT_KILLED}: {told}")
        return problems
    if told.status:
        problems.append(f"the client ended with {told.status}")
    if told.last("descriptors"):
        problems.append(f"descriptors are left open: {told.last('descriptors')}")
    if not case.fault and stopped_in(told) != "end":
        problems.append(f"without a fault: {told.lines}")
    return problems


def _stable(containers: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["name"], each["state"], each["pid"]) for each in containers]


def _wrong_with_state(case: Case, told: Told, containers: list[dict[str, Any]]) -> list[str]:
    verb = stopped_in(told)
    allowed = set(ALLOWED[verb])
    if case.site is not None and case.site.role in (INIT, SHIM) and "running" in allowed:
        allowed.add("exited")  # its init was killed, or ended by what failed
    if len(containers) > 1:
        return [f"there are {len(containers)} containers"]
    if not containers:
        return [] if None in allowed else [f"it is not listed after {verb}"]
    one, problems = containers[0], []
    if one["state"] not in allowed:
        problems.append(f"it is {one['state']} after {verb}: {told.lines[-2:]}")
    live = one["state"] in ("running", "stopping")
    if live != one["alive"]:
        problems.append(f"it is {one['state']}, and its init is {'there' if one['alive'] else 'gone'}")
    if not live and one["cgroups"]:
        problems.append(f"it is {one['state']}, and {one['cgroups']} of its cgroups are there")
    limits = {life.BEFORE, life.AFTER} if verb == "update" else {life.BEFORE}
    if verb in ("stop", "remove"):
        limits = {life.AFTER}
    if one["recorded"] not in limits or (live and one["kernel"] not in map(str, limits)):
        problems.append(f"its limit is {one['recorded']} on record and {one['kernel']} in the kernel after {verb}")
    return problems
