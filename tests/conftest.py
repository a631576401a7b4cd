"""What every test shares: the order from fast to real, and skips that fail where CI requires the thing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest

ORDER = ("unit", "app", "engines", "integration")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["PYTOP_FOUND"] = "0"  # what others run on this machine is no business of a test that does not ask for it
REQUIRED = frozenset(filter(None, os.environ.get("PYTOP_REQUIRE", "").split(",")))


def missing(what: str, reason: str) -> NoReturn:
    """Skip because `what` (embedded, docker, sshd, tmux, ...) is not here; fail where PYTOP_REQUIRE names it."""
    if what in REQUIRED or "all" in REQUIRED:
        pytest.fail(f"{what} is required here (PYTOP_REQUIRE) and missing: {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0]
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=rank)


def need_root(what: str) -> None:
    """Skip (or fail, where required) unless this is root with the right to make namespaces."""
    if os.geteuid() != 0:
        missing(what, "needs root")
