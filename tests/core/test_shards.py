"""A shard is written whole or not at all, and one that is there is never made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.core import contamination, shards


def square(number: int, chunk: list[int]) -> list[dict[str, Any]]:
    return [{"n": n, "square": n * n, "shard": number} for n in chunk]


def test_rows_come_in_order_and_are_told_after_each_shard(tmp_path: Path) -> None:
    heard: list[int] = []
    found = shards.in_shards(tmp_path / "a", [[1, 2], [3]], square, lambda done: heard.append(len(done)))
    assert [(row["square"], row["shard"]) for row in found] == [(1, 0), (4, 0), (9, 1)]
    assert heard == [2, 3]


def test_a_kill_costs_the_shard_it_hit_and_no_other(tmp_path: Path) -> None:
    made: list[int] = []

    def killed_once(number: int, chunk: list[int]) -> Any:
        made.append(number)
        yield from square(number, chunk)
        if made == [0, 1]:
            raise KeyboardInterrupt  # in the middle of writing shard 1

    chunks = [[1, 2], [3, 4], [5]]
    with pytest.raises(KeyboardInterrupt):
        shards.in_shards(tmp_path, chunks, killed_once, lambda _: None)
    assert {path.name for path in tmp_path.iterdir()} == {"00000.jsonl", "00001.part"}
    found = shards.in_shards(tmp_path, chunks, killed_once, lambda _: None)
    assert made == [0, 1, 1, 2]
    assert [row["n"] for row in found] == [1, 2, 3, 4, 5]


def test_a_name_that_tells_the_chunk_leaves_shards_of_other_chunks_alone(tmp_path: Path) -> None:
    def name(number: int, chunk: list[int]) -> str:
        return f"{number}-{sum(chunk)}"

    shards.in_shards(tmp_path, [[1, 2]], square, lambda _: None, name)
    found = shards.in_shards(tmp_path, [[1, 5]], square, lambda _: None, name)
    assert [row["n"] for row in found] == [1, 5]


def test_a_shared_run_of_words_is_named_whatever_its_case_and_spacing() -> None:
    grams = contamination.grams_of(["The quick brown fox jumps"], 3)
    assert contamination.shared_gram("a QUICK,  brown fox", grams, 3) == "quick brown fox"
    assert contamination.shared_gram("a quick brown dog", grams, 3) == ""
    assert contamination.shared_gram("anything at all", set(), 3) == ""


def test_a_problem_shorter_than_a_run_is_contaminated_by_itself_alone() -> None:
    grams = contamination.grams_of(["Compute 7+15"], 10)
    assert contamination.shared_gram("compute  7 + 15", grams, 10) == "compute 7 15"
    assert contamination.shared_gram("Compute 7+15+2", grams, 10) == ""
