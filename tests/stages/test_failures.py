"""What an engine fails is no wrong answer: it is written down, counted and left out of every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from stages import evaluate, sample
from stages.core.artifact import Model, Prompts, Rollouts
from stages.core.errors import StageError
from stages.core.run import events
from stages.core.sampling import Completion, Finish, Request
from stages.core.stats import scores
from stages.policy.engines.local.engine import LocalEngine
from tests.policy import tiny

ANY = "the engine: a filter"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    return tiny.prompts(tmp_path_factory.mktemp("prompts") / "rows", 3)


@pytest.fixture(autouse=True)
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine answers all but the second completion of each prompt."""
    answer = LocalEngine.sample

    def sampled(self: LocalEngine, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        for request, completion in answer(self, requests):
            refused = Completion(finish=Finish.REFUSED, fault="a filter")
            yield request, refused if request.key[1] % 2 else completion

    monkeypatch.setattr(LocalEngine, "sample", sampled)


def test_a_sample_that_was_refused_has_no_verdict(model: Model, prompts: Prompts, tmp_path: Path) -> None:
    recipe = sample.Recipe(samples=2, template="plain", max_tokens=6, rewards={"format": 1.0})
    work = tiny.work(tmp_path)
    draft = sample.run(recipe, sample.Inputs(model=model, prompts=prompts), work)
    work.events.close()
    found = Rollouts(path=tmp_path, record=tiny.record("rollouts", "made")).samples()
    assert [one.failed for one in found] == [False, True] * 3
    for whole, failed in zip(found[::2], found[1::2], strict=True):
        assert set(failed.rewards) == set(whole.rewards) and set(failed.rewards.values()) == {None}
        assert set(failed.reasons.values()) == {ANY} and failed.truncated and whole.rewards["format"] == 0.0
    assert (draft.metrics["failed"], draft.metrics["rows"]) == (3, 6)
    assert draft.metrics["length"] == sum(one.tokens for one in found) / 3
    assert any("a filter" in str(line.get("text")) for line in events.read(tmp_path / "events.jsonl"))


def test_an_evaluation_of_nothing_that_came_is_none(
    model: Model, prompts: Prompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampled(self: LocalEngine, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        yield from ((request, Completion(finish=Finish.REFUSED, fault="a filter")) for request in requests)

    monkeypatch.setattr(LocalEngine, "sample", sampled)
    work = tiny.work(tmp_path)
    recipe = evaluate.Recipe(samples=1, samplings=[evaluate.Sampling()], template="plain", max_tokens=6)
    with pytest.raises(StageError, match=r"not one completion came under T1-p1: the engine: a filter"):
        evaluate.run(recipe, evaluate.Inputs(model=model, prompts=prompts), work)
    work.events.close()
    assert not (tmp_path / scores.SCORES_FILE).exists()


def test_an_evaluation_is_of_what_came(model: Model, prompts: Prompts, tmp_path: Path) -> None:
    recipe = evaluate.Recipe(
        samples=2, samplings=[evaluate.Sampling()], template="plain", max_tokens=6, rewards=["length"]
    )
    work = tiny.work(tmp_path)
    evaluate.run(recipe, evaluate.Inputs(model=model, prompts=prompts), work)
    work.events.close()
    (rows,) = scores.read_completions(tmp_path).values()
    refused = [row for row in rows if row.get("failed")]
    assert [row["sample"] for row in refused] == [1, 1, 1]
    told = ("strict", "correct", "format", "answer", "reason")
    assert {tuple(row[name] for name in told) for row in refused} == {(None, None, None, None, ANY)}
    assert all(row["rewards"] == {"length": None} for row in refused)
    part = scores.read_scores(tmp_path)["samplings"][0]
    assert (part["completions"], part["failed"], part["unjudged"]) == (6, 3, 0)
    came = [row["tokens"] for row in rows if row not in refused]
    assert part["overall"]["length"]["value"] == pytest.approx(sum(came) / 3)
    assert part["overall"]["truncated"]["value"] == sum(row["truncated"] for row in rows if row not in refused) / 3
