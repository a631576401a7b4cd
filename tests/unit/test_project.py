"""The project as it is packed and set up: what the wheel holds, what the make targets say, how modules are imported."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"tui", "collectors", "runtime", "themes"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


def test_wheel_holds_the_four_packages_and_nothing_else(wheel: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_wheel_holds_style_sheets_and_themes(wheel: list[str]) -> None:
    for package, pattern in (("tui", "*.tcss"), ("themes", "*.toml")):
        for path in (ROOT / package).rglob(pattern):
            assert path.relative_to(ROOT).as_posix() in wheel


def test_wheel_holds_every_module(wheel: list[str]) -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert path.relative_to(ROOT).as_posix() in wheel


def test_lock_files_have_hashes_and_no_addresses() -> None:
    for name in ("run.lock", "dev.lock"):
        text = (ROOT / "requirements" / name).read_text()
        pins = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==[^\s]+.*\\\n    --hash=sha256:", text, re.M)
        names = re.findall(r"^[a-z0-9][^\s=]*==", text, re.M)
        assert names
        assert len(pins) == len(names), "each pin has a hash"
        assert "://" not in text


def test_make_says_plainly_that_the_venv_module_is_missing(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    python = tmp_path / "python-without-venv"
    python.write_text(f'#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result = subprocess.run(
        ["make", f"PYTHON={python}", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert result.returncode != 0
    assert "apt-get install python3-venv" in result.stderr


def test_make_says_plainly_that_python_is_too_old(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    result = subprocess.run(["make", "PYTHON=/bin/false", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert "Python 3.11 or later is needed" in result.stderr


def test_make_writes_the_command_which_runs_from_anywhere(tmp_path: Path) -> None:
    command = tmp_path / "venv" / "bin" / "pytop-containers"
    make = ["make", "--no-print-directory", f"PYTHON={sys.executable}", f"VENV={command.parents[1]}", str(command)]
    subprocess.run(make, cwd=ROOT, check=True, env={**os.environ, "MAKEFLAGS": ""})
    (tmp_path / "tui.py").write_text("raise SystemExit('a file of the current directory was imported')")
    (library,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (library / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # nothing is installed
    said = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert said.stdout.startswith("pytop-containers "), said.stderr
    for target in ("demo", "run"):
        plan = subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "bin/pytop-containers" in plan.stdout


@pytest.mark.parametrize(
    "module", ["runtime.engines.protocol", "runtime.model", "collectors.sampling.frame", "themes.loader"]
)
def test_contracts_import_without_screen_or_network_libraries(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('textual', 'rich', 'aiohttp', 'pyroute2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
