"""Too few descriptors, inotify instances, threads, processes: a verb works, or names the limit and leaves nothing.

The program is started as a user starts it, or as a client in a process of its own, since limits are of a process.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from runtime.kernel import cgroups
from tests.conftest import missing, need_root
from tests.integration.place import place
from tests.integration.program import Program, program

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

ROOT: Final = Path(__file__).parents[2]
IDLE: Final = ("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
FEW: Final = (12, 16, 24, 64)
"""Limits of open files under which each verb is tried; below a dozen asyncio cannot make an event loop."""
SENTENCES: Final = ("Too many open files", "EMFILE", "ulimit -n")


@pytest.fixture
def pt() -> Iterator[Program]:
    with program() as made:
        yield made


LIFE: Final = """
import asyncio, json, os, sys
from runtime.engines.embedded.config import EmbeddedConfig
from runtime.kernel import threads
from tests.injection import life
config, kind = EmbeddedConfig.from_json(sys.argv[1]), sys.argv[2]
if kind == "descriptors":
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
elif kind == "thread":
    for each in threads.Kind:
        threads.MAX_THREADS[each] = 1
told = []
asyncio.run(life.lead(config, "none", lambda **line: told.append(line), lambda: None))
print(json.dumps(told))
sys.exit(any("failed" in line or line.get("descriptors") for line in told))
"""


@pytest.mark.parametrize("kind", ["descriptors", "thread"])
def test_a_life_beside_1100_open_descriptors_and_with_one_thread_of_each_kind(pt: Program, kind: str) -> None:
    command = [sys.executable, "-c", LIFE, pt.where.to_json(), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=many, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def many() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


STOP_FOUND: Final = """
import asyncio, os, sys
from runtime.engines.found.engine import FoundEngine
opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
async def main():
    engine = FoundEngine()
    await engine.stop(sys.argv[1], timeout=0.2)
    await engine.close()
asyncio.run(main())
"""


def test_a_found_container_that_ignores_sigterm_is_stopped_beside_1100_open_descriptors() -> None:
    with place() as here:
        identity = "5e" * 32
        _, process = here.enter(f"docker-{identity}.scope", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
        command = [sys.executable, "-c", STOP_FOUND, identity]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, preexec_fn=many, check=False
        )
        assert done.returncode == 0, done.stderr
        assert process.wait(5) == -9


def test_verbs_that_wait_need_no_inotify_instance(pt: Program) -> None:
    """strace refuses each inotify_init1 of the program: the instances of root are shared by everybody here."""
    if shutil.which("strace") is None:
        missing("strace", "there is no strace")
    pt("run", "-d", "--name", "one", "--network", "none", "host", *IDLE)
    refused = ["strace", "-o", "/dev/null", "-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE"]
    for words in (["logs", "one"], ["stop", "one"], ["start", "one"], ["restart", "one"], ["rm", "-f", "one"]):
        done = subprocess.run(
            [*refused, sys.executable, "-m", "tui", *words],
            env=pt.env,
            cwd=pt.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (words, done)
    assert pt("ps", "-a", "-q").stdout == ""


def limited(number: int) -> object:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))

    return limit


@pytest.mark.parametrize("words", ["ps", "run", "run --rm", "logs", "update", "stop", "rm"])
def test_with_few_descriptors_a_verb_works_or_names_the_limit(pt: Program, words: str) -> None:
    """The rule for the client; the zygote gets its own limits back (`process_attributes`)."""
    verb, *options = words.split()
    for number in FEW:
        if verb != "run" and not pt("ps", "-a", "-q").stdout:
            pt("run", "-d", "--name", "one", "--network", "none", "host", *IDLE)
        given = {
            "ps": ["-a"],
            "run": [
                *(options or ["-d"]),
                "--name",
                "one",
                "--network",
                "none",
                "host",
                *(["true"] if options else IDLE),
            ],
            "update": ["--pids-limit", "99", "one"],
            "rm": ["-f", "one"],
        }.get(verb, ["one"])
        done = pt(verb, *given, code=None, preexec_fn=limited(number))
        about = f"{words} with {number} descriptors: {done.returncode} {done.stderr[-300:]}"
        if done.returncode:
            assert any(each in done.stderr for each in SENTENCES), about
            assert "bug" not in done.stderr, about
        if options or verb == "rm":  # without --rm a container that cannot be started stays, as docker's
            assert pt("ps", "-a", "-q").stdout == "" or (done.returncode and verb == "rm"), f"left by {about}"
        if number == FEW[-1]:
            assert done.returncode == 0, about
        if verb in ("run", "stop"):
            pt("rm", "-f", "one", code=None)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_without_a_process_left_a_verb_works_or_names_the_limit(pt: Program, most: int) -> None:
    need_root("embedded")
    with place() as here:
        cgroup = here.make("few")
        where = cgroup.where("pids")
        assert where is not None
        (where[0] / "pids.max").write_text(str(most))
        words = ("run", "--rm", "-d", "--name", "one", "--network", "none", "host", *IDLE)
        done = run_in(pt, where[0] / "cgroup.procs", *words)
        if done.returncode:
            assert any(each in done.stderr for each in ("pids.max", "Resource temporarily unavailable")), done
            assert "Traceback" not in done.stderr, done
            assert pt("ps", "-a", "-q").stdout == "", done
        cgroups.kill_all(cgroup)
        pt("rm", "-f", "one", code=None)


def run_in(pt: Program, procs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program in a cgroup of its own."""
    script = f'echo $$ >{procs}; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "tui", *words]
    return subprocess.run(command, env=pt.env, cwd=pt.root, capture_output=True, text=True, timeout=60, check=False)
