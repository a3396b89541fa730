"""A worker that hangs, dies, forks or prints costs its own question at most its limit, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.rewards.processes.workers import Reply, Workers, cores

TOY = [sys.executable, "-P", "-m", "tests.rewards.toy_worker"]
ECHO = {"do": "echo", "what": "yes"}


@pytest.fixture(params=["itself", "children"])
def one(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """One worker that answers itself, or in children."""
    yield from started(request.param)


@pytest.fixture
def plain() -> Iterator[Workers]:
    """One worker that answers itself."""
    yield from started("itself")


def started(how: str) -> Iterator[Workers]:
    workers = Workers([*TOY, how], count=1)
    assert workers.ask(ECHO, 30) == Reply("yes")
    yield workers
    workers.close()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_anything_json_travels_there_and_back(one: Workers) -> None:
    for value in ("\ud800 NUL \0 \u2028 é 中", {"a": [1, 2.5, None]}, "x" * 10**6, ""):
        assert one.ask({"do": "echo", "what": value}, 30) == Reply(value)
    with pytest.raises(TypeError):
        one.ask({"do": object()}, 30)
    assert one.ask(ECHO, 30).value == "yes"


def test_a_sleeping_worker_costs_its_limit_of_wall_time(one: Workers) -> None:
    start = time.monotonic()
    assert one.ask({"do": "sleep", "s": 1000}, 0.5) == Reply(None, "took over 0.5 s", "wall")
    assert time.monotonic() - start < 100
    assert one.ask(ECHO, 30).value == "yes"
    assert one.faults == {"wall": 1} and one.asked == 3


@pytest.mark.parametrize("how", ["itself", "children"])
def test_a_worker_that_waits_for_nothing_costs_its_limit_of_idle_time(how: str) -> None:
    workers = Workers([*TOY, how], count=1, idle_s=0.5)
    start = time.monotonic()
    assert workers.ask({"do": "sleep", "s": 1000}, 100) == Reply(None, "waited over 0.5 s", "wall")
    assert time.monotonic() - start < 50
    assert workers.ask(ECHO, 30).value == "yes"
    workers.close()


def test_a_worker_kept_from_its_core_does_not_idle() -> None:
    """Six that compute share one core: each waits for its turn longer than it may idle."""
    core = min(os.sched_getaffinity(0))
    workers = Workers(["taskset", "-c", str(core), *TOY], count=6, cpu_share=0.01, idle_s=0.4)
    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(lambda _: workers.ask({"do": "spin"}, 30), range(6)))
    assert {reply.kind for reply in told} == {"cpu"}
    workers.close()


@pytest.mark.parametrize(("mischief", "how"), [("spin", "itself"), ("tower", "itself"), ("tower", "children")])
def test_a_busy_worker_ends_by_cpu_time_even_inside_one_operation(mischief: str, how: str) -> None:
    workers = Workers([*TOY, how], count=1, cpu_share=0.01)
    told = workers.ask_all([{"do": mischief}, ECHO], 30)
    assert told == [Reply(None, "took over 0.3 s of CPU time", "cpu"), Reply("yes")]
    workers.close()


@pytest.mark.parametrize(
    ("mischief", "fault"),
    [("kill", "crashed (SIGKILL)"), ("exit", "crashed (exit code 3)"), ("eat", "crashed (exit code 1)")],
)
def test_a_worker_that_dies_is_replaced(one: Workers, mischief: str, fault: str) -> None:
    assert one.ask({"do": mischief}, 30) == Reply(None, fault, "crash")
    assert one.ask(ECHO, 30).value == "yes"


def test_a_kill_from_outside_mid_question_costs_that_question(one: Workers) -> None:
    pid = one.ask({"do": "pid"}, 30).value
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    start = time.monotonic()
    assert one.ask({"do": "sleep", "s": 1000}, 60) == Reply(None, "crashed (SIGKILL)", "crash")
    assert time.monotonic() - start < 100
    assert one.ask(ECHO, 30).value == "yes"


def test_a_kill_between_questions_costs_none(plain: Workers) -> None:
    pid = plain.ask({"do": "pid"}, 30).value
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert plain.ask(ECHO, 30) == Reply("yes")


def test_in_a_row_of_questions_a_fault_costs_only_its_own(one: Workers) -> None:
    asked = [ECHO, {"do": "kill"}, ECHO, {"do": "sleep", "s": 1000}, {"do": "kill"}, ECHO]
    told = one.ask_all(asked, 1.0)
    assert [reply.value for reply in told] == ["yes", None, "yes", None, None, "yes"]
    assert [reply.kind for reply in told] == ["", "crash", "", "wall", "crash", ""]
    big = [{"do": "echo", "what": str(n) * 200_000} for n in range(10)]  # more than both pipes hold
    assert [reply.value for reply in one.ask_all(big, 30)] == [one["what"] for one in big]


def test_prints_reads_and_forks_do_not_break_the_protocol(one: Workers) -> None:
    assert one.ask({"do": "print"}, 30) == Reply("")
    pid = one.ask({"do": "fork"}, 30).value
    assert isinstance(pid, int)
    assert one.ask({"do": "pid"}, 30).value == pid, "the child that came back did not reply"
    assert one.ask({"do": "huge", "bytes": 2**25}, 30).kind == "unreadable"
    assert one.ask(ECHO, 30).value == "yes"


def test_what_a_worker_started_ends_with_it(plain: Workers) -> None:
    child = plain.ask({"do": "child"}, 30).value
    assert alive(child)
    assert plain.ask({"do": "sleep", "s": 1000}, 0.2).kind == "wall"
    assert gone(child)


def test_a_worker_that_cannot_start_says_why() -> None:
    assert Workers([*TOY, "broken"], count=1).ask(ECHO, 30) == Reply(None, "is out of order", "start")
    told = Workers([sys.executable, "-c", "raise SystemExit(7)"], count=1).ask_all([ECHO, ECHO], 30)
    assert told == [Reply(None, "did not start: crashed (exit code 7)", "start")] * 2
    assert Workers(["/nowhere/python"], count=1).ask(ECHO, 30).kind == "start"


def test_another_child_needs_no_second_start() -> None:
    workers = Workers([*TOY, "children"], count=1)
    first = workers.ask({"do": "parent"}, 30).value
    for mischief in ({"do": "sleep", "s": 1000}, {"do": "kill"}, {"do": "exit"}, {"do": "sleep", "s": 1000}):
        assert workers.ask(mischief, 0.3).fault
        assert workers.ask({"do": "parent"}, 30).value == first
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert workers.ask(ECHO, 30) == Reply("yes"), "and where that one died, another is started"
    workers.close()


def test_starting_a_worker_of_its_own_is_not_paid_by_the_question(plain: Workers) -> None:
    assert isinstance(plain.ask({"do": "start", "s": 1.5, "then": 0}, 1.0).value, int)
    assert plain.ask({"do": "start", "s": 0.1, "then": 1000}, 1.0) == Reply(None, "took over 1 s", "wall")


def test_threads_get_a_worker_each_and_a_hang_in_one_holds_up_no_other() -> None:
    workers = Workers(TOY, count=2)
    try:
        with ThreadPoolExecutor(8) as threads:
            hang = threads.submit(workers.ask, {"do": "sleep", "s": 1000}, 2.0)
            told = list(threads.map(lambda n: workers.ask({"do": "echo", "what": n}, 30).value, range(50)))
            assert told == list(range(50))
            assert not hang.done(), "fifty answers came while one worker hung"
            assert hang.result().kind == "wall"
        assert workers.asked == 51 and workers.faults == {"wall": 1}
    finally:
        workers.close()


def test_the_thread_that_started_a_worker_may_end() -> None:
    workers = Workers(TOY, count=1)
    try:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(workers.ask, {"do": "pid"}, 30).result().value
        assert workers.ask({"do": "pid"}, 30).value == first
    finally:
        workers.close()


def test_a_fork_of_the_parent_has_workers_of_its_own(one: Workers) -> None:
    mine = one.ask({"do": "pid"}, 30).value
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = one.ask({"do": "pid"}, 30).value
        one.close()
        os.write(writing, str(theirs).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = int(pipe.read())
    assert theirs != mine and gone(theirs)
    assert one.ask({"do": "pid"}, 30).value == mine


def test_workers_end_with_a_killed_parent_busy_or_not() -> None:
    program = (
        "import sys, threading, time; from stages.rewards.processes.workers import Workers\n"
        f"workers = Workers({TOY!r}, count=2)\n"
        "busy = workers.ask({'do': 'child'}, 30).value\n"
        "print(busy, flush=True)\n"
        "threading.Thread(target=workers.ask, args=({'do': 'spin'}, 1000), daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "print(workers.ask({'do': 'pid'}, 30).value, flush=True)\n"
        "time.sleep(1000)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(alive(pid) for pid in pids)
        parent.kill()
    assert all(gone(pid) for pid in pids)


def test_closing_ends_a_question_under_way_and_asking_again_starts_anew(one: Workers) -> None:
    threading.Timer(0.3, one.close).start()
    assert one.ask({"do": "sleep", "s": 1000}, 60) == Reply(None, "crashed (SIGKILL)", "crash")
    assert one.ask(ECHO, 30).value == "yes"


def test_cores_are_those_this_process_may_use(plain: Workers) -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from stages.rewards.processes.workers import cores; print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert plain.ask({"do": "cores"}, 30).value == 1, "a worker is one of the busy itself"
    assert done.stdout == "1\n" and cores() == len(os.sched_getaffinity(0))
