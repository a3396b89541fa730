"""A program in the sandbox reaches nothing, outlives nothing, and every limit holds for all its processes together."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import pytest

from stages.core.errors import StageError
from stages.rewards.programs import bubblewrap, sandbox, standby
from stages.rewards.programs.sandbox import Job, Limits, Outcome, Sandbox, compiler, fault, interpreter, run
from stages.rewards.programs.sandbox_runner import empty

LIMITS = Limits(cpu_s=0.4, memory_mb=128, processes=12, output_bytes=100_000, disk_mb=16, idle_s=0.6, wall_s=60)
ROOT = Path(__file__).resolve().parents[3]


def running() -> set[int]:
    """Processes of this machine that descend from this test."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return mine


def files() -> set[str]:
    names = [*os.listdir(gettempdir()), *os.listdir("/dev/shm")]
    return {name for name in names if name.startswith("r1-sandbox")}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    standby.server(bubblewrap.command(1, many=True), sandbox._environment("/tmp"))  # stays
    before = running(), files(), len(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    assert (running(), files(), len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def python(
    source: str, isolation: str = "bwrap", limits: Limits = LIMITS, given: tuple[bytes, ...] = (b"",)
) -> Outcome:
    return pythons(source, isolation, limits, given)[-1]


def pythons(source: str, isolation: str, limits: Limits, given: tuple[bytes, ...]) -> list[Outcome]:
    job = Job(command=(interpreter(), "-s", "-P", "main.py"), files={"main.py": source.encode()}, cases=given)
    return run(job, limits, isolation)


@pytest.mark.parametrize("isolation", sandbox.ISOLATIONS)
def test_this_system_can_isolate(isolation: str) -> None:
    assert fault(isolation) == ""


@pytest.mark.parametrize("isolation", sandbox.ISOLATIONS)
def test_a_program_reads_its_input_and_says_how_it_ended(isolation: str) -> None:
    first, second = pythons("import sys\nprint(input())\nsys.exit(3)", isolation, LIMITS, (b"one\n", b"two"))
    assert (first.status, first.code, first.stdout) == ("exit", 3, b"one\n")
    assert (second.status, second.code, second.stdout) == ("exit", 3, b"two\n")


OVER = {
    "a loop": ("while True: pass", "cpu"),
    "CPU of forked processes": ("import os\nos.fork(), os.fork()\nwhile True: pass", "cpu"),
    "CPU of threads": (
        "import threading\nfor _ in '123':\n  threading.Thread(target=sum, args=(iter(int, 1),)).start()",
        "cpu",
    ),
    "CPU of processes already dead": (
        "import os\nwhile True:\n  if os.fork() == 0:\n    sum(range(10**6)); os._exit(0)\n  os.wait()",
        "cpu",
    ),
    "endless output": ("while True: print('x' * 10000)", "output"),
    "endless errors": ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "output"),
    "endless output of a child": (
        "import os\nif os.fork(): os.wait()\nwhile True: os.write(1, b'x' * 10000)",
        "output",
    ),
    "a sleep": ("import time; time.sleep(1000)", "idle"),
    "a stop": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "idle"),
    "a sleeping child of vfork": ("import ctypes, time\nctypes.PyDLL(None).vfork() or time.sleep(1000)", "idle"),
    "a read that never ends": ("import os; os.read(os.pipe()[0], 1)", "idle"),
    "memory of all processes together": (
        "import os, time\nfor _ in range(5):\n  if os.fork() == 0:\n"
        "    x = bytearray(os.urandom(1)) * (60 * 2**20)\n"
        "    time.sleep(100)\ntime.sleep(100)",
        "memory",
    ),
}


@pytest.mark.parametrize(("source", "status"), OVER.values(), ids=OVER.keys())
def test_what_goes_over_a_limit_is_killed_and_named(source: str, status: str) -> None:
    assert python(source).status == status


@pytest.mark.parametrize("what", ["a loop", "CPU of threads", "endless output", "a sleep"])
def test_the_weaker_mode_has_the_same_limits(what: str) -> None:
    source, status = OVER[what]
    assert python(source, "rlimits").status == status


def test_what_a_program_prints_is_cut_at_the_limit() -> None:
    assert len(python(OVER["endless output"][0]).stdout) <= LIMITS.output_bytes


def test_memory_here_stays_flat_whatever_is_printed() -> None:
    python("pass")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    python(OVER["endless output"][0])
    python(OVER["endless errors"][0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


REFUSED = {
    "a memory bomb": "x = bytearray(2**31)",
    "memory that is no process's": "import os\nos.memfd_create('x')",
    "a file of 100 MB": "open('/tmp/x', 'wb').write(bytes(100 * 2**20))",
    "many files of 10 MB": "for i in range(9): open(f'/tmp/{i}', 'wb').write(bytes(10 * 2**20))",
    "shared memory": "open('/dev/shm/x', 'wb').write(bytes(100 * 2**20))",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a thread bomb": "import threading, time\n"
    "while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "the network": "import socket; socket.create_connection(('1.1.1.1', 53), 1)",
    "this machine's own network": "import socket; socket.socket(socket.AF_UNIX)",
    "another file system": "import ctypes, os\n"
    "if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0): raise OSError",
    "another namespace": "import ctypes, os\nif ctypes.CDLL(None).unshare(0x10000000): raise OSError",
    "the parent's memory": "open('/proc/1/mem', 'rb')",
    "the parent's files": "import os; os.listdir('/proc/1/fd')",
    "the parent's limits": "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
    "the parent traced": "import ctypes\nif ctypes.CDLL(None).ptrace(16, 1, 0, 0): raise OSError",
    "the host's users": "open('/etc/passwd')",
    "the project": f"open({str(ROOT / 'pyproject.toml')!r})",
    "the home": "import os; os.listdir('/home')",
    "a link to the outside": "import os; os.symlink('/etc/shadow', 'x'); open('x')",
    "the way up": "open('../../etc/passwd')",
    "the root of process 1": "open('/proc/1/root/etc/passwd')",
    "the system written": "open('/usr/bin/x', 'w')",
    "the root written": "open('/x', 'w')",
    "devices written": "open('/dev/x', 'w')",
    "the kernel's settings": "open('/proc/sys/kernel/core_pattern', 'w')",
    "a device": "import os; os.mknod('x', 0o60666, os.makedev(8, 0))",
    "root": "import os; os.setuid(0); os.setgid(0); open('/usr/x', 'w')",
    "a core's time": "import os; os.sched_setaffinity(0, {0})",
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_the_programs_is_refused(source: str) -> None:
    outcome = python(f"{source}\nprint('done')")
    assert outcome.status in ("exit", "cpu", "memory") and outcome.stdout == b"" and outcome.code != 0, outcome


def test_the_kernel_itself_counts_the_processes() -> None:
    count = "import os, time\nn = 0\ntry:\n  while n < 50:\n    if os.fork() == 0: time.sleep(9)\n    n += 1\n"
    outcome = python(count + "except BlockingIOError: print(n)")
    assert outcome.stdout == str(LIMITS.processes - 1).encode() + b"\n"


def test_a_program_finds_no_environment_and_nobody_else() -> None:
    outcome = python(
        "import os\nprint(sorted(os.environ), [p for p in os.listdir('/proc') if p.isdigit()], os.listdir('.'))"
    )
    names = ["HOME", "LANG", "LC_ALL", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "PATH", "PYTHONHASHSEED"]
    names += ["PYTHONINTMAXSTRDIGITS", "TMPDIR"]
    assert outcome.stdout.decode() == f"{names} ['1', '2'] ['main.py']\n"


def test_signals_to_the_parent_and_to_everyone_end_only_the_program() -> None:
    source = (
        "import contextlib, os\nfor s in (9, 19, 2, 15, 23):\n  with contextlib.suppress(OSError): os.kill(1, s)\n"
        "print(input(), flush=True)\nos.kill(-1, 9)"
    )
    first, second = pythons(source, "bwrap", LIMITS, (b"1", b"2"))
    assert (first.stdout, second.stdout) == (b"1\n", b"2\n")


@pytest.mark.parametrize("isolation", sandbox.ISOLATIONS)
def test_a_signal_to_the_group_reaches_only_what_the_program_started(isolation: str) -> None:
    groups = "import os\nprint(os.getpgrp() == os.getsid(0) == os.getpid(), os.getpgid(os.getppid()) == os.getppid())"
    assert python(groups, isolation).stdout == b"True True\n"
    killed = python("import os\nprint(input(), flush=True)\nos.kill(0, 9)", isolation, given=(b"1", b"2"))
    assert (killed.status, killed.code, killed.stdout) == ("exit", -9, b"2\n")


def test_a_daemon_dies_with_its_case() -> None:
    daemon = (
        "import os, time\nprint(len([p for p in os.listdir('/proc') if p.isdigit()]), os.listdir('/tmp'), flush=True)\n"
        "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    open('/tmp/left', 'w')\n"
        "    os.dup2(os.open('/dev/null', 2), 1)\n    time.sleep(1000)\n  os._exit(0)\nos.wait()"
    )
    first, second = pythons(daemon, "bwrap", LIMITS, (b"", b""))
    assert first.status == second.status == "exit"
    assert first.stdout == second.stdout == b"2 ['box']\n"


def test_one_case_leaves_nothing_for_the_next() -> None:
    source = (
        "import os, sys\n"
        "print(sorted(os.listdir('.')), os.listdir('/dev/shm'), open('main.py').read()[:9], flush=True)\n"
        "os.rename('main.py', 'gone'); open('main.py', 'w').write('print(1)'); open('/dev/shm/x', 'w')\n"
        "os.mkfifo('pipe')\n"
        "for i in range(300):\n  os.mkdir('d' * 200); os.chdir('d' * 200)\nos.chmod('..', 0)\nos.chdir('/tmp')\n"
        "os.chmod('box', 0)"
    )
    outcomes = pythons(source, "bwrap", LIMITS, (b"", b"", b""))
    assert [each.stdout for each in outcomes] == [b"['main.py'] [] import os\n"] * 3
    assert [each.code for each in outcomes] == [0, 0, 0]


def test_a_deep_folder_is_emptied_however_long_its_path(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(300):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
        Path("x").write_text("x")
    finally:
        os.chdir(here)
    (tmp_path / "link").symlink_to("/usr")
    empty(str(tmp_path))
    assert list(tmp_path.iterdir()) == [] and Path("/usr/bin").exists()


def test_the_order_of_a_set_is_no_matter_of_chance() -> None:
    source = "print(list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}))"
    assert len({python(source).stdout for _ in range(3)}) == 1


def test_time_that_waits_for_a_core_is_not_idle() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        outcome = python("x = 0\nfor i in range(2_000_000): x += i\nprint(x)")
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert (outcome.status, outcome.stdout) == ("exit", b"1999999000000\n")


def test_after_three_cases_over_a_limit_the_rest_are_not_run() -> None:
    outcomes = pythons("while True: pass", "bwrap", Limits(cpu_s=0.1), (b"",) * 9)
    assert [each.status for each in outcomes] == ["cpu"] * 3


def test_cases_that_sleep_a_little_each_sleep_too_long_together() -> None:
    outcomes = pythons("import time; time.sleep(0.5)", "bwrap", LIMITS, (b"",) * 9)
    statuses = [each.status for each in outcomes]
    assert statuses[:2] == ["exit"] * 2 and statuses[-1] == "idle" and len(statuses) < 9


def test_the_wall_clock_is_no_verdict() -> None:
    outcome = python("import time; time.sleep(1000)", limits=Limits(wall_s=0.3))
    assert outcome.status == "wall" and not outcome.judged


def test_a_sandbox_left_early_is_gone() -> None:
    job = Job(command=(interpreter(), "-c", "while True: pass"), cases=(b"",) * 5)
    with Sandbox(job, Limits()) as box:
        assert len(running()) >= 2 and box is not None


def test_a_sandbox_dies_with_its_owner() -> None:
    source = (
        "import os, sys\nfrom stages.rewards.programs.sandbox import *\n"
        "box = Sandbox(Job(command=[interpreter(), '-c', 'import time; time.sleep(1000)']), Limits())\n"
        "print(standby.server(bubblewrap.command(1, many=True), {}).process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.02)
    else:
        pytest.fail("bubblewrap outlived its owner")


def test_a_build_comes_first_and_its_file_is_kept() -> None:
    tool = compiler()
    assert tool, "no C++ compiler: apt-get install g++"
    job = Job(
        command=("./main",),
        files={"main.cpp": b"#include <iostream>\nint main() { int a; std::cin >> a; std::cout << 2 * a; }"},
        cases=(b"1", b"2"),
        build=(tool, "-o", "main", "main.cpp"),
        build_limits=Limits(cpu_s=20, memory_mb=2048),
        keep=("main",),
    )
    assert [each.stdout for each in run(job, LIMITS)] == [b"", b"2", b"4"]


def test_without_bubblewrap_the_way_out_is_said_and_nothing_weaker_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StageError, match="bubblewrap is not installed") as caught:
        python("print(1)")
    assert "apt-get install bubblewrap" in caught.value.hint and "isolation=rlimits" in caught.value.hint


def test_where_namespaces_are_refused_bubblewrap_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="No permissions to create new namespace"):
        python("print(1)")


def test_an_ordinary_user_gets_the_same_sandbox(tmp_path: Path) -> None:
    source = (
        "from stages.rewards.programs.sandbox import *\nbad = fault()\nprint(bad)\n"
        "code = 'import os\\nprint(os.getuid(), flush=True)\\nwhile True: os.fork()'\n"
        "for one in run(Job(command=[interpreter(), '-c', code]), Limits(cpu_s=0.3, processes=12)):\n"
        "  print(one.status, one.stdout[:6])"
    )
    if os.geteuid() == 0:  # else every test above was that test
        lines = ordinary(source, tmp_path)
        assert lines[0] == "" and lines[1].endswith("b'65534\\n'"), lines


def test_an_ordinary_users_program_signals_neither_the_server_nor_other_jobs_nor_its_tests(tmp_path: Path) -> None:
    source = (
        "from stages.rewards.programs import asserts, forms\nfrom stages.rewards.programs.sandbox import *\n"
        "def job(code): return Job(command=[interpreter(), '-c', code])\n"
        "with Sandbox(job('import time; time.sleep(1); print(7)'), Limits()) as beside:\n"
        "  server = list(standby._servers.values())\n"
        "  print(*run(job('import os; os.kill(0, 9)'), Limits())[0][:2])\n"
        "  print(next(beside.outcomes()).stdout)\n"
        "for code in ('import os\\nos.kill(0, 9)', 'import os\\ndef f(x): os.kill(0, 9)'):\n"
        "  tests = forms.Tests(checks=('assert f(1) == 1',))\n"
        "  print(asserts.judge(code, tests, Limits(), 'bwrap', stop_after=1)[::2])\n"
        "print(server == list(standby._servers.values()), server[0].process.poll())\n"
    )
    if os.geteuid() == 0:
        lines = ordinary(source, tmp_path)
        assert lines == ["exit -9", "b'7\\n'", *["([False], '')"] * 2, "True None"]


def ordinary(source: str, folder: Path) -> list[str]:
    """Run Python as a user who is no root, and return the lines it printed."""
    subprocess.run(["cp", "-r", str(ROOT / "stages"), str(folder)], check=True)
    for each in (folder, *folder.parents[:-2]):
        each.chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", source],
        cwd=folder,
        user=12345,
        group=12345,
        extra_groups=[],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
