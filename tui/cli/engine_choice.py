"""Which engines a command asks: the argument `--engine`, and those of this host, looked for one after another."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from runtime.engines.discovery import each_engine
from runtime.engines.protocol import Engine
from runtime.errors import InvalidError


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Accept `--engine` after the verb too."""
    parser.add_argument(
        "--engine", metavar="KEY", default=argparse.SUPPRESS, help="only this engine (embedded, docker, podman, ...)"
    )


def engines(args: argparse.Namespace) -> Iterator[Engine]:
    """The engines of this host, or the one that was chosen; each is loaded when it is taken."""
    found = each_engine({**os.environ, "PYTOP_SERVICES": "1"} if args.services else os.environ)
    chosen: str | None = args.engine
    if chosen is None:
        yield from found
        return
    others: list[str] = []
    selected = False
    for engine in found:
        if engine.key == chosen:
            selected = True
            yield engine
        others.append(engine.key)
    if not selected:
        here = ", ".join(others) or "none"
        raise InvalidError(f"there is no engine {chosen!r} here", hint=f"Engines here: {here}")
