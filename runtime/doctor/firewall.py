"""Whether the host's firewall keeps containers of the embedded engine's bridge from each other.

With br_netfilter, packets between two ports of one bridge pass iptables' FORWARD chain, and Docker sets that chain's
policy to DROP. The engine never touches a firewall, so this is only told.

Source: kernel documentation, networking/bridge, "Netfilter".
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from runtime.doctor.check import Check, Level

_SETTING = "sys/net/bridge/bridge-nf-call-iptables"
_TOOLS = ("iptables", "iptables-nft", "iptables-legacy")
_WITHIN = 5.0  # seconds


def bridge_check(bridge: str, *, proc: Path = Path("/proc"), tools: Sequence[str] = _TOOLS) -> Check:
    """Look at the FORWARD chain of each firewall tool that is here. Blocking; changes nothing."""
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


def _forward(tool: str) -> list[str]:
    """The FORWARD chain as `-S` prints it; empty where there is no such tool, or where it may not be asked."""
    try:
        done = subprocess.run([tool, "-S", "FORWARD"], capture_output=True, text=True, timeout=_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
