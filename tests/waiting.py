"""Waiting until something is true, looked at from outside: nothing tells these tests when it is."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 0.02
What = str | Callable[[], object]
"""What is waited for, in words, or what says at the end of the time how it stands."""


def wait_until(
    condition: Callable[[], object],
    timeout_s: float = 10.0,
    what: What = "it is true",
    *,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Look until `condition` is true; AssertionError with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(_late(timeout_s, what))
        time.sleep(every_s)


async def until(
    condition: Callable[[], Awaitable[object] | object],
    timeout_s: float = 10.0,
    what: What = "it is true",
    *,
    every_s: float = LOOK_EVERY_S,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """`wait_until` on an event loop. `condition` may be a coroutine function; it is cut off after the time too."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                found = condition()
                if await found if inspect.isawaitable(found) else found:
                    return
                await pause(every_s)
    except TimeoutError as error:
        if not limit.expired():  # the condition's own
            raise
        raise AssertionError(_late(timeout_s, what)) from error


def _late(timeout_s: float, what: What) -> str:
    return f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}"
