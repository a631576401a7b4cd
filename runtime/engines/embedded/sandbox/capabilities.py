"""The capabilities of a container's root user: all others are dropped permanently before the program runs.

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
    """Drop every other capability from the bounding set, so that no set-uid program can regain it.

    Needs CAP_SETPCAP. Finds the last capability by probing, since /proc may be unmounted by now.
    """
    mask = bits(keep)
    for bit in range(64):
        if mask >> bit & 1:
            continue
        try:
            value = syscalls.prctl(syscalls.PR_CAPBSET_READ, bit)
        except OSError:
            return  # after the last capability of this kernel
        if value:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, bit)


def drop_to(keep: Iterable[str] = DEFAULT_CAPABILITIES) -> None:
    """Drop all capabilities but `keep`: ambient and inheritable become empty, bounding, permitted and effective `keep`.

    Only capabilities of the process can be names. Change the user before this call, or after it with SETUID and SETGID
    in `keep`: a change from uid 0 to another clears the permitted set.
    """
    names = frozenset(keep)
    limit_bounding(names)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    _, permitted, _ = syscalls.capget()
    mask = permitted & bits(names)
    syscalls.capset(mask, mask, 0)
