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
TEST_SECONDS: Final = 300
"""After which pytest gives a test up and says where it was."""
STILL_SECONDS: Final = TEST_SECONDS + 60
"""A guest that says nothing for so long has stopped below its tests: the emulation, or its kernel."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a guest. `status` is its tests' exit status, None when it never came to an end.

    `still` when it said no word, or no further one, for longer than any test may take.
    """

    status: int | None
    seconds: float
    still: bool = False


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
        still = _watch(process, serial, started, limit)
    finally:
        process.kill()
        words, _ = process.communicate()
    if words:
        print(words.decode(errors="replace"), file=sys.stderr)
    status = results / "status"
    return Run(int(status.read_text()) if status.exists() else None, time.monotonic() - started, still)


def _watch(process: subprocess.Popen[bytes], serial: Path, started: float, limit: float) -> bool:
    """Show what the guest says until it is off, stands still, or the time is over; whether it stood still."""
    said = False
    begun = b""  # a word may come in two parts
    last = started
    with serial.open("rb") as lines:
        while process.poll() is None:
            text = lines.read()
            if not said:
                begun += text
                said = FIRST_WORD in begun
            _show(text)
            now = time.monotonic()
            last = now if text else last
            if now - last > STILL_SECONDS or (not said and now - started > BOOT_SECONDS):
                return True
            if now - started > limit:
                return False
            time.sleep(0.2)
        _show(lines.read())
    return False


def _show(text: bytes) -> None:
    sys.stdout.write(text.decode(errors="replace").replace("\r\n", "\n"))
    sys.stdout.flush()
