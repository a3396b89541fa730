"""What graders report as paid wrongly or refused wrongly: no situation of these kinds is, and none is left unjudged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.situations import fault, judge
from tests.rewards.situations import files, read


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_no_wrong_answer_of_this_kind_is_paid_and_nearly_no_right_one_refused(path: Path) -> None:
    rows = read(path)
    faults = [(fault(one, judge(one)), one.id) for one in rows]
    assert not [one for one in faults if one[0] in ("paid", "null")]
    assert sum(bool(name) for name, _ in faults) <= 0.03 * len(rows)
