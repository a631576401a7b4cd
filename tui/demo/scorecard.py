"""The results of stories as a table, a scorecard, a picture (SVG) and a document (JSON). Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

from runtime.model import FieldOutcome, LimitOutcome, Missing, Unlimited
from tui.demo.measures import Spread
from tui.demo.phases import Phase, PhaseKind, Score, StoryFinding, StoryResult, finding, readback_percentiles
from tui.present import demo_text
from tui.present import format as fmt
from tui.present.messages import Message, say

HEAD: Final = ("phase", "victim p50", "victim p99", "answered", "shed", "isolation", "p05", "latency", "p95")
CARD_HEAD: Final = ("rung", "hog does", "kept", "work conserved", "recovery", "recovered in", "read back")
BAR_COLOURS: Final = {  # of Okabe and Ito, told apart without seeing red and green
    PhaseKind.ALONE: "#0072B2",
    PhaseKind.NOISE: "#D55E00",
    PhaseKind.RUNG: "#009E73",
    PhaseKind.RELEASED: "#E69F00",
}
ROW_HEIGHT_PX: Final = 22
NAME_WIDTH_PX: Final = 150
BAR_WIDTH_PX: Final = 220
FIGURE_WIDTH_PX: Final = 110
SVG_WIDTH_PX: Final = 2 * (NAME_WIDTH_PX // 2 + BAR_WIDTH_PX + FIGURE_WIDTH_PX) + 40


def _figure(value: float | None, form: str) -> str:
    return fmt.GAP if value is None or math.isnan(value) else format(value, form)


def _part(spread: Spread | None, part: str, form: str) -> str:
    return _figure(None if spread is None else getattr(spread, part), form)


def table(result: StoryResult) -> list[str]:
    """The victim in each phase: p50 and p99; isolation and latency impact with the bad end of their spread."""
    rows: list[tuple[str, ...]] = [HEAD]
    for phase in result.phases:
        now, score = phase.victim, result.score(phase)
        rows.append(
            (
                phase.name,
                f"{now.p50:.1f} ms",
                f"{now.p99:.1f} ms",
                f"{now.answered:.1f}/s",
                f"{now.shed:.1f}/s",
                _part(score.isolation, "mean", ".2f"),
                _part(score.isolation, "p05", ".2f"),
                _impact(score, "mean"),
                _impact(score, "p95"),
            )
        )
    return demo_text.aligned(rows)


def _impact(score: Score, part: str) -> str:
    text = _part(score.latency_impact, part, ".1f")
    return text if text == fmt.GAP else f"+{text}x"


def scorecard(result: StoryResult) -> list[str]:
    """What each rung gave and what it cost, side by side; the rungs that cannot be taken here with the reasons."""
    rows: list[tuple[str, ...]] = [CARD_HEAD]
    for phase in result.phases:
        if phase.kind is PhaseKind.ALONE:
            continue
        score = result.score(phase)
        rows.append(
            (
                phase.name,
                demo_text.use(score.hog_use, result.resource),
                _figure(score.kept, ".0%"),
                _figure(score.conserved, ".0%"),
                _figure(score.recovery, ".0%"),
                fmt.GAP if score.recovered_s is None else f"{score.recovered_s:.1f} s",
                fmt.GAP if not phase.readback_s else f"{1000 * max(phase.readback_s):.1f} ms",
            )
        )
    return [*demo_text.aligned(rows), *(demo_text.rung_refused(*entry) for entry in result.refused.items())]


def summary(result: StoryResult) -> Iterator[str]:
    """What the story showed, in sentences."""
    if result.busy:
        yield say(Message.BUSY_HOST)
    if result.named_s is None:
        yield say(Message.NOT_NAMED)
    else:
        yield say(Message.NAMED_AFTER, seconds=result.named_s)
    times = result.readback_s()
    percentiles = readback_percentiles(times)
    if percentiles is not None:
        p50, p99 = (1000 * value for value in percentiles)
        yield say(Message.READ_BACK, engine=result.engine, p50=p50, p99=p99, count=len(times))
    best = result.best()
    found, share = finding(result)
    if best is not None and found is StoryFinding.HELPED:
        words = demo_text.RUNGS[best.name]
        yield say(Message.BEST_RUNG, rung=words.title, costs=words.costs)
    by = result.judged
    yield demo_text.finding(
        found, share=share, percentile=by, now=by.of(result.noise.victim), alone=by.of(result.alone)
    )


def document(result: StoryResult) -> dict[str, Any]:
    """All figures of a story: latencies in ms, times in s, shares 0 to 1; null is what cannot be told."""
    found, share = finding(result)
    times = readback_percentiles(result.readback_s())
    best = result.best()
    return {
        "story": result.story.value,
        "resource": result.resource.value,
        "engine": result.engine,
        "busy_host": result.busy,
        "outside_cpu_share": result.outside,
        "phases": [_phase(result, phase) for phase in result.phases],
        "refused": result.refused,
        "named_s": result.named_s,
        "named_on": result.named_by.resource.value if result.named_by is not None else None,
        "readback_s": None if times is None else {"p50": times[0], "p99": times[1], "count": len(result.readback_s())},
        "best_rung": best.name if best is not None else None,
        "finding": found.value,
        "judged_by": result.judged.value,
        "recovered_share": share,
    }


def _phase(result: StoryResult, phase: Phase) -> dict[str, Any]:
    score = result.score(phase)
    return {
        "phase": phase.name,
        "kind": phase.kind.name.lower(),
        "p50_ms": phase.victim.p50,
        "p99_ms": phase.victim.p99,
        "answered_per_s": phase.victim.answered,
        "shed_per_s": phase.victim.shed,
        "isolation": _spread(score.isolation),
        "latency_impact": _spread(score.latency_impact),
        "hog_use": None if isinstance(score.hog_use, Missing) else score.hog_use,
        "kept": score.kept,
        "work_conserved": score.conserved,
        "recovery": score.recovery,
        "recovered_s": score.recovered_s,
        "readback_s": list(phase.readback_s),
        "limits": [_limit(outcome, each) for outcome in phase.outcomes for each in outcome.fields],
    }


def _spread(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {"mean": spread.mean, "p05": spread.p05, "p95": spread.p95, "seconds": spread.count}


def _limit(outcome: LimitOutcome, each: FieldOutcome) -> dict[str, Any]:
    return {
        "container": outcome.ref.id,
        "limit": each.name.value,
        "requested": _plain(each.requested),
        "kernel": _plain(each.kernel),
        "verdict": each.verdict.value,
    }


def _plain(value: object) -> Any:
    if isinstance(value, Missing):
        return None
    if isinstance(value, Unlimited):
        return "unlimited"
    if isinstance(value, tuple):
        return {each.device: _plain(each.rate) for each in value}
    return value


def svg(results: Sequence[StoryResult]) -> str:
    """The scorecard as a picture: per story and phase the victim's p99 (on a log scale) and what the hogs kept."""
    parts: list[str] = []
    y = 34
    for result in results:
        parts.append(_text(12, y, demo_text.STORIES[result.story.value].title, weight="bold"))
        y += 8
        worst = max(phase.victim.p99 for phase in result.phases)
        for phase in result.phases:
            y += ROW_HEIGHT_PX
            parts += _bars(result, phase, worst, y)
        y += 2 * ROW_HEIGHT_PX
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{SVG_WIDTH_PX}" height="{y}" font-family="sans-serif">'
    return "\n".join((head, f'<rect width="{SVG_WIDTH_PX}" height="{y}" fill="white"/>', *parts, "</svg>", ""))


def _bars(result: StoryResult, phase: Phase, worst: float, y: int) -> Iterator[str]:
    colour = BAR_COLOURS[phase.kind]
    yield _text(12, y, phase.name)
    share = math.log1p(phase.victim.p99) / math.log1p(worst) if worst > 0 else 0.0
    yield _bar(NAME_WIDTH_PX, y, share, colour)
    yield _text(NAME_WIDTH_PX + BAR_WIDTH_PX + 6, y, f"p99 {phase.victim.p99:.1f} ms")
    kept = 1.0 if phase.kind in (PhaseKind.NOISE, PhaseKind.RELEASED) else result.score(phase).kept
    right = NAME_WIDTH_PX + BAR_WIDTH_PX + FIGURE_WIDTH_PX
    if kept is not None:
        yield _bar(right, y, kept, colour)
        yield _text(right + BAR_WIDTH_PX + 6, y, f"kept {kept:.0%}")


def _bar(x: int, y: int, share: float, colour: str) -> str:
    return f'<rect x="{x}" y="{y - 11}" width="{max(1.0, share * BAR_WIDTH_PX):.1f}" height="14" fill="{colour}"/>'


def _text(x: int, y: int, text: str, *, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-size="13" font-weight="{weight}">{escape(text)}</text>'
