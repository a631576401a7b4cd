"""One process per container that outlives the app: it starts it, logs it, restarts it, and writes down its end.

Forked from the zygote, in a session of its own, it holds the container's shim lock for life. Should it be killed,
the container goes on: its output waits in the pipes, its init keeps the exit status; the next engine that looks
has the zygote fork another shim, which takes over (`attach`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

from runtime.engines.embedded import removal
from runtime.engines.embedded.config import NativeConfig
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.process import init as sandbox
from runtime.engines.embedded.process.handles import WAKE, open_init
from runtime.engines.embedded.process.log_writer import Journal
from runtime.engines.embedded.process.messages import ProgramError, answer, rebuild
from runtime.engines.embedded.process.prefork import Start, fresh_network_namespace, make_plan
from runtime.engines.embedded.sandbox import cgroup as cell
from runtime.engines.embedded.state.record import Record, parse_policy
from runtime.engines.embedded.state.store import Store
from runtime.errors import KernelError, PytopError
from runtime.kernel import cgroupfs, cgroups, procfs, syscalls
from runtime.limits.controllers import memory
from runtime.model import State

_MESSAGE = 65536
KILLED = 128 + signal.SIGKILL
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.1, 60.0, 10.0


def main(config: NativeConfig, request: dict[str, Any], reply: socket.socket, start: Start) -> NoReturn:
    """Serve one request of the zygote: {"op": "start" or "attach", "id": ...}; answers with {} or {"error": ...}."""
    syscalls.set_name("pytop-shim")
    try:
        shim = Shim(config, str(request["id"]), start)
        if request["op"] == "start":
            shim.start(reply)
        else:
            shim.attach(reply)
    except PytopError as error:
        answer(reply, error)
        os._exit(1)
    os._exit(0)


class Shim:
    """The life of one container, seen from its shim."""

    def __init__(self, config: NativeConfig, container_id: str, start: Start) -> None:
        self.config, self.id = config, container_id
        self.store = Store(config)
        self.hierarchies = start.warm.hierarchies
        self._start = start
        lock = self.store.shim_lock(container_id)
        assert lock is not None
        with suppress(OSError):  # read-only: nobody can wake us before a restart, which then comes after its pause
            os.pwrite(lock, b"%-20d\n" % os.getpid(), 0)
        self._child = False

    @cached_property
    def journal(self) -> Journal:
        """Opened when it is needed, which is after init has begun its own work."""
        return Journal(self.config.live(self.id), self.config.log(self.id))

    # -- the two ways to begin

    def start(self, reply: socket.socket) -> None:
        record = self.store.read(self.id)
        try:
            record = self._launch(record)
        except OSError as error:
            said = KernelError.from_os(f"start {record.spec.name}", error)
            self._undo(said)
            raise said from error
        except PytopError as error:
            self._undo(error)
            raise
        answer(reply, None)
        self._start.zygote.close()
        self._live(record)

    def attach(self, reply: socket.socket) -> None:
        """Go on where a shim that was killed has left off."""
        record = self.store.read(self.id)
        if not (record.state.live or record.state is State.RESTARTING):
            answer(reply, None)
            return
        answer(reply, None)
        self._live(record)

    # -- starting

    def _launch(self, record: Record) -> Record:
        path = self.config.cgroup_of(self.id)
        born_in = cell.birthplace(self.hierarchies, path)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = make_plan(self.config, self._start.warm, record, cell.find(self.hierarchies, path))
        net = self._start.net if self._start.net is not None else fresh_network_namespace()
        self._start.net = None
        pid = syscalls.clone(sandbox.NAMESPACES, born_in)
        if pid == 0:
            ours.close()
            sandbox.main(plan, net, theirs)
        theirs.close()
        if born_in is not None:
            os.close(born_in)
        self._child = True
        with ours:
            try:
                cgroup = cgroups.create(self.hierarchies, path)
                self._send(ours, sandbox.ENTER)
                record = self._running(record, pid, self._equip(record, cgroup, net, pid))
                self._send(ours, sandbox.GO)
            except PytopError:
                self._raise_what_init_says(ours)  # when it has failed, that is why we have
                raise
            finally:
                os.close(net)
            self._await_exec(ours, record)
        return record

    def _send(self, channel: socket.socket, word: bytes) -> None:
        with suppress(ConnectionError):  # init has failed already, and says so
            channel.send(word)

    def _equip(self, record: Record, cgroup: cgroupfs.Cgroup, net: int, pid: int) -> str:
        cell.apply(record, cgroup)
        if record.spec.network != "bridge":
            return ""
        address = bridge.attach(self.config.bridge, self.config.subnet, self.id, net).address
        cell.shape(record, cgroup, pid)
        return address

    def _running(self, record: Record, pid: int, address: str) -> Record:
        """Write down who runs before it does: from here on a kill -9 of anything leaves a container, not a leftover."""
        now = time.time_ns()

        def change(current: Record) -> Record:
            return replace(
                current,
                state=State.RUNNING,
                pid=pid,
                pid_start=procfs.start_time(pid),
                boot_id=procfs.boot_id(),
                started_ns=now,
                finished_ns=None,
                exit_code=None,
                oom_killed=False,
                error="",
                address=address,
                starting=False,
                restarts=record.restarts,
            )

        return self.store.change(self.id, change)

    def _await_exec(self, channel: socket.socket, record: Record) -> None:
        """Wait until the program has been exec'ed; raises what went wrong."""
        data = _receive(channel)
        if not data:
            raise KernelError("start the container", detail="its init died before the program ran")
        message = json.loads(data)
        if "error" in message:
            raise rebuild(message["error"])
        if "exec" in message:
            raise ProgramError(record.spec.command[0], int(message["exec"]), int(message["code"]))

    def _raise_what_init_says(self, channel: socket.socket) -> None:
        with suppress(BlockingIOError):
            channel.setblocking(False)
            data = _receive(channel)
            if data:
                raise rebuild(json.loads(data)["error"])

    def _undo(self, error: PytopError) -> None:
        """After a start that failed: nothing runs, and the record says why."""
        cell.release(self.config, self.hierarchies, self.store.read(self.id))
        self._reap()
        code = error.exit_code if isinstance(error, ProgramError) else 128

        def change(current: Record) -> Record:
            return replace(
                current.ended(code, now_ns=time.time_ns(), error=str(error)),
                state=State.CREATED,
                finished_ns=None,
            )

        self.store.change(self.id, change)

    # -- living

    def _live(self, record: Record) -> NoReturn:
        """Log and watch until the container has ended for good."""
        while True:
            code = self._watch(record)
            record, pause = self._ended(record, code)
            if record.state is not State.RESTARTING:
                break
            record = self._restarted(record, pause)
            if not record.state.live:
                break
        self.journal.close()
        if record.spec.auto_remove:
            removal.erase(self.store, self.hierarchies, record)
        os._exit(0)

    def _watch(self, record: Record) -> int:
        """Pump the output until init has ended; the exit status."""
        init = open_init(record)
        if init is not None:
            poll = select.poll()
            poll.register(init, select.POLLIN)
            names = {fd: stream for stream, fd in self.journal.pipes.items()}
            for fd in names:
                poll.register(fd, select.POLLIN)
            while not any(fd == init for fd, _ in self._ready(poll, names)):
                pass
            os.close(init)
        status = self._reap()
        self.journal.drain()
        written = read_exit(self.config, self.id)
        return written if written is not None else status

    def _ready(self, poll: select.poll, names: dict[int, str]) -> list[tuple[int, int]]:
        events = poll.poll()
        for fd, _ in events:
            if fd in names:
                self.journal.pump(names[fd])
        return events

    def _reap(self) -> int:
        """The exit status of our own init; 137 when it is not ours: only SIGKILL ends an init that says nothing."""
        if not self._child:
            return KILLED
        self._child = False
        try:
            _, status = os.wait()
        except ChildProcessError:
            return KILLED
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _ended(self, record: Record, code: int) -> tuple[Record, float]:
        """Clean up and write down the end; with it the pause before the next start, if the policy wants one."""
        cgroup = cell.find(self.hierarchies, self.config.cgroup_of(self.id))
        oom = memory.oom_kills(cgroup) > 0
        cell.release(self.config, self.hierarchies, record)
        now = time.time_ns()
        ran = (now - (record.started_ns or now)) / 1e9

        def change(current: Record) -> Record:
            policy = parse_policy(current.spec.restart_policy)
            after = current.ended(code, now_ns=now, oom_killed=oom)
            restarts = 0 if ran >= _STEADY else current.restarts
            if current.stop_wanted or policy is None or not policy.wants(code, restarts=restarts):
                return after
            return replace(after, state=State.RESTARTING, restarts=restarts + 1)

        record = self.store.change(self.id, change)
        return record, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** max(0, record.restarts - 1))

    def _restarted(self, record: Record, pause: float) -> Record:
        """Wait and start again, unless somebody asks for the end meanwhile."""
        signal.sigtimedwait({WAKE}, pause)
        record = self.store.read(self.id)
        if record.stop_wanted:
            return self.store.change(self.id, lambda current: replace(current, state=State.EXITED))
        try:
            return self._launch(record)
        except (OSError, PytopError) as error:
            said = error if isinstance(error, PytopError) else KernelError.from_os(f"start {record.spec.name}", error)
            self._undo(said)
            return self.store.change(self.id, lambda current: replace(current, state=State.EXITED))


def _receive(channel: socket.socket) -> bytes:
    """The next message. An init that ended with a word of ours unread resets the socket, once; its own are there."""
    try:
        return channel.recv(_MESSAGE)
    except ConnectionResetError:
        return channel.recv(_MESSAGE)


def read_exit(config: NativeConfig, container_id: str) -> int | None:
    """The exit status as init has written it, None when it could not."""
    try:
        text = (config.live(container_id) / "exit").read_text()
    except OSError:
        return None
    return exit_status(text)


def exit_status(text: str) -> int | None:
    """The status in an exit file; None in one that holds no whole line yet."""
    line, newline, _ = text.partition("\n")
    return int(line.split()[0]) if newline else None
