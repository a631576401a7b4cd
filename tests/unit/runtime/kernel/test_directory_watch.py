"""Waiting for changes of a directory where no inotify instance or watch can be had.

The kind (an errno of scarcity that is no answer to what was asked) was looked for in the embedded engine's waits, logs
and events, in `procfs`, and in `state.store`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.errors import KernelError
from runtime.kernel import syscalls
from runtime.kernel.directory_watch import NoWatch, require_watch, watch_or_wait
from runtime.kernel.inotify import RECORDS


@pytest.mark.parametrize("call", ["inotify_init", "inotify_add_watch"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC])
async def test_without_an_instance_a_wait_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(syscalls, call, refuse)
    watch = watch_or_wait(tmp_path, RECORDS)
    assert isinstance(watch, NoWatch)
    assert await watch.changed(0.01) == set()
    watch.close()
    with pytest.raises(KernelError, match="max_user_instances"):
        require_watch(tmp_path, RECORDS)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No such file"):
        watch_or_wait(tmp_path / "gone", RECORDS)


async def test_a_watch_sees_what_is_moved_in(tmp_path: Path) -> None:
    watch = watch_or_wait(tmp_path, RECORDS)
    (tmp_path / "a").touch()
    (tmp_path / "a").rename(tmp_path / "b")
    assert "b" in await watch.changed(5)
    watch.close()
