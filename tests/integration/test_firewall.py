"""A firewall between containers: what the doctor says of it is what the packets meet."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from runtime.doctor import Level, bridge_check
from runtime.engines.embedded.networks import bridge
from tests.conftest import missing
from tests.integration.test_embedded_network import BRIDGE, SUBNET, apart, ids, inside, namespaces

pytestmark = pytest.mark.root


def reached(server: tuple[str, int]) -> bool:
    try:
        socket.create_connection(server, timeout=1).close()
    except TimeoutError:
        return False
    return True


@apart
def test_docker_s_policy_between_two_containers_and_the_remedy() -> None:
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not setting.exists():
        missing("br_netfilter", "this kernel does not filter bridged packets")
    setting.write_text("1")
    assert bridge_check(BRIDGE).level is Level.GOOD
    try:
        subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        missing("iptables", str(error))
    with namespaces(2) as (one, other):
        first, _ = (bridge.attach(BRIDGE, SUBNET, i, fd) for i, fd in zip(ids(2), (one, other), strict=True))
        with inside(one):
            server = socket.create_server((first.address.partition("/")[0], 0))
        with server:
            address = server.getsockname()[:2]
            found = bridge_check(BRIDGE)
            assert found.level is Level.LIMITED
            assert reached(address)  # by the host
            with inside(other):
                assert not reached(address)
            subprocess.run(found.remedy.split(), check=True)
            assert bridge_check(BRIDGE).level is Level.GOOD
            with inside(other):
                assert reached(address)
    setting.write_text("0")
    assert "does not look" in bridge_check(BRIDGE).found


def test_without_any_firewall_tool(tmp_path: Path) -> None:
    (tmp_path / "sys/net/bridge").mkdir(parents=True)
    (tmp_path / "sys/net/bridge/bridge-nf-call-iptables").write_text("1\n")
    assert bridge_check("pytop0", proc=tmp_path, tools=("no-such-tool",)).level is Level.GOOD
    assert bridge_check("pytop0", proc=tmp_path / "none").level is Level.GOOD
