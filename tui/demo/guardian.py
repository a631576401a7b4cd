"""A process that removes the demo's containers when the demo could not: after kill -9, a lost terminal, a crash.

It has a session of its own. Its standard input is a pipe from the demo: "done" means that everything was removed, the
end of the pipe without it means that the demo has died.
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
    """Starts the process, before any container is created."""

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
        """Tell it that everything was removed, and wait for its end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(DONE)
            self._process.stdin.close()
        except BrokenPipeError:  # it has already ended
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
