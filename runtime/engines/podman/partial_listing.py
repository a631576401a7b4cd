"""Podman's list where it waits for one container.

The list takes the lock of each container for its state, so it hangs as long as one lock is held (by a stop that does
not end, a mount that hangs). A filter by id is applied before the locks are taken (containers/podman,
pkg/domain/infra/abi and pkg/ps), so the containers are listed in parts, by how their ids begin; a part that hangs is
divided again. Whether an id exists is told without a lock, so that the id of a held container can be found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from runtime.errors import NotFoundError, PytopError, UnavailableError
from runtime.model import Container

WHOLE_TIMEOUT_S: Final = 2.5  # for the list as a whole
PART_TIMEOUT_S: Final = 1.0
FIND_TIMEOUT_S: Final = 2.0  # to find the ids of those that are held and were never listed
PREFIX_DIGITS: Final = 2  # of an id, by which the list is divided in the end
ID_DIGITS: Final = 64
MAX_HELD: Final = 16
DIGITS: Final = "0123456789abcdef"

ListPart = Callable[[Sequence[str], float], Awaitable[list[Container]]]
"""The containers whose ids match one of these patterns, all for none, in so many seconds."""
Exists = Callable[[str], Awaitable[None]]
"""Raises `NotFoundError` when no id begins so."""


async def list_parts(
    list_part: ListPart, exists: Exists, known: Collection[str]
) -> tuple[list[Container], frozenset[str]]:
    """The containers that can be listed, and the ids of those that are held; `known` are ids of the last list.

    Raises what the first part raised when nothing at all can be listed.
    """
    found: list[Container] = []
    prefixes, failure = [""], PytopError("")
    for depth in range(PREFIX_DIGITS):
        parts = [prefix + digit for prefix in prefixes for digit in DIGITS]
        answers = await asyncio.gather(*(_part(list_part, f"^{part}") for part in parts))
        prefixes = []
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, PytopError):
                prefixes.append(part)
                failure = answer
            else:
                found += answer
        if depth == 0 and len(prefixes) == len(parts):
            raise failure
        if not prefixes:
            return found, frozenset()
    beside = [identity for identity in known if identity.startswith(tuple(prefixes))]
    try:
        async with asyncio.timeout(FIND_TIMEOUT_S):
            beside = sorted({*beside, *await _find(exists, prefixes)})
    except (TimeoutError, PytopError):  # those that were listed before are known all the same
        pass
    answers = await asyncio.gather(*(_part(list_part, f"^{identity}") for identity in beside))
    for answer in answers:
        found += answer if isinstance(answer, list) else []
    held = (identity for identity, answer in zip(beside, answers, strict=True) if isinstance(answer, PytopError))
    return found, frozenset(held)


async def _part(list_part: ListPart, pattern: str) -> list[Container] | PytopError:
    try:
        return await list_part([pattern], PART_TIMEOUT_S)
    except UnavailableError as error:
        return error


async def _find(exists: Exists, prefixes: Sequence[str]) -> list[str]:
    """The whole ids that begin so, digit by digit, at most `MAX_HELD`."""
    begun = list(prefixes)
    for _ in range(ID_DIGITS - PREFIX_DIGITS):
        longer = [prefix + digit for prefix in begun[:MAX_HELD] for digit in DIGITS]
        there = await asyncio.gather(*(_exists(exists, prefix) for prefix in longer))
        begun = [prefix for prefix, is_there in zip(longer, there, strict=True) if is_there]
    return begun


async def _exists(exists: Exists, prefix: str) -> bool:
    try:
        await exists(prefix)
    except NotFoundError:
        return False
    except UnavailableError:
        raise
    except PytopError:  # several ids begin so
        return True
    return True
