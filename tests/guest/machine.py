"""A guest in QEMU without KVM: booted from files alone, watched by its serial line, judged by what it has written.

It has no terminal and no standard input: the serial line is a file that is read here, so that it works the same in a
pipe, in the background, in tmux and in CI.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.guest.kernel import Kernel

ROOT: Final = Path(__file__).parents[2]
MEMORY: Final = "2G"
CPUS: Final = "2"
BOOT_SECONDS: Final = 240
"""Within which the guest must have said its first word, on a busy machine too (some 15 on an idle one)."""
FIRST_WORD: Final = b"guest: "


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a guest. `status` is its tests' exit status, None when it never came to an end."""

    status: int | None
    seconds: float


def boot(kernel: Kernel, initramfs: Path, results: Path, script: Path, *, append: str = "", limit: float) -> Run:
    """Boot and wait, at most `limit` seconds; the guest's output is shown as it comes."""
    serial = results / "serial.log"
    serial.touch()
    line = (
        f"console=ttyS0 quiet panic=-1 psi=1 cgroup_no_v1=all random.trust_cpu=on mitigations=off no_timer_check "
        f"guest.run={script} guest.root={ROOT} guest.modules={kernel.modules} {append}"
    )
    command = [
        "qemu-system-x86_64",
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", CPUS, "-m", MEMORY),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{serial}"),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs), "-append", line),
        *("-device", "virtio-rng-pci"),
        *("-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"),
        *("-drive", f"file={results}/disk.img,if=virtio,format=raw,cache=unsafe"),
        *("-virtfs", f"local,path={results},mount_tag=results,security_model=none,multidevs=remap"),
    ]
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _watch(process, serial, started, limit)
    finally:
        process.kill()
        words, _ = process.communicate()
    if words:
        print(words.decode(errors="replace"), file=sys.stderr)
    status = results / "status"
    return Run(int(status.read_text()) if status.exists() else None, time.monotonic() - started)


def _watch(process: subprocess.Popen[bytes], serial: Path, started: float, limit: float) -> None:
    """Show what the guest says until it is off, or has been silent from the start, or the time is over."""
    said = False
    begun = b""  # a word may come in two parts
    with serial.open("rb") as lines:
        while process.poll() is None:
            text = lines.read()
            if not said:
                begun += text
                said = FIRST_WORD in begun
            _show(text)
            taken = time.monotonic() - started
            if taken > limit or (not said and taken > BOOT_SECONDS):
                return
            time.sleep(0.2)
        _show(lines.read())


def _show(text: bytes) -> None:
    sys.stdout.write(text.decode(errors="replace").replace("\r\n", "\n"))
    sys.stdout.flush()
