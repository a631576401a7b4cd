"""The command line's own logic: words to values, names to containers, exit codes, what is printed and how."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.protocol import Facets
from runtime.errors import (
    ConflictError,
    DeniedError,
    EngineError,
    InvalidError,
    NotFoundError,
    PytopError,
    RefusedError,
    UnavailableError,
    UnsupportedError,
)
from runtime.model import (
    UNLIMITED,
    Bind,
    Container,
    ContainerRef,
    DeviceRate,
    FieldOutcome,
    LimitChange,
    LimitName,
    LimitOutcome,
    Limits,
    Missing,
    State,
    Verdict,
)
from tests.app.fakes import container
from tests.fake_engine import FakeEngine
from tui import __main__ as program
from tui.cli import common, diagnostics, durations, exits, limits, listing, output, parser, running, update, values
from tui.core.session import Session
from tui.present.limit_entries import ENTRY_OF

WEB = container("web", engine="docker", labels={"tier": "front"}, image="nginx:1")


# words to values


@pytest.mark.parametrize(("text", "value"), [("10", 10.0), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0)])
def test_seconds(text: str, value: float) -> None:
    assert durations.seconds(text) == value


@pytest.mark.parametrize("text", ["", "-1", "ten", "1d", "1e9", "٣x", "nan", "inf"])
def test_seconds_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        durations.seconds(text)


@pytest.mark.parametrize("text", ["0", "0.01", "2h"])
def test_interval_has_bounds(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="outside"):
        durations.interval(text)


@pytest.mark.parametrize(
    ("text", "name"), [("TERM", "SIGTERM"), ("sigkill", "SIGKILL"), ("15", "SIGTERM"), ("40", "40"), ("rtmin+6", "40")]
)
def test_signal_name(text: str, name: str) -> None:
    assert values.signal_name(text) == name


@pytest.mark.parametrize("text", ["0", "99", "NOPE", "", "-9"])
def test_signal_name_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        values.signal_name(text)


def test_tail() -> None:
    assert values.tail("all") is None
    assert values.tail("12") == 12
    with pytest.raises(argparse.ArgumentTypeError):
        values.tail("-3")


def test_bind() -> None:
    assert values.bind("/a:/b") == Bind("/a", "/b")
    assert values.bind("/a:/b:ro") == Bind("/a", "/b", read_only=True)
    for wrong in ("/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            values.bind(wrong)


def test_pairs() -> None:
    assert values.pairs(["A=b=c", "B"]) == {"A": "b=c", "B": ""}
    assert values.pairs(["HERE", "NOWHERE", "X="], {"HERE": "yes"}) == {"HERE": "yes", "X": ""}


@given(st.text())
def test_values_never_crash(text: str) -> None:
    for read in (durations.seconds, durations.interval, values.signal_name, values.tail, values.bind):
        try:
            read(text)
        except argparse.ArgumentTypeError:
            continue


# limits


def asked(*words: str) -> limits.Asked:
    flags = argparse.ArgumentParser()
    limits.add_limits(flags)
    return limits.requested(flags.parse_args(words))


def test_docker_flags_become_a_change() -> None:
    found = asked("--cpus", "1.5", "-c", "512", "-m", "64m", "--pids-limit", "unlimited", "--memory-swap", "-1")
    assert found.change == LimitChange(cpus=1.5, cpu_shares=512, memory=64 << 20, pids=UNLIMITED)
    assert not found.depends
    assert found.complete(None) == replace(found.change, swap=UNLIMITED)
    words = "--cpu-period 20000 --cpu-burst 5ms --cpu-idle --memory-low 0 --blkio-weight 300 --net-egress 20mbit"
    disks = ("--device-read-bps", "8:0:10mb", "--device-read-bps", "8:16:unlimited", "--device-write-iops", "8:0:50")
    assert asked(*words.split(), *disks).complete(None) == LimitChange(
        cpu_period=20_000,
        cpu_burst=5_000,
        cpu_idle=True,
        memory_reservation=0,
        io_weight=300,
        io_read_bps=(DeviceRate("8:0", 10 << 20), DeviceRate("8:16", UNLIMITED)),
        io_write_iops=(DeviceRate("8:0", 50),),
        net_egress=20_000_000,
    )
    assert asked("--no-cpu-idle").change == LimitChange(cpu_idle=False)
    assert not asked()


@pytest.mark.parametrize(
    ("words", "held", "cpus"),
    [
        (("--cpu-quota", "50000"), None, 0.5),
        (("--cpu-quota", "50000"), Limits(cpu_period=20_000), 2.5),
        (("--cpu-quota", "50ms", "--cpu-period", "200000"), Limits(cpu_period=20_000), 0.25),
        (("--cpu-quota", "-1"), Limits(cpu_period=20_000), UNLIMITED),
    ],
)
def test_dockers_quota_is_cores_by_the_period_that_holds(
    words: Sequence[str], held: Limits | None, cpus: object
) -> None:
    assert asked(*words).complete(held).cpus == cpus
    with pytest.raises(InvalidError, match="same thing"):
        asked(*words, "--cpus", "1")


NOTHING = LimitChange()


def total(amount: object, change: LimitChange = NOTHING, held: object = None) -> object:
    return limits.Asked(change, amount).complete(Limits(memory=held) if held is not None else None).swap  # type: ignore[arg-type]


def test_memory_swap_is_memory_and_swap_together() -> None:
    assert total(100, LimitChange(memory=64)) == 36
    assert total(64, LimitChange(memory=64)) == 0
    assert total(100, held=60) == 40, "the limit that holds already"
    assert total(None, LimitChange(memory=64), 10) is None


@pytest.mark.parametrize("memory", [None, UNLIMITED, Missing.DENIED])
def test_memory_swap_needs_a_memory_limit(memory: Any) -> None:
    with pytest.raises(InvalidError, match="--memory too"):
        total(100, held=memory)


def test_memory_swap_below_memory_is_refused() -> None:
    with pytest.raises(InvalidError, match="less than"):
        total(32, LimitChange(memory=64))


BAD = [
    ("--cpu-period", "soon"),
    ("--device-read-bps", "10mb"),
    ("--device-read-bps", "8:0"),
    ("--device-read-bps", "/dev/null:1mb"),
    ("--device-write-iops", "8:0:1mb"),
    ("--net-egress", "20 apples"),
    ("--blkio-weight", "0"),
]


@pytest.mark.parametrize("words", [("--cpus", "x"), ("-m", "12q"), ("-c", "unlimited"), ("--cpuset-cpus", "1-"), *BAD])
def test_malformed_limits(words: Sequence[str]) -> None:
    with pytest.raises(InvalidError):
        asked(*words)


def test_limits_are_shown_as_they_are_typed() -> None:
    assert limits.show(LimitName.CPUS, 0.25) == "0.25"
    assert limits.show(LimitName.PIDS, 50) == "50"
    assert limits.show(LimitName.MEMORY, UNLIMITED) == "unlimited"
    assert limits.show(LimitName.MEMORY, Missing.UNSUPPORTED) == "-"
    assert asked("-m", limits.show(LimitName.MEMORY, 64 << 20)).change.memory == 64 << 20
    assert limits.show(LimitName.CPU_PERIOD, 20_000) == "20ms"
    assert limits.show(LimitName.CPU_IDLE, True) == "on"
    assert limits.show(LimitName.NET_INGRESS, 1_500_000) == "1500kbit"
    assert limits.show(LimitName.IO_READ_BPS, (DeviceRate("9999:7", 3 << 20),)) == "9999:7:3m"
    assert limits.show(LimitName.IO_READ_IOPS, ()) == "none"
    assert set(ENTRY_OF) == set(LimitName)
    everything = argparse.ArgumentParser()
    limits.add_limits(everything)
    assert {entry.flag for entry in ENTRY_OF.values()} <= set(everything.format_help().replace(",", " ").split())


# names to containers


async def listed(*containers: Container, away: str = "") -> Session:
    keys = {c.ref.engine for c in containers} | ({away} if away else set())
    engines = [FakeEngine([c for c in containers if c.ref.engine == key], key=key) for key in sorted(keys)]
    for engine in engines:
        engine.away = engine.key == away
    session = Session(engines)
    await session.refresh()
    return session


def named(engine: str, identity: str, name: str) -> Container:
    return Container(ContainerRef(engine, identity), name, "i", State.RUNNING)


async def test_find_by_id_name_beginning_and_engine() -> None:
    one, two = named("docker", "abc1", "web"), named("embedded", "abf2", "db")
    session = await listed(one, two)
    for words, found in (("abc1", one), ("web", one), ("abf", two), ("embedded:db", two), ("docker:ab", one)):
        assert common.find(session, words) == found
    for words in ("ab", "", "nothing", "embedded:web", "docker:"):
        with pytest.raises(NotFoundError):
            common.find(session, words)


async def test_find_prefers_a_whole_name_to_the_beginning_of_an_id() -> None:
    one, two = named("docker", "abc1", "web"), named("docker", "ffff", "abc")
    assert common.find(await listed(one, two), "abc") == two


async def test_same_name_in_two_engines_asks_which() -> None:
    session = await listed(named("docker", "aa", "web"), named("embedded", "bb", "web"))
    with pytest.raises(NotFoundError, match=r"docker:web.*embedded:web.*ENGINE:NAME"):
        common.find(session, "web")


async def test_find_says_when_an_engine_could_not_be_asked() -> None:
    session = await listed(named("embedded", "bb", "db"), away="docker")
    with pytest.raises(NotFoundError, match="docker could not be asked"):
        common.find(session, "web")
    with pytest.raises(UnavailableError):
        common.find(session, "docker:web")


async def test_each_goes_on_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    session = await listed(named("docker", "aa", "one"), named("docker", "bb", "two"))

    async def action(found: Container) -> str:
        if found.name == "one":
            raise ConflictError("it \x1b[31mfailed")
        return found.name

    done, code = await common.each(session, ["one", "two", "two", "three"], action)
    assert done == [("two", "two")]
    assert code == exits.FAILED
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 2


# exit codes and output


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (NotFoundError, 3),
        (InvalidError, 2),
        (RefusedError, 4),
        (DeniedError, 4),
        (UnsupportedError, 4),
        (UnavailableError, 5),
        (ConflictError, 1),
        (EngineError, 1),
    ],
)
def test_code_of(kind: type[PytopError], code: int) -> None:
    assert exits.code_of(kind("x")) == code
    assert f"\n  {code} " in exits.HELP


def test_codes_together() -> None:
    assert exits.together([]) == 0
    assert exits.together([0, 3, 3]) == 3
    assert exits.together([0, 3, 5]) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain-name_1.2", "plain-name_1.2"),
        ("häß 名前", "häß 名前"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half\udc80", "half\\udc80"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert diagnostics.clean(text) == shown


@given(st.text())
def test_clean_is_safe_for_every_text(text: str) -> None:
    shown = diagnostics.clean(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    shown.encode()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_table_is_aligned_on_a_terminal_and_tabbed_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed(stream: io.StringIO) -> list[str]:
        monkeypatch.setattr(sys, "stdout", stream)
        output.table(["NAME", "N"], [["名前", "5"], ["x\ty", "100"]], right=frozenset({1}))
        return stream.getvalue().splitlines()

    assert printed(io.StringIO()) == ["NAME\tN", "名前\t5", "x\\ty\t100"]
    assert printed(Terminal()) == ["NAME    N", "名前    5", "x\\ty  100"]


def test_shorten_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert output.shorten("x" * 50, 10) == "x" * 50
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert output.shorten("x" * 50, 10) == "x" * 9 + "…"


def test_when_keeps_nanoseconds() -> None:
    assert output.when(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert output.when(None) is None


@pytest.mark.parametrize(("words", "fits"), [
    (["name=we"], True), (["name=db"], False), (["state=running"], True), (["status=exited"], False),
    (["label=tier"], True), (["label=tier=front"], True), (["label=tier=back"], False), (["image=nginx"], True),
    (["engine=docker", "name=db"], False), (["name=db", "name=web"], True),
])  # fmt: skip
def test_filters(words: list[str], fits: bool) -> None:
    assert listing._filters(words)(WEB) is fits


@pytest.mark.parametrize("word", ["name", "colour=red", "=x"])
def test_unknown_filters(word: str) -> None:
    with pytest.raises(InvalidError, match="Say KEY=VALUE"):
        listing._filters([word])


def test_everything_about_a_container_is_json() -> None:
    document = json.loads(json.dumps(listing.as_json(WEB)))
    assert document["labels"] == {"tier": "front"}
    assert document["state"] == "running"


def test_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.cli.listing.time.time", lambda: 1_000_000.0)
    told = [listing.ago(int((1_000_000 - seconds) * 1e9)) for seconds in (-5, 5, 600, 10_000, 400_000)]
    assert told == ["0 s", "5 s", "10 min", "3 h", "5 d"]


# the parser and the program


def test_every_command_has_help_and_a_function(capsys: pytest.CaptureFixture[str]) -> None:
    built = parser.build()
    (subparsers,) = [a for a in built._actions if isinstance(a, argparse._SubParsersAction)]
    verbs = set(subparsers.choices)
    assert verbs >= {
        "ps", "stats", "run", "create", "start", "stop", "restart", "pause", "unpause", "kill", "rm", "logs", "update",
        "inspect", "wait", "images", "doctor", "demo",
    }  # fmt: skip
    for verb in verbs:
        with pytest.raises(SystemExit) as left:
            built.parse_args([verb, "--help"])
        assert left.value.code == 0
        assert capsys.readouterr().out


def test_engine_before_and_after_the_verb() -> None:
    built = parser.build()
    assert built.parse_args(["--engine", "docker", "ps"]).engine == "docker"
    assert built.parse_args(["ps", "--engine", "docker"]).engine == "docker"
    assert built.parse_args(["ps"]).engine is None


def test_run_keeps_the_commands_own_options() -> None:
    args = parser.build().parse_args(["run", "--rm", "-m", "64m", "host", "sh", "-c", "x", "--rm", "--name", "y"])
    assert (args.image, args.command, args.name, args.rm) == (
        "host",
        ["sh", "-c", "x", "--rm", "--name", "y"],
        "",
        True,
    )


def _failing(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotFoundError("there is no container x", hint="See `ps -a`"), 3, "there is no container x. See `ps -a`"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("oops"), 70, "ZeroDivisionError: oops"),
    ],
)
def test_every_way_to_fail_is_one_line(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tui.cli.dashboard.main", _failing(error))
    monkeypatch.delenv("PYTOP_DEBUG", raising=False)
    assert program.main([]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") <= 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.cli.dashboard.main", _failing(ZeroDivisionError()))
    monkeypatch.setenv("PYTOP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        program.main([])


def test_packages_that_are_in_place() -> None:
    assert program.misplaced() is None
    assert "'json'" in (program.misplaced(("json",)) or "")
    assert "missing" in (program.misplaced(("no_such_package_here",)) or "")


@pytest.mark.parametrize(
    ("verdict", "detail", "words"),
    [
        (Verdict.APPLIED, "", "applied"),
        (Verdict.APPLIED, "written to the kernel: Docker does not keep it", "applied: written to the kernel"),
        (Verdict.FAILED, "cpu.max: Invalid argument", "failed: cpu.max: Invalid argument"),
    ],
)
def test_what_is_to_be_known_of_a_limit_is_printed_also_when_it_holds(
    capsys: pytest.CaptureFixture[str], verdict: Verdict, detail: str, words: str
) -> None:
    web = container("web")
    entry = FieldOutcome(LimitName.CPUS, 0.2, UNLIMITED, 0.2, 0.2, verdict, detail=detail)
    update._print([(web, LimitOutcome(web.ref, (entry,)))])
    assert words in capsys.readouterr().out


# images


class WithoutImages(FakeEngine):
    """An engine with no facets, as `found` is."""

    facets = Facets()  # type: ignore[assignment]


async def images(monkeypatch: pytest.MonkeyPatch, *engines: FakeEngine) -> int:
    monkeypatch.setattr(common, "engines", lambda _: list(engines))
    return await listing._images(parser.build().parse_args(["images"]))


async def test_images_of_every_engine_that_has_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await images(monkeypatch, WithoutImages(key="found"), FakeEngine(key="docker")) == exits.OK
    said = capsys.readouterr()
    assert "busybox:latest" in said.out
    assert "docker" in said.out
    assert "found" not in said.out + said.err


async def test_an_engine_without_images_says_so_when_it_is_the_one_that_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await images(monkeypatch, WithoutImages(key="found")) != exits.OK
    assert "found has no images" in capsys.readouterr().err


async def test_a_new_container_goes_to_an_engine_that_has_the_image() -> None:
    found, docker, never = WithoutImages(key="found"), FakeEngine(key="docker"), FakeEngine(key="podman")
    assert await running._engine_for(iter([found, docker, never]), "busybox:latest") == (docker, [found])
    assert await running._engine_for([found, docker], "nowhere") == (found, [docker])


def test_modules_are_loaded_without_collections_and_a_verb_runs_with_them(tmp_path: Path) -> None:
    """A process of its own, since what is frozen there is never collected."""
    code = (
        "import gc, sys; from tui import __main__ as program; from tui.cli import verbs;"
        "states = []; load = verbs.load;"
        "verbs.load = lambda name: (states.append(gc.isenabled()), load(name))[1];"
        "sys.argv = ['pytop-containers', '--read-only', 'images', '--engine', 'nowhere'];"
        "code = program.main(); print(code, any(states), gc.isenabled())"
    )
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=tmp_path)
    assert done.stdout.split()[1:] == ["False", "True"], done.stderr
