"""A sandbox on standby does job after job, and nothing that a program does or knows reaches another."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stages.rewards.programs import asserts, bubblewrap, forms, sandbox, standby
from stages.rewards.programs.sandbox import Job, Limits, Outcome, interpreter, run

LIMITS = Limits(cpu_s=1.0, memory_mb=128, processes=12, output_bytes=100_000, disk_mb=16, idle_s=2.0, wall_s=60)


def python(source: str) -> Outcome:
    return run(Job(command=(interpreter(), "-s", "-P", "main.py"), files={"main.py": source.encode()}), LIMITS)[-1]


def waiting() -> standby.Server:
    return standby.server(bubblewrap.command(1, many=True), sandbox._environment("/tmp"))


SCAN = (
    "import glob, os\nfound = [os.stat('/tmp').st_mode, os.stat('/dev/shm').st_mode]\n"
    "for root in ('/tmp', '/dev/shm', '/dev/pts'):\n  for path in glob.glob(root + '/**', recursive=True):\n"
    "    found.append(path)\n    found += os.listxattr(path) if os.access(path, os.R_OK) else []\n"
    "found += sorted(p for p in os.listdir('/proc') if p.isdigit())\n"
    "found += [os.getcwd(), os.umask(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)]\n"
    "found += open('/proc/sysvipc/shm').readlines()[1:]\nprint(found)"
)
LEFT = {
    "files": "import os\nfor path in ('/tmp/left', '/dev/shm/left', '/tmp/box/left'):\n"
    "  open(path, 'w').write('x')\n  os.chmod(path, 0o4777)",
    "folders nobody may enter": "import os\nos.mkdir('/tmp/d')\nos.chmod('/tmp/d', 0)\nos.chmod('/tmp/box', 0)",
    "changed roots": "import os\nfor path in ('/tmp', '/dev/shm', '/dev/pts'):\n"
    "  try: os.chmod(path, 0o700); os.setxattr(path, 'user.left', b'x')\n  except OSError: pass",
    "daemons": "import os, signal, time\nif os.fork() == 0:\n  os.setsid()\n  for n in range(1, 32):\n"
    "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
    "  os.closerange(0, 99)\n  time.sleep(1000)",
    "a terminal": "import os\na, b = os.openpty()\nos.write(b, b'left')",
    "a low priority": "import os\nos.umask(0o777)\ntry: os.nice(19)\nexcept OSError: pass",
    "signals to everyone": "import os\nfor pid in (0, -1, 1):\n  try: os.kill(pid, 15)\n  except OSError: pass",
    "a death": "import os\nos.kill(os.getpid(), 11)",
    "a memory bomb": "x = []\nwhile True: x.append(bytearray(2**20))",
    "a fork bomb": "import os\nwhile True: os.fork()",
}


@pytest.fixture(scope="module")
def untouched() -> bytes:
    return python(SCAN).stdout


@pytest.mark.parametrize("source", LEFT.values(), ids=LEFT.keys())
def test_the_next_program_finds_what_the_first_one_found(source: str, untouched: bytes) -> None:
    server = waiting()
    python(source)
    assert python(SCAN).stdout == untouched and b"box" in untouched
    assert waiting() is server, "it was not even disturbed"


def beside(sources: Sequence[str]) -> list[bytes]:
    """Run programs at the same time."""
    said = [b""] * len(sources)

    def one(place: int) -> None:
        said[place] = python(sources[place]).stdout

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_programs_at_the_same_time_do_not_see_each_other() -> None:
    hold = "\nimport time; time.sleep(0.5)\n"
    source = f"import os\nopen('/tmp/%d', 'w'); open('/dev/shm/%d', 'w'); a = os.openpty(){hold}{SCAN}"
    first, second = beside([source % (1, 1), source % (2, 2)])
    assert b"/tmp/1" in first and b"/tmp/2" in second and b"/dev/pts/0" in first
    assert first.replace(b"/1", b"/2") == second


SEARCH = (
    "import re\ndef f():\n  word, found = ''.join(reversed('terces')), []\n"
    "  for line in open('/proc/self/maps').read().splitlines():\n"
    "    start, end = (int(each, 16) for each in line.split()[0].split('-'))\n"
    "    if line.split()[1].startswith('r') and end - start < 2**26:\n"
    "      try:\n        with open('/proc/self/mem', 'rb') as file:\n"
    "          file.seek(start)\n          found += re.findall((word + r'=\\d{5}').encode(), file.read(end - start))\n"
    "      except (OSError, ValueError): pass\n  return len(found)"
)


def test_a_program_finds_no_trace_of_the_last_one_in_its_memory() -> None:
    tests = forms.Tests(checks=("assert f() == 0",))
    first = SEARCH.replace("return len(found)", "return int('secret=12345' not in repr(found))")
    for source in (first, SEARCH):  # the search finds what is there; of the first program nothing is
        assert asserts.judge(source, tests, LIMITS, "bwrap", stop_after=1).passed == [True]


def test_a_server_that_was_killed_is_replaced() -> None:
    before = waiting()
    pid = before.process.pid
    os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text()), signal.SIGKILL)
    before.process.wait()
    assert python("print(7)").stdout == b"7\n" and waiting() is not before


def test_a_forked_process_starts_its_own() -> None:
    server = waiting()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if python("print(7)").stdout == b"7\n" and waiting() is not server else 2
            standby._close_all()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert waiting() is server and python("print(8)").stdout == b"8\n"


def test_where_no_namespaces_can_be_taken_every_job_has_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = bubblewrap.command
    monkeypatch.setattr(bubblewrap, "command", lambda disk_mb, *, many: usual(disk_mb, many=False))
    assert python(SCAN).stdout.count(b"'/tmp/box'") == 2 and waiting().fault.startswith("once: ")
    standby.drop(waiting())
