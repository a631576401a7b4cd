"""Routing rules by which nothing that arrives on one interface is forwarded, whatever the forwarding sysctls say.

`sysctl net.ipv4.ip_forward=1`, which Docker sets at its start, switches forwarding on for every interface, also for one
for which it was off. A rule of policy routing holds against that: what arrives on the interface is looked up in the
table `local` first, so the host's own addresses are reached, and everything else is unreachable. Firewalls and Docker
do not rewrite such rules; systemd-networkd removes at its start those it does not know, except the kernel's own, so
these are marked as such. A rule names its interface, so it can be there before that is and stays when that is removed.

Source: ip-rule(8); net/core/fib_rules.c; networkd.conf(5), ManageForeignRoutingPolicyRules.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from runtime.kernel import netlink
from runtime.kernel.netlink import ignoring

# After the table `local` (0; up to 100 where somebody has moved it), before VRF (1000) and every usual table.
PRIORITY: Final = 900
FAMILIES: Final = {"IPv4": 2, "IPv6": 10}  # AF_INET, AF_INET6
_FR_ACT_UNREACHABLE: Final = 7
_FIB_RULE_INVERT: Final = 2
_RTPROT_KERNEL: Final = 2
_ATTRIBUTES: Final = frozenset({"FRA_TABLE", "FRA_SUPPRESS_PREFIXLEN", "FRA_PROTOCOL", "FRA_IIFNAME", "FRA_PRIORITY"})
"""What a rule has that matches everything of its interface."""


def forbid(ip: Any, interface: str) -> None:
    """Forward nothing that arrives on an interface. Idempotent; `ip` is an IPRoute.

    A kernel without policy routing (or without IPv6) is left as it is; see `missing`.
    """
    for family in FAMILIES.values():
        with ignoring(errno.EEXIST), ignoring(errno.EOPNOTSUPP), ignoring(errno.EAFNOSUPPORT):
            ip.rule("add", family=family, **_rule(interface))


def permit(ip: Any, interface: str) -> None:
    """Remove the rules of `forbid`, also one that is there twice. Idempotent."""
    for family in FAMILIES.values():
        while True:
            with (
                ignoring(errno.ENOENT) as absent,
                ignoring(errno.EOPNOTSUPP) as unknown,
                ignoring(errno.EAFNOSUPPORT) as disabled,
            ):
                ip.rule("del", family=family, **_rule(interface))
            if absent or unknown or disabled:
                break


def missing(interface: str) -> tuple[str, ...]:
    """The address families ("IPv4", "IPv6") for which the rule is not there. Needs no rights.

    IPv6 that is switched off is not missing. Raises `UnsupportedError` when the kernel has no policy routing.
    """
    absent = []
    with netlink.connect(f"read the routing rules for {interface}", lacks="needs CONFIG_IP_MULTIPLE_TABLES") as ip:
        if not any(_matches(rule, interface) for rule in ip.get_rules(family=FAMILIES["IPv4"])):
            absent.append("IPv4")
        with ignoring(errno.EOPNOTSUPP), ignoring(errno.EAFNOSUPPORT):
            if not any(_matches(rule, interface) for rule in ip.get_rules(family=FAMILIES["IPv6"])):
                absent.append("IPv6")
    return tuple(absent)


def _rule(interface: str) -> dict[str, Any]:
    return {"priority": PRIORITY, "iifname": interface, "action": "unreachable", "protocol": _RTPROT_KERNEL}


def _matches(rule: Any, interface: str) -> bool:
    """Whether a rule makes everything unreachable that arrives on an interface, before the usual tables are asked."""
    return (
        rule["action"] == _FR_ACT_UNREACHABLE
        and rule["dst_len"] == rule["src_len"] == rule["tos"] == 0
        and not rule["flags"] & _FIB_RULE_INVERT
        and {name for name, _ in rule["attrs"]} <= _ATTRIBUTES
        and rule.get_attr("FRA_IIFNAME") == interface
        and (rule.get_attr("FRA_PRIORITY") or 0) <= PRIORITY
    )
