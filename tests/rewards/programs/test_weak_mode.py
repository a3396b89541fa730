"""`isolation=rlimits`: no namespaces, and still no children, no network and no signals for others."""

from __future__ import annotations

import subprocess

from tests.rewards.programs.test_sandbox import python


def test_the_weaker_mode_has_no_child_processes_and_no_sockets() -> None:
    assert b"BlockingIOError" in python("import os; os.fork()", "rlimits").stderr
    assert b"BlockingIOError" in python("import subprocess; subprocess.run(['true'])", "rlimits").stderr
    assert b"PermissionError" in python("import socket; socket.socket()", "rlimits").stderr


def test_in_the_weaker_mode_a_program_signals_itself_alone() -> None:
    with subprocess.Popen(["sleep", "100"]) as other:
        tries = f"""
import fcntl, os, signal, socket, sys
here, there = socket.socketpair()
asked = [
    lambda: os.kill({other.pid}, 15),
    lambda: os.kill(-1, 15),
    lambda: os.pidfd_open({other.pid}),
    lambda: fcntl.fcntl(here, fcntl.F_SETOWN, {other.pid}),
]
for one in asked:
    try:
        one()
        print("done")
    except PermissionError:
        print("refused")
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
sys.stdout.flush()
os.abort()
"""
        outcome = python(tries, "rlimits")
        assert other.poll() is None
        other.kill()
    assert outcome.stdout == b"refused\n" * 4 + b"heard\n" * 2 and outcome.code == -6, outcome
