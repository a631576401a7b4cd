"""why: who hurts whom, with the evidence, after some seconds of measuring."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from collectors.attribution.evidence import Attribution, Evidence
from runtime.model import ContainerRef, Ref
from tui.cli import diagnostics, exits, output
from tui.cli.common import find, session_of, tell_problems
from tui.cli.durations import interval
from tui.cli.engine_choice import add_engine
from tui.cli.verbs import VERBS
from tui.core import culprits
from tui.core.session import Session
from tui.present import evidence_text, problem_text, why_text
from tui.present.messages import Message, say

MEASURED_S: Final = 8.0  # by default
MIN_SWEEPS: Final = 4  # in the time that is measured


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of `why`."""
    parser.description = (
        f"{VERBS[verb][1].capitalize()}: one sentence for each that waits, with who it waits for, how much of the"
        " waiting that is, and what a cap would give. Of a CONTAINER: who hurts it, and whom it hurts."
    )
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document with every figure")
    parser.add_argument(
        "--for",
        dest="measured",
        type=interval,
        default=MEASURED_S,
        metavar="SECONDS",
        help=f"how long to measure (default: {MEASURED_S:g})",
    )
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="only about this one (default: all)")
    parser.set_defaults(func=lambda args: asyncio.run(_why(args)))


async def _why(args: argparse.Namespace) -> int:
    async with session_of(args, Session) as opened:
        code = tell_problems(opened)
        if code != exits.OK:
            return code
        wanted: Ref | None = find(opened, args.container).ref if args.container else None
        opened.interval = args.interval or min(1.0, args.measured / MIN_SWEEPS)
        await opened.start()
        await asyncio.sleep(args.measured)
        if opened.unmeasured or opened.frame is None:
            for problem in opened.unmeasured:
                diagnostics.complain(problem_text.line(problem))
            return exits.FAILED
        found = [each for each in _ordered(opened.attribution) if wanted in (None, each.victim, each.suspect.ref)]
        if args.json:
            output.document(_as_json(opened, found, args.measured))
        else:
            _print(opened, found, wanted)
        return code


def _ordered(attribution: Attribution) -> list[Evidence]:
    """All evidence, that of the victim with the highest score first."""
    victims = sorted(attribution.by_victim.values(), key=lambda evidence: -max(each.score for each in evidence))
    return [each for evidence in victims for each in evidence]


def _names(opened: Session) -> Callable[[Ref], str]:
    def name(ref: Ref) -> str:
        subject = opened.find(ref)
        return diagnostics.clean(subject.name if subject is not None and subject.name else ref.short)

    return name


def _print(opened: Session, found: Iterable[Evidence], wanted: Ref | None) -> None:
    names = _names(opened)
    sentences = [evidence_text.sentence(each, names) for each in found if wanted in (None, each.victim)]
    hurt = culprits.hurt_by(opened.attribution, wanted) if wanted is not None else ()
    if wanted is not None and hurt:
        sentences.append(why_text.hurts_text(wanted, hurt, names))
    for sentence in sentences:
        print(sentence)
    if not sentences:
        print(say(Message.NOBODY_WAITS) if wanted is None else say(Message.WAITS_FOR_NOBODY, name=names(wanted)))


def _as_json(opened: Session, found: Iterable[Evidence], measured_s: float) -> dict[str, Any]:
    names = _names(opened)
    return {
        "time": output.when(time.time_ns()),
        "seconds": measured_s,
        "evidence": [
            {
                "victim": _who(each.victim, names),
                "suspect": {
                    "kind": each.suspect.kind.value,
                    "name": each.suspect.name or None,
                    "pid": each.suspect.pid,
                    "container": _who(each.suspect.ref, names) if each.suspect.ref is not None else None,
                },
                "resource": each.resource.value,
                "score": each.score,
                "wait": each.wait,
                "share": each.share,
                "confidence": each.confidence.value,
                "device": each.device or None,
                "figures": {figure.id: figure.value for figure in each.figures},
                "gain": _gain(each),
                "sentence": evidence_text.sentence(each, names),
            }
            for each in found
        ],
    }


def _who(ref: Ref, names: Callable[[Ref], str]) -> dict[str, Any]:
    return {"name": names(ref), "id": ref.id if isinstance(ref, ContainerRef) else ref.short, "engine": ref.engine}


def _gain(evidence: Evidence) -> dict[str, Any] | None:
    gain = evidence.gain
    return None if gain is None else {"limit": gain.limit.value, "value": output.plain(gain.value), "gain": gain.gain}
