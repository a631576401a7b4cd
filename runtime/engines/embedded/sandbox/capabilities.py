"""What a container's root may still do: a set of capabilities, given up for good before the program runs.

Sources: capabilities(7), linux/capability.h.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.errors import InvalidError
from runtime.kernel import syscalls
from runtime.kernel.capability import NAMES
from runtime.oci.defaults import DEFAULT_CAPABILITIES


def bits(names: Iterable[str]) -> int:
    """The mask of these capabilities; names with or without CAP_, in any case. Raises `InvalidError`."""
    mask = 0
    for name in names:
        plain = name.upper().removeprefix("CAP_")
        if plain not in NAMES:
            raise InvalidError(f"{name!r} is not a capability", hint="see capabilities(7)")
        mask |= 1 << NAMES.index(plain)
    return mask


def limit_bounding(keep: Iterable[str] = DEFAULT_CAPABILITIES) -> None:
    """Drop every other capability from the bounding set, so that no set-uid program can give it back.

    Needs CAP_SETPCAP. Probes for the last capability itself, since /proc may be gone by now.
    """
    mask = bits(keep)
    for bit in range(64):
        if mask >> bit & 1:
            continue
        try:
            held = syscalls.prctl(syscalls.PR_CAPBSET_READ, bit)
        except OSError:
            return  # past the last one this kernel knows
        if held:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, bit)


def drop_to(keep: Iterable[str] = DEFAULT_CAPABILITIES) -> None:
    """Give up everything but `keep`: ambient and inheritable become empty, bounding, permitted and effective `keep`.

    Only what is held already can be kept. A change of user must come before the call with the
    privileges to do it in `keep`, or after it with SETUID and SETGID among them: leaving uid 0 empties permitted.
    """
    kept = frozenset(keep)
    limit_bounding(kept)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    _, permitted, _ = syscalls.capget()
    mask = permitted & bits(kept)
    syscalls.capset(mask, mask, 0)
