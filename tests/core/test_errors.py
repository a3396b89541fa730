"""Errors are words that survive a process boundary."""

from __future__ import annotations

import pickle

import pytest

from stages.core import errors
from stages.core.errors import R1Error

EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, R1Error)]


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_pickles_with_its_hint_and_place(kind: type[R1Error]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", hint="way out", where="x.yaml:7")))
    assert (type(error), error.what, error.hint, error.where) == (kind, "what", "way out", "x.yaml:7")
    assert str(error) == "x.yaml:7: what"
    assert str(kind("what")) == "what"


def test_each_error_is_also_the_standard_kind_it_replaces_and_knows_its_exit_code() -> None:
    assert issubclass(errors.RecipeError, ValueError) and errors.RecipeError.exit_code == 2
    assert issubclass(errors.MissingError, LookupError) and errors.MissingError.exit_code == 2
    assert issubclass(errors.TamperedError, ValueError) and errors.TamperedError.exit_code == 1
    assert issubclass(errors.DiskError, OSError) and errors.DiskError.exit_code == 1


def test_the_nearest_name_is_offered_only_when_it_is_near() -> None:
    assert errors.nearest("learnig_rate", ["learning_rate", "loss"]) == "did you mean `learning_rate`? "
    assert errors.nearest("zebra", ["learning_rate", "loss"]) == ""
