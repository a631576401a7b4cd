"""ps, images, inspect."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.engines.protocol import required
from runtime.errors import InvalidError, PytopError
from runtime.model import Container, Image, State
from tui.cli import diagnostics, exits, output
from tui.cli.common import add_names, add_services, each, session, tell_problems
from tui.cli.engine_choice import add_engine
from tui.cli.values import pairs
from tui.core.base_session import BaseSession, Group
from tui.present.state_text import state_text

_FILTERS: Mapping[str, Callable[[Container, str], bool]] = {
    "name": lambda c, text: text in c.name,
    "id": lambda c, text: c.ref.id.startswith(text),
    "state": lambda c, text: c.state.value == text,
    "image": lambda c, text: c.image == text or c.image.partition(":")[0] == text,
    "engine": lambda c, text: c.ref.engine == text,
    "group": lambda c, text: c.group_name == text,
    "label": lambda c, text: _has_label(c, text),
}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of each verb."""
    add_engine(parser)
    match verb:
        case "ps":
            _configure_ps(parser)
        case "images":
            parser.add_argument("--json", action="store_true", help="one JSON document")
            parser.set_defaults(func=lambda args: asyncio.run(_images(args)))
        case "inspect":
            add_names(parser)
            parser.set_defaults(func=lambda args: asyncio.run(_inspect(args)))


def _configure_ps(parser: argparse.ArgumentParser) -> None:
    add_services(parser)
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="those that are not running too")
    add("-q", "--quiet", action="store_true", help="only the ids")
    add("--no-trunc", action="store_true", help="whole ids and commands")
    add("--json", action="store_true", help="one JSON document with everything that is known")
    add(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"only those that fit: {', '.join(_FILTERS)}; one key twice means either, two keys mean both",
    )
    add("--groups", action="store_true", help="compose projects, pods and slices, with who belongs to them")
    parser.set_defaults(func=lambda args: asyncio.run(_ps(args)))


async def _ps(args: argparse.Namespace) -> int:
    fits = _filters(args.filter)
    wanted = args.all or any(text.startswith("state=") for text in args.filter)
    async with session(args) as opened:
        code = tell_problems(opened)
        found = [
            c for c in opened.containers.values() if fits(c) and (wanted or c.state.live or c.state is State.RESTARTING)
        ]
        if args.groups:
            await opened.regroup()
            _print_groups(opened, found, as_document=args.json)
            return code
        if args.json:
            await opened.compare(found)
    found.sort(key=lambda c: (-c.created_ns, c.name))
    if args.json:
        output.document([as_json(c) | {"drift": output.drift(opened.drift.get(c.ref, ()))} for c in found])
    elif args.quiet:
        for container in found:
            print(container.ref.id if args.no_trunc else container.ref.short)
    else:
        rows = [_row(container, whole=args.no_trunc) for container in found]
        output.table(["CONTAINER ID", "NAME", "ENGINE", "IMAGE", "STATE", "SINCE", "ADDRESS", "COMMAND"], rows)
    return code


def _print_groups(opened: BaseSession, found: Sequence[Container], *, as_document: bool) -> None:
    """The groups that contain some of these containers, each with those it contains."""
    wanted = {container.ref: container for container in found}
    groups = sorted(opened.groups.values(), key=lambda group: group.ref)
    chosen = [(group, [wanted[ref] for ref in group.members if ref in wanted]) for group in groups]
    if as_document:
        output.document([group_as_json(group, members) for group, members in chosen if members])
        return
    rows = [
        [group.ref.name, group.ref.kind.value, group.ref.engine or "-", group.cgroup or "-", _names(members)]
        for group, members in chosen
        if members
    ]
    output.table(["GROUP", "KIND", "ENGINE", "CGROUP", "CONTAINERS"], rows)


def _names(members: Sequence[Container]) -> str:
    return ", ".join(sorted(member.name or member.ref.short for member in members))


def group_as_json(group: Group, members: Sequence[Container]) -> dict[str, Any]:
    """A group; its cgroup is null when it has none of its own."""
    return {
        "kind": group.ref.kind.value,
        "name": group.ref.name,
        "engine": group.ref.engine or None,
        "cgroup": group.cgroup or None,
        "containers": [{"engine": c.ref.engine, "id": c.ref.id, "name": c.name} for c in members],
    }


def _row(container: Container, *, whole: bool) -> list[str]:
    command = shlex.join(container.command)
    since = container.finished_ns if container.state is State.EXITED else container.started_ns
    return [
        container.ref.id if whole else container.ref.short,
        container.name,
        container.ref.engine,
        container.image if whole else output.shorten(container.image, 30),
        state_text(container),
        ago(since or container.created_ns),
        ",".join(container.addresses) or "-",
        command if whole else output.shorten(command, 40),
    ]


def ago(time_ns: int) -> str:
    """How long ago, in one unit: "12 s", "3 min", "5 h", "9 d"."""
    seconds = max(0.0, time.time() - time_ns / 1e9)
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def as_json(container: Container) -> dict[str, Any]:
    """Everything about a container, times in RFC 3339."""
    return {
        "engine": container.ref.engine,
        "id": container.ref.id,
        "name": container.name,
        "image": container.image,
        "state": container.state.value,
        "pid": container.pid,
        "command": list(container.command),
        "created": output.when(container.created_ns),
        "started": output.when(container.started_ns),
        "finished": output.when(container.finished_ns),
        "exit_code": container.exit_code,
        "restarts": container.restarts,
        "last_exit_code": container.last_exit_code,
        "oom_killed": container.oom_killed,
        "health": container.health,
        "restart_policy": container.restart_policy,
        "addresses": list(container.addresses),
        "ports": [dataclasses.asdict(port) for port in container.ports],
        "labels": dict(container.labels),
        "group": container.group_name,
        "kind": container.kind.value,
        "cgroup": container.cgroup,
        "found": container.found,
        "unplaced": container.unplaced,
        "error": container.error,
        "output_limited": container.output_limited,
    }


def _filters(texts: Sequence[str]) -> Callable[[Container], bool]:
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = "state" if key == "status" else key
        if not equals or key not in _FILTERS:
            raise InvalidError(
                f"there is no filter {text!r}", hint=f"Say KEY=VALUE, the key one of {', '.join(_FILTERS)}"
            )
        wanted.setdefault(key, []).append(value)
    return lambda container: all(
        any(_FILTERS[key](container, value) for value in values) for key, values in wanted.items()
    )


def _has_label(container: Container, text: str) -> bool:
    ((key, value),) = pairs([text]).items()
    return key in container.labels and ("=" not in text or container.labels[key] == value)


async def _images(args: argparse.Namespace) -> int:
    found: list[tuple[str, Image]] = []
    async with session(args) as opened:
        code = tell_problems(opened)
        for key, engine in opened.engines.items():
            if any(problem.engine == key for problem in opened.problems):
                continue
            if engine.facets.images is None and len(opened.engines) > 1:
                continue  # among several it has nothing to add
            try:
                images = required(engine.facets.images, engine.key, "list images", "images")
                found += [(key, image) for image in await images.images()]
            except PytopError as error:
                diagnostics.complain(error)
                code = exits.code_of(error)
    if args.json:
        output.document(
            [
                {
                    "engine": key,
                    "id": image.id,
                    "names": list(image.names),
                    "size": output.plain(image.size),
                    "created": output.when(image.created_ns),
                }
                for key, image in found
            ]
        )
    else:
        rows = []
        for key, image in found:
            size = str(image.size) if isinstance(image.size, int) else "-"
            short = image.id.removeprefix("sha256:")[:12]
            age = ago(image.created_ns) if image.created_ns else "-"
            rows += [[name, short, key, size, age] for name in image.names or ("-",)]
        output.table(["IMAGE", "ID", "ENGINE", "BYTES", "CREATED"], rows, right=frozenset({3}))
    return code


async def _inspect(args: argparse.Namespace) -> int:
    async with session(args) as opened:

        async def action(container: Container) -> Mapping[str, Any]:
            return await opened.inspect(container.ref)

        done, code = await each(opened, args.containers, action)
    output.document([dict(found) for _, found in done])
    return code
