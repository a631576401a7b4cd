"""A process that clears the stage when the demo ended without doing so: kill -9, a lost terminal, a crash.

It is a process of its own session. Its standard input is a pipe from the demo: the word
"done" says that all is clear, the end of the pipe without that word means that the demo has died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tui.demo.stage import open_stage

DONE = b"done\n"


class Guardian:
    """The demo's side: starts the process before anything is created."""

    def __init__(self, key: str, instance: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tui.demo.guardian", key, instance],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Tell it that the stage is clear, and wait for its end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(DONE)
            self._process.stdin.close()
        except BrokenPipeError:  # it has ended already
            pass
        self._process.wait()


def main(arguments: list[str]) -> int:
    """Wait for the demo's end, then clear the stage if the demo did not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() != DONE:
        key, instance = arguments

        async def clear() -> None:
            stage = open_stage(key, instance)
            try:
                await stage.clear()
            finally:
                await stage.engine.close()

        asyncio.run(clear())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
