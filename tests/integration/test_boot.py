"""What restarts by its policy is started after a boot, once, by the verb that a unit runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from runtime.engines.embedded.sandbox import cgroup as sandbox_cgroup
from runtime.engines.embedded.state.record import dumps
from runtime.engines.embedded.state.store import RecordStore
from runtime.kernel import boot_unit, cgroupfs, cgroups, systemd
from tests.integration.embedded import processes_of
from tests.integration.program import Program, program
from tests.waiting import wait_until

pytestmark = pytest.mark.root
LAST_BOOT = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def p() -> Iterator[Program]:
    with program() as made:
        yield made


def reboot(p: Program) -> None:
    """As a power cut leaves it: no process, an empty run directory, no cgroups, records of another boot."""
    store = RecordStore(p.where)
    for pid in processes_of(p.where):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(p.where), 10)
    for record in store.all():
        cgroup = sandbox_cgroup.find(cgroupfs.detect(), p.where.cgroup_of(record.id))
        for pid in cgroups.pids(cgroup):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda cgroup=cgroup: not list(cgroups.pids(cgroup)), 10)  # type: ignore[misc]
        sandbox_cgroup.release(p.where, cgroupfs.detect(), record)
        if record.boot_id:
            old = replace(record, boot_id=LAST_BOOT, pid=1 if record.pid else None, pid_start=1 if record.pid else None)
            p.where.record(record.id).write_bytes(dumps(old))
    shutil.rmtree(p.where.run)


def states(p: Program) -> dict[str, str]:
    return {each["name"]: each["state"] for each in json.loads(p("ps", "-a", "--json").stdout)}


def test_boot_starts_what_its_policy_says_and_only_once(p: Program) -> None:
    for name, policy in (
        ("always", "always"),
        ("always-stopped", "always"),
        ("unless", "unless-stopped"),
        ("unless-stopped", "unless-stopped"),
        ("on-failure", "on-failure"),
        ("no", "no"),
    ):
        p("run", "-d", "--name", name, "--network", "none", "--restart", policy, "host", "sleep", "600")
    p("create", "--name", "never-started", "--network", "none", "--restart", "always", "host", "sleep", "600")
    p("stop", "-t", "0", "always-stopped", "unless-stopped")
    assert p("boot").stdout == "", "what was stopped in this boot stays so"
    reboot(p)
    assert set(states(p).values()) == {"exited", "created"}
    assert sorted(p("boot").stdout.split()) == ["always", "always-stopped", "unless"]
    now = states(p)
    assert {name for name, state in now.items() if state == "running"} == {"always", "always-stopped", "unless"}
    assert p.container("always")["restarts"] == 0
    p("stop", "-t", "0", "always")
    assert p("boot").stdout == ""
    assert states(p)["always"] == "exited"


def test_run_and_the_doctor_say_that_nothing_starts_it_after_a_boot(p: Program) -> None:
    if boot_unit.is_installed():
        pytest.skip("the unit is installed on this machine")
    said = p("run", "-d", "--name", "web", "--network", "none", "--restart", "always", "host", "sleep", "600").stderr
    assert "web: its restart policy ends with this boot, until `pytop-containers boot --install` was run" in said
    quiet = p("run", "-d", "--network", "none", "--restart", "on-failure", "host", "sleep", "600").stderr
    assert "boot" not in quiet
    checks = {each["name"]: each for each in json.loads(p("doctor", "--json", code=None).stdout)["checks"]}
    check = checks["embedded: restart policies"]
    assert (check["level"], check["remedy"]) == ("limited", "pytop-containers boot --install")
    assert check["found"].endswith("should restart: web")


def test_the_unit_runs_this_program_with_its_settings(p: Program) -> None:
    text = p("boot", "--print").stdout
    assert f"Environment=PYTOP_STATE_DIR={p.where.state}" in text
    assert f"WorkingDirectory={p.root}" in text
    assert " -m tui boot\n" in text
    if not systemd.BOOTED.exists():
        refused = p("boot", "--install", code=4).stderr
        assert "systemd does not run here" in refused
        assert "@reboot" in refused
    assert p("boot", "--uninstall").stdout == "there is no such unit\n"
