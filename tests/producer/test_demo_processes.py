"""The demo's supervisor, with real child processes: what dies is noticed, what stops leaves nothing behind."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.demo.processes import ProcessError, Supervisor
from producer.demo.reaper import reap

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 20

# Each child tells its pid by a pipe, so that a test knows that it runs; then it waits to be ended.
OBEDIENT = "import os, signal; os.write({fd}, b'%d\\n' % os.getpid()); signal.pause()"
STUBBORN = (
    "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write({fd}, b'%d\\n' % os.getpid())\n"
    "while True: signal.pause()"
)
WITH_GRANDCHILD = (
    "import os, signal\n"
    "if os.fork() == 0: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.write({fd}, b'%d\\n' % os.getpid())\n"
    "while True: signal.pause()"
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, hurry=lambda: True) as made:
        yield made


def start(supervisor: Supervisor, name: str, code: str, writing: int) -> None:
    command = (sys.executable, "-c", code.format(fd=writing))
    supervisor.start(name, command, dict(os.environ), pass_fds=(writing,))


def read_pids(reading: int, count: int) -> list[int]:
    text = b""
    while text.count(b"\n") < count:
        ready, _, _ = select.select([reading], [], [], DEADLINE_SECONDS)
        assert ready, f"only {text!r} after {DEADLINE_SECONDS} s"
        text += os.read(reading, 1024)
    return [int(word) for word in text.split()]


def wait_until_gone(pid: int) -> None:
    """Blocks until a process that is not our child has ended; the kernel tells, nothing is polled."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(watched, "rb", buffering=0):
        ready, _, _ = select.select([watched], [], [], DEADLINE_SECONDS)
        assert ready, f"process {pid} still runs after {DEADLINE_SECONDS} s"


def test_a_child_that_was_killed_is_noticed_by_name(supervisor: Supervisor, pipe: tuple[int, int]) -> None:
    start(supervisor, "alpha", OBEDIENT, pipe[1])
    start(supervisor, "beta", OBEDIENT, pipe[1])
    read_pids(pipe[0], 2)
    supervisor.check()
    victim = supervisor.children[1]
    os.kill(victim.pid, signal.SIGKILL)
    victim.process.wait(DEADLINE_SECONDS)
    with pytest.raises(ProcessError, match=r"beta \(pid \d+\) was killed by SIGKILL"):
        supervisor.check()


def test_a_child_that_fails_shows_the_end_of_its_log(supervisor: Supervisor) -> None:
    command = (sys.executable, "-c", "print('the reason'); raise SystemExit(3)")
    child = supervisor.start("gamma", command, dict(os.environ))
    with pytest.raises(ProcessError, match=r"gamma \(pid \d+\) ended with 3[\s\S]*the reason"):
        supervisor.finish(child, DEADLINE_SECONDS, still_wanted=lambda: None)


def test_a_step_that_succeeded_is_no_longer_watched(supervisor: Supervisor) -> None:
    child = supervisor.start("step", (sys.executable, "-c", "pass"), dict(os.environ))
    supervisor.finish(child, DEADLINE_SECONDS, still_wanted=lambda: None)
    supervisor.check()
    assert supervisor.children == []


def test_waiting_for_a_step_can_be_given_up(supervisor: Supervisor, pipe: tuple[int, int]) -> None:
    start(supervisor, "endless", OBEDIENT, pipe[1])

    def not_wanted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervisor.finish(supervisor.children[0], DEADLINE_SECONDS, still_wanted=not_wanted)


def test_stop_ends_the_obedient_by_term(tmp_path: Path, pipe: tuple[int, int]) -> None:
    with Supervisor(tmp_path) as supervisor:
        start(supervisor, "obedient", OBEDIENT, pipe[1])
        read_pids(pipe[0], 1)
        process = supervisor.children[0].process
    assert process.returncode == -signal.SIGTERM


def test_stop_kills_what_ignores_term(supervisor: Supervisor, pipe: tuple[int, int]) -> None:
    start(supervisor, "stubborn", STUBBORN, pipe[1])
    read_pids(pipe[0], 1)
    process = supervisor.children[0].process
    supervisor.stop()
    assert process.returncode == -signal.SIGKILL


def test_stop_leaves_no_grandchild(supervisor: Supervisor, pipe: tuple[int, int]) -> None:
    start(supervisor, "family", WITH_GRANDCHILD, pipe[1])
    pids = read_pids(pipe[0], 2)
    supervisor.stop()
    for pid in pids:
        wait_until_gone(pid)


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path, pipe: tuple[int, int]) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from producer.demo.processes import Supervisor\n"
        f"supervisor = Supervisor(Path({str(tmp_path)!r}))\n"
        f"for name, code in (('a', {OBEDIENT!r}), ('b', {OBEDIENT!r})):\n"
        f"    command = (sys.executable, '-c', code.format(fd={pipe[1]}))\n"
        f"    supervisor.start(name, command, dict(os.environ), pass_fds=({pipe[1]},))\n"
        "signal.pause()"
    )
    command = (sys.executable, "-c", code)
    with subprocess.Popen(command, cwd=ROOT, pass_fds=(pipe[1],)) as victim:
        pids = read_pids(pipe[0], 2)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    for pid in pids:
        wait_until_gone(pid)


def test_the_reaper_kills_what_a_dead_supervisor_left(pipe: tuple[int, int]) -> None:
    command = (sys.executable, "-c", WITH_GRANDCHILD.format(fd=pipe[1]))
    with subprocess.Popen(command, start_new_session=True, pass_fds=(pipe[1],)) as leader:
        pids = read_pids(pipe[0], 2)
        reap([leader.pid], grace_seconds=0.3)
        assert leader.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    for pid in pids:
        wait_until_gone(pid)


def test_stop_can_be_called_twice(supervisor: Supervisor, pipe: tuple[int, int]) -> None:
    start(supervisor, "once", OBEDIENT, pipe[1])
    read_pids(pipe[0], 1)
    supervisor.stop()
    supervisor.stop()
