"""The parser of the command line: general options and verbs; only the module of the used verb is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from runtime import __version__
from tui.cli import exits, verbs
from tui.cli.diagnostics import PROGRAM
from tui.cli.durations import interval

_ABOUT = """\
A live dashboard of every container on this host, with engines to drive them: the embedded one, Docker, Podman,
containerd.
Without a command the dashboard opens. Everything it shows and does can be had by the commands too.
"""
_OUTPUT = """\
output: data goes to stdout, talk to stderr. Tables are aligned on a terminal and have one tab between columns in a
pipe. A container is named by its name, its id, an unambiguous beginning of the id, or ENGINE:NAME.

environment: DOCKER_HOST and DOCKER_CONTEXT choose the Docker that is used, CONTAINER_HOST and CONTAINER_CONNECTION the
Podman, CONTAINERD_ADDRESS and CONTAINERD_NAMESPACE the containerd. PYTOP_STATE_DIR, PYTOP_RUN_DIR, PYTOP_CGROUP,
PYTOP_BRIDGE and PYTOP_SUBNET move the embedded engine. PYTOP_FOUND=0 leaves out what no engine answers for,
PYTOP_SERVICES=1 adds systemd's services. PYTOP_LOG names a file for the dashboard's log, PYTOP_DEBUG=1 shows
tracebacks.

"""


class VerbParser(argparse.ArgumentParser):
    """The parser of one verb. The verb's module is loaded, and its arguments are added, when the verb is used."""

    def __init__(self, *, verb: str, **options: Any) -> None:
        super().__init__(**options)
        self._verb: str | None = verb  # None as soon as it has its arguments

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Called by the main parser with the arguments after the verb."""
        if self._verb is not None:
            verb, self._verb = self._verb, None
            module, _ = verbs.VERBS[verb]
            verbs.load(module).configure(self, verb)
        return super().parse_known_args(args, namespace)


def build() -> argparse.ArgumentParser:
    """The parser; `func` of what it returns takes the arguments and gives the exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_ABOUT,
        epilog=_OUTPUT + exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    add("--engine", metavar="KEY", help="only this engine (embedded, docker, podman, ...)")
    add("--services", action="store_true", help="list systemd's services too (PYTOP_SERVICES=1)")
    add("--groups", action="store_true", help="begin with compose projects, pods and slices as groups (key v)")
    add("--read-only", action="store_true", help="refuse every change")
    add("--interval", type=interval, metavar="SECONDS", help="time between measurements (default: 1)")
    add("--theme", metavar="NAME", help="the dashboard's colours")
    add("--ascii", action="store_true", help="draw the dashboard with ASCII characters only")
    add("--guard", metavar="POLICY.toml", dest="guard_policy", help="the policy by which key A turns the guard on")
    parser.set_defaults(func=_dashboard)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=VerbParser)
    for verb, (_, summary) in verbs.VERBS.items():
        subparsers.add_parser(verb, help=summary, verb=verb)
    return parser


def _dashboard(args: argparse.Namespace) -> int:
    code: int = verbs.load(verbs.DASHBOARD).main(args)
    return code
