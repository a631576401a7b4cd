"""`python -m tests.newer [ARGUMENTS OF PYTEST]`: the engines' tests, with Debian 13 instead of this machine's system.

What has no version there, the embedded engine and the screens, is left out. Exit status as pytest's; 2 when it cannot
be had.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.guest.kernel import NotHereError
from tests.newer import root

PROJECT: Final = Path(__file__).parents[2]
TESTS: Final = (
    "tests/engines",
    *(f"tests/integration/test_{name}.py" for name in ("cli_docker", "cli_podman", "cli_containerd")),
    *(f"tests/integration/test_{name}.py" for name in ("found_kinds_real", "drift_real", "net_limits_real")),
)
# Podman 5.4 leaves an event out of its own stream when it begins a new file of them.
LEFT_OUT: Final = "not fake and not embedded and not no_event_is_lost and not qemu"
REQUIRED: Final = "docker,podman,containerd"


def main(words: Sequence[str]) -> int:
    """Make the directory if there is none, and run in it."""
    if os.geteuid() != 0:
        print("the engines' tests need root", file=sys.stderr)
        return 2
    try:
        made = root.have()
    except NotHereError as error:
        print(error, file=sys.stderr)
        return 2
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(words or [*TESTS, "-k", LEFT_OUT])]
    inside = ["unshare", "--mount", "sh", str(Path(__file__).with_name("inside.sh")), str(made), *pytest]
    environment = {
        **os.environ,
        "BORROWED": "\n".join(map(str, root.borrowed(PROJECT))),
        "PYTOP_REQUIRE": os.environ.get("PYTOP_REQUIRE", REQUIRED),
    }
    return subprocess.run(inside, cwd=PROJECT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
