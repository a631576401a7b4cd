"""The shim: one process per container that outlives the client.

It starts the container, writes its log, restarts it by policy, and records its end. Forked from the zygote, in a
session of its own, it holds the container's shim lock while it lives. When it is killed the container goes on: its
output stays in the pipes and its init keeps the exit status. The next client that reads the record requests another
shim, which takes over (`attach`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Final, NoReturn

from runtime.engines.embedded import removal
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.networks import bridge
from runtime.engines.embedded.process import init
from runtime.engines.embedded.process.handles import SHIM_NAME, WAKE, has_shim, open_init
from runtime.engines.embedded.process.log_pump import LogPump
from runtime.engines.embedded.process.log_writer import LogWriter
from runtime.engines.embedded.process.messages import ProgramError, answer, error_from_json
from runtime.engines.embedded.process.prefork import Preforked, fresh_network_namespace, make_plan
from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state import run_files
from runtime.engines.embedded.state.record import ContainerRecord, parse_policy
from runtime.engines.embedded.state.store import RecordStore
from runtime.errors import ConflictError, EngineError, KernelError, PytopError
from runtime.kernel import cgroupfs, cgroups, procfs, syscalls
from runtime.limits.controllers import memory
from runtime.model import State

KILLED: Final = 128 + signal.SIGKILL
"""Exit status of a container that SIGKILL has ended."""
START_FAILED: Final = 128
"""Exit status of a container that could not be started, for another reason than its program."""
_MESSAGE_BYTES: Final = 65536
_LOCK_TIMEOUT_S: Final = 10.0
_LOCK_CHECK_INTERVAL_S: Final = 0.02
_FIRST_PAUSE_S: Final = 0.1
"""Pause before the first restart by policy; it doubles with each, up to `_MAX_PAUSE_S`."""
_MAX_PAUSE_S: Final = 60.0
_STABLE_RUN_S: Final = 10.0
"""A run at least this long sets the count of restarts back."""


def main(config: EmbeddedConfig, request: dict[str, Any], reply: socket.socket, preforked: Preforked) -> NoReturn:
    """Serve one request of the zygote: {"op": "start" or "attach", "id": ...}; answers with {} or {"error": ...}."""
    syscalls.set_name(SHIM_NAME)
    container_id, start = str(request["id"]), request["op"] == "start"
    try:
        if _take_lock(RecordStore(config), container_id, start=start):
            shim = Shim(config, container_id, preforked)
            if start:
                shim.start(reply)
            else:
                shim.attach(reply)
        else:
            answer(reply, None)  # another shim has taken over
    except PytopError as error:
        answer(reply, error)
        os._exit(1)
    os._exit(0)


def _take_lock(store: RecordStore, container_id: str, *, start: bool) -> bool:
    """Take the container's shim lock for the rest of this process; False when there is a shim already.

    Two clients that look at once request two shims to take over: the second one ends. Before a start the shim of the
    last run may be about to end. Raises `ConflictError` when the lock does not become free.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        lock = store.shim_lock(container_id, wait=_LOCK_CHECK_INTERVAL_S)
        if lock is not None:
            with suppress(OSError):  # read-only: a pause before a restart cannot be cut short then
                os.pwrite(lock, b"%-20d\n" % os.getpid(), 0)
            return True
        if not start and has_shim(store.config.live(container_id)):
            return False
    name = store.read(container_id).spec.name
    raise ConflictError(f"{name} has a helper process already", detail="it does not end")


class Shim:
    """The life of one container, as its shim manages it; its process holds the container's shim lock."""

    def __init__(self, config: EmbeddedConfig, container_id: str, preforked: Preforked) -> None:
        self.config, self.id = config, container_id
        self.store = RecordStore(config)
        self.hierarchies = preforked.zygote_state.hierarchies
        self._preforked = preforked
        self._child = False

    @cached_property
    def log_writer(self) -> LogWriter:
        """Opened on first use: after init was started, so that it does not delay the start."""
        return LogWriter(self.config.live(self.id), self.config.log(self.id))

    # -- the two requests

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
        self._preforked.zygote.close()
        self._live(record)

    def attach(self, reply: socket.socket) -> None:
        """Take over from a shim that was killed."""
        record = self.store.read(self.id)
        if not (record.state.live or record.state is State.RESTARTING):
            answer(reply, None)
            return
        answer(reply, None)
        self._live(record)

    # -- starting

    def _launch(self, record: ContainerRecord) -> ContainerRecord:
        path = self.config.cgroup_of(self.id)
        born_in = sandbox_cgroup.open_for_clone(self.hierarchies, path)
        with ExitStack() as opened:  # a restart that fails is tried again and again, and may keep no descriptor
            if born_in is not None:
                opened.callback(os.close, born_in)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.enter_context(ours)
            opened.enter_context(theirs)
            cgroup = sandbox_cgroup.find(self.hierarchies, path)
            plan = make_plan(self.config, self._preforked.zygote_state, record, cgroup)
            net = self._preforked.net if self._preforked.net is not None else fresh_network_namespace()
            self._preforked.net = None
            opened.callback(os.close, net)
            pid = syscalls.clone(init.NAMESPACES, born_in)
            if pid == 0:
                ours.close()
                init.main(plan, net, theirs)
            theirs.close()
            self._child = True
            try:
                cgroup = cgroups.create(self.hierarchies, path)
                run_files.note_inherited(self.config.live(self.id), self._preforked.zygote_state.inherited)
                self._send(ours, init.ENTER)
                record = self._running(record, pid, self._equip(record, cgroup, net, pid))
                self._send(ours, init.GO)
            except PytopError:
                self._raise_error_of_init(ours)  # where init has failed, this error follows from it
                raise
            self._await_exec(ours, record)
        return record

    def _send(self, channel: socket.socket, word: bytes) -> None:
        with suppress(ConnectionError):  # init has failed already and has sent why
            channel.send(word)

    def _equip(self, record: ContainerRecord, cgroup: cgroupfs.Cgroup, net: int, pid: int) -> str:
        sandbox_cgroup.apply(record, cgroup)
        if record.spec.network != "bridge":
            return ""
        address = bridge.attach(self.config.bridge, self.config.subnet, self.id, net).address
        sandbox_cgroup.shape(record, cgroup, pid)
        return address

    def _running(self, record: ContainerRecord, pid: int, address: str) -> ContainerRecord:
        """Record init before its program runs: whatever is killed from here on, the container is found again."""
        now = time.time_ns()

        def change(current: ContainerRecord) -> ContainerRecord:
            return replace(
                current,
                state=State.RUNNING,
                pid=pid,
                pid_start=procfs.start_time(pid),
                boot_id=procfs.boot_id(),
                started_ns=now,
                finished_ns=None,
                exit_code=record.exit_code if record.state is State.RESTARTING else None,
                oom_killed=False,
                error="",
                address=address,
                starting=False,
                restarts=record.restarts,
            )

        running = self.store.change(self.id, change, unsynced=True)
        if running.damage:  # it was not written, and nobody would find the container again
            raise EngineError(f"start {record.spec.name}", detail=f"its record cannot be read: {running.damage}")
        return running

    def _await_exec(self, channel: socket.socket, record: ContainerRecord) -> None:
        """Wait until the program has been exec'ed; raises what went wrong."""
        data = _receive(channel)
        if not data:
            raise KernelError("start the container", detail="its init died before the program ran")
        message = json.loads(data)
        if "error" in message:
            raise error_from_json(message["error"])
        if "exec" in message:
            raise ProgramError(record.spec.command[0], int(message["exec"]), int(message["code"]))

    def _raise_error_of_init(self, channel: socket.socket) -> None:
        with suppress(BlockingIOError):
            channel.setblocking(False)
            data = _receive(channel)
            if data:
                raise error_from_json(json.loads(data)["error"])

    def _undo(self, error: PytopError) -> None:
        """After a start that failed: nothing runs, and the record says why."""
        sandbox_cgroup.release(self.config, self.hierarchies, self.store.read(self.id))
        self._reap()
        code = error.exit_code if isinstance(error, ProgramError) else START_FAILED

        def change(current: ContainerRecord) -> ContainerRecord:
            return replace(
                current.ended(code, now_ns=time.time_ns(), error=str(error)),
                state=State.CREATED,
                finished_ns=None,
            )

        self.store.change(self.id, change)

    # -- living

    def _live(self, record: ContainerRecord) -> NoReturn:
        """Write the log and wait until the container has ended and is not restarted."""
        while True:
            with suppress(OSError, PytopError):  # what the start has changed; else the next change writes it
                self.store.change(self.id, lambda current: current)
            code = self._watch(record)
            record, pause = self._ended(record, code)
            if record.state is not State.RESTARTING:
                break
            record = self._restarted(record, pause)
            if not record.state.live:
                break
        self.log_writer.close()
        if record.spec.auto_remove:
            removal.erase(self.store, self.hierarchies, record)
        os._exit(0)

    def _watch(self, record: ContainerRecord) -> int:
        """Write the output to the log until init has ended; returns the exit status."""
        pidfd = open_init(record)
        if pidfd is not None:
            over = partial(read_exit, self.config, self.id)
            pump = LogPump(self.log_writer, limited=self._limited, over=lambda: over() is not None)
            pump.run(pidfd)
            os.close(pidfd)
        status = self._reap()
        self.log_writer.drain()
        written = read_exit(self.config, self.id)
        return written if written is not None else status

    def _limited(self, limited: bool) -> None:
        """Record that the container's output is held back, or no longer. A full disk or no memory does not matter."""
        with suppress(OSError, PytopError):
            self.store.change(self.id, lambda current: replace(current, output_limited=limited))

    def _reap(self) -> int:
        """The exit status of init as its parent; 137 when it is not our child: an init that wrote none was killed."""
        if not self._child:
            return KILLED
        self._child = False
        try:
            _, status = os.wait()
        except ChildProcessError:
            return KILLED
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _ended(self, record: ContainerRecord, code: int) -> tuple[ContainerRecord, float]:
        """Clean up and record the end; returns the record and the seconds before a restart by policy.

        The kernel counts every process that it has killed for memory. The container's own end was such a kill when its
        status is that of SIGKILL and nobody has asked for its end.
        """
        cgroup = sandbox_cgroup.find(self.hierarchies, self.config.cgroup_of(self.id))
        killed_for_memory = code == KILLED and memory.oom_kills(cgroup) > 0
        sandbox_cgroup.release(self.config, self.hierarchies, record)
        now = time.time_ns()
        ran = (now - (record.started_ns or now)) / 1e9

        def change(current: ContainerRecord) -> ContainerRecord:
            policy = parse_policy(current.spec.restart_policy)
            after = current.ended(code, now_ns=now, oom_killed=killed_for_memory and not current.stop_wanted)
            restarts = 0 if ran >= _STABLE_RUN_S else current.restarts
            if current.stop_wanted or policy is None or not policy.wants(code, restarts=restarts):
                return after
            return replace(after, state=State.RESTARTING, restarts=restarts + 1)

        record = self.store.change(self.id, change)
        return record, pause_before(record.restarts)

    def _restarted(self, record: ContainerRecord, pause: float) -> ContainerRecord:
        """Wait and start again, unless a stop is requested meanwhile. A start that fails is tried again by the policy.

        Each failure counts as a restart, so that the pause grows.
        """
        while True:
            signal.sigtimedwait({WAKE}, pause)
            try:
                record = self.store.read(self.id)
                if record.stop_wanted:
                    return self.store.change(self.id, lambda current: replace(current, state=State.EXITED))
                return self._launch(record)
            except (OSError, PytopError) as error:
                if not self.config.record(self.id).exists():
                    raise  # removed meanwhile
                try:
                    record = self._restart_failed(record, error)
                except (OSError, PytopError):  # of the same cause: no descriptor is left, or no memory
                    pause = _MAX_PAUSE_S
                    continue
            if record.state is not State.RESTARTING:
                return record
            pause = pause_before(record.restarts)

    def _restart_failed(self, record: ContainerRecord, error: OSError | PytopError) -> ContainerRecord:
        """Clean up and record why; the state is RESTARTING where the policy wants another attempt."""
        said = error if isinstance(error, PytopError) else KernelError.from_os(f"start {record.spec.name}", error)
        sandbox_cgroup.release(self.config, self.hierarchies, record)
        self._reap()
        code = said.exit_code if isinstance(said, ProgramError) else START_FAILED

        def change(current: ContainerRecord) -> ContainerRecord:
            policy = parse_policy(current.spec.restart_policy)
            after = current.ended(code, now_ns=time.time_ns(), error=str(said))
            if current.stop_wanted or policy is None or not policy.wants(code, restarts=current.restarts):
                return after
            return replace(after, state=State.RESTARTING, restarts=current.restarts + 1)

        return self.store.change(self.id, change)


def pause_before(restarts: int) -> float:
    """Seconds before the restart with this number, from 1."""
    return min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(max(0, restarts - 1), 16))


def _receive(channel: socket.socket) -> bytes:
    """The next message. When init ended without reading ours, the first recv is ECONNRESET; what it sent follows."""
    try:
        return channel.recv(_MESSAGE_BYTES)
    except ConnectionResetError:
        return channel.recv(_MESSAGE_BYTES)


def read_exit(config: EmbeddedConfig, container_id: str) -> int | None:
    """The exit status that init has written; None when there is none."""
    try:
        text = (config.live(container_id) / "exit").read_text()
    except OSError:
        return None
    return exit_status(text)


def exit_status(text: str) -> int | None:
    """The status in an exit file; None when it has no complete line yet. What follows the line is padding."""
    line, newline, _ = text.partition("\n")
    return int(line.split()[0]) if newline else None
