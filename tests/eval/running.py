"""Runs scenarios in an interleaved order and judges each run by every detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from runtime.errors import PytopError
from tests.eval import metrics, recording
from tests.eval.judging import AttributionDetector, detectors, explained, judged, wait, wrongly_named_outside
from tests.eval.observation import Observation, observe
from tests.eval.results import Harm, Results
from tests.eval.scenario import Scenario
from tests.eval.stage import EvalStage

HARM_SETTLES_S = 2.0  # from the start of the harm, which its latency does not count


def interleaved(scenarios: Sequence[Scenario], repeats: int, seed: int) -> Iterator[tuple[int, Scenario]]:
    """Each scenario once before any is repeated, each time in another order, so that a slow drift hits all alike."""
    rng = Random(seed)
    for repeat in range(repeats):
        yield from ((repeat, scenario) for scenario in rng.sample(scenarios, len(scenarios)))


async def evaluate(
    stage: EvalStage,
    scenarios: Sequence[Scenario],
    results: Results,
    show: Callable[[str], None],
    *,
    repeats: int,
    seed: int,
    record: Path | None = None,
) -> None:
    """Run all of them and add what was found to the results. A run that fails is in `failures`; the others go on."""
    total = repeats * len(scenarios)
    for number, (repeat, scenario) in enumerate(interleaved(scenarios, repeats, seed)):
        label = f"[{number + 1}/{total}] {scenario.name}"
        try:
            seen = await observe(stage, scenario, repeat, seed)
        except PytopError as error:
            results.failures.append(f"{scenario.name} {repeat + 1}: {error}")
            show(f"{label}: FAILED {error}")
            continue
        show(f"{label}: {_judge(seen, results)}")
        if record is not None and repeat == 0:
            recording.write(seen, record, seed)


def _judge(seen: Observation, results: Results) -> str:
    """Judge a run by all detectors; who was named by attribution, in words."""
    for name, make in detectors(seen.names).items():
        results.pairs.setdefault(name, []).extend(judged(seen, make()))
    results.explanations += explained(seen, AttributionDetector(seen.names))
    results.outside_wrongly += wrongly_named_outside(seen, AttributionDetector(seen.names))
    for victim in seen.scenario.victims:
        results.harms.append(_harm(seen, victim))
    pairs = [pair for pair in results.pairs["attribution"] if pair.scenario == seen.scenario.name]
    own = [pair for pair in pairs if pair.repeat == seen.repeat]
    missed = [pair.suspect for pair in own if pair.culprit and not pair.named]
    wrong = [pair.suspect for pair in own if pair.named and not pair.culprit]
    right = [f"{pair.suspect} after {pair.after_s:.1f} s" for pair in own if pair.culprit and pair.after_s is not None]
    harm = results.harms[-1]
    words = [
        f"p99 {harm.alone_p99:.0f} -> {harm.harmed_p99:.0f} ms, wait {harm.wait:.0%}",
        f"named {', '.join(right)}" if right else "",
        f"MISSED {', '.join(missed)}" if missed else "",
        f"WRONGLY {', '.join(wrong)}" if wrong else "",
    ]
    return "; ".join(word for word in words if word)


def _harm(seen: Observation, victim: str) -> Harm:
    alone = metrics.p99(seen.seconds(victim, seen.began_ns, seen.harm_ns))
    harmed = metrics.p99(seen.seconds(victim, seen.harm_ns + int(HARM_SETTLES_S * 1e9), seen.end_ns))
    return Harm(
        scenario=seen.scenario.name,
        repeat=seen.repeat,
        victim=victim,
        alone_p99=alone,
        harmed_p99=math.inf if math.isnan(harmed) else harmed,
        wait=wait(seen, victim),
    )
