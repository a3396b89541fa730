"""The eval stage with a real, tiny model: what it writes, that a kill repeats nothing, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import evaluate
from stages.core import events, scores, text
from stages.core.artifact import Model, Prompts, Scores
from stages.core.errors import InputError, RecipeError
from stages.core.rows import Prompt
from tests.policy import tiny
from tests.rewards.contracts import PROGRAM, contract, row

QUICK = evaluate.Recipe(
    samples=2,
    samplings=[evaluate.Sampling(temperature=0.6, top_p=0.95), evaluate.Sampling()],
    template="plain",
    max_tokens=6,
)
FILES = (scores.SCORES_FILE, scores.COMPLETIONS_FILE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    return tiny.prompts(tmp_path_factory.mktemp("prompts") / "rows", 5)


@pytest.fixture
def run(model: Model, prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the stage in a folder, two problems a shard, and return its scores.json."""
    monkeypatch.setattr(evaluate, "CHUNK_ROWS", 4)

    def in_folder(folder: Path, recipe: evaluate.Recipe = QUICK, parent: Scores | None = None) -> dict[str, Any]:
        work = tiny.work(folder)
        try:
            evaluate.run(recipe, evaluate.Inputs(model=model, prompts=prompts, parent=parent), work)
        finally:
            work.events.close()
        return scores.read_scores(folder)

    return in_folder


def test_every_completion_is_written_with_its_verdicts(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = run(tmp_path / "a")
    by_sampling = scores.read_completions(tmp_path / "a")
    assert list(by_sampling) == ["T0.6-p0.95", "T1-p1"] == [part["name"] for part in found["samplings"]]
    for rows in by_sampling.values():
        assert len(rows) == 5 * 2
        assert {(one["id"], one["sample"]) for one in rows} == {
            (f"tiny-prompts-{n}", s) for n in range(5) for s in (0, 1)
        }
        assert all(1 <= one["tokens"] <= 6 for one in rows)
        assert all(one["reason"] for one in rows if one["strict"] == 0)
    assert found["samplings"][1]["overall"]["strict_pass@1"]["n"] == 5
    assert set(found["samplings"][1]["families"]) == {"even", "odd"}
    assert found["problems"]["tiny-prompts-3"]["answer"] == "6"
    assert (found["template"], found["max_tokens"], found["pass_k"]) == ("plain", 6, [1, 2])


def test_progress_counts_every_completion_of_every_sampling(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path / "a")
    told = events.read(tmp_path / "a" / "events.jsonl", "progress")
    assert [one["done"] for one in told] == [4, 8, 10, 14, 18, 20]
    assert {one["total"] for one in told} == {20}
    assert {"strict", "pass@1", "format", "length"} <= told[-1]["figures"].keys()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_completions(
    run: Callable[..., dict[str, Any]], tmp_path: Path, model: Model, prompts: Prompts
) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = replace(tiny.work(tmp_path / "c"), seed=8)
    evaluate.run(QUICK, evaluate.Inputs(model=model, prompts=prompts), other)
    other.events.close()
    assert (tmp_path / "a" / FILES[1]).read_bytes() != (tmp_path / "c" / FILES[1]).read_bytes()


def test_a_killed_run_resumes_and_draws_no_shard_twice(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole")
    drawn: list[tuple[str, int]] = []
    draw = evaluate.Asker.draw

    def counted(self: evaluate.Asker, sampling: evaluate.Sampling, number: int, chunk: Any) -> Any:
        if len(drawn) == 4:
            drawn.append(("killed", number))
            raise KeyboardInterrupt
        drawn.append((sampling.name, number))
        return draw(self, sampling, number, chunk)

    monkeypatch.setattr(evaluate.Asker, "draw", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    # What a kill in the middle of a write leaves: a torn part, never a torn shard.
    (tmp_path / "killed" / "scratch" / "shards" / "T1-p1" / "00001.part").write_text('{"id": "torn')
    run(tmp_path / "killed")
    assert len([one for one in drawn if one[0] != "killed"]) == len(set(drawn)) - 1 == 6
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_sampling_never_loads_the_weights(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.policy import models

    run(tmp_path / "a")
    monkeypatch.setattr(models, "load_model", lambda *_, **__: pytest.fail("the weights were loaded"))
    run(tmp_path / "a")


def test_a_model_compared_with_itself_gains_nothing(
    run: Callable[..., dict[str, Any]], tmp_path: Path, model: Model, prompts: Prompts
) -> None:
    run(tmp_path / "before")
    before = Scores(path=tmp_path / "before", record=tiny.record("scores", "before"))
    found = run(tmp_path / "after", parent=before)
    for part in found["samplings"]:
        gain = part["difference"]["overall"]["strict_pass@1"]
        assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (0.0, 0.0, 0.0, 5)
    assert {"gain", "gain_low"} <= scores.table(found)[0].keys()


def test_a_parent_without_this_sampling_is_told_and_costs_only_the_difference(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run(tmp_path / "before", evaluate.Recipe(**{**vars(QUICK), "samplings": [evaluate.Sampling()]}))
    before = Scores(path=tmp_path / "before", record=tiny.record("scores", "before"))
    found = run(tmp_path / "after", parent=before)
    assert [part["difference"] is None for part in found["samplings"]] == [True, False]
    assert "T0.6-p0.95" in events.read(tmp_path / "after" / "events.jsonl", "warning")[0]["text"]


def test_a_limit_beyond_the_models_positions_is_cut_and_told(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    one = {"samplings": [evaluate.Sampling()], "samples": 1, "problems": 1}
    found = run(tmp_path / "a", evaluate.Recipe(**{**vars(QUICK), **one, "max_tokens": 500}))
    assert found["max_tokens"] == 128 - len("User: 0+0=. Assistant:")
    assert "500" in events.read(tmp_path / "a" / "events.jsonl", "warning")[0]["text"]


def test_a_prompt_without_room_to_answer_is_named(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    # The model has no template of its own, so R1-Zero's is taken: more bytes than it has positions.
    with pytest.raises(InputError, match=r"tiny-prompts-.* leaves no room in 128"):
        run(tmp_path / "a", evaluate.Recipe(samples=1))


def test_fewer_problems_are_a_part_of_more() -> None:
    rows = [Prompt(id=f"p{n}", problem="", answer="1", verifier="math") for n in range(20)]
    assert evaluate.chosen(rows, 5) == evaluate.chosen(rows[::-1], None)[:5]
    assert len(evaluate.chosen(rows, 50)) == 20


@pytest.mark.parametrize(
    ("completion", "strict", "correct", "shape", "answer", "reason"),
    [
        ("<think>12+5=17</think><answer>17</answer>", 1.0, 1.0, 1.0, "17", ""),
        ("<think>12+5=17</think><answer>$17.00</answer>", 1.0, 1.0, 1.0, "17", ""),
        (" The answer is 17.", 0.0, 1.0, 0.0, "17", "no <think>"),
        ("<think>12+5=18</think><answer>18</answer>", 0.0, 0.0, 1.0, "18", "answer 18, expected 17"),
        ("<think>12+5", 0.0, 0.0, 0.0, None, "<think> not closed: cut off"),
        ("", 0.0, 0.0, 0.0, None, "no <think>"),
    ],
)
def test_a_completion_is_judged_strictly_and_in_any_format(
    completion: str, strict: float, correct: float, shape: float, answer: str | None, reason: str
) -> None:
    found = evaluate.judged(completion, row("17"), contract())
    assert (found["strict"], found["correct"], found["format"], found["answer"]) == (strict, correct, shape, answer)
    assert found["reason"] == reason


def test_the_first_wrong_step_and_mixed_prose_are_marked() -> None:
    found = evaluate.judged("First 12+3=15. 再算15+2=18。", row("17"), contract())
    assert found["mixed"] is True
    start, end = found["wrong_step"]
    assert "First 12+3=15. 再算15+2=18。"[start:end] == "15+2=18"
    assert json.loads(json.dumps(found))["wrong_step"] == [start, end]


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"samplings": []},
        {"samplings": [evaluate.Sampling(), evaluate.Sampling()]},
        {"samplings": [evaluate.Sampling(temperature=0.0)]},
        {"samplings": [evaluate.Sampling(top_p=1.5)]},
        {"template": "r1_zeor"},
        {"max_tokens": 0},
        {"problems": 0},
        {"pass_k": [0]},
        {"seed": -1},
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        evaluate.Recipe(**wrong)


@pytest.mark.parametrize(
    ("completion", "asked", "vote"),
    [
        ("<answer>$17.00</answer>", row("17"), "17"),
        ("12 plus 5 makes 17", row("17"), "17"),
        ("<answer>3/4</answer>", row("0.75"), "3/4"),
        ("<answer>(b)</answer>", row("B", "choice"), "B"),
        ("after a while the ball is under B.", row("B", "choice"), "B"),
        ("so dbl", PROGRAM, "dbl"),
        ("<answer>add 6;  ADD 6</answer>", PROGRAM, "add 6; add 6"),
        ("<think>17", row("17"), None),
        ("<answer> </answer>", row("17"), None),
        ("nothing to say", row("17"), None),
    ],
)
def test_equal_answers_are_equal_votes_and_silence_is_none(completion: str, asked: Prompt, vote: str | None) -> None:
    assert evaluate.ballot(completion, asked, contract()) == vote


@pytest.mark.parametrize(
    ("completion", "mixes"),
    [
        ("First 12+3=15. 再算15+4=19。", True),
        ("我们 need to 计算 the sum", True),
        ("First 12+3=15. Then 15+4=19. The answer is 19.", False),
        ("<think>先算12+3=15。从 15 到 21 是 add 6.</think><answer>add 6</answer>", False),
        ("先算 A + B = C。", False),
        ("", False),
    ],
)
def test_languages_mix_by_sentences_and_not_by_the_letters_of_an_answer(completion: str, mixes: bool) -> None:
    assert text.mixes_languages(completion, contract().answer_tags) is mixes
