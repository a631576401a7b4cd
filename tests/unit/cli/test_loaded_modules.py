"""What a command loads, and above all what it does not: `sys.modules` of a process of its own, after the command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = r"""
import sys
from tui.__main__ import main
if {real!r}:
    from pathlib import Path
    from runtime.engines.containerd import address
    from runtime.engines.docker import endpoint
    from runtime.engines.podman import endpoint as podman
    nowhere = Path({home!r})
    address.SOCKETS = {{"containerd": nowhere / "none.sock"}}
    endpoint.SYSTEM_SOCKET, podman.RUN, podman.SYSTEM = nowhere / "none.sock", nowhere, ()
try:
    code = main({argv!r})
except SystemExit as left:
    code = left.code
sys.stderr.write(repr((code, set(sys.modules))) + "\n")
"""
SCREEN = {"textual", "rich"}
DAEMONS = {"aiohttp", "grpclib", "google.protobuf", "jeepney"}
OURS = {"collectors", "themes", "tui.app", "tui.core", "tui.demo", "runtime.engines", "runtime.limits"}
SIGNS = {"tui.present", "tui.present.locale_signs"}
"""Needed before anything is printed; the package itself is empty."""


def loaded(home: Path, *argv: str, real: bool = False) -> tuple[int, set[str]]:
    """The exit code and what is in `sys.modules`; `real` is a command that lists containers, here of one engine."""
    environ = {
        "HOME": str(home),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "PYTOP_FOUND": "0",
        "PYTOP_STATE_DIR": str(home / "state"),
        "PYTOP_RUN_DIR": str(home / "run"),
        "XDG_RUNTIME_DIR": str(home),
    }
    code = CODE.format(argv=list(argv), home=str(home), real=real)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=home)
    status, names = ast.literal_eval(done.stderr.splitlines()[-1])
    return status, names


@pytest.mark.parametrize(("argv", "status"), [("--version", 0), ("--help", 0), ("no-such-verb", 2)])
def test_what_says_something_about_the_program_loads_nothing_of_it(tmp_path: Path, argv: str, status: int) -> None:
    code, names = loaded(tmp_path, argv)
    assert code == status
    heavy = {"asyncio", "logging", "json", "dataclasses", "pathlib", "psutil", "pyroute2", "runtime.model"}
    assert not names & (heavy | SCREEN | DAEMONS | OURS)
    assert {name for name in names if name.startswith("tui.present")} == SIGNS
    verbs = {"tui.cli.listing", "tui.cli.stats", "tui.cli.dashboard", "tui.cli.common"}
    assert not names & verbs


def test_a_verb_loads_its_own_module_only(tmp_path: Path) -> None:
    code, names = loaded(tmp_path, "logs", "--help")
    assert code == 0
    assert "tui.cli.logs" in names
    assert not names & {"tui.cli.listing", "tui.cli.stats", "tui.cli.running", "tui.cli.doctor", "tui.cli.demo"}
    assert not names & (SCREEN | DAEMONS | {"tui.app", "tui.demo", "tui.cli.dashboard"})


def test_ps_without_a_daemon_loads_no_daemons_engine(tmp_path: Path) -> None:
    code, names = loaded(tmp_path, "ps", real=True)
    assert code == 0
    assert not names & (SCREEN | DAEMONS | {"psutil", "pyroute2", "tui.app", "tui.demo", "themes"})
    engines = {name.split(".")[2] for name in names if name.startswith("runtime.engines.") and name.endswith(".engine")}
    assert engines == {"embedded"}
    assert "runtime.engines.daemon.http" not in names


@pytest.mark.parametrize("verb", ["leases", "audit"])
def test_what_reads_notes_of_the_machine_loads_no_engine_of_a_daemon_and_no_screen(tmp_path: Path, verb: str) -> None:
    code, names = loaded(tmp_path, verb, real=True)
    assert code == 0
    assert not names & (SCREEN | DAEMONS | {"psutil", "pyroute2", "tui.app", "tui.demo", "themes"})


def test_ps_loads_no_words_of_leases_and_no_verb_about_them(tmp_path: Path) -> None:
    _, names = loaded(tmp_path, "ps", real=True)
    assert not names & {"tui.cli.why", "tui.cli.leases", "tui.cli.audit", "tui.present.lease_text"}
    parts = ("collectors.attribution", "tui.core.containment", "tui.core.session", "runtime.containment.ladder")
    assert not {name for name in names if name.startswith(parts)}


def test_run_loads_nothing_that_lists_or_measures(tmp_path: Path) -> None:
    code, names = loaded(tmp_path, "--read-only", "run", "--rm", "host", "true", real=True)
    assert code == 125
    assert "tui.core.launch" in names
    assert not names & (
        SCREEN | DAEMONS | {"psutil", "pyroute2", "collectors", "tui.core.session", "tui.core.inventory"}
    )
    engines = {name.split(".")[2] for name in names if name.startswith("runtime.engines.") and name.endswith(".engine")}
    assert engines == {"embedded"}


def test_stats_once_loads_no_screen(tmp_path: Path) -> None:
    code, names = loaded(tmp_path, "stats", "--once", "--interval", "0.1", real=True)
    assert code == 0
    assert not names & (SCREEN | DAEMONS | {"pyroute2", "tui.app", "tui.demo", "themes"})


def test_the_dashboard_without_a_terminal_loads_no_screen(tmp_path: Path) -> None:
    code, names = loaded(tmp_path)
    assert code == 2
    assert not names & (SCREEN | DAEMONS | {"asyncio", "tui.app", "runtime.engines"})


def test_the_garbage_collector_rests_while_the_dashboard_is_loaded_and_skips_it_afterwards() -> None:
    code = """
import gc
from tui.cli import verbs
passes = []
gc.callbacks.append(lambda phase, info: passes.append(phase))
verbs.load(verbs.ON_SCREEN["dashboard"])
print(len(passes), gc.isenabled(), gc.get_freeze_count() > 50_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["0", "True", "True"]
