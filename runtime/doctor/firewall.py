"""Checks of the embedded engine's bridge: that no packet leaves the host by it, and that none is dropped on it.

With br_netfilter, packets between two ports of one bridge pass iptables' FORWARD chain, and Docker sets that chain's
policy to DROP. The engine never changes a firewall, so this is only reported.

Source: kernel documentation, networking/bridge, "Netfilter".
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from runtime.doctor.check import Check, Level
from runtime.errors import PytopError, UnsupportedError
from runtime.kernel import forwarding

_SETTING = "sys/net/bridge/bridge-nf-call-iptables"
_TOOLS = ("iptables", "iptables-nft", "iptables-legacy")
_TOOL_TIMEOUT_S = 5.0


def bridge_check(bridge: str, *, proc: Path = Path("/proc"), tools: Sequence[str] = _TOOLS) -> Check:
    """Read the FORWARD chain with each installed firewall tool. Blocking; changes nothing."""
    area, name = "isolation", "firewall"
    try:
        filtered = (proc / _SETTING).read_text().strip() == "1"
    except OSError:
        filtered = False
    if not filtered:
        return Check(area, name, Level.GOOD, "does not look at packets between containers of one bridge")
    for tool in tools:
        rules = _forward(tool)
        if "-P FORWARD DROP" in rules and f"-A FORWARD -i {bridge} -o {bridge} -j ACCEPT" not in rules:
            return Check(
                area,
                name,
                Level.LIMITED,
                f"drops packets between containers on {bridge} (iptables FORWARD policy DROP, as Docker sets it);"
                " the host reaches them all the same",
                f"{tool} -I FORWARD -i {bridge} -o {bridge} -j ACCEPT",
            )
    return Check(area, name, Level.GOOD, f"lets packets between containers on {bridge} pass, as far as iptables tells")


def forwarding_check(bridge: str, *, proc: Path = Path("/proc")) -> Check:
    """Whether packets of containers can leave this host by the bridge. Blocking; changes nothing."""
    area, name = "isolation", "way out"
    if not (proc / "sys/net/ipv4/conf" / bridge / "forwarding").exists():
        return Check(area, name, Level.GOOD, f"none: {bridge} is not there, it is made by the first start")
    try:
        missing = forwarding.missing(bridge)
        command = f"ip -{{}} rule add priority {forwarding.PRIORITY} iif {bridge} unreachable protocol kernel"
        reason = f"the rule against it is missing for {' and '.join(missing)}; the next start puts it back"
    except UnsupportedError as error:
        missing, reason = ("IPv4", "IPv6"), f"{error.detail}, so no rule can forbid it"
        command = f"sysctl net.ipv{{}}.conf.{bridge}.forwarding=0"
    except PytopError as error:
        return Check(area, name, Level.LIMITED, f"cannot be checked: {error}")
    if not missing:
        return Check(area, name, Level.GOOD, f"none: a routing rule forbids to forward what comes from {bridge}")
    version = {"IPv4": 4, "IPv6": 6}
    forwarded = [kind for kind in missing if _forwards(proc / f"sys/net/ipv{version[kind]}/conf" / bridge)]
    remedy = "; ".join(command.format(version[kind]) for kind in missing)
    if forwarded:
        found = f"{' and '.join(forwarded)} packets of containers are forwarded from {bridge}: {reason}"
        return Check(area, name, Level.BROKEN, found, remedy)
    return Check(area, name, Level.LIMITED, f"none as forwarding is off on {bridge} now, but {reason}", remedy)


def _forwards(settings: Path) -> bool:
    """Whether an interface forwards packets, by its directory in /proc/sys/net/ipv{4,6}/conf."""
    try:
        disabled = settings / "disable_ipv6"
        on = (settings / "forwarding").read_text().strip() == "1"
        return on and not (disabled.exists() and disabled.read_text().strip() == "1")
    except OSError:
        return False


def _forward(tool: str) -> list[str]:
    """The FORWARD chain as `-S` prints it; empty when the tool is missing or fails."""
    try:
        done = subprocess.run(
            [tool, "-S", "FORWARD"], capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
