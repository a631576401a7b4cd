"""Every test of the screens runs with blockbuster: a call that blocks on the event loop fails the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is caught and logged, such as a subscriber that fails, fails the test."""
    yield
    assert [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR] == []


@pytest.fixture(autouse=True)
def never_block() -> Iterator[BlockBuster]:
    with blockbuster_ctx() as blockbuster:
        for function in blockbuster.functions.values():
            function.can_block_in("tui/app/app.py", "__init__")  # before the loop runs; the tests make apps inside one
            function.can_block_in("textual/css/stylesheet.py", "read_all")  # once, when Textual starts
            function.can_block_in("textual/app.py", "_fatal_error")  # so that the real error is seen
        yield blockbuster
