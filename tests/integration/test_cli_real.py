"""Every verb as a user types it: real processes, the real embedded engine, what they print and how they exit."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import unprivileged
from tests.integration.program import ROOT, Program
from tests.integration.program import program as program_of_its_own
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with program_of_its_own() as made:
        yield made


@pytest.fixture
def clean(program: Program) -> Iterator[Program]:
    yield program
    left = program("ps", "-aq", "--engine", "embedded").stdout.split()
    if left:
        program("rm", "-f", "--engine", "embedded", *left)


def run(program: Program, name: str, *words: str, script: str = "sleep 1000") -> str:
    done = program("run", "-d", "--name", name, "--network", "none", *words, "host", "sh", "-c", script)
    return done.stdout.strip()


def test_a_limit_of_tasks_below_what_is_in_use_is_warned_of(clean: Program) -> None:
    run(clean, "busy", script="sleep 1000 & sleep 1000")
    wait_until(lambda: int(clean.file("busy", ("pids", "pids.current"), "pids.current")) > 2, 10)
    done = clean("update", "--pids-limit", "2", "busy")
    assert "tasks; they stay, and nothing new can be started" in done.stderr


def test_life_from_run_to_rm(clean: Program) -> None:
    p = clean
    full = run(p, "web", "-l", "tier=front", "-e", "A=b")
    assert len(full) >= 32
    header, row = p("ps").stdout.splitlines()
    assert header.split("\t")[:5] == ["CONTAINER ID", "NAME", "ENGINE", "IMAGE", "STATE"]
    assert row.split("\t")[:5] == [full[:12], "web", "embedded", "host", "running"]
    assert p("ps", "-q", "--no-trunc").stdout.split() == [full]
    assert p("ps", "-q", "--filter", "label=tier=front").stdout.split() == [full[:12]]
    assert p("ps", "-q", "--filter", "label=tier=back").stdout == ""
    assert p("pause", "embedded:web").stdout.split() == ["embedded:web"]
    assert p.container("web")["state"] == "paused"
    p("unpause", full[:6])
    pid = p.container("web")["pid"]
    p("restart", "-t", "0.2", "web")
    assert p.container("web")["pid"] != pid
    p("kill", "-s", "KILL", "web")
    wait_until(lambda: p.container("web")["state"] == "exited", 15)
    assert p.container("web")["exit_code"] == 137
    assert p("wait", "web", code=137).stdout.strip() == "137"
    assert p("ps").stdout.count("\n") == 1, "only what runs"
    p("start", "web")
    refused = p("rm", "web", code=1)
    assert "running" in refused.stderr
    assert refused.stdout == ""
    p("stop", "-t", "0.2", "web")
    p("rm", "web")
    assert json.loads(p("ps", "-a", "--json").stdout) == []


def test_foreground_gives_streams_and_status(clean: Program) -> None:
    done = clean("run", "--rm", "--network", "none", "host", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert clean("ps", "-aq").stdout == ""


def test_foreground_output_is_whole_and_byte_for_byte(clean: Program) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf 'no newline'"
    done = clean("run", "--rm", "--network", "none", "host", "sh", "-c", script)
    assert done.stdout == "".join(f"line {i}\n" for i in range(3000)) + "no newline"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("host", "no-such-program"), 127),
        (("host", "/etc/hostname"), 126),
        (("no-such-image", "true"), 125),
        (("-e", "=x", "host", "true"), 125),
        (("-w", "/proc/nowhere", "host", "true"), 125),
        (("-m", "much", "host", "true"), 2),
        (("--memory-swap", "64m", "host", "true"), 2),
        (("-m", "64m", "--memory-swap", "32m", "host", "true"), 2),
        (("-v", "relative:/x", "host", "true"), 2),
        (("--nonsense", "host", "true"), 2),
    ],
)
def test_run_that_cannot_be(clean: Program, words: tuple[str, ...], code: int) -> None:
    done = clean("run", "--rm", "--network", "none", *words, code=code)
    assert done.stdout == ""
    assert done.stderr.strip()
    assert clean("ps", "-aq").stdout == ""


def few_descriptors(count: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@pytest.mark.parametrize("count", [6, 8, 12, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 32])
def test_with_few_descriptors_a_run_fails_in_words_or_works_and_leaves_nothing(clean: Program, count: int) -> None:
    words = ("run", "--rm", "--network", "none", "host", "true")
    done = clean(*words, code=None, preexec_fn=few_descriptors(count))
    assert done.returncode in (0, 125), done
    if done.returncode:
        assert "ulimit -n" in done.stderr
        assert "a bug" not in done.stderr
    assert clean("ps", "-aq").stdout == ""


@pytest.mark.parametrize("which", ["PYTOP_STATE_DIR", "PYTOP_RUN_DIR"])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_run_on_a_disk_that_takes_nothing_gives_125_and_says_what_to_do(
    clean: Program, tmp_path: Path, which: str, how: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "pytop-test", str(disk)], check=True)
    try:
        if how == "full":
            with (disk / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
                while True:
                    filler.write(b"x" * 4096)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        environ = {which: str(disk / "here")}
        done = clean("run", "--rm", "--network", "none", "host", "true", code=125, env=environ)
        assert f"file system at {disk}" in done.stderr
        assert ("df -h" if how == "full" else "remount,rw") in done.stderr
        assert clean("ps", "-aq", env=environ).stdout == ""
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_signals_go_to_the_container(clean: Program) -> None:
    script = "trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    running = clean.begin("run", "--name", "sig", "--network", "none", "host", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=30)
    assert (out, running.returncode, err) == ("term\n", 9, "")
    assert clean.container("sig")["exit_code"] == 9


def test_third_interrupt_kills(clean: Program) -> None:
    script = "trap '' INT; echo ready; while :; do sleep 0.1; done"
    running = clean.begin("run", "--rm", "--network", "none", "host", "sh", "-c", script)
    assert running.stdout is not None
    running.stdout.readline()
    for _ in range(3):
        running.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 137
    assert "Ctrl-C once more" in err


def test_lost_reader_ends_the_container(clean: Program) -> None:
    running = clean.begin(
        "run", "--rm", "--network", "none", "host", "sh", "-c", "while :; do echo y; sleep 0.01; done"
    )
    assert running.stdout is not None
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(30) == 141
    assert running.stderr is not None
    assert running.stderr.read() == ""
    running.stderr.close()
    assert clean("ps", "-aq").stdout == ""


def test_logs(clean: Program) -> None:
    run(clean, "talk", script="echo one; echo two; echo three >&2; sleep 1000")
    wait_until(lambda: "three" in clean("logs", "talk").stderr, 15)
    done = clean("logs", "-n", "2", "talk")
    assert (done.stdout, done.stderr) == ("two\n", "three\n")
    stamp, _, text = clean("logs", "-t", "talk").stdout.splitlines()[0].partition(" ")
    assert text == "one"
    assert stamp.endswith("Z")
    assert stamp.startswith("20")
    following = clean.begin("logs", "-f", "talk")
    assert following.stdout is not None
    assert following.stdout.readline() == "one\n"
    following.send_signal(signal.SIGINT)
    assert following.wait(20) == 130
    following.communicate()
    ending = clean.begin("logs", "-f", "talk")
    clean("kill", "talk")
    ending.communicate(timeout=20)
    assert ending.returncode == 0


def test_update_is_held_by_the_kernel(clean: Program) -> None:
    run(clean, "limited", "--cpus", "0.5", "-m", "64m", "--pids-limit", "20")
    assert clean.file("limited", ("memory", "memory.limit_in_bytes"), "memory.max") == str(64 << 20)
    done = clean("update", "--cpus", "0.25", "-m", "32m", "--pids-limit", "50", "limited")
    assert clean.file("limited", ("memory", "memory.limit_in_bytes"), "memory.max") == str(32 << 20)
    quota = clean.file("limited", ("cpu", "cpu.cfs_quota_us"), "cpu.max").split()[0]
    assert quota == "25000"
    assert clean.file("limited", ("pids", "pids.max"), "pids.max") == "50"
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["CONTAINER", "LIMIT", "REQUESTED", "BEFORE", "ENGINE SAYS", "KERNEL SAYS", "LASTS", "VERDICT"]
    assert ["limited", "cpus", "0.25", "0.5", "0.25", "0.25", "kept", "applied"] in rows
    clean("update", "--cpus", "unlimited", "--pids-limit", "unlimited", "limited")
    assert clean.file("limited", ("cpu", "cpu.cfs_quota_us"), "cpu.max").split()[0] in ("-1", "max")
    assert clean.file("limited", ("pids", "pids.max"), "pids.max") == "max"


def test_memory_below_use_is_reclaimed_on_demand_and_refused_when_it_does_not_fit(clean: Program) -> None:
    code = "import time; held = bytearray(b'x') * (40 << 20); open('/tmp/big', 'wb').write(bytes(100 << 20));"
    clean("run", "-d", "--name", "user", "--network", "none", "host", "python3", "-c", f"{code} time.sleep(60)")
    limit = ("memory", "memory.limit_in_bytes"), "memory.max"
    used = ("memory", "memory.usage_in_bytes"), "memory.current"
    wait_until(lambda: int(clean.file("user", *used)) > 140 << 20, 15)
    refused = clean("update", "-m", "16m", "user", code=4)
    assert "cannot be reclaimed" in refused.stderr
    assert "--reclaim" in refused.stderr
    before = clean.file("user", *limit)
    short = clean("update", "-m", "16m", "--reclaim", "user", code=4)
    assert "given back" in short.stderr
    assert "no more can be reclaimed" in short.stderr
    assert clean.file("user", *limit) == before
    clean("update", "-m", "90m", "--reclaim", "user")
    assert clean.file("user", *limit) == str(90 << 20)
    assert clean.container("user")["state"] == "running"
    clean("update", "--reclaim", "--cpus", "1", "user", code=2)


def test_update_that_is_refused_changes_nothing(clean: Program) -> None:
    run(clean, "kept", "-m", "64m")
    for words, code in ((("-m", "4k"), 4), (("-m", "lots"), 2), (("--cpus", "-1x"), 2), ((), 2)):
        done = clean("update", *words, "kept", code=code)
        assert done.stdout == ""
        assert done.stderr
    assert clean.file("kept", ("memory", "memory.limit_in_bytes"), "memory.max") == str(64 << 20)


def test_cpu_limits_in_dockers_words_and_whether_they_last(clean: Program) -> None:
    run(clean, "tuned", "--cpu-quota", "20000", "--cpu-period", "40000", "--cpu-burst", "5ms", "-c", "512")
    quota = ("cpu", "cpu.cfs_quota_us"), "cpu.max"
    assert clean.file("tuned", *quota).split()[0] == "20000"
    clean("update", "--cpu-quota", "10000", "tuned")
    assert clean.file("tuned", *quota).split()[0] == "10000", "of the period that holds"
    document = json.loads(clean("update", "--cpu-idle", "--json", "tuned").stdout)
    assert document[0]["limits"] == [
        {
            "name": "cpu_idle",
            "requested": True,
            "before": False,
            "engine": True,
            "kernel": True,
            "verdict": "applied",
            "detail": "",
            "survives": True,
        }
    ]
    assert "idle class" in clean("update", "-c", "100", "tuned", code=1).stderr
    clean("update", "--no-cpu-idle", "tuned")
    assert clean.file("tuned", ("cpu", "cpu.shares"), "cpu.weight") in ("512", "59")


def test_update_of_one_that_is_not_running_holds_at_the_next_start(clean: Program) -> None:
    run(clean, "later")
    clean("kill", "later")
    wait_until(lambda: clean.container("later")["state"] == "exited", 15)
    done = clean("update", "--pids-limit", "33", "later")
    assert "next start" in done.stdout
    clean("start", "later")
    assert clean.file("later", ("pids", "pids.max"), "pids.max") == "33"


def test_several_at_once_go_on_after_a_failure(clean: Program) -> None:
    run(clean, "one")
    run(clean, "two")
    done = clean("stop", "-t", "0.2", "one", "nobody", "two", code=3)
    assert done.stdout.split() == ["one", "two"]
    assert "nobody" in done.stderr
    assert {clean.container(name)["state"] for name in ("one", "two")} == {"exited"}


def test_read_only_refuses(clean: Program) -> None:
    run(clean, "safe")
    done = clean("--read-only", "stop", "safe", code=4)
    assert "--read-only" in done.stderr
    assert clean("--read-only", "run", "host", "true", code=125).stderr
    assert clean.container("safe")["state"] == "running"


def test_stats_once_and_stream(clean: Program) -> None:
    run(clean, "busy", "--cpus", "0.5", script="while :; do :; done")
    document = json.loads(clean("stats", "--once", "--json", "busy").stdout)
    (one,) = document["containers"]
    assert one["name"] == "busy"
    assert one["cpu"] > 0.05
    assert one["cpu_limit"] == 0.5
    assert one["id"] == clean.container("busy")["id"]
    header, row = clean("stats", "--once").stdout.splitlines()
    assert len(header.split("\t")) == len(row.split("\t"))
    stream = clean.begin("stats", "--json", "--interval", "0.2")
    assert stream.stdout is not None
    lines = [json.loads(stream.stdout.readline()) for _ in range(3)]
    assert all(line["containers"][0]["name"] == "busy" for line in lines)
    stream.stdout.close()
    assert stream.wait(20) == 141
    assert stream.stderr is not None
    assert "Traceback" not in stream.stderr.read()
    stream.stderr.close()


def test_inspect_and_images(clean: Program) -> None:
    full = run(clean, "seen")
    assert full in json.dumps(json.loads(clean("inspect", "seen").stdout))
    assert [image["names"] for image in json.loads(clean("images", "--json").stdout)] == [["host"]]


def test_an_unreachable_docker_is_reported_and_disturbs_no_other_engine(program: Program) -> None:
    done = program("ps", "--engine", "embedded")
    assert done.stderr == ""
    done = program("ps")
    assert "docker" in done.stderr
    assert program("ps", "--engine", "docker", code=5).stderr
    assert program("ps", "--engine", "docker", code=2, env={"DOCKER_HOST": ""}).stderr


def test_an_invalid_docker_host_disables_only_docker(program: Program) -> None:
    done = program("ps", env={"DOCKER_HOST": "npipe://nonsense"})
    assert "DOCKER_HOST" in done.stderr
    assert "unix:///path" in program("doctor", env={"DOCKER_HOST": "npipe://nonsense"}).stdout


def test_doctor(program: Program) -> None:
    report = json.loads(program("doctor", "--json").stdout)
    assert report["works"] is True
    levels = {(check["area"], check["name"]): check for check in report["checks"]}
    assert levels["engines", "embedded"]["level"] == "good"
    assert levels["engines", "docker"]["level"] == "broken"
    assert levels["isolation", "namespaces"]["level"] == "good"
    assert all(check["remedy"] for check in report["checks"] if check["level"] == "broken")
    assert "An engine works here." in program("doctor").stdout


def test_without_a_terminal_the_dashboard_says_so(program: Program) -> None:
    done = program(code=2)
    assert "stats --once" in done.stderr


def test_closed_streams_and_full_disks_are_no_tracebacks(program: Program) -> None:
    shell = f"{sys.executable} -m tui ps -a"
    for redirection, codes in (("<&-", {0}), (">&-", {0}), ("2>&-", {0}), ("<&- >&- 2>&-", {0}), (">/dev/full", {1})):
        done = subprocess.run(
            ["sh", "-c", f"{shell} {redirection}"],
            env=program.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in codes, (redirection, done)
        assert "Traceback" not in done.stderr


def test_packages_from_elsewhere_are_refused(program: Program, tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/__init__.py").write_text("raise SystemExit('the stranger was imported')\n")
    words = [sys.executable, "-c", "import sys; from tui.__main__ import main; sys.exit(main(['ps']))"]
    env = program.env | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    assert "'runtime'" in done.stderr


def test_without_rights(clean: Program) -> None:
    """Everything that can work does; what cannot says why."""
    run(clean, "visible", "--cpus", "0.5", script="while :; do :; done")
    env = unprivileged.environment(
        **{key: value for key, value in clean.env.items() if key.startswith("PYTOP_") or key == "DOCKER_HOST"}
    )

    def nobody(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            unprivileged.command(*words),
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    assert nobody("--help").returncode == 0
    report = json.loads(nobody("doctor", "--json").stdout)
    assert report["works"] is False
    rights = next(check for check in report["checks"] if check["area"] == "rights")
    assert (rights["level"], "root" in rights["remedy"]) == ("broken", True)
    stopping = nobody("stop", "visible")
    assert stopping.returncode in (3, 4, 5)
    assert stopping.stderr.strip()
    making = nobody("run", "host", "true")
    assert making.returncode == 125
    assert "root" in making.stderr
    assert clean.container("visible")["state"] == "running"


def test_interrupted_stop_says_what_it_waits_for_and_can_be_taken_up_again(clean: Program) -> None:
    run(clean, "stubborn", script="trap '' TERM; while :; do sleep 0.1; done")
    time.sleep(0.5)
    stopping = clean.begin("stop", "-t", "60", "stubborn")
    wait_until(lambda: clean.container("stubborn")["state"] == "stopping", 15)
    stopping.send_signal(signal.SIGINT)
    time.sleep(0.7)
    stopping.send_signal(signal.SIGINT)
    _, err = stopping.communicate(timeout=3)
    assert stopping.returncode == 130
    assert "Ctrl-C again" in err
    clean("stop", "-t", "0.2", "stubborn")
    assert clean.container("stubborn")["exit_code"] == 137
