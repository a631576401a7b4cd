"""What `test_nested_real` starts in a cgroup of its own: the doctor's words and a container, told as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from runtime import limits
from runtime.doctor.host import cgroup_checks
from runtime.doctor.mode import mode_check
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.errors import PytopError
from runtime.kernel import cgroupfs, files, own_cgroup
from runtime.model import ContainerSpec, LimitChange, Verb

MB = 1024 * 1024
NOBODY = 65534
TOP = Path("/sys/fs/cgroup")


def main() -> None:
    if sys.argv[1] == "nobody":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        print(json.dumps(doctor()))
    else:
        print(json.dumps(root(EmbeddedConfig.from_json(sys.argv[1]))))


def root(config: EmbeddedConfig) -> dict[str, Any]:
    """As root of a cgroup namespace, with another process beside this one."""
    beside = subprocess.Popen(["sleep", "600"])
    try:
        told: dict[str, Any] = {"before": looked(beside.pid)}
        told.update(asyncio.run(life(config)))
        told["after"] = looked(beside.pid)
    finally:
        beside.kill()
        beside.wait()
    return told


def looked(beside: int) -> dict[str, Any]:
    return {
        **doctor(),
        "type": (TOP / "cgroup.type").read_text().strip(),
        "enabled": (TOP / "cgroup.subtree_control").read_text().split(),
        "own": Path("/proc/self/cgroup").read_text().strip(),
        "beside": Path(f"/proc/{beside}/cgroup").read_text().strip(),
    }


def doctor() -> dict[str, Any]:
    hierarchies = cgroupfs.detect()
    mode = mode_check(hierarchies)
    return {
        "mode": [mode.level.value, mode.found, mode.remedy],
        "checks": {check.name: [check.level.value, check.found] for check in cgroup_checks(hierarchies)},
    }


async def life(config: EmbeddedConfig) -> dict[str, Any]:
    """A container with limits, from its creation to its end, or why there is none."""
    engine = EmbeddedEngine(config)
    told: dict[str, Any] = {}
    try:
        capabilities = await engine.capabilities()
        told["why not"] = capabilities.why_not(Verb.START)
        told["lacking"] = {name.value: why for name, why in capabilities.limits.items()}
        asked = LimitChange(memory=64 * MB, pids=33, cpus=0.5)
        ref = await engine.create(ContainerSpec("host", ("sleep", "600"), limits=asked, network="none"))
        await engine.start(ref.id)
        pid = (await engine.get(ref.id)).pid or 0
        told["container"] = files.read(Path(f"/proc/{pid}/cgroup"))
        held = limits.read(own_cgroup.locate(cgroupfs.detect(), pid))
        told["held"] = [held.memory, held.pids, held.cpus]
        outcome = await engine.update(ref.id, LimitChange(memory=96 * MB, pids=44))
        told["update"] = [outcome.ok, *(field.kernel for field in outcome.fields)]
        await engine.stop(ref.id, timeout=0.2)
        told["state"] = (await engine.get(ref.id)).state.value
    except PytopError as error:
        told["error"] = str(error)
    finally:
        await engine.destroy()
        await engine.close()
    return told


if __name__ == "__main__":
    main()
