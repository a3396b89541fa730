"""Figures of an evaluation from completions whose every verdict is written here by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import MissingError
from stages.core.stats import scores


def row(one: str, strict: float, correct: float | None, answer: str | None, tokens: int, **other: Any) -> scores.Row:
    facts = {"family": one[0], "format": strict, "truncated": False, "mixed": False, "completion": "", "reason": ""}
    return {"id": one, "strict": strict, "correct": correct, "answer": answer, "tokens": tokens} | facts | other


# Problem s1: two of four right, majority right. Problem c1: one right in any format, none strict, a tied vote.
ROWS = [
    row("s1", 1, 1, "7", 10),
    row("s1", 1, 1, "7", 20),
    row("s1", 0, 0, "8", 30),
    row("s1", 0, 0, None, 60, truncated=True),
    row("c1", 0, 1, "a", 5, mixed=True),
    row("c1", 0, 0, "b", 5),
    row("c1", 0, None, None, 5),
    row("c1", 0, None, None, 5),
]


def test_every_figure_equals_what_one_counts_by_hand() -> None:
    found = scores.measure(ROWS, [1, 2, 4, 8], seed=0)
    figures = {name: figure["value"] for name, figure in found["overall"].items()}
    assert figures == pytest.approx(
        {
            "strict_pass@1": (0.5 + 0.0) / 2,
            "strict_pass@2": (5 / 6 + 0.0) / 2,
            "strict_pass@4": 0.5,
            "pass@1": (0.5 + 0.25) / 2,
            "pass@2": (5 / 6 + 1 / 2) / 2,
            "pass@4": 1.0,
            "cons@4": (1.0 + 0.5) / 2,
            "format": 2 / 8,
            "length": 140 / 8,
            "length_correct": 35 / 3,
            "length_wrong": 105 / 5,
            "truncated": 1 / 8,
            "mixed_language": 1 / 8,
        }
    )
    assert (found["completions"], found["unjudged"]) == (8, 2)


def test_what_the_engine_failed_is_counted_and_changes_no_figure() -> None:
    lost = row("s1", 0, None, None, 0, truncated=True) | {"failed": True, "strict": None, "format": None}
    found, alone = scores.measure([*ROWS, lost], [1, 2, 4], seed=0), scores.measure(ROWS, [1, 2, 4], seed=0)
    assert (found["completions"], found["failed"], found["unjudged"]) == (9, 1, 2)
    assert (found["overall"], found["families"]) == (alone["overall"], alone["families"])


def test_families_are_measured_apart() -> None:
    families = scores.measure(ROWS, [1], seed=0)["families"]
    assert list(families) == ["c", "s"]
    assert families["c"]["pass@1"]["value"] == 0.25
    assert families["s"]["pass@1"]["n"] == 1


def test_a_comparison_pairs_problems_and_families() -> None:
    better = [one | {"strict": 1.0} for one in ROWS]
    found = scores.compare(better, ROWS, [1, 2], seed=0)
    assert found["overall"]["strict_pass@1"]["value"] == pytest.approx(0.75)
    assert found["families"]["c"]["strict_pass@1"]["value"] == 1.0
    assert found["overall"]["length"]["value"] == 0.0


WRITTEN = {"reflective": 2, "language": 0.5, "readable": True, "rewards": {"helpful": 0.25}}


def test_what_is_written_and_extra_rewards_are_means_over_where_they_apply() -> None:
    rows = [
        row("s1", 1, 1, "7", 10, **WRITTEN),
        row("s1", 0, 0, "8", 10, reflective=0, language=None, readable=False, rewards={}),
        row("c1", 0, 0, "8", 10, reflective=1, language=1.0, readable=False, rewards={"helpful": None}),
    ]
    figures = scores.measure(rows, [1], seed=0)["overall"]
    values = {name: figures[name]["value"] for name in ("reflective", "language", "readable", "helpful")}
    assert values == pytest.approx({"reflective": 1.0, "language": 0.75, "readable": 1 / 3, "helpful": 0.25})
    assert scores.extra_metrics(figures) == ["language", "readable", "reflective", "helpful"]


def test_a_problem_that_no_rule_judges_plays_no_part_in_accuracy() -> None:
    general = [row("g1", 0, None, None, 10) | {"strict": None} for _ in range(4)]
    found = scores.measure([*ROWS, *general], [1, 2], seed=0)
    assert found["overall"]["strict_pass@1"]["value"] == 0.25
    assert found["overall"]["cons@4"]["value"] == 0.75
    assert found["overall"]["length_wrong"]["value"] == 105 / 5
    assert found["overall"]["length"]["value"] == 180 / 12
    assert found["families"]["g"]["pass@2"]["value"] is None
    assert found["unjudged"] == 2


def test_a_comparison_is_split_by_what_the_parent_solves() -> None:
    before = [*ROWS, *(row("n1", 0, 0, "1", 5) for _ in range(4))]  # s1 and c1 are solved once at least, n1 never
    better = [one | {"correct": 1.0} for one in before]
    found = scores.compare(better, before, [1], seed=0)["by_parent"]
    assert found["solved"]["pass@1"]["value"] == pytest.approx(1 - 0.375)
    assert (found["unsolved"]["pass@1"]["value"], found["unsolved"]["pass@1"]["n"]) == (1.0, 1)
    assert scores.solved_problems(before) == {"s1", "c1"}


def test_a_comparison_leaves_out_problems_only_one_side_was_asked() -> None:
    found = scores.compare(ROWS, [one for one in ROWS if one["id"] == "s1"], [1], seed=0)
    assert found["overall"]["strict_pass@1"]["n"] == 1
    assert list(found["families"]) == ["s"]


def test_the_table_has_a_row_for_all_and_one_for_each_family() -> None:
    part = {"name": "T1-p1", "temperature": 1.0, "top_p": 1.0} | scores.measure(ROWS, [1, 2], seed=0)
    rows = scores.table({"samples": 4, "pass_k": [1, 2], "samplings": [part | {"difference": None}]})
    assert [one["family"] for one in rows] == ["all", "c", "s"]
    assert rows[0]["strict"] == 0.25
    assert rows[0]["cons@4"] == 0.75
    assert "gain" not in rows[0]
    gained = scores.table(
        {"samples": 4, "pass_k": [1], "samplings": [part | {"difference": scores.compare(ROWS, ROWS, [1], 0)}]}
    )
    assert gained[0]["gain"] == 0.0


def test_a_folder_without_scores_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"scores\.json"):
        scores.read_scores(tmp_path)
    with pytest.raises(MissingError, match=r"completions\.jsonl"):
        scores.read_completions(tmp_path)
