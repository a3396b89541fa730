"""Help is quick and light, fits 80 columns, and ends in an example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from r1cli.main import build
from tests.house.rooms import ROOT

HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy", "rich", "yaml", "jinja2"}


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


ALL = dict(commands(typer.main.get_command(build()), "r1"))


def test_help_loads_nothing_heavy() -> None:
    program = "import sys; from r1cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("path", ALL)
def test_every_help_page_fits_and_shows_an_example(path: str) -> None:
    command = ALL[path]
    with command.make_context(path, [], resilient_parsing=True) as context:
        page = command.get_help(context)
    assert max(map(len, page.splitlines())) <= 80
    assert "Example: r1 " in page, f"`{path} --help` shows no example"
    assert command.help, f"`{path}` does not say what it does"
