"""The constants of limits, OCI documents and what is sent to engines, against the record in tests/data/approved.

Most are facts of the kernel or of another program's format: one that is changed by mistake passes many other tests.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from tests.approved import approve, stable

ROOT = Path(__file__).parents[3]
PLACES = ("runtime/limits/**/*.py", "runtime/oci/*.py", "runtime/engines/*/translate.py", "runtime/engines/*/update.py")
MORE = ("runtime/engines/*/resources.py", "runtime/engines/*/limits.py", "runtime/engines/*/state/record.py")
_OWN = re.compile(r"^(_?[A-Z][A-Z0-9_]*)\b", re.MULTILINE)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def test_constants() -> None:
    lines = []
    for path in sorted(path for place in (*PLACES, *MORE) for path in ROOT.glob(place)):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        module = importlib.import_module(name)
        own = dict.fromkeys(name for name in _OWN.findall(path.read_text(encoding="utf-8")) if len(name) > 1)
        for constant in own:
            value = getattr(module, constant, None)
            if isinstance(value, re.Pattern):
                lines.append(f"{name}.{constant}: {value.pattern!r} {value.flags}")
            elif value is not None and not callable(value):
                lines.append(f"{name}.{constant}: {_ADDRESS.sub('', stable(value))}")
    approve("constants", lines)
