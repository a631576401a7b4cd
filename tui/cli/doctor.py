"""doctor: what works on this host, what does not, why, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence

from runtime.doctor import (
    Check,
    Level,
    bridge_check,
    containerd_checks,
    forwarding_check,
    host_checks,
    podman_checks,
    record_checks,
)
from runtime.engines.discovery import embedded_config
from runtime.engines.found.names import KEY as FOUND
from runtime.engines.protocol import Engine, is_started_at_boot
from runtime.errors import PytopError
from runtime.kernel import boot_unit
from runtime.model import Container, Verb
from tui.cli import diagnostics, exits, output, terminal
from tui.cli.engine_choice import add_engine, engines
from tui.present.locale_signs import is_utf8
from tui.present.messages import Message, say

_SIGNS = {Level.GOOD: "✓", Level.LIMITED: "!", Level.BROKEN: "✗"}
_ASCII_SIGNS = {Level.GOOD: "+", Level.LIMITED: "!", Level.BROKEN: "x"}
_ENGINE_TIMEOUT_S = 5.0


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `doctor`."""
    parser.description = (
        "Try what containers need on this host, for real; nothing is left behind. Exit code 0 when an"
        " engine works, else 1."
    )
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="the report as one JSON document")
    parser.set_defaults(func=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    config = embedded_config(os.environ)
    checks = [*host_checks(config.state), bridge_check(config.bridge), forwarding_check(config.bridge)]
    answers = asyncio.run(_engines([*engines(args)]))
    works = any(check.level is not Level.BROKEN and check.name != FOUND for check in answers)
    checks += [
        *answers,
        *record_checks(config),
        *podman_checks(),
        *containerd_checks(listed={check.name for check in answers}),
        *_terminal(),
    ]
    if args.json:
        output.document(
            {
                "works": works,
                "checks": [
                    {
                        "area": check.area,
                        "name": check.name,
                        "level": check.level.value,
                        "found": check.found,
                        "remedy": check.remedy,
                    }
                    for check in checks
                ],
            }
        )
    else:
        _print(checks, works)
    return exits.OK if works else exits.FAILED


def _print(checks: list[Check], works: bool) -> None:
    signs = _SIGNS if _utf8() else _ASCII_SIGNS
    area = ""
    width = max(len(check.name) for check in checks)
    for check in checks:
        if check.area != area:
            area = check.area
            print(area)
        print(f"  {signs[check.level]} {check.level.value:7}  {check.name:{width}}  {diagnostics.clean(check.found)}")
        if check.remedy and check.level is not Level.GOOD:
            print(f"    {'':7}  {'':{width}}  -> {diagnostics.clean(check.remedy)}")
    print(say(Message.ENGINE_WORKS if works else Message.NO_ENGINE_WORKS))


async def _engines(found: list[Engine]) -> list[Check]:
    try:
        checks = await asyncio.gather(*(_engine(engine) for engine in found))
    finally:
        await asyncio.gather(*(engine.close() for engine in found))
    return [check for group in checks for check in group]


async def _engine(engine: Engine) -> list[Check]:
    try:
        async with asyncio.timeout(_ENGINE_TIMEOUT_S):
            info = await engine.info()
            capabilities = await engine.capabilities()
            containers = await engine.containers()
    except TimeoutError:
        silent = say(Message.NO_ANSWER, seconds=_ENGINE_TIMEOUT_S)
        return [Check("engines", engine.key, Level.BROKEN, silent, say(Message.RESTART_ENGINE))]
    except PytopError as error:
        found = f"{error.title}: {error.detail}" if error.detail else error.title
        return [Check("engines", engine.key, Level.BROKEN, found, error.hint)]
    product = f"{info.product} {info.version}".rstrip()
    answer = say(Message.ENGINE_ANSWER, product=product, endpoint=info.endpoint, count=len(containers))
    if engine.key == FOUND:
        return [Check("engines", FOUND, Level.GOOD, say(Message.MAKES_NONE, answer=answer))]
    reason = capabilities.why_not(Verb.CREATE) or capabilities.why_not(Verb.START)
    if reason is not None:
        return [Check("engines", engine.key, Level.BROKEN, say(Message.CANNOT_MAKE, answer=answer, reason=reason))]
    checks = [Check("engines", engine.key, Level.GOOD, answer)]
    if engine.facets.boot is not None:
        checks.append(_at_boot(engine.key, containers))
    for what, why in (*capabilities.verbs.items(), *capabilities.limits.items()):
        name = f"{engine.key}: {what.value.replace('_', ' ')}"
        checks.append(Check("engines", name, Level.LIMITED, say(Message.NOT_HERE, reason=why)))
    return checks


def _at_boot(key: str, containers: Sequence[Container]) -> Check:
    """Whether restart policies outlast a boot, of an engine without a daemon."""
    names = sorted(container.name for container in containers if is_started_at_boot(container))
    name = say(Message.RESTART_POLICIES, engine=key)
    if not names:
        return Check("engines", name, Level.GOOD, say(Message.NO_POLICIES_AT_BOOT))
    if boot_unit.is_installed():
        return Check("engines", name, Level.GOOD, say(Message.POLICIES_AT_BOOT, count=len(names)))
    found = say(Message.POLICIES_END, names=", ".join(names))
    return Check("engines", name, Level.LIMITED, found, say(Message.INSTALL_BOOT))


def _terminal() -> Iterator[Check]:
    yield Check(
        "terminal",
        "characters",
        Level.GOOD if _utf8() else Level.LIMITED,
        sys.stdout.encoding,
        "" if _utf8() else say(Message.SET_UTF8),
    )
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        yield Check("terminal", "colours", Level.GOOD, say(Message.NOT_A_TERMINAL))
    elif term in terminal.NO_TERMINALS:
        found = say(Message.CANNOT_BE_DRAWN, term=terminal.term_text(term))
        yield Check("terminal", "colours", Level.LIMITED, found, say(Message.SET_TERM))
    else:
        yield Check("terminal", "colours", Level.GOOD, say(Message.COLOURS, colours=_colours(term), term=term))


def _colours(term: str) -> str:
    if os.environ.get("NO_COLOR"):
        return say(Message.COLOURS_OFF)
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return say(Message.COLOURS_16M)
    return "256" if "256color" in term else "16"


def _utf8() -> bool:
    return is_utf8(os.environ, sys.stdout.encoding)
