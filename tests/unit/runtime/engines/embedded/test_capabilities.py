"""Capabilities, given up for real in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from runtime.engines.embedded.sandbox import capabilities
from runtime.errors import InvalidError
from runtime.kernel.capability import NAMES
from runtime.oci.defaults import DEFAULT_CAPABILITIES
from tests.conftest import missing

DOCKER = {
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
}

REPORT = """
import json
fields = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Cap"))
print(json.dumps({name: int(value, 16) for name, value in fields.items()}))
"""


def python(code: str) -> dict[str, int]:
    """Run code as root in a process of its own, then a report of what that process, or one it starts, holds."""
    if os.geteuid() != 0:
        missing("embedded", "needs root")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    held: dict[str, int] = json.loads(done.stdout)
    return held


def test_names_are_numbered_as_the_kernel_does() -> None:
    assert [NAMES.index(n) for n in ("CHOWN", "SETUID", "NET_ADMIN", "SYS_ADMIN", "MKNOD", "SETFCAP", "BPF")] == [
        *(0, 7, 12, 21, 27, 31, 39)
    ]
    assert capabilities.bits(["chown", "CAP_SYS_ADMIN"]) == 1 | 1 << 21
    assert capabilities.bits([]) == 0


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidError, match="CAP_EVERYTHING"):
        capabilities.bits(["CAP_EVERYTHING"])


def test_the_default_is_no_more_than_dockers_and_nothing_that_reaches_the_host() -> None:
    assert DEFAULT_CAPABILITIES < DOCKER
    assert not DEFAULT_CAPABILITIES & {"SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "NET_ADMIN", "DAC_READ_SEARCH", "BPF"}


def test_everything_else_is_gone_for_good() -> None:
    wanted = capabilities.bits(DEFAULT_CAPABILITIES)
    held = python("from runtime.engines.embedded.sandbox import capabilities\ncapabilities.drop_to()" + REPORT)
    assert held == {"CapInh": 0, "CapPrm": wanted, "CapEff": wanted, "CapBnd": wanted, "CapAmb": 0}


def test_a_new_program_gets_no_more_than_the_bounding_set() -> None:
    held = python(
        "import os, sys\nfrom runtime.engines.embedded.sandbox import capabilities\n"
        "capabilities.limit_bounding(['CHOWN', 'SETPCAP'])\n"
        f"os.execv(sys.executable, [sys.executable, '-c', {REPORT!r}])"
    )
    kept = capabilities.bits(["CHOWN", "SETPCAP"])
    assert held == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}


def test_inherited_and_ambient_capabilities_are_cleared() -> None:
    raise_ambient = (
        "from runtime.kernel import syscalls\n"
        "from runtime.engines.embedded.sandbox import capabilities\n"
        "mask = capabilities.bits(['CHOWN', 'SYS_ADMIN', 'SETPCAP'])\n"
        "syscalls.capset(mask, mask, mask)\n"
        "syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, 0)\n"  # 0: CHOWN
    )
    assert python(raise_ambient + REPORT)["CapAmb"] == 1
    held = python(raise_ambient + "capabilities.drop_to(['CHOWN', 'SETPCAP'])" + REPORT)
    kept = capabilities.bits(["CHOWN", "SETPCAP"])
    assert (held["CapAmb"], held["CapInh"], held["CapPrm"], held["CapEff"]) == (0, 0, kept, kept)


def test_what_is_not_held_cannot_be_kept() -> None:
    held = python(
        "from runtime.engines.embedded.sandbox import capabilities\ncapabilities.drop_to(['CHOWN', 'SETPCAP'])\n"
        "capabilities.drop_to(['CHOWN', 'SYS_ADMIN', 'SETPCAP'])" + REPORT
    )
    assert held["CapEff"] == capabilities.bits(["CHOWN", "SETPCAP"])
