"""A shard is written whole or not at all, and one that is there is never made again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.run import shards
from stages.core.sampling import Completion, Finish, Request, Sampling


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


class Echo:
    """An engine that answers each request with its seed; the last asked is answered first."""

    coupled = False
    apart = False

    def __init__(self, dies_after: int = 10**9) -> None:
        self.asked: list[int] = []
        self.dies_after = dies_after

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        for request in reversed(list(requests)):
            if len(self.asked) == self.dies_after:
                raise KeyboardInterrupt
            self.asked.append(request.seed)
            yield request, Completion(ids=[request.seed], logprobs=[-0.5], finish=Finish.END)


def work(folder: Path, told: list[int]) -> shards.Sharded[list[int]]:
    return shards.Sharded(
        folder=folder,
        chunks=[[1, 2, 3], [], [4, 5]],
        requests=lambda chunk: [Request(prompt_ids=[1], sampling=Sampling(), seed=n) for n in chunk],
        rows=lambda chunk, completions: [
            {"n": n, "said": one.ids, "finish": one.finish} for n, one in zip(chunk, completions, strict=True)
        ],
        tell=lambda done: told.append(len(done)),
    )


def test_completions_in_any_order_become_rows_in_order(tmp_path: Path) -> None:
    told: list[int] = []
    found = work(tmp_path / "a", told).done(Echo())
    assert [(row["n"], row["said"]) for row in found] == [(n, [n]) for n in range(1, 6)]
    assert told == [2, 5]  # the last shard was whole first; an empty one is not told


def test_what_had_come_before_a_kill_is_never_asked_again(tmp_path: Path) -> None:
    first = Echo(dies_after=3)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, []).done(first)
    assert first.asked == [5, 4, 3]
    journal = tmp_path / "00000.came"
    journal.write_text(journal.read_text() + '[1, {"ids": [')  # a line that the kill tore
    second = Echo()
    found = work(tmp_path, []).done(second)
    assert second.asked == [2, 1]
    assert [row["n"] for row in found] == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.jsonl", "00001.jsonl", "00002.jsonl"]


class Talks(Echo):
    """An engine whose words end lines as no file should; what it loses first it has when asked again."""

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        for request, completion in super().sample(requests):
            lost = request.seed == 3 and self.dies_after == 4
            finish = Finish.TIMED_OUT if lost else Finish.END
            yield request, replace(completion, text="one\u2028two\x85three\r", finish=finish)


def test_what_came_is_read_whole_whatever_its_words_and_what_was_lost_is_asked_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, []).done(Talks(dies_after=4))
    second = Talks()
    found = work(tmp_path, []).done(second)
    assert second.asked == [3, 1]
    assert [row["finish"] for row in found] == ["end"] * 5


def test_an_engine_that_is_coupled_makes_an_interrupted_shard_again_whole(tmp_path: Path) -> None:
    first, second = Echo(dies_after=3), Echo()
    first.coupled = second.coupled = True
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, []).done(first)
    work(tmp_path, []).done(second)
    assert second.asked == [3, 2, 1]


def test_rows_are_made_beside_an_engine_that_computes_elsewhere(tmp_path: Path) -> None:
    elsewhere, threads = Echo(), set()
    elsewhere.apart = True
    plain = work(tmp_path, [])

    def rows(chunk: list[int], completions: list[Completion]) -> list[dict[str, Any]]:
        threads.add(threading.current_thread())
        return list(plain.rows(chunk, completions))

    assert len(replace(plain, rows=rows).done(elsewhere)) == 5
    assert threading.main_thread() not in threads
