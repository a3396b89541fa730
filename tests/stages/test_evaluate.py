"""The eval stage with a real, tiny model: what it writes, that a kill repeats nothing, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import evaluate
from stages.core.artifact import Judge, Model, Prompts, Scores
from stages.core.contract import Contract
from stages.core.errors import InputError, RecipeError
from stages.core.language import scripts
from stages.core.rows import Prompt, write_rows
from stages.core.run import events
from stages.core.sampling import Completion, Finish
from stages.core.stats import scores
from stages.rewards.grading import Grader
from tests.policy import drawing, tiny
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


def fond_of_letters(completion: str, row: Prompt, contract: Contract) -> float | None:
    """A reward of one's own: the share of letters; it cannot judge odd problems."""
    if row.family == "odd":
        return None
    return sum(letter.isalpha() for letter in completion) / max(1, len(completion))


def judged(completion: str) -> dict[str, Any]:
    said = Completion(text=completion, finish=Finish.END)
    return evaluate.judged(*Grader(contract=contract()).grade([said], [row()], None), contract())


OWN = "tests.stages.test_evaluate:fond_of_letters"


@pytest.fixture(scope="module")
def judge(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge with random weights that reads whole responses."""
    from stages.policy.judges import judge
    from stages.policy.models import folders

    path = tmp_path_factory.mktemp("judge")
    scalar = judge.load_scalar_model(model.path, seed=3)
    folders.save_model(scalar, folders.load_tokenizer(model.path), model.contract, path)
    judge_config = judge.JudgeConfig(
        kind="pointwise", sees="response", template="{prompt}", max_tokens=100, dtype="float32", mean=0.0, std=1.0
    )
    judge_config.write(path)
    return Judge(path=path, record=tiny.record("judge", "judge"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    """Two problems that a rule judges, and two general prompts for the two judges."""
    folder = tmp_path_factory.mktemp("mixed")
    verifiers = ("math", "math", "helpful", "safe")
    rows = [Prompt(f"m{n}", f"{n}?", "7" * (n < 2), verifier, verifier) for n, verifier in enumerate(verifiers)]
    write_rows(folder / "prompts.jsonl", rows)
    return Prompts(path=folder, record=tiny.record("prompts", "mixed"))


def one_sampling(**changes: Any) -> evaluate.Recipe:
    return evaluate.Recipe(**{**vars(QUICK), "samplings": [evaluate.Sampling()], **changes})


def test_a_reward_of_ones_own_is_reported_over_what_it_can_judge(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    found = run(tmp_path / "a", one_sampling(rewards=[OWN]))["samplings"][0]
    rows = scores.read_completions(tmp_path / "a")["T1-p1"]
    even = [row["rewards"][OWN] for row in rows if row["family"] == "even"]
    assert found["overall"][OWN]["value"] == pytest.approx(sum(even) / len(even))
    assert found["families"]["odd"][OWN]["value"] is None
    assert found["overall"][OWN]["low"] <= found["overall"][OWN]["value"] <= found["overall"][OWN]["high"]
    assert evaluate.identity(one_sampling(rewards=[OWN])).keys() == {OWN}


def test_general_prompts_have_a_judges_score_and_no_accuracy(
    model: Model, mixed: Prompts, judge: Judge, tmp_path: Path
) -> None:
    recipe = one_sampling(rewards=["helpful", "safe"])
    work = tiny.work(tmp_path)
    draft = evaluate.run(recipe, evaluate.Inputs(model=model, prompts=mixed, helpful=judge, safe=judge), work)
    work.events.close()
    rows = {row["id"]: row for row in scores.read_completions(tmp_path)["T1-p1"] if row["sample"] == 0}
    assert [list(rows[one]["rewards"]) for one in sorted(rows)] == [[], [], ["helpful"], ["safe"]]
    assert (rows["m2"]["strict"], rows["m2"]["correct"], rows["m2"]["answer"]) == (None, None, None)
    assert rows["m0"]["strict"] == 0.0
    part = scores.read_scores(tmp_path)["samplings"][0]
    assert part["families"]["helpful"]["strict_pass@1"]["value"] is None
    assert part["families"]["helpful"]["cons@2"]["value"] is None
    assert part["overall"]["strict_pass@1"]["value"] == 0.0
    assert part["overall"]["helpful"]["value"] == part["families"]["helpful"]["helpful"]["value"]
    assert 0.0 < part["overall"]["helpful"]["value"] < 1.0
    assert part["families"]["math"]["helpful"]["value"] is None
    assert draft.metrics["T1-p1"]["safe"] == part["overall"]["safe"]["value"]
    table = {row["family"]: row for row in scores.table(scores.read_scores(tmp_path))}
    assert table["helpful"]["strict"] is None and set(table["all"]["written"]) >= {"language", "helpful", "safe"}


def test_general_prompts_alone_are_no_problem(model: Model, mixed: Prompts, judge: Judge, tmp_path: Path) -> None:
    rows = [row for row in mixed.rows() if row.verifier == "helpful"]
    (tmp_path / "only").mkdir()
    write_rows(tmp_path / "only" / "prompts.jsonl", rows)
    general = Prompts(path=tmp_path / "only", record=tiny.record("prompts", "only"))
    work = tiny.work(tmp_path / "a")
    evaluate.run(one_sampling(rewards=["helpful"]), evaluate.Inputs(model=model, prompts=general, helpful=judge), work)
    work.events.close()
    part = scores.read_scores(tmp_path / "a")["samplings"][0]
    assert (part["unjudged"], part["overall"]["pass@1"]["value"]) == (0, None)
    assert "strict" not in events.read(tmp_path / "a" / "events.jsonl", "progress")[-1]["figures"]


def test_a_judge_and_its_reward_come_together(model: Model, mixed: Prompts, judge: Judge, tmp_path: Path) -> None:
    for recipe, given in ((one_sampling(), judge), (one_sampling(rewards=["helpful"]), None)):
        work = tiny.work(tmp_path)
        with pytest.raises(RecipeError, match="helpful"):
            evaluate.run(recipe, evaluate.Inputs(model=model, prompts=mixed, helpful=given), work)
        work.events.close()


def test_the_gain_is_split_by_what_the_parent_solves(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path / "before", one_sampling())
    path = tmp_path / "before" / scores.COMPLETIONS_FILE
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lucky = rows[0]["id"]
    given = [row | {"correct": float(row["id"] == lucky and row["sample"] == 0)} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    parent = Scores(path=tmp_path / "before", record=tiny.record("scores", "before"))
    found = run(tmp_path / "after", one_sampling(), parent=parent)["samplings"][0]["difference"]["by_parent"]
    assert {part: figures["pass@1"]["n"] for part, figures in found.items()} == {"solved": 1, "unsolved": 4}
    assert found["solved"]["pass@1"]["value"] == pytest.approx(-0.5)  # the tiny model itself is never right
    assert found["unsolved"]["pass@1"]["value"] == 0.0


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("<think>First 12+5=17.</think><answer>The answer is 17.</answer>", ""),
        ("<think>先算12加5得17。</think><answer>答案是 17。</answer>", ""),
        ("<think></think><answer>The answer is 17.</answer>", ""),
        ("<think>12+5=17</think><answer>17</answer>", "no sentence in the summary"),
        ("<think>12+5=17</think><answer>so it is 17</answer>", "no sentence in the summary"),
        ("The answer is 17.", "no sentence in the summary"),
        ("<think>先算 12+5=17。</think><answer>The answer is 17.</answer>", "two languages"),
        ("<think>First add them. 再算一次。</think><answer>The answer is 17.</answer>", "two languages"),
        (
            "<think>" + "again and again we add " * 5 + "</think><answer>The answer is 17.</answer>",
            "thinking in circles",
        ),
        ("", "no sentence in the summary"),
    ],
)
def test_a_readable_completion_has_a_sentence_one_language_and_no_loop(completion: str, why: str) -> None:
    assert evaluate.unreadable(completion, row("17"), contract()) == why
    assert judged(completion)["readable"] is (why == "")


def test_a_translation_may_be_in_another_language_than_its_thinking() -> None:
    general = Prompt("t", "Translate: the fox is red.", "", "helpful", family="translate")
    assert evaluate.unreadable("<think>I see a fox.</think><answer>狐狸是红色的。</answer>", general, contract()) == ""


def test_language_is_measured_where_there_is_thinking_and_reflection_everywhere() -> None:
    found = judged("<think>wait, one 二 three 四. Check</think><answer>17</answer>")
    assert found["reflective"] == 2
    assert found["language"] == pytest.approx(4 / 6)
    assert judged(" but 17")["language"] is None


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
    sizes = drawing.watched(monkeypatch, drawing.interrupt_at(5))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    # What a kill in the middle of a write leaves: a torn part, never a torn shard.
    (tmp_path / "killed" / "scratch" / "shards" / "T1-p1" / "00001.part").write_text('{"id": "torn')
    run(tmp_path / "killed")
    assert len(sizes) == 7  # six shards, one of them begun twice
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_sampling_never_loads_the_weights(
    run: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.policy.models import folders

    run(tmp_path / "a")
    monkeypatch.setattr(folders, "load_model", lambda *_, **__: pytest.fail("the weights were loaded"))
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
    found = judged(completion)
    assert (found["strict"], found["correct"], found["format"], found["answer"]) == (strict, correct, shape, answer)
    assert found["reason"] == reason


def test_the_first_wrong_step_and_mixed_prose_are_marked() -> None:
    found = judged(text := "First 12+3=15. 再算15+2=18。")
    start, end = json.loads(json.dumps(found))["wrong_step"]
    assert found["mixed"] is True and text[start:end] == "15+2=18"


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
        {"rewards": ["language"]},
        {"rewards": ["length", "length"]},
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
    assert scripts.mixes_languages(completion, contract().answer_tags) is mixes
