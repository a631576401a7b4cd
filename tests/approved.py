"""Outputs that are compared with those on record: texts that users read, documents that other programs read.

`PYTOP_APPROVE=1 pytest ...` writes the record anew; look at its difference before it is committed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any, Final

from runtime.errors import PytopError

FOLDER: Final = Path(__file__).parent / "data/approved"


def approve(name: str, lines: Iterable[str]) -> None:
    """Hold these lines against the record of this name."""
    file = FOLDER / f"{name}.txt"
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("PYTOP_APPROVE"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def stable(value: object) -> str:
    """The repr of a value, with mappings and sets in the order of their keys, which a hash may decide."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {stable(value[key])}" for key in sorted(value, key=repr)) + "}"
    if isinstance(value, Set):
        return "{" + ", ".join(sorted(map(repr, value))) + "}"
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return "(" + ", ".join(map(stable, value)) + ")"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(f'{name}={stable(each)}' for name, each in pairs)})"
    return repr(value)


def told(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What a call returns, or the whole error that it raises."""
    try:
        return stable(call(*args, **kwargs))
    except PytopError as error:
        parts = (error.title, error.detail, error.hint, error.path, error.errno)
        return f"{type(error).__name__}{tuple(part for part in parts if part)!r}"
    except (ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
