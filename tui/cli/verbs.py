"""The registry of verbs: what each does in one line, and the module that holds it, loaded when the verb is used.

Our own modules are loaded by name here, in `runtime.engines.discovery` and in `tui.app.screens.registry`, nowhere else.
A test resolves every name and holds it against the import contracts. This module imports none of our modules, so it can
be loaded before the packages are checked for being one installation.

A verb's module has `configure(parser, verb)`: it adds the verb's arguments and sets the default `func`, which takes the
parsed arguments and returns the exit code.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Final

COMMAND_LINE: Final = "tui.cli.main"
"""Parses the command line and runs the verb."""
DASHBOARD: Final = "tui.cli.dashboard"
"""Runs without a verb."""
LIMIT_JOURNAL: Final = "runtime.kernel.limit_journal"
"""Puts back limits that a command which was killed has left lowered; loaded by every verb, not by `--version`."""
RUN_DIRECTORY: Final = "runtime.kernel.run_directory"
"""Says whether there are leases."""
LEASES: Final = "runtime.containment.ending"
"""Puts back what nobody watches any more, of leases too; loaded where there are some."""
LEASE_FILES: Final = "lease-"
"""The beginning of their names; a test compares it with the store's."""
ON_SCREEN: Final[Mapping[str, str]] = {"dashboard": "tui.cli.dashboard_screen", "demo": "tui.demo.live"}
"""Modules that import Textual: loaded when there is a terminal."""
VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "ps": ("tui.cli.listing", "list containers"),
    "images": ("tui.cli.listing", "list the images that containers can be made from"),
    "inspect": ("tui.cli.listing", "everything an engine knows about containers, as JSON"),
    "stats": ("tui.cli.stats", "measure what containers use"),
    "run": ("tui.cli.running", "make a container and start it"),
    "create": ("tui.cli.running", "make a container without starting it"),
    "start": ("tui.cli.lifecycle", "start containers that are not running"),
    "stop": ("tui.cli.lifecycle", "ask containers to end, kill those that do not in time"),
    "restart": ("tui.cli.lifecycle", "stop and start containers"),
    "pause": ("tui.cli.lifecycle", "freeze every process of containers"),
    "unpause": ("tui.cli.lifecycle", "let paused containers go on"),
    "kill": ("tui.cli.lifecycle", "send a signal to containers"),
    "rm": ("tui.cli.lifecycle", "remove containers that are not running"),
    "wait": ("tui.cli.lifecycle", "wait for containers to end, print their exit statuses"),
    "logs": ("tui.cli.logs", "show what a container has written"),
    "update": ("tui.cli.update", "change the limits of containers while they run"),
    "why": ("tui.cli.why", "who hurts whom, and what would help"),
    "leases": ("tui.cli.leases", "changes that are taken back by themselves: list, take back now, keep"),
    "audit": ("tui.cli.audit", "who has changed what, when, and what came of it"),
    "boot": ("tui.cli.boot", "start, after a boot, the containers whose restart policy says so"),
    "doctor": ("tui.cli.doctor", "what works on this host, what does not, why, and what to do"),
    "guard": ("tui.cli.guard", "keep protected containers within their targets, by a policy"),
    "demo": ("tui.cli.demo", "real containers, one starving another: contain it"),
}
"""Module and help line by verb, in the order of `--help`."""


def load(module: str) -> ModuleType:
    """Import a module of this registry, with the cyclic garbage collector at rest.

    Importing makes no garbage, and each pass over the objects of some hundred modules costs 10 to 20 ms. What was
    imported is then left out of every later pass.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
