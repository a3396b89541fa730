"""Chunks are worked on all cores, and their results come in order; what ends a process is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from stages.core.errors import InputError, StageError
from stages.core.run import beside
from stages.core.run.runtime import Runtime, available_cores


def squarer(lethal: int) -> Callable[[int], tuple[int, int]]:
    def square(number: int) -> tuple[int, int]:
        if number == lethal:
            os._exit(1)
        if number < 0:
            raise InputError("below zero", hint="give another")
        return number * number, os.getpid()

    return square


def test_results_come_in_order_from_several_processes_and_an_error_as_it_was_raised() -> None:
    found = beside.in_order(partial(squarer, -9), [*range(20), -1], 2)
    assert [value for value, _ in (next(found) for _ in range(20))] == [number * number for number in range(20)]
    with pytest.raises(InputError, match="below zero"):
        next(found)


def test_a_process_that_ends_by_itself_ends_the_work_with_a_sentence() -> None:
    with pytest.raises(StageError, match="one of 2 processes ended"):
        list(beside.in_order(partial(squarer, 3), range(20), 2))


def test_one_process_is_this_one_and_small_work_is_worth_no_other() -> None:
    assert {process for _, process in beside.in_order(partial(squarer, -9), range(3), 1)} == {os.getpid()}
    assert beside.processes(Runtime(), 10, 11) == 1 == beside.processes(Runtime(threads=1), 11, 11)
    assert beside.processes(Runtime(), 11, 11) == min(len(available_cores()), beside.MOST)
