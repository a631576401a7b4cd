"""Parsing of other argument values; an invalid one is a usage error with an example."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from runtime.errors import InvalidError
from runtime.kernel import signals
from runtime.limits.units import parse_bytes
from runtime.model import UNLIMITED, Bind


def signal_name(text: str) -> str:
    """A signal as its full name: "SIGTERM" from "TERM", "sigterm" or "15"; a real-time signal as its number."""
    try:
        return signals.signal_name(signals.parse_signal(text))
    except InvalidError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a signal; say TERM, SIGTERM or 15") from error


def tail(text: str) -> int | None:
    """A number of lines, or "all" (None)."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines; say 100 or all")
    return int(text)


def bind(text: str) -> Bind:
    """A bind mount as Docker writes it: SOURCE:TARGET[:ro|rw]."""
    parts = text.split(":")
    if len(parts) == 2:
        parts.append("rw")
    if len(parts) != 3 or parts[2] not in ("ro", "rw") or not parts[0].startswith("/") or not parts[1].startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a bind mount; say /source:/target or /source:/target:ro")
    return Bind(parts[0], parts[1], parts[2] == "ro")


def storage_size(text: str) -> int:
    """Bytes of "size=1g", as Docker writes the bound of a writable layer."""
    name, equals, value = text.partition("=")
    try:
        size = parse_bytes(value) if equals and name == "size" else UNLIMITED
    except InvalidError:
        size = UNLIMITED
    if not isinstance(size, int) or size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; say size=1g")
    return size


def pairs(texts: Iterable[str], environ: dict[str, str] | None = None) -> dict[str, str]:
    """KEY=VALUE words as a mapping; a bare KEY takes its value from `environ`, or is empty without one."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            if environ is not None and key not in environ:
                continue
            value = environ[key] if environ is not None else ""
        found[key] = value
    return found
