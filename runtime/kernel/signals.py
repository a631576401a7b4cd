"""Signals by name and by number, as people and images write them. Source: signal(7), kill(1)."""

from __future__ import annotations

import re
import signal
from typing import Final

from runtime.errors import InvalidError

_REAL_TIME: Final = re.compile(r"SIGRTMIN\+([0-9]{1,2})|SIGRTMAX-([0-9]{1,2})", re.ASCII)
_VALID: Final = frozenset(int(number) for number in signal.valid_signals())


def reset() -> None:
    """Set every signal of this process to its default and unblock it, whatever its parent ignored or blocked.

    Those stay that Python ignores from its start: SIGPIPE and SIGXFSZ.
    """
    kept = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}
    for number in _VALID - kept:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def parse_signal(text: str) -> int:
    """The number of "SIGTERM", "term", "15", "RTMIN+3" or "RTMAX-2". Raises `InvalidError`."""
    word = text.strip().upper()
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else _by_name(word)
    if number not in _VALID:
        raise InvalidError(f"{text!r} is not a signal", hint="for example SIGTERM, HUP, RTMIN+3 or 9")
    return number


def _by_name(word: str) -> int:
    """The number; 0 when there is no such signal. `word` is in upper case, with or without SIG."""
    name = word if word.startswith("SIG") else f"SIG{word}"
    match = _REAL_TIME.fullmatch(name)
    if match is None:
        return int(signal.Signals.__members__.get(name, 0))
    number = signal.SIGRTMIN + int(match[1]) if match[1] else signal.SIGRTMAX - int(match[2])
    return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else 0


def signal_name(number: int) -> str:
    """The full name, "SIGTERM"; the number itself for real-time signals, most of which have no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)
