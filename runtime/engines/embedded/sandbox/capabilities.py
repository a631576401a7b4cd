"""What a container's root may still do: a small set of capabilities, given up for good before the program runs.

Sources: capabilities(7), linux/capability.h. The default set is Docker's 14 without the three that an ordinary program
in a container has no use for: MKNOD, NET_RAW (spoofs its neighbours on the bridge) and AUDIT_WRITE.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from runtime.engines.embedded import libc
from runtime.errors import InvalidError
from runtime.kernel.capability import NAMES

DEFAULT = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def bits(names: Iterable[str]) -> int:
    """The mask of these capabilities; names with or without CAP_, in any case. Raises `InvalidError`."""
    mask = 0
    for name in names:
        plain = name.upper().removeprefix("CAP_")
        if plain not in NAMES:
            raise InvalidError(f"{name!r} is not a capability", hint="see capabilities(7)")
        mask |= 1 << NAMES.index(plain)
    return mask


def limit_bounding(keep: Iterable[str] = DEFAULT) -> None:
    """Drop every other capability from the bounding set, so that no set-uid program can give it back.

    Needs CAP_SETPCAP. Probes for the last capability itself, since /proc may be gone by now.
    """
    mask = bits(keep)
    for bit in range(64):
        if mask >> bit & 1:
            continue
        try:
            held = libc.prctl(_PR_CAPBSET_READ, bit)
        except OSError:
            return  # past the last one this kernel knows
        if held:
            libc.prctl(_PR_CAPBSET_DROP, bit)


def drop_to(keep: Iterable[str] = DEFAULT) -> None:
    """Give up everything but `keep`: ambient and inheritable become empty, bounding, permitted and effective `keep`.

    Only what is held already can be kept. A change of user must come before the call with the
    privileges to do it in `keep`, or after it with SETUID and SETGID among them: leaving uid 0 empties permitted.
    """
    kept = frozenset(keep)
    limit_bounding(kept)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _, permitted, _ = current()
    _set(permitted & bits(kept))


def current() -> tuple[int, int, int]:
    """This thread's effective, permitted and inheritable masks (capget(2))."""
    data = (_Data * 2)()
    header = _Header(_VERSION_3, 0)
    libc.checked(libc.LIBC.capget(ctypes.byref(header), data), "capget")
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def _set(mask: int) -> None:
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (_Data * 2)(_Data(low, low, 0), _Data(high, high, 0))
    header = _Header(_VERSION_3, 0)
    libc.checked(libc.LIBC.capset(ctypes.byref(header), data), "capset")
