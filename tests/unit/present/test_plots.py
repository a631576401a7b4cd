"""The notes of the graphs: what memory consists of, what is not added to a rate, why there is none."""

from __future__ import annotations

from collectors.history.rings import History
from collectors.sampling.frame import Frame, IoRates, NetRates, Usage
from runtime.model import Missing
from tests.app import fakes
from tests.app.fakes import container
from tui.present.plots import SMALL, Plot, Plots
from tui.present.timeline import window

S_NS = 10**9
REF = container("a").ref
KIB = 1024


def plots(usage: Usage) -> Plots:
    history = History(8)
    frame = Frame(1, S_NS, S_NS, S_NS, 0, fakes.HOST, usages={REF: usage})
    history.push(frame)
    return Plots(history, REF, frame, window(S_NS, S_NS, 20), 1.0)


def small(usage: Usage, metric: str) -> Plot:
    return plots(usage).small(next(measure for measure in SMALL if measure.metric == metric))


def test_shared_memory_stands_between_programs_and_cache() -> None:
    usage = fakes.usage(anon=90 << 20, shared=12 << 20, file=80 << 20, swap=7 << 20, memory_limit=400 << 20)
    notes = ("limit 400M", "programs 90M", "shared 12M", "cache 80M", "swap 7.0M")
    assert plots(usage).memory().notes == notes
    assert plots(usage._replace(shared=Missing.UNSUPPORTED)).memory().notes == (*notes[:2], *notes[3:])


def net(rx: float, tx: float) -> NetRates:
    return NetRates(rx, tx, 0.0, 0.0, 0.0, 0.0)


def test_interfaces_that_are_not_added_are_named_by_their_rate() -> None:
    internal = {"docker0": net(1 * KIB, 9 * KIB), "vpn": net(5 * KIB, 0.0), "a": net(2.0, 0.0), "b": net(1.0, 0.0)}
    usage = fakes.usage(net_internal=internal)
    assert small(usage, "net_rx").notes == ("apart: vpn 5.0K, docker0 1.0K, a 2B",)
    assert small(usage, "net_tx").notes == ("apart: docker0 9.0K",)
    assert small(usage, "io_read").notes == ()
    assert small(fakes.usage(net_internal={"evil\x1b[2J": net(KIB, 0.0)}), "net_rx").notes == ("apart: evil�[2J 1.0K",)


def test_devices_that_are_not_added_are_named() -> None:
    usage = fakes.usage(io_stacked={"4000:7": IoRates(3.0 * KIB, 4.0 * KIB, 0.0, 0.0)})
    assert small(usage, "io_read").notes == ("apart: 4000:7 3.0K",)
    assert small(usage, "io_write").notes == ("apart: 4000:7 4.0K",)
    assert small(usage, "net_rx").notes == ()


def test_a_rate_that_cannot_be_told_says_why() -> None:
    usage = fakes.usage(io=IoRates(1.0, Missing.DENIED, 0.0, 0.0), net=Missing.UNSUPPORTED)
    assert small(usage, "io_write").notes == ("not measured: denied",)
    assert small(usage, "io_read").notes == ()
    assert small(usage, "net_rx").notes == ("not measured: unsupported",)
    assert small(usage._replace(net_shared=True), "net_rx").notes == ("the host's network",)
    assert small(fakes.usage(io=Missing.NOT_SAMPLED), "io_write").notes == ()
