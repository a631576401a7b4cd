"""What is used up (descriptors, processes, memory, room on a disk) is said with the path, the kernel's word, a remedy.

The same kind, an `OSError` that reaches a user as it is or is taken for something else, was looked for in every
`except OSError` of the embedded engine, in the command line (`tui.cli.main`), in `kernel.procfs` (no descriptor is not
"no rights") and in containerd's logger (a full disk ends no log).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.engines.containerd import logger
from runtime.engines.embedded import lifecycle, requirements
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.engines.embedded.engine import EmbeddedEngine
from runtime.engines.embedded.process.messages import ProgramError
from runtime.engines.embedded.state import damage, run_files
from runtime.errors import DeniedError, EngineError, InvalidError, KernelError, NotFoundError, PytopError
from runtime.kernel import procfs
from runtime.kernel.cgroupfs import Hierarchies, Mode
from runtime.kernel.descriptors import Reserve
from runtime.model import ContainerSpec
from tui.cli import running

WORDS = {
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "fs.file-max",
    errno.ENOSPC: "df -h /a/b",
    errno.EDQUOT: "quota",
    errno.EROFS: "findmnt -T /a/b",
    errno.EIO: "dmesg",
    errno.EAGAIN: "pids.max",
    errno.ENOMEM: "memory limit",
}


def failure(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("number", WORDS)
def test_what_is_scarce_is_said_with_the_path_the_kernels_word_and_what_to_do(number: int) -> None:
    said = str(PytopError.from_os("make it", failure(number, "/a/b")))
    for part in ("make it", "/a/b", os.strerror(number), errno.errorcode[number], WORDS[number]):
        assert part in said


def test_a_hint_of_the_callers_own_goes_before_all_but_that_of_descriptors() -> None:
    assert PytopError.from_os("make it", failure(errno.ENOSPC), hint="do that").hint == "do that"
    assert "ulimit -n" in PytopError.from_os("make it", failure(errno.EMFILE), hint="Was it removed?").hint
    assert PytopError.from_os("make it", failure(errno.EINVAL)).hint == ""


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, KernelError),
        (errno.EAGAIN, KernelError),
        (errno.ENOSPC, KernelError),
        (errno.EROFS, KernelError),
        (errno.EACCES, DeniedError),
        (errno.ENOENT, NotFoundError),
    ],
)
async def test_no_oserror_leaves_the_embedded_engine_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PytopError]
) -> None:
    engine = EmbeddedEngine(EmbeddedConfig(state=tmp_path / "state", run=tmp_path / "run"))

    def fails() -> None:
        raise failure(number, str(tmp_path / "x"))

    monkeypatch.setattr(engine, "_list", fails)
    with pytest.raises(kind) as caught:
        await engine.containers()
    assert caught.value.path == str(tmp_path / "x")
    assert caught.value.hint or number == errno.ENOENT
    await engine.close()


def test_descriptors_are_kept_for_cleaning_up_or_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Reserve(5) as reserve:
        assert len(set(os.listdir("/proc/self/fd")) - before) == 5
        reserve.release()
        assert set(os.listdir("/proc/self/fd")) == before
    real, left = os.open, [3]

    def few(path: str, flags: int) -> int:
        if not left[0]:
            raise failure(errno.EMFILE, path)
        left[0] -= 1
        return real(path, flags)

    monkeypatch.setattr(os, "open", few)
    with pytest.raises(PytopError, match="ulimit -n"):
        Reserve(5)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_call_by_descriptor_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise failure(errno.ENOSPC)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        run_files.prepare(tmp_path / "run" / ("a" * 64))
    assert caught.value.filename == str(tmp_path / "run" / ("a" * 64) / "shim.lock")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        damage.note_name(tmp_path / "name", "x")
    assert caught.value.filename == str(tmp_path / "name")


def test_no_descriptor_is_not_taken_for_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: Path, **_: object) -> str:
        raise failure(errno.EMFILE, str(self))

    assert procfs.own_capabilities() == procfs.effective_capabilities()
    monkeypatch.setattr(Path, "read_text", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        requirements.why_not(Hierarchies(Mode.NONE))


@pytest.mark.parametrize("key", ["", "A=B"])
def test_a_variable_without_a_name_is_refused_in_words(key: str) -> None:
    with pytest.raises(InvalidError, match="name of a variable"):
        lifecycle.check_spec(ContainerSpec("host", ("true",), env={key: "x"}))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProgramError("nope", errno.ENOENT, 127), 127),
        (ProgramError("/etc/passwd", errno.EACCES, 126), 126),
        (ProgramError("/x", errno.ENOEXEC, 126), 126),
        (EngineError("start", detail='exec: "nope": executable file not found in $PATH'), 127),
        (EngineError("start", detail="exec /etc/passwd: permission denied"), 126),
        (KernelError.from_os("set up the container", failure(errno.ENOENT)), 125),
        (InvalidError.from_os("/gone cannot be shown", failure(errno.ENOENT), path="/gone"), 125),
        (DeniedError.from_os("write", failure(errno.EACCES)), 125),
        (KernelError.from_os("fork", failure(errno.EAGAIN)), 125),
    ],
)
def test_the_exit_status_of_a_run_blames_the_program_only_for_its_own(error: PytopError, code: int) -> None:
    assert running._start_failed(error) == code


def test_a_full_disk_does_not_end_containerds_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    target = logger._open(log)

    def full(_: Path) -> int:
        raise failure(errno.ENOSPC)

    with monkeypatch.context() as patched:
        patched.setattr(logger, "_open", full)
        assert logger._rotated(target, log) == target
    os.write(target, b"after\n")
    fresh = logger._rotated(target, log)
    os.write(fresh, b"new\n")
    os.close(fresh)
    assert log.read_bytes() == b"new\n"
