"""doctor: what works on this host, what does not, why, and what to do."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import locale
import os
import sys
from typing import Any

from runtime.doctor import Check, Level, host_checks
from runtime.engine import Engine
from runtime.errors import PytopError
from runtime.model import Verb
from tui.cli import exits, output
from tui.cli.common import add_engine, engines

_MARKS = {Level.GOOD: ("✓", "ok"), Level.LIMITED: ("!", "limited"), Level.BROKEN: ("✗", "no")}


def add_parsers(subparsers: Any) -> None:
    """The verb and its options."""
    doctor = subparsers.add_parser(
        "doctor",
        help="what works on this host, what does not, why, and what to do",
        description="Tries what the engines need, leaves nothing behind; exits 0 when at least one engine can be used.",
    )
    add_engine(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON document")
    doctor.set_defaults(func=lambda args: asyncio.run(_doctor(args)))


async def _doctor(args: argparse.Namespace) -> int:
    from runtime.discovery import native_config

    state = native_config(os.environ).state
    checks = await asyncio.to_thread(lambda: list(host_checks(state)))
    found = engines(args)
    answers = await asyncio.gather(*(_engine(engine) for engine in found))
    checks += [*answers, *_terminal()]
    if args.json:
        output.document([dataclasses.asdict(check) for check in checks])
    else:
        _print(checks)
    works = any(answer.level is not Level.BROKEN for answer in answers)
    return exits.OK if works else exits.FAILED


async def _engine(engine: Engine) -> Check:
    """Ask an engine who it is and whether it can start anything."""
    try:
        info = await engine.info()
        capabilities = await engine.capabilities()
        count = len(await engine.containers())
    except PytopError as error:
        return Check("engines", engine.key, Level.BROKEN, f"{error.title}: {error.detail}", error.hint)
    finally:
        await engine.close()
    found = f"{info.product} {info.version} at {info.endpoint}, {count} containers"
    reason = capabilities.why_not(Verb.CREATE)
    if reason is not None:
        return Check("engines", engine.key, Level.BROKEN, f"{found}; it cannot start any: {reason}", "Run as root")
    missing = ", ".join(f"{name.value.replace('_', ' ')} ({why})" for name, why in capabilities.limits.items())
    level = Level.LIMITED if missing else Level.GOOD
    return Check("engines", engine.key, level, found + (f"; not: {missing}" if missing else ""))


def _terminal() -> list[Check]:
    """What the dashboard can draw here."""
    term = os.environ.get("TERM", "")
    checks = []
    if not sys.stdout.isatty():
        checks.append(Check("terminal", "output", Level.LIMITED, "not a terminal", "The dashboard needs one"))
    elif term in ("", "dumb", "unknown"):
        checks.append(
            Check("terminal", "TERM", Level.BROKEN, term or "not set", "Set TERM, for example xterm-256color")
        )
    else:
        colours = (
            "16 million colours" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256 colours or fewer"
        )
        checks.append(Check("terminal", "TERM", Level.GOOD, f"{term}, {colours}"))
    encoding = locale.getpreferredencoding(False)
    if "utf" in encoding.lower():
        checks.append(Check("terminal", "characters", Level.GOOD, encoding))
    else:
        remedy = "Use --ascii, or set LANG to a UTF-8 locale"
        checks.append(Check("terminal", "characters", Level.LIMITED, encoding, remedy))
    return checks


def _print(checks: list[Check]) -> None:
    """One line per check, its remedy below it; words as well as signs."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    width = max(len(check.name) for check in checks)
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            print(area)
        sign, word = _MARKS[check.level]
        mark = word.ljust(7) if plain else f"{sign} {word.ljust(7)}"
        print(f"  {mark} {check.name.ljust(width)}  {output.clean(check.found)}")
        if check.remedy and check.level is not Level.GOOD:
            print(f"  {' ' * len(mark)} {' ' * width}  → {check.remedy}" if not plain else f"  {check.remedy}")
