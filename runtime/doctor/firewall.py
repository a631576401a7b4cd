"""Checks whether the host's firewall drops packets between containers on the embedded engine's bridge.

With br_netfilter, packets between two ports of one bridge pass iptables' FORWARD chain, and Docker sets that chain's
policy to DROP. The engine never changes a firewall, so this is only reported.

Source: kernel documentation, networking/bridge, "Netfilter".
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from runtime.doctor.check import Check, Level

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


def _forward(tool: str) -> list[str]:
    """The FORWARD chain as `-S` prints it; empty when the tool is missing or fails."""
    try:
        done = subprocess.run(
            [tool, "-S", "FORWARD"], capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
