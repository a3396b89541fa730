"""A command that computes begins again with memory in large pages, where the system gives them to who asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
BEGINS = """
import sys
sys.orig_argv = [sys.executable, "-c", "import os; print(os.environ['GLIBC_TUNABLES'])"]
from r1cli.main import begin_with_large_pages
begin_with_large_pages(sys.argv[1:])
print("goes on")
"""


def begun(*words: str, **changed: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | changed
    done = subprocess.run([sys.executable, "-c", BEGINS, *words], env=own, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not SWITCH.is_file() or "[madvise]" not in SWITCH.read_text(), reason="no large pages on request")
def test_a_stage_begins_again_with_large_pages() -> None:
    assert begun("rl", "steps=3") == "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("words", [("--help",), ("pipeline", "--recipe", "zero", "--dry-run"), ("artifacts", "list")])
def test_what_does_not_compute_goes_on(words: tuple[str, ...]) -> None:
    assert begun(*words) == "goes on"


def test_who_sets_tunables_is_left_alone() -> None:
    assert begun("rl", GLIBC_TUNABLES="glibc.malloc.check=0") == "goes on"
