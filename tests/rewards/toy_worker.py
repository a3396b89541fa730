"""A worker program for the tests: does whatever mischief the question names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from stages.rewards.processes.serving import serve, starting
from stages.rewards.processes.workers import cores


def answer(question: dict[str, Any]) -> Any:
    match question["do"]:
        case "echo":
            return question.get("what")
        case "sleep":
            time.sleep(question["s"])
        case "spin":
            while True:
                pass
        case "tower":  # one operation in C, which no Python signal handler can interrupt
            height, value = 3, 9
            for _ in range(height - 1):
                value = 9**value
            return value
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "eat":
            return len(bytearray(2**40))
        case "print":
            print("[0, 1]\n" * 9, flush=True)
            os.write(1, b"[0, 2]\n")
            return sys.stdin.read()
        case "fork":
            os.fork()
        case "child":
            return subprocess.Popen(["sleep", "1000"]).pid
        case "cores":
            return cores()
        case "parent":
            return os.getppid()
        case "start":  # a worker of its own, which takes its time
            with starting(20):
                time.sleep(question["s"])
            time.sleep(question["then"])
        case "huge":
            return "x" * question["bytes"]
    return os.getpid()


if __name__ == "__main__":
    start = lambda: "is out of order" if "broken" in sys.argv else answer  # noqa: E731
    serve(start, memory_bytes=2**32, in_children="children" in sys.argv)
