"""Functions that verbs share: a session, the lookup of containers by name, one operation on several of them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from runtime.errors import NotFoundError, PytopError, UnavailableError
from runtime.model import Container, ContainerRef
from tui.cli import diagnostics, exits
from tui.cli.engine_choice import engines
from tui.cli.slow_changes import waiting_told
from tui.core.base_session import BaseSession
from tui.present import problem_text

T = TypeVar("T")
S = TypeVar("S", bound=BaseSession)

MAX_CONCURRENT = 16  # operations of one command


def add_services(parser: argparse.ArgumentParser) -> None:
    """Accept `--services` after the verb too."""
    parser.add_argument(
        "--services", action="store_true", default=argparse.SUPPRESS, help="list systemd's services too"
    )


def add_names(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """The positional arguments that name containers."""
    parser.add_argument(
        "containers" if several else "container",
        metavar="CONTAINER",
        nargs="+" if several else None,
        help="container's name, id, unambiguous beginning of an id, or ENGINE:NAME",
    )


def session(args: argparse.Namespace) -> contextlib.AbstractAsyncContextManager[BaseSession]:
    """A session after its first listing, without attribution and containment; closed at the end."""
    return session_of(args, BaseSession)


@contextlib.asynccontextmanager
async def session_of(args: argparse.Namespace, kind: type[S]) -> AsyncIterator[S]:
    """As `session`, of another kind."""
    opened = kind([*engines(args)], read_only=args.read_only, audited=True)
    try:
        async with waiting_told(lambda: opened.under_way):
            await opened.refresh()
            yield opened
    finally:
        await opened.close()


def tell_problems(session: BaseSession) -> int:
    """Report engines that could not be asked on stderr; UNAVAILABLE when none could."""
    for problem in session.problems:
        diagnostics.complain(f"{problem.engine}: {problem_text.line(problem)}")
    failed = {problem.engine for problem in session.problems}
    return exits.UNAVAILABLE if failed and failed >= set(session.engines) else exits.OK


def find(session: BaseSession, name: str) -> Container:
    """The container with this full id, name or unambiguous id prefix, tried in this order."""
    engine, colon, rest = name.partition(":")
    qualified = bool(colon) and engine in session.engines
    wanted = rest if qualified else name
    pool = [c for c in session.containers.values() if not qualified or c.ref.engine == engine]
    matches = [c for c in pool if c.ref.id == wanted] or [c for c in pool if c.name == wanted]
    if not matches and wanted:
        matches = [c for c in pool if wanted in (c.ref.id[: len(wanted)], c.ref.id.rpartition("/")[2][: len(wanted)])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        fits = ", ".join(f"{c.ref.engine}:{c.name or c.ref.short} ({c.ref.short})" for c in matches[:5])
        more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
        raise NotFoundError(
            f"{name} fits several containers", detail=fits + more, hint="Say ENGINE:NAME or more of the id"
        )
    problems = [p for p in session.problems if not qualified or p.engine == engine]
    cause, hint = (problem_text.title(problems[0]), problem_text.hint(problems[0])) if problems else ("", "")
    if problems and len(problems) == (1 if qualified else len(session.engines)):
        raise UnavailableError(f"find container {name}", detail=cause, hint=hint)
    if problems:
        raise NotFoundError(f"there is no container {name}", hint=f"{problems[0].engine} could not be asked: {cause}")
    raise NotFoundError(f"there is no container {name}", hint="See `ps -a` for what there is")


async def each(
    session: BaseSession, names: Sequence[str], action: Callable[[Container], Awaitable[T]]
) -> tuple[list[tuple[str, T]], int]:
    """Run `action` for every named container, concurrently; a failure is reported and does not stop the others.

    Returns the results of those that succeeded, in the order of `names`, and the exit code for all.
    """
    slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def attempt(name: str) -> T | PytopError:
        async with slots:
            try:
                return await action(find(session, name))
            except PytopError as error:
                return error

    names = list(dict.fromkeys(names))
    results = await asyncio.gather(*(attempt(name) for name in names))
    codes = []
    done: list[tuple[str, T]] = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, PytopError):
            diagnostics.complain(result)
            codes.append(exits.code_of(result))
        else:
            done.append((name, result))
    return done, exits.together(codes)


def refs(containers: Iterable[Container]) -> list[ContainerRef]:
    """Their refs."""
    return [container.ref for container in containers]
