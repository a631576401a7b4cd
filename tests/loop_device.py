"""A loop device of a test's own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import missing


@contextlib.contextmanager
def loop_device(file: Path, size_bytes: int, *options: str) -> Iterator[str]:
    """Its path; `file` is made, and removed at the end. `options` are those of losetup(8)."""
    file.write_bytes(b"x" * size_bytes)
    subprocess.run(["sync", str(file)], check=True)
    command = ["losetup", "--find", "--show", *options, str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        missing("loop", found.stderr.strip())
    path = found.stdout.strip()
    try:
        yield path
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)
        file.unlink()
