"""What the doctor says of the way out of the embedded engine's bridge, without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.doctor import Level, forwarding_check
from runtime.errors import DeniedError, PytopError, UnsupportedError
from runtime.kernel import forwarding


def proc(root: Path, *, v4: str = "0", v6: str = "0", v6_disabled: str = "1") -> Path:
    for version, values in (("ipv4", {"forwarding": v4}), ("ipv6", {"forwarding": v6, "disable_ipv6": v6_disabled})):
        directory = root / f"sys/net/{version}/conf/pytop0"
        directory.mkdir(parents=True)
        for name, value in values.items():
            (directory / name).write_text(f"{value}\n")
    return root


def missing(monkeypatch: pytest.MonkeyPatch, answer: tuple[str, ...] | PytopError) -> None:
    def read(_: str) -> tuple[str, ...]:
        if isinstance(answer, PytopError):
            raise answer
        return answer

    monkeypatch.setattr(forwarding, "missing", read)


@pytest.mark.parametrize(
    ("settings", "rules", "level", "words"),
    [
        ({"v4": "1", "v6": "1", "v6_disabled": "0"}, (), Level.GOOD, "a routing rule forbids"),
        ({}, ("IPv4", "IPv6"), Level.LIMITED, "missing for IPv4 and IPv6"),
        ({"v4": "1"}, ("IPv4",), Level.BROKEN, "IPv4 packets of containers are forwarded"),
        ({"v4": "1"}, ("IPv6",), Level.LIMITED, "missing for IPv6"),
        ({"v6": "1"}, ("IPv6",), Level.LIMITED, "missing for IPv6"),
        ({"v6": "1", "v6_disabled": "0"}, ("IPv6",), Level.BROKEN, "IPv6 packets of containers are forwarded"),
        ({"v4": "1"}, UnsupportedError("read", detail="no such rules"), Level.BROKEN, "no such rules"),
        ({}, UnsupportedError("read", detail="no such rules"), Level.LIMITED, "no such rules"),
        ({}, DeniedError("read", detail="no"), Level.LIMITED, "cannot be checked"),
    ],
)
def test_the_way_out(
    settings: dict[str, str],
    rules: tuple[str, ...] | PytopError,
    level: Level,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing(monkeypatch, rules)
    check = forwarding_check("pytop0", proc=proc(tmp_path, **settings))
    assert check.level is level
    assert words in check.found


def test_no_bridge_is_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, DeniedError("read", detail="no"))
    assert forwarding_check("pytop0", proc=tmp_path).level is Level.GOOD


def test_each_missing_rule_has_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, ("IPv4", "IPv6"))
    assert forwarding_check("pytop0", proc=proc(tmp_path)).remedy == (
        "ip -4 rule add priority 900 iif pytop0 unreachable protocol kernel;"
        " ip -6 rule add priority 900 iif pytop0 unreachable protocol kernel"
    )
    missing(monkeypatch, UnsupportedError("read", detail="no such rules"))
    assert forwarding_check("pytop0", proc=tmp_path).remedy == (
        "sysctl net.ipv4.conf.pytop0.forwarding=0; sysctl net.ipv6.conf.pytop0.forwarding=0"
    )
