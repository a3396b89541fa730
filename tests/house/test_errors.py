"""Every error of the tree travels between processes whole, and carries the standard kind it replaces."""

from __future__ import annotations

import pickle

import pytest

from stages.core import errors


def family(root: type[errors.R1Error]) -> list[type[errors.R1Error]]:
    return [root, *(each for child in root.__subclasses__() for each in family(child))]


@pytest.mark.parametrize("kind", family(errors.R1Error))
def test_an_error_pickles_whole(kind: type[errors.R1Error]) -> None:
    sent = kind("the group size is 1", hint="set `group_size=2`", where="recipes/zero.yaml:7")
    came = pickle.loads(pickle.dumps(sent))
    assert type(came) is kind
    assert (came.what, came.hint, came.where) == (sent.what, sent.hint, sent.where)
    assert str(came) == "recipes/zero.yaml:7: the group size is 1"
    assert came.exit_code in (1, 2)


@pytest.mark.parametrize("kind", family(errors.R1Error))
def test_an_error_replaces_a_standard_kind(kind: type[errors.R1Error]) -> None:
    standard = (ValueError, LookupError, RuntimeError, OSError)
    assert kind in (errors.R1Error, errors.AskedWrongly) or issubclass(kind, standard)
