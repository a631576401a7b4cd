"""Threads for calls that block, in a pool for each kind: measuring, acting, waiting.

A call that never returns keeps one thread of its own kind for ever, and none of the others: measuring goes on beside
a stuck change, and limits can be changed beside fifty slow stops. What a cancelled caller does:

* `measuring`, `acting`, `completing`: it waits until the call has ended, then `CancelledError` is raised. So a lock
  that the caller holds covers the whole call, a descriptor that it closes is not in use, and what follows sees what
  the call did. It waits no longer than `CANCEL_TIMEOUT_S`.
* `waiting`: it leaves at once. The call goes on, and its result or error is dropped; so this is for what changes
  nothing and uses nothing of the caller's.
* `acquiring`: it leaves at once, and what is acquired for nobody is released in the thread.

A call that has not begun is never made for a caller that has left.

The threads are daemons: the interpreter does not wait for them at its end, so that a stuck call does not keep a command
or the dashboard from ending. A write that its caller waits for has ended by then, or is stuck.

Nothing is made at import. A child of fork(2) makes its own pools when it first needs one.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import StrEnum
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, ParamSpec, TypeVar

from runtime.errors import PytopError

CANCEL_TIMEOUT_S: Final = 10.0
"""How long a cancelled caller waits for the end of a write; the kernel's longest, of a memory limit, takes seconds."""

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Kind(StrEnum):
    """What the calls of a pool do."""

    MEASURE = "measure"
    ACT = "act"
    WAIT = "wait"


MAX_THREADS: Final = {Kind.MEASURE: 4, Kind.ACT: 16, Kind.WAIT: 64}
"""MEASURE: one sweep at a time, and the few reads of a detail screen. ACT: the command line acts on 16 containers at
once. WAIT: most of these sleep in the kernel and cost a stack each; a stop of as many containers begins at once."""


PEAK_WINDOW_S: Final = 60.0
"""A pool keeps as many threads as it has needed at once in this time or in that before; the others end."""


class Pool:
    """Up to `size` daemon threads, each started when a call finds none idle; those of a rush end when it is over."""

    def __init__(self, kind: Kind, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = f"pytop-{kind}"
        self._size = size
        self._clock = clock
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._lock = Lock()
        self._unfinished = 0
        self._threads = 0
        self._peak = self._peak_before = 0
        self._window_end = 0.0

    @property
    def threads(self) -> int:
        """How many there are now."""
        return self._threads

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a thread make the call. Raises `PytopError` when there is no thread and none can be started."""
        future: Future[T] = Future()
        with self._lock:
            self._unfinished += 1
            self._note_peak()
            grow = self._threads < min(self._size, self._unfinished)
            self._threads += grow
        if grow:
            self._start_thread()
        self._queue.put((future, call))
        return future

    def _start_thread(self) -> None:
        try:
            Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._threads -= 1
                alone = not self._threads
                self._unfinished -= alone
            if alone:
                raise PytopError(
                    "start a thread", detail=str(error), hint="The limit of processes (ulimit -u, pids.max) is reached"
                ) from error

    def _note_peak(self) -> None:
        """How many calls are under way at once, in this window of time and in the one before; under the lock."""
        now = self._clock()
        if now >= self._window_end:
            over = now >= self._window_end + PEAK_WINDOW_S
            self._peak_before, self._peak = 0 if over else self._peak, 0
            self._window_end = now + PEAK_WINDOW_S
        self._peak = max(self._peak, self._unfinished)

    def _work(self) -> None:
        surplus = False
        while not surplus:
            future, call = self._queue.get()
            surplus = self._make(future, call)
            del future, call  # a result must not live until the next call

    def _make(self, future: Future[Any], call: Callable[[], Any]) -> bool:
        """Make a call. Returns whether its thread is to end, as more are there than are needed."""
        result, error = None, None
        wanted = future.set_running_or_notify_cancel()
        if wanted:
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - it is raised again where the result is awaited
                error = raised
        with self._lock:  # before the caller goes on: its next call finds this thread idle
            self._unfinished -= 1
            surplus = self._threads > max(1, self._peak, self._peak_before)
            self._threads -= surplus
        if wanted and error is None:
            future.set_result(result)
        elif wanted:
            future.set_exception(error)
            error = None  # its traceback refers to this frame
        return surplus


_pools: dict[tuple[int, Kind], Pool] = {}


def _submit(kind: Kind, call: Callable[[], T]) -> Future[T]:
    key = os.getpid(), kind
    pool = _pools.get(key)
    if pool is None:
        pool = _pools.setdefault(key, Pool(kind, MAX_THREADS[kind]))
    return pool.submit(partial(contextvars.copy_context().run, call))


async def measuring(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """A read of counters or of the kernel's state, which is short. A cancelled caller waits for its end."""
    return await _to_its_end(Kind.MEASURE, partial(function, *args, **kwargs))


async def acting(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """A write, or a read that a write depends on. A cancelled caller waits for its end."""
    return await _to_its_end(Kind.ACT, partial(function, *args, **kwargs))


async def waiting(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What may take long and changes nothing: a wait, another's file. A cancelled caller leaves at once."""
    return await asyncio.wrap_future(_submit(Kind.WAIT, partial(function, *args, **kwargs)))


async def completing(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What may take long and changes something: a stop, a verb that waits for a lock, a write to a disk.

    A cancelled caller waits for its end.
    """
    return await _to_its_end(Kind.WAIT, partial(function, *args, **kwargs))


async def acquiring(acquire: Callable[[], T], release: Callable[[T], object], kind: Kind = Kind.ACT) -> T:
    """Something that has to be released: a descriptor, a lock. `release` is called in place of a cancelled caller."""
    future = _submit(kind, acquire)
    wrapped = asyncio.wrap_future(future)
    try:
        return await wrapped
    except asyncio.CancelledError:
        _drop(wrapped)
        if not future.cancel():
            future.add_done_callback(lambda done: done.exception() is None and release(done.result()))
        raise


async def _to_its_end(kind: Kind, call: partial[T]) -> T:
    future = _submit(kind, call)
    wrapped = asyncio.wrap_future(future)
    try:
        return await wrapped
    except asyncio.CancelledError:
        _drop(wrapped)
        if not future.cancel():
            again = asyncio.wrap_future(future)
            if not await wait_for_end(again, CANCEL_TIMEOUT_S):
                log.error("%r has not ended %g s after its caller was cancelled", call.func, CANCEL_TIMEOUT_S)
            _drop(again)
        raise


async def wait_for_end(work: asyncio.Future[Any], timeout_s: float) -> bool:
    """Wait until it has ended, for a caller that is cancelled and may be so again; False after `timeout_s` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not work.done() and (left := deadline - loop.time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({work}, timeout=left)
    return work.done()


def _drop(wrapped: asyncio.Future[Any]) -> None:
    """An error that nobody awaits any more is dropped with the result, not reported as lost."""
    if not wrapped.cancel() and not wrapped.cancelled():
        wrapped.exception()
