"""Many machines: a Ray cluster of this one draws, judges and curates, and a worker of it is killed while it does."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import curate, evaluate, sample
from stages.core.artifact import Conversations, Rollouts
from stages.core.errors import InputError, RecipeError, StageError, UnreachableError
from stages.core.recipe.loading import load
from stages.core.rows import Sample, write_rows
from stages.core.run import cluster, events, many, shards
from stages.core.run.runtime import Runtime
from tests.policy import tiny
from tests.rewards.contracts import contract, row
from tests.stages import deadly

WORKERS = 2


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a Ray cluster with WORKERS CPUs answers, all of this machine."""
    command = [sys.executable, "-m", "tests.ray_head", str(WORKERS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as head:
        assert head.stdout is not None
        found = head.stdout.readline().strip()
        assert found, "no cluster could be started"
        yield found


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


# ---- a cluster at work ----


def drawn(folder: Path, inputs: sample.Inputs, recipe: sample.Recipe, **runtime: Any) -> list[str]:
    """Sample into `folder`; return the ids of the prompts that were judged, one for each completion."""
    work = tiny.work(folder, **runtime)
    sample.run(recipe, inputs, work)
    work.events.close()
    judged = Path(recipe.reward_options[deadly.REWARD]["folder"]) / "judged"
    found = judged.read_text().split()
    judged.unlink()
    return found


def test_with_one_of_two_workers_killed_samples_have_the_same_bytes_and_one_shard_is_drawn_twice(
    address: str, tmp_path: Path
) -> None:
    inputs = sample.Inputs(model=tiny.model(tmp_path / "model"), prompts=tiny.prompts(tmp_path / "prompts", 12))
    order = [one.id for one in inputs.prompts.rows().chosen(None)]
    options = {deadly.REWARD: {"folder": str(tmp_path), "at": order[7]}}
    asked: dict[str, Any] = {"samples": 1, "template": "plain", "max_tokens": 6, "shard_prompts": 2}
    recipe = sample.Recipe(**asked, rewards={deadly.REWARD: 1.0}, reward_options=options)
    (tmp_path / "killed").touch()
    assert sorted(drawn(tmp_path / "alone", inputs, recipe)) == sorted(order)
    (tmp_path / "killed").unlink()
    again = Counter(drawn(tmp_path / "many", inputs, recipe, ray=address))
    assert (tmp_path / "killed").exists()
    assert again - Counter(order) in (Counter(order[6:8]), Counter(order[7:8]))  # what the killed one had judged
    for name in ("prompts.jsonl", "samples.jsonl", "contract.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    notes = [line["text"] for line in events.read(tmp_path / "many" / "events.jsonl", "note")]
    assert f"Ray at {address}: 2 workers of 1 CPU" in notes
    told = events.read(tmp_path / "many" / "events.jsonl", "progress")
    assert (told[-1]["done"], told[-1]["total"]) == (12, 12)


def test_a_cluster_without_a_machine_for_one_worker_is_refused_where_ray_would_wait(address: str) -> None:
    with pytest.raises(UnreachableError, match=f"no machine of the Ray cluster {address} has the 3 CPUs"):
        many.refuse_cluster(Runtime(ray=address, device="cpu", threads=3))


# ---- refused before Ray begins ----


def test_an_address_where_nobody_answers_is_told_at_once() -> None:
    with pytest.raises(UnreachableError, match=r"^no Ray cluster answers at 127\.0\.0\.1:9$") as error:
        many.refuse_cluster(Runtime(ray="127.0.0.1:9"))
    assert "`ray start --head`" in error.value.hint


@pytest.mark.parametrize("wrong", ["ray://head:10001", "head", "head:port", "--flag"])
def test_an_address_is_auto_or_host_and_port(wrong: str) -> None:
    with pytest.raises(RecipeError, match="is `auto` or HOST:PORT of a Ray cluster"):
        Runtime(ray=wrong)


def test_stages_without_pieces_and_what_is_elsewhere_anyway_are_refused_before_the_first_step() -> None:
    rl = load(None, "rl", ["inputs.model=a", "inputs.prompts=b", "runtime.ray=auto"], "zero")
    with pytest.raises(RecipeError, match="`zero` runs on one machine: r1 rl has no pieces for a Ray cluster"):
        many.refuse_ray(rl)
    asked = ["inputs.prompts=b", "runtime.ray=auto"]
    speaks = load(None, "sample", ["inputs.model=openai:http://localhost:1/v1#m", *asked], "rollouts")
    with pytest.raises(RecipeError, match="answers from elsewhere"):
        many.refuse_ray(speaks)
    served = load(None, "sample", ["inputs.model=a", *asked, "runtime.vllm_server=http://localhost:1"], "rollouts")
    with pytest.raises(RecipeError, match="wait for one vLLM server"):
        many.refuse_ray(served)
    many.refuse_ray(load(None, "sample", ["inputs.model=a", *asked], "rollouts"))


# ---- the process in which Ray lives, told by others what to say ----


def fickle(pipe: Any, asked: cluster.Asked, token: bool) -> None:
    """A cluster that wants its token, and that a machine leaves when one of three pieces is done."""
    if not token:
        pipe.send(("token",))
        return
    pipe.send(("joined", "Ray is here"))
    leaves = len(asked.pieces) == 3
    for number, piece in asked.pieces[1:2] if leaves else reversed(asked.pieces):
        pipe.send(("done", number, piece, [{"event": "note", "text": "drawn"}]))
    if leaves:
        pipe.send(("away", "machine-2"))


def vanishing(pipe: Any, asked: cluster.Asked, token: bool) -> None:
    """A cluster that is no more."""
    asked.log.write_text("the control store is gone\n")


def test_a_machine_that_leaves_costs_no_piece_and_what_is_told_twice_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "serve", fickle)
    job: many.Job[str, str] = many.Job(make=square, inputs={})
    told: list[dict[str, Any]] = []
    found = list(many.results(job, enumerate("abc"), Runtime(ray="auto"), told.append, tmp_path / "log"))
    assert found == [(1, "b"), (2, "c"), (0, "a")]
    assert [line["text"] for line in told] == [
        "Ray is here",
        "drawn",
        "the machine machine-2 left the cluster; the others go on",
    ]


def test_a_cluster_that_is_lost_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "serve", vanishing)
    job: many.Job[str, str] = many.Job(make=square, inputs={})
    with pytest.raises(StageError, match="auto was lost before the work was done; Ray said last: the control store"):
        list(many.results(job, enumerate("abc"), Runtime(ray="auto"), print, tmp_path / "log"))


# ---- a worker, without a cluster ----


def square(_: Any) -> Any:
    return root


def root(number: int) -> float:
    if number < 0:
        raise InputError("a number below 0", hint="use 0")
    return (1 // number) ** 0.5


def worked(number: int, **facts: str) -> dict[str, Any]:
    import pyarrow

    job: many.Job[int, float] = many.Job(make=square, inputs={})
    worker = cluster.Worker(pickle.dumps(job), cluster.facts(job) | facts, ".")
    (found,) = worker(pyarrow.table({"number": [5], "piece": [pickle.dumps(number)]})).to_pylist()
    return {**found, "value": pickle.loads(found["value"])}


def backwards(job: many.Job[Any, Any], pieces: Any, *_: Any) -> Iterator[tuple[int, Any]]:
    """Each piece as a worker works it, the last first: Ray promises no order."""
    import pyarrow

    worker = cluster.Worker(pickle.dumps(job), cluster.facts(job), ".")
    for number, piece in reversed(list(pieces)):
        (found,) = worker(pyarrow.table({"number": [number], "piece": [pickle.dumps(piece)]})).to_pylist()
        assert not found["failed"], pickle.loads(found["value"])
        yield number, pickle.loads(found["value"])


def test_what_a_worker_raises_is_a_value_so_that_ray_neither_wraps_nor_repeats_it() -> None:
    assert worked(1) == {"number": 5, "failed": False, "value": 1.0, "events": pickle.dumps([])}
    ours, bug = worked(-1), worked(0)
    assert ours["failed"] and isinstance(ours["value"], InputError) and ours["value"].hint == "use 0"
    assert bug["failed"] and "ZeroDivisionError" in str(bug["value"]) and "in root" in bug["value"].__notes__[0]


def test_a_worker_with_other_code_does_nothing() -> None:
    found = worked(1, **{"code of r1": "another"})["value"]
    assert isinstance(found, StageError) and "has another code of r1" in str(found)


def test_what_is_curated_in_pieces_has_the_bytes_of_what_one_process_curates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curate, "STRETCH", 6)
    monkeypatch.setattr(many, "results", backwards)
    rollouts = Rollouts(path=tmp_path / "in", record=tiny.record("rollouts", "drawn"))
    rollouts.path.mkdir()
    asked = [row(id=f"p-{n}", problem=f"What is {n}+5?", answer=str(n + 5), family="sum") for n in range(10)]
    write_rows(rollouts.path / "prompts.jsonl", asked)
    said = [
        f"<think>{n}+5={n + 5 + s}, I think.</think><answer>{n + 5 + s}</answer>" for n in range(10) for s in (0, 1)
    ]
    samples = [Sample(f"p-{n // 2}", n % 2, text, 9, False) for n, text in enumerate(said)]
    write_rows(rollouts.path / "samples.jsonl", samples)
    contract().write(rollouts.path / "contract.json")
    figures = []
    for name, runtime in (("alone", {}), ("many", {"ray": "auto"})):
        work = tiny.work(tmp_path / name, **runtime)
        recipe, inputs = curate.Recipe(general_share=0.0), curate.Inputs(rollouts=rollouts)
        figures.append(curate.run(recipe, inputs, work).metrics)
        work.events.close()
    assert figures[0] == figures[1] and figures[0]["kept"] == 10
    for name in ("conversations.jsonl", "yield.json", "discarded.jsonl"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    assert len(list((tmp_path / "many" / "scratch" / "shards").iterdir())) == 4
    assert len(Conversations(path=tmp_path / "many", record=tiny.record("conversations", "made")).rows()) == 10


def test_what_is_evaluated_in_pieces_has_the_bytes_of_what_one_process_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "CHUNK_ROWS", 4)
    monkeypatch.setattr(many, "results", backwards)
    recipe = evaluate.Recipe(samples=2, template="plain", max_tokens=6)
    inputs = evaluate.Inputs(model=tiny.model(tmp_path / "model"), prompts=tiny.prompts(tmp_path / "prompts", 5))
    for name, runtime in (("alone", {}), ("many", {"ray": "auto"})):
        work = tiny.work(tmp_path / name, threads=1, **runtime)
        evaluate.run(recipe, inputs, work)
        work.events.close()
    for name in ("completions.jsonl", "scores.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_what_landed_before_a_kill_is_asked_of_no_worker_again(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def work(missing: list[tuple[int, int]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        asked.append([number for number, _ in missing])
        for number, chunk in reversed(missing):
            yield number, [{"n": chunk}]

    sharded = shards.Sharded(folder=tmp_path, chunks=[10, 11, 12, 13])
    first = sharded.landed(work)
    assert [next(first)[0], next(first)[0]] == [3, 2]
    first.close()
    assert list(sharded.in_turn(sharded.landed(work))) == [[{"n": n}] for n in (10, 11, 12, 13)]
    assert asked == [[0, 1, 2, 3], [0, 1]]
