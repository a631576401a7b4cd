"""The embedded engine's blocking calls, with every `OSError` as the `PytopError` that a user is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from runtime.engines.embedded.config import EmbeddedConfig
from runtime.errors import DeniedError, KernelError, NotFoundError
from runtime.kernel import filesystems

T = TypeVar("T")


def guarded(config: EmbeddedConfig, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """The call, to be made in a thread."""

    def call() -> T:
        try:
            return function(*arguments)
        except PermissionError as error:
            raise DeniedError.from_os(
                "use the embedded engine", error, hint="It needs root: run it with sudo"
            ) from error
        except FileNotFoundError as error:
            raise NotFoundError.from_os("The container's files are gone", error) from error
        except OSError as error:
            if not filesystems.refuses(error):
                raise KernelError.from_os("use the embedded engine", error) from error
            path = Path(os.fsdecode(error.filename)) if error.filename is not None else config.run
            raise filesystems.refused("write to the disk", error, path) from error

    return call
