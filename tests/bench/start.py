"""Start to exec: from the request until the program has been exec'ed, warm, medians of alternating turns.

What it is compared with is os.fork and os.execv of the same static program, seen the same way (a close-on-exec pipe
that closes), by `python -I` with only os and time loaded. What a process of one thread with the zygote's modules needs
for it, which has more memory to copy, is printed beside it. `runc run` gets a bundle with the same program and Docker's
default isolation.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.model import ContainerSpec, Verb
from runtime.oci.defaults import MASKED_PATHS, READ_ONLY_PATHS
from tests.bench.figure import Figure, Unavailable

TURNS, SHORT_TURNS = 100, 25
BOUND, BRIDGE_BOUND, P95_BOUND = 10, 25, 2
ROOT = Path(__file__).resolve().parents[2]
_YARDSTICK = """
import os, sys, time
if len(sys.argv) > 2:
    sys.path.insert(0, sys.argv[2])
    import runtime.engines.embedded.process.shim, runtime.engines.embedded.process.zygote
for line in sys.stdin:
    r, w = os.pipe()
    begun = time.perf_counter()
    if os.fork() == 0:
        os.execv(sys.argv[1], ["sleep", "0"])
    os.close(w)
    os.read(r, 1)
    print(time.perf_counter() - begun, flush=True)
    os.close(r)
    os.wait()
"""
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)


def figures(*, short: bool = False) -> list[Figure]:
    program = shutil.which("busybox")
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    if program is None:
        raise Unavailable("busybox is not installed")
    with tempfile.TemporaryDirectory(prefix="pytop-bench-") as directory:
        times = asyncio.run(_measure(Path(directory), program, SHORT_TURNS if short else TURNS))
    median = {name: statistics.median(values) for name, values in times.items() if values}
    bare, plain = median["bare"], median["plain"]

    def seen(taken: float) -> str:
        return (
            f"{taken * 1e3:.1f} ms / fork+exec of the same program by a bare interpreter {bare * 1e3:.2f} ms "
            f"(by a process like the zygote {plain * 1e3:.2f} ms, {taken / plain:.1f} times)"
        )

    found = []
    for name, words, bound in (("none", "no network", BOUND), ("bridge", "own bridge network", BRIDGE_BOUND)):
        found.append(Figure(f"start to exec, {words}", median[name] / bare, bound, seen(median[name])))
        p95 = statistics.quantiles(times[name], n=20)[-1]
        compared = f"{p95 * 1e3:.1f} ms / median {median[name] * 1e3:.1f} ms of {len(times[name])}"
        found.append(Figure(f"start to exec, {words}, p95", p95 / median[name], P95_BOUND, compared))
    if "runc" in median:
        alone, runc = median["none"], median["runc"]
        words = f"{alone * 1e3:.1f} ms / runc run with Docker's default spec {runc * 1e3:.1f} ms"
        found.append(Figure("start to exec, against runc", alone / runc, 1, words))
    return found


async def _measure(directory: Path, program: str, turns: int) -> dict[str, list[float]]:
    """Seconds of every turn, by what was started."""
    tag = secrets.token_hex(3)
    config = EmbeddedConfig(
        directory / "state", directory / "run", f"pytop-bench-{tag}", f"pb-{tag}", subnet="10.215.0.0/20"
    )
    engine = EmbeddedEngine(config)
    reason = (await engine.capabilities()).why_not(Verb.START)
    if reason is not None:
        raise Unavailable(reason)
    bundle = _bundle(directory, program)
    yardsticks = {name: _yardstick(program, *more) for name, more in (("plain", (str(ROOT),)), ("bare", ()))}
    times: dict[str, list[float]] = {"plain": [], "bare": [], "none": [], "bridge": [], "runc": []}
    try:
        for turn in range(turns + 1):
            taken = {name: _ask(yardstick) for name, yardstick in yardsticks.items()}
            for network in ("none", "bridge"):
                taken[network] = await _start(engine, program, network)
            if bundle is not None:
                taken["runc"] = _runc(bundle, directory, f"pytop-bench-{tag}-{turn}")
            if turn:  # the first is cold
                for name, value in taken.items():
                    times[name].append(value)
    finally:
        for yardstick in yardsticks.values():
            yardstick.communicate()
        await engine.destroy()
        await engine.close()
    return times


def _yardstick(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _YARDSTICK, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(yardstick: subprocess.Popen[str]) -> float:
    assert yardstick.stdin is not None
    assert yardstick.stdout is not None
    yardstick.stdin.write("\n")
    yardstick.stdin.flush()
    return float(yardstick.stdout.readline())


async def _start(engine: EmbeddedEngine, program: str, network: str) -> float:
    """`start` returns when the program has been exec'ed."""
    ref = await engine.create(ContainerSpec("host", (program, "sleep", "60"), network=network))
    begun = time.perf_counter()
    await engine.start(ref.id)
    taken = time.perf_counter() - begun
    await engine.remove(ref.id, force=True)
    return taken


def _runc(bundle: Path, directory: Path, name: str) -> float:
    """`runc run` of a program that says hello at once: until its first byte."""
    begun = time.perf_counter()
    running = subprocess.Popen(
        ["runc", "--root", str(directory / "runc"), "run", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    first = running.stdout.read(1)
    taken = time.perf_counter() - begun
    running.communicate()
    if not first:
        raise Unavailable("runc does not run here")
    return taken


def _bundle(directory: Path, program: str) -> Path | None:
    """A bundle with Docker's masked paths, capabilities, devices and seccomp; None without runc."""
    if shutil.which("runc") is None:
        return None
    bundle = directory / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy(program, bundle / "rootfs/bin/busybox")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    held = [f"CAP_{name}" for name in _CAPABILITIES.split()]
    spec["process"].update(
        terminal=False,
        args=["/bin/busybox", "echo", "x"],
        noNewPrivileges=True,
        capabilities=dict.fromkeys(("bounding", "effective", "permitted"), held),
        rlimits=[],
    )
    spec["linux"].update(
        maskedPaths=[f"/{path}" for path in MASKED_PATHS],
        readonlyPaths=[f"/{path}" for path in READ_ONLY_PATHS],
        seccomp=_seccomp(),
        cgroupsPath=f"/pytop-bench-runc-{secrets.token_hex(3)}",
    )
    (bundle / "config.json").write_text(json.dumps(spec))
    return bundle


def _seccomp() -> dict[str, object]:
    """An allow-list of the size of Docker's."""
    from runtime.oci import syscalls_allowed

    names = sorted(
        name
        for group in vars(syscalls_allowed).values()
        if isinstance(group, tuple | frozenset | list)
        for name in group
        if isinstance(name, str)
    )
    machine = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}.get(platform.machine())
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [machine] if machine else [],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
