"""The one family of errors that this project raises on purpose.

An error tells what was tried (`title`), what the kernel or the engine answered (`detail`, with `path` and
`errno` where a file said no) and what the user can do about it (`hint`). Screens, dialogs and the command line print
the same words, so nobody has to translate a traceback at three in the morning.
"""

from __future__ import annotations

import errno as errno_names
import os
from typing import Final, Self

_NO_DESCRIPTOR: Final = {
    errno_names.EMFILE: "This process may open no more files: raise the limit (ulimit -n)",
    errno_names.ENFILE: "This machine may open no more files: raise the limit (sysctl fs.file-max)",
}
_SCARCE: Final = {
    errno_names.ENOSPC: "Free space or inodes there: df -h {where}; df -i {where}",
    errno_names.EDQUOT: "The quota there is used up: quota; df -h {where}",
    errno_names.EROFS: "Make it writable again; this tells which file system it is: findmnt -T {where}",
    errno_names.EIO: "Look in the kernel's log (dmesg) for what is wrong with that disk",
    errno_names.EAGAIN: "A limit of processes may be reached: ulimit -u, pids.max of its cgroup",
    errno_names.ENOMEM: "Free memory, or raise the memory limit of the cgroup that this process is in",
}


class PytopError(Exception):
    """Base of every error that is meant to be read by the user.

    Attributes:
        title: what was tried and did not work, one line, no full stop.
        detail: what the kernel or the engine answered; may be empty.
        hint: what to do next; may be empty.
        path: the file that said no, if one did.
        errno: its error number, if it gave one.
    """

    def __init__(
        self,
        title: str,
        *,
        detail: str = "",
        hint: str = "",
        path: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(title)
        self.title = title
        self.detail = detail
        self.hint = hint
        self.path = path
        self.errno = errno

    @classmethod
    def from_os(cls, title: str, error: OSError, *, hint: str = "", path: str | None = None) -> Self:
        """Wrap what the kernel said; the path is the error's own unless a better one is given.

        What is scarce has its own hint: of descriptors always, since no other can help, else where none is given.
        """
        number = error.errno
        where = path or (os.fsdecode(error.filename) if error.filename is not None else None)
        name = errno_names.errorcode.get(number, str(number)) if number is not None else ""
        words = os.strerror(number) if number is not None else str(error)
        detail = f"{words} ({name})" if name else words
        if number in _NO_DESCRIPTOR:
            hint = _NO_DESCRIPTOR[number]
        elif not hint and number in _SCARCE:
            hint = _SCARCE[number].format(where=where or "/")
        return cls(title, detail=detail, hint=hint, path=where, errno=number)

    def __str__(self) -> str:
        """One line: title, then where and what was answered, then the hint."""
        text = self.title
        if self.path:
            text += f" [{self.path}]"
        if self.detail:
            text += f": {self.detail}"
        if self.hint:
            text += f". {self.hint}"
        return text


class NotFoundError(PytopError):
    """The container or image does not exist (any more)."""


class ConflictError(PytopError):
    """The container is in a state that does not allow this, or the name is taken."""


class InvalidError(PytopError):
    """The request itself is wrong: a value out of range, an unknown name, a malformed number."""


class RefusedError(PytopError):
    """The request is well formed, but would do harm; nothing was changed."""


class UnsupportedError(PytopError):
    """This engine, this kernel or these rights cannot do it; the capability's reason is the detail."""


class DeniedError(PytopError):
    """The kernel or the engine denied it for lack of rights."""


class UnavailableError(PytopError):
    """The engine cannot be reached (not running, died, wrong socket)."""


class EngineError(PytopError):
    """The engine answered with an error of its own."""


class KernelError(PytopError):
    """The kernel refused a read or a write that should have worked."""
