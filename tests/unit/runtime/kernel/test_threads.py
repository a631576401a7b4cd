"""Pools by kind: a stuck call holds up none of another kind, and a cancelled caller loses no lock and no result."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.errors import PytopError
from runtime.kernel import threads
from runtime.kernel.threads import Kind, Pool
from tests.unit import import_graph
from tests.waiting import until

ROOT = Path(__file__).parents[4]
HOP_BOUND_S = 0.5  # of the slowest of ten hops on a busy machine; behind a stuck call there is no end at all
Run = Callable[..., Awaitable[object]]
WAITS_FOR_ITS_END: list[Run] = [threads.measuring, threads.acting, threads.completing]


@pytest.fixture(autouse=True)
def own_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_pools", {})


class Stuck:
    """Calls that end when they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0
        self.ended = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.begun += 1
        assert self.go.wait(30)
        with self._lock:
            self.ended += 1
        return "result"


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    calls = Stuck()
    yield calls
    calls.go.set()


async def begun(run: Run, stuck: Stuck) -> asyncio.Task[object]:
    task = asyncio.ensure_future(run(stuck))
    await until(lambda: stuck.begun, 5)
    return task


async def slowest_hop(run: Run) -> float:
    slowest = 0.0
    for _ in range(10):
        start = time.perf_counter()
        await run(int)
        slowest = max(slowest, time.perf_counter() - start)
    return slowest


# kinds


async def test_stuck_calls_hold_up_none_of_another_kind(stuck: Stuck) -> None:
    waits = [asyncio.create_task(threads.waiting(stuck)) for _ in range(threads.MAX_THREADS[Kind.WAIT] + 6)]
    await until(lambda: stuck.begun == threads.MAX_THREADS[Kind.WAIT], 10)
    assert await slowest_hop(threads.acting) < HOP_BOUND_S
    assert await slowest_hop(threads.measuring) < HOP_BOUND_S
    acts = [asyncio.create_task(threads.acting(stuck)) for _ in range(threads.MAX_THREADS[Kind.ACT] + 6)]
    await until(lambda: stuck.begun == threads.MAX_THREADS[Kind.WAIT] + threads.MAX_THREADS[Kind.ACT], 10)
    assert await slowest_hop(threads.measuring) < HOP_BOUND_S
    stuck.go.set()
    assert set(await asyncio.gather(*waits, *acts)) == {"result"}


async def test_each_kind_has_threads_of_its_own_name() -> None:
    def name() -> str:
        return threading.current_thread().name

    assert await threads.measuring(name) == "pytop-measure"
    assert await threads.acting(name) == "pytop-act"
    assert {await threads.waiting(name), await threads.completing(name)} == {"pytop-wait"}
    assert await threads.acquiring(name, print) == "pytop-act"


async def test_one_call_after_the_other_takes_one_thread() -> None:
    assert len({await threads.acting(threading.get_ident) for _ in range(50)}) == 1


@pytest.mark.parametrize("run", [*WAITS_FOR_ITS_END, threads.waiting])
async def test_arguments_results_errors_and_the_context_go_through(run: Run) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(7)
    assert await run(variable.get) == 7
    assert await run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await run(divmod, 1, 0)


async def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    class Result:
        ended = False

        def __del__(self) -> None:
            Result.ended = True

    await threads.acting(Result)
    await until(lambda: Result.ended, 5)


# cancellation


def test_the_threads_of_a_rush_end_when_it_is_long_over() -> None:
    """Else a dashboard that runs for a day would keep as many as were ever needed at once."""
    now, calls = [1000.0], Stuck()
    pool = Pool(Kind.ACT, 8, clock=lambda: now[0])
    rush = [pool.submit(calls) for _ in range(6)]
    calls.go.set()
    assert [call.result(10) for call in rush] == ["result"] * 6
    pool.submit(int).result(10)
    assert pool.threads == 6, "a rush may come again"
    for _ in range(3):
        now[0] += threads.PEAK_WINDOW_S
        for _ in range(20):
            pool.submit(int).result(10)
    assert pool.threads == 1
    assert pool.submit(lambda: "still").result(10) == "still"


@pytest.mark.parametrize("run", WAITS_FOR_ITS_END)
async def test_a_cancelled_caller_waits_for_the_end(run: Run, stuck: Stuck) -> None:
    """However often it is cancelled, so that what it does next, such as to release a lock, comes after the call."""
    task = await begun(run, stuck)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    stuck.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stuck.ended == 1


async def test_a_cancelled_caller_waits_for_a_stuck_call_only_so_long(
    stuck: Stuck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "CANCEL_TIMEOUT_S", 0.05)
    task = await begun(threads.acting, stuck)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert "has not ended" in caplog.text


async def test_a_cancelled_wait_leaves_at_once(stuck: Stuck) -> None:
    task = await begun(threads.waiting, stuck)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert not stuck.ended


async def test_what_is_acquired_for_a_caller_that_left_is_released(stuck: Stuck) -> None:
    released: list[str] = []
    task = asyncio.ensure_future(threads.acquiring(stuck, released.append))
    await until(lambda: stuck.begun, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    assert released == []
    stuck.go.set()
    await until(lambda: released == ["result"], 5)


async def test_what_is_acquired_while_its_caller_is_cancelled_is_released() -> None:
    """The result is on its way to the event loop when the cancellation comes."""
    released: list[int] = []
    acquired = threading.Event()
    task = asyncio.ensure_future(threads.acquiring(lambda: acquired.set() or 5, released.append))
    await asyncio.sleep(0)
    assert acquired.wait(5)
    time.sleep(0.05)  # noqa: ASYNC251 - the loop does not run: the result waits for it
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: released == [5], 5)


async def test_what_has_been_received_is_not_released() -> None:
    released: list[int] = []
    assert await threads.acquiring(lambda: 5, released.append) == 5
    assert released == []


@pytest.mark.parametrize("run", [*WAITS_FOR_ITS_END, threads.waiting])
async def test_a_call_that_has_not_begun_is_never_made(run: Run, stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", dict.fromkeys(Kind, 1))
    first = await begun(run, stuck)
    made: list[int] = []
    second = asyncio.ensure_future(run(made.append, 1))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(second), 5)
    stuck.go.set()
    await first
    await run(int)
    assert made == []


@pytest.mark.parametrize("run", WAITS_FOR_ITS_END)
async def test_an_error_for_a_cancelled_caller_is_dropped(run: Run, stuck: Stuck) -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))

    def fails() -> None:
        stuck()
        raise PytopError("it did not work")

    task = asyncio.ensure_future(run(fails))
    await until(lambda: stuck.begun, 5)
    task.cancel()
    stuck.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await asyncio.sleep(0.01)
    assert lost == []


# threads that cannot be started, processes that are forked, the end of the program


async def test_without_a_thread_more_those_that_are_there_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(Kind.ACT, 2)
    go = threading.Event()
    first = pool.submit(lambda: go.wait(5))
    monkeypatch.setattr(threading.Thread, "start", none_left)
    second = pool.submit(lambda: 2)
    go.set()
    assert (first.result(5), second.result(5)) == (True, 2)
    for _ in range(2):
        with pytest.raises(PytopError, match="start a thread"):
            await threads.measuring(int)
    monkeypatch.undo()
    assert await threads.measuring(int) == 0


def test_a_forked_process_makes_its_own_threads() -> None:
    assert threads._submit(Kind.ACT, lambda: 1).result(5) == 1
    child = os.fork()
    if not child:
        code = 1
        with suppress(BaseException):
            code = threads._submit(Kind.ACT, lambda: 7).result(5)
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_nothing_is_made_at_import() -> None:
    code = "import threading, runtime.kernel.threads as t; assert not t._pools and threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


@pytest.mark.parametrize("kind", ["measuring", "acting", "waiting", "completing"])
def test_a_stuck_call_does_not_keep_the_program_from_its_end(kind: str) -> None:
    code = f"""
import asyncio, threading
from runtime.kernel import threads

threads.CANCEL_TIMEOUT_S = 0.2

async def main():
    begun = threading.Event()
    def stuck():
        begun.set()
        threading.Event().wait()
    task = asyncio.create_task(threads.{kind}(stuck))
    await asyncio.sleep(0)
    assert begun.wait(5)

asyncio.run(main())
print("the end")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30, capture_output=True)
    assert done.stdout == b"the end\n"


def test_calls_that_block_run_in_no_other_threads() -> None:
    """`asyncio.to_thread` and the loop's own executor share one pool of a few threads for everything."""
    others = {"to_thread", "run_in_executor", "ThreadPoolExecutor", "set_default_executor"}
    found = {
        (source.name, name)
        for source in import_graph.modules().values()
        for node in ast.walk(source.tree)
        for name in [getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)]
        if name in others
    }
    assert found == set()
