"""A guest in QEMU without KVM: booted from files alone, watched by its serial line, judged by what it has written.

It has no terminal and no standard input: the serial line is a file that is read here, so that it works the same in a
pipe, in the background, in tmux and in CI.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
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


class Lines:
    """What a guest says, line by line behind its name, so that what two say at once can be told apart."""

    def __init__(self, name: str, out: Callable[[str], object] = sys.stdout.write) -> None:
        self._name, self._out = name, out
        self._begun = ""

    def add(self, text: str) -> None:
        """Show each line that has come to its end."""
        *whole, self._begun = (self._begun + text.replace("\r", "")).split("\n")
        if whole:
            self._out("".join(f"{self._name} | {line}\n" for line in whole))
            sys.stdout.flush()

    def end(self) -> None:
        """Show the line that has not come to its end."""
        if self._begun:
            self.add("\n")


def boot(
    kernel: Kernel, initramfs: Path, results: Path, script: Path, *, limit: float, lines: Lines, stop: Event
) -> Run:
    """Boot and wait, at most `limit` seconds and until `stop` is set; the guest's output is shown as it comes."""
    serial = results / "serial.log"
    serial.touch()
    line = (
        f"console=ttyS0 quiet panic=-1 psi=1 cgroup_no_v1=all random.trust_cpu=on mitigations=off no_timer_check "
        f"guest.run={script} guest.root={ROOT} guest.modules={kernel.modules}"
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
        still = _watch(process, serial, started, limit, lines, stop)
    finally:
        process.kill()
        words, _ = process.communicate()
        lines.end()
    if words:
        lines.add(words.decode(errors="replace"))
        lines.end()
    status = results / "status"
    return Run(int(status.read_text()) if status.exists() else None, time.monotonic() - started, still)


def _watch(
    process: subprocess.Popen[bytes], serial: Path, started: float, limit: float, lines: Lines, stop: Event
) -> bool:
    """Show what the guest says until it is off, stands still, or its time is over; whether it stood still."""
    said = False
    begun = b""  # a word may come in two parts
    last = started
    with serial.open("rb") as line:
        while process.poll() is None and not stop.is_set():
            text = line.read()
            if not said:
                begun += text
                said = FIRST_WORD in begun
            lines.add(text.decode(errors="replace"))
            now = time.monotonic()
            last = now if text else last
            if now - last > STILL_SECONDS or (not said and now - started > BOOT_SECONDS):
                return True
            if now - started > limit:
                return False
            time.sleep(0.2)
        lines.add(line.read().decode(errors="replace"))
    return False
