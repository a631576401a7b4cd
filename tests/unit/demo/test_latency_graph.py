"""The graph of the victim's latency, as lines of text."""

from __future__ import annotations

from tui.demo.latency_graph import LatencyGraph
from tui.demo.story import Service
from tui.present import braille


def service(p50: float, p99: float) -> Service:
    return Service(p50=p50, p99=p99, answered=50, shed=0, seconds=0.5)


def lines(graph: LatencyGraph, *, width: int = 60, height: int = 4, alone: Service | None = None) -> list[str]:
    return graph.draw(width, height, alone=alone, named_s=2.5 if alone is not None else None).plain.split("\n")


def test_it_has_the_size_that_is_asked_for_and_names_what_is_drawn() -> None:
    graph = LatencyGraph(braille.BRAILLE)
    for _ in range(300):
        graph.add(service(12, 14))
    drawn = lines(graph, alone=service(12, 14))
    assert len(drawn) == 4
    assert all(len(line) <= 60 for line in drawn)
    assert "alone 14 ms" in drawn[2]
    assert "named in 2.5 s" in drawn[3]
    assert "alone" not in "".join(lines(graph))


def test_it_falls_when_the_latency_falls_and_what_is_not_answered_is_a_gap() -> None:
    graph = LatencyGraph(braille.BRAILLE)
    for latency in (800, 800, 12, 12):
        graph.add(service(latency, latency))
    graph.add(None)
    graph.add(None)
    top, *_, bottom = (line[:44] for line in lines(graph))
    assert "1000 ms" in top
    assert top.rstrip()[-1] in "⣿⣶⣤⣀⣸⣇", "the scale is that of the highest"
    assert len(bottom.rstrip()) > len(top.rstrip()), "what is low is drawn at the bottom alone"
    assert bottom.endswith(" "), "a gap, no line at 0"
