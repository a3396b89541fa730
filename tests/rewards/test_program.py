"""The tiny language runs as written, parses strictly and cannot run away."""

from __future__ import annotations

import time

import pytest

from stages.rewards.program import ProgramError, last_segment, parse, run


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("set 7", 7),
        ("set 7; add 5; dbl; sub 4", 20),
        ("add 3", 3),
        ("set 1; rep 3 dbl", 8),
        ("rep 2 rep 3 add 2", 12),
        ("set 5; rep 0 dbl", 5),
        ("  set\t-3 ;\n add 1 ; ", -2),
    ],
)
def test_a_program_ends_with_its_value(program: str, value: int) -> None:
    assert run(program) == value


@pytest.mark.parametrize(
    "program",
    [
        "",
        ";",
        "set",
        "set x",
        "SET 1",
        "set 1 2",
        "add 1.5",
        "dbl 2",
        "rep dbl",
        "rep 2",
        "rep -1 dbl",
        "set 1;; dbl",
        "set ３",
        "set 12345678901",
        "__import__('os')",
    ],
)
def test_what_is_not_the_language_is_refused(program: str) -> None:
    with pytest.raises(ProgramError):
        run(program)


def test_the_step_limit_counts_instructions() -> None:
    assert run("rep 1000 add 1", step_limit=1000) == 1000
    with pytest.raises(ProgramError, match="more than 1000 steps"):
        run("rep 1001 add 1", step_limit=1000)


def test_nested_loops_hit_the_limit_at_once() -> None:
    start = time.process_time()
    with pytest.raises(ProgramError):
        run("rep 1000000000 " * 50_000 + "add 1")
    assert time.process_time() - start < 10  # quadratic would take hours


def test_values_stay_in_range() -> None:
    assert run("set 1000000000") == 10**9
    with pytest.raises(ProgramError, match="value beyond"):
        run("set 1000000000; add 1")


def test_nested_counts_are_multiplied() -> None:
    assert parse("rep 2 rep 3 sub 4") == [("sub", 4, 6)]


def test_the_last_program_in_prose_is_found() -> None:
    assert last_segment("first add 1; dbl does not fit, so add 2 ;\n sub 1 it is") == "add 2 ; sub 1"
    assert last_segment("nothing to add here") is None
