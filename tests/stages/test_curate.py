"""The curate stage: what is kept, that every discard is counted, how it is rewritten and mixed, and that it resumes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import curate
from stages.core.artifact import Conversations, Draft, Rollouts
from stages.core.data import yields
from stages.core.errors import InputError, RecipeError
from stages.core.rows import Conversation, Prompt, Sample, write_rows
from stages.core.run import beside, events
from stages.policy.engines import worker
from stages.rewards import rejection
from tests.policy import drawing, parrot, tiny
from tests.rewards.contracts import contract, row

GOOD = "<think>12+5=17,</think><answer>17</answer>"
FILES = ("conversations.jsonl", "yield.json", "discarded.jsonl")


def prompt(name: str, **other: Any) -> Prompt:
    return row(**{"id": name, "problem": f"What is 12+5, {name}?", "family": "sum", **other})


def rollouts(folder: Path, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> Rollouts:
    folder.mkdir(parents=True)
    write_rows(folder / "prompts.jsonl", [one for one, _ in asked])
    samples = [
        Sample(id=one.id, sample=n, completion=said.removesuffix("…"), tokens=9, truncated=said.endswith("…"))
        for one, completions in asked
        for n, said in enumerate(completions)
    ]
    write_rows(folder / "samples.jsonl", samples)
    contract().write(folder / "contract.json")
    return Rollouts(path=folder, record=tiny.record("rollouts", "drawn"))


def conversations(folder: Path, rows: Sequence[Conversation]) -> Conversations:
    folder.mkdir(parents=True)
    write_rows(folder / "conversations.jsonl", rows)
    return Conversations(path=folder, record=tiny.record("conversations", folder.name))


def run(folder: Path, recipe: dict[str, Any], **inputs: Any) -> Draft:
    work = tiny.work(folder)
    try:
        return curate.run(curate.Recipe(**{"general_share": 0.0, **recipe}), curate.Inputs(**inputs), work)
    finally:
        work.events.close()


def kept(folder: Path) -> list[Conversation]:
    return Conversations(path=folder, record=tiny.record("conversations", "made")).rows()


def discards(folder: Path) -> dict[str, int]:
    found = yields.read_yield(folder)
    assert found is not None
    return {reason: count for reason, count in found["discards"].items() if count}


def test_right_and_readable_completions_become_reasoning_and_summary(tmp_path: Path) -> None:
    made = rollouts(tmp_path / "in", [(prompt("a"), [GOOD]), (prompt("b", language="zh"), [GOOD])])
    draft = run(tmp_path / "out", {}, rollouts=made)
    found = {one.id: one for one in kept(tmp_path / "out")}
    assert (found["a-0"].problem, found["a-0"].reasoning) == ("What is 12+5, a?", "12+5=17.")
    assert (found["a-0"].summary, found["b-0"].summary) == ("The answer is 17.", "答案是 17。")
    assert (found["b-0"].language, found["b-0"].reasoning, found["b-0"].family) == ("zh", "12+5=17。", "sum")
    assert draft.kind is Conversations and draft.metrics["rows"] == draft.metrics["with_reasoning"] == 2
    assert draft.metrics["flops"] == {"sampling": 0.0}


def test_without_a_rewriter_reasoning_and_answer_stay_as_they_were(tmp_path: Path) -> None:
    run(tmp_path / "out", {"rewriter": "none"}, rollouts=rollouts(tmp_path / "in", [(prompt("a"), [GOOD])]))
    assert [(one.reasoning, one.summary) for one in kept(tmp_path / "out")] == [("12+5=17,", "17")]


def test_a_kept_row_names_the_model_that_wrote_it(tmp_path: Path) -> None:
    made = rollouts(tmp_path / "in", [(prompt("a"), [GOOD])])
    made.record.inputs["model"] = "zero@3"
    run(tmp_path / "out", {}, rollouts=made)
    assert [one.source for one in kept(tmp_path / "out")] == ["zero@3"]


def test_each_discard_is_counted_under_its_reason_and_listed(tmp_path: Path) -> None:
    said = [
        GOOD,
        GOOD.replace(",", ""),
        "<think>12+5=18</think><answer>18</answer>",
        "<think>12+5=17</think> 17",
        "<think>12+5…",
        "<think>先算12+5=17。</think><answer>17</answer>",
        "<think>First 12+5=17.</think><answer>17</answer>",
        "<think>Then 12+5=17.</think><answer>17</answer>",
    ]
    made = rollouts(tmp_path / "in", [(prompt("a"), said), (prompt("b", problem="Compute 1+2+3"), [GOOD])])
    against = tiny.prompts(tmp_path / "against", 1)
    write_rows(against.path / "prompts.jsonl", [prompt("x", problem="compute 1+2+3")])
    draft = run(tmp_path / "out", {"keep_per_prompt": 2}, rollouts=made, against=against)
    assert discards(tmp_path / "out") == {
        "truncated": 1,
        "wrong answer": 1,
        "no strict format": 1,
        "other language than the prompt": 1,
        "contaminated": 1,
        "duplicate": 1,
        "more than keep_per_prompt": 1,
    }
    assert draft.metrics["discards"] == discards(tmp_path / "out")
    assert sorted(one.id for one in kept(tmp_path / "out")) == ["a-0", "a-6"]
    left = [json.loads(line) for line in (tmp_path / "out" / "discarded.jsonl").read_text().splitlines()]
    assert {"id": "a", "sample": 2, "reason": "wrong answer"} in left and len(left) == 7
    assert (draft.metrics["prompts"], draft.metrics["prompts_kept"]) == (2, 1)


PIECES = ("<think>", "</think>", "<answer>", "</answer>", "17", "18", "First 12+5=17. ", "先算", "\n", "…")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), max_size=4), min_size=1, max_size=3)
)
def test_kept_and_discarded_add_up_to_all_samples(completions: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        asked = [(prompt("good"), [GOOD]), *((prompt(f"p{n}"), said) for n, said in enumerate(completions))]
        run(Path(home) / "out", {"keep_per_prompt": 1}, rollouts=rollouts(Path(home) / "in", asked))
        found = yields.read_yield(Path(home) / "out")
        assert found is not None
        total = 1 + sum(map(len, completions))
        assert found["samples"] == total == found["kept"] + sum(found["discards"].values())
        assert found["kept"] == len(kept(Path(home) / "out"))


def mixture(folder: Path, count: int = 12, general: int = 40) -> dict[str, Any]:
    thoughts = [f"<think>{n}+0={n}. 12+5=17</think><answer>17</answer>" for n in range(count)]
    families = ("facts", "hello")
    rows = [Conversation(f"g-{n}", f"Say {n}", "I think.", "Hi.", family=families[n % 2]) for n in range(general)]
    seeds = [Conversation(f"seed-{n}", f"Seed {n}", "I see.", "The answer is 1.", source="seed") for n in range(3)]
    return {
        "rollouts": rollouts(folder / "in", [(prompt("a"), thoughts)]),
        "general": conversations(folder / "general", rows),
        "extra": conversations(folder / "extra", seeds),
    }


def test_general_rows_are_mixed_in_by_their_share_and_extra_rows_whole(tmp_path: Path) -> None:
    draft = run(tmp_path / "out", {"general_share": 0.25}, **mixture(tmp_path))
    rows = kept(tmp_path / "out")
    assert (draft.metrics["from_rollouts"], draft.metrics["from_general"], draft.metrics["from_extra"]) == (12, 4, 3)
    assert len(rows) == 19 and len({one.id for one in rows}) == 19
    assert sum(one.source == "seed" for one in rows) == 3


def test_the_simplest_prompts_get_no_reasoning(tmp_path: Path) -> None:
    run(tmp_path / "out", {"general_share": 0.75}, **mixture(tmp_path))
    by_family = {
        family: [one for one in kept(tmp_path / "out") if one.family == family] for family in ("hello", "facts")
    }
    assert by_family["hello"] and not any(one.reasoning for one in by_family["hello"])
    assert by_family["facts"] and all(one.reasoning for one in by_family["facts"])


def test_too_few_general_rows_are_all_taken_and_told(tmp_path: Path) -> None:
    draft = run(tmp_path / "out", {"general_share": 0.25}, **mixture(tmp_path, general=1))
    assert (draft.metrics["from_general"], draft.metrics["general_missing"]) == (1, 3)
    told = events.read(tmp_path / "out" / "events.jsonl", "warning")
    assert told[0]["text"] == "1 general rows of the 4 wanted for a share of 0.25"


def test_general_and_extra_rows_are_decontaminated_too(tmp_path: Path) -> None:
    against = tiny.prompts(tmp_path / "against", 1)
    write_rows(against.path / "prompts.jsonl", [prompt("x", problem="seed 1"), prompt("y", problem="say 7")])
    draft = run(tmp_path / "out", {"general_share": 0.25}, against=against, **mixture(tmp_path))
    assert draft.metrics["from_extra"] == 2
    assert not {"Seed 1", "Say 7"} & {one.problem for one in kept(tmp_path / "out")}
    found = yields.read_yield(tmp_path / "out")
    assert found is not None and found["sources"]["contaminated"] == 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(tmp_path: Path) -> None:
    inputs = mixture(tmp_path)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, {"general_share": 0.25, "seed": seed}, **inputs)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert kept(tmp_path / "a") != kept(tmp_path / "c")


def test_nothing_kept_is_an_error_that_names_the_commonest_reason(tmp_path: Path) -> None:
    made = rollouts(tmp_path / "in", [(prompt("a"), ["nothing", "<think>12+5=18</think><answer>18</answer>"])])
    extra = conversations(tmp_path / "extra", [Conversation("seed-1", "p", "r", "s")])
    with pytest.raises(InputError, match="none of 2 completions is kept; most often: wrong answer"):
        run(tmp_path / "out", {}, rollouts=made, extra=extra)


def test_a_sample_of_no_known_prompt_is_an_error(tmp_path: Path) -> None:
    made = rollouts(tmp_path / "in", [(prompt("a"), [GOOD])])
    write_rows(made.path / "prompts.jsonl", [prompt("b")])
    with pytest.raises(InputError, match="the prompt `a`"):
        run(tmp_path / "out", {}, rollouts=made)


def general_rollouts(folder: Path) -> Rollouts:
    said = ["<think>I know foxes.</think><answer>They are red.</answer>", "<think>Hm.</think><answer>Blue.</answer>"]
    return rollouts(folder, [(prompt("fox", verifier="helpful", answer="Red."), said), (prompt("a"), [GOOD])])


@pytest.mark.parametrize(
    ("words", "reasons", "ids"),
    [
        ('{"analysis": "fine", "correctness": "correct"}', {}, ["a-0", "fox-0", "fox-1"]),
        ('{"analysis": "no", "correctness": "incorrect"}', {rejection.JUDGED_WRONG: 2}, ["a-0"]),
        ("That is correct.", {rejection.UNREADABLE_JUDGE: 2}, ["a-0"]),
    ],
)
def test_a_generative_judge_decides_where_no_rule_can(
    tmp_path: Path, words: str, reasons: dict[str, int], ids: list[str]
) -> None:
    judge = parrot.model(tmp_path / "judge", words)
    recipe = {"judge_manner": worker.GenerationSettings(max_tokens=8)}
    draft = run(tmp_path / "out", recipe, rollouts=general_rollouts(tmp_path / "in"), judge=judge)
    assert discards(tmp_path / "out") == reasons
    assert sorted(one.id for one in kept(tmp_path / "out")) == ids
    assert draft.metrics["flops"]["sampling"] > 0


def test_without_a_judge_what_no_rule_can_tell_is_left_out_and_with_judge_all_it_hears_everything(
    tmp_path: Path,
) -> None:
    made = general_rollouts(tmp_path / "in")
    run(tmp_path / "none", {}, rollouts=made)
    assert discards(tmp_path / "none") == {rejection.UNJUDGED: 2}
    strict = {"judge_all": True, "judge_manner": worker.GenerationSettings(max_tokens=8)}
    judge = parrot.model(tmp_path / "judge", '{"correctness": "incorrect"}')
    with pytest.raises(InputError, match="wrong by the judge"):
        run(tmp_path / "all", strict, rollouts=made, judge=judge)


def rewriting_inputs(folder: Path, words: str) -> dict[str, Any]:
    foreign = GOOD.replace("12+5", "先算12+5")
    asked = [(prompt("a"), [GOOD, foreign]), (prompt("b", answer="18"), [GOOD.replace("17", "18")])]
    return {"rollouts": rollouts(folder / "in", asked), "rewriter": parrot.model(folder / "rewriter", words)}


BY_MODEL = {"rewriter": "model", "rewriter_manner": worker.GenerationSettings(max_tokens=8)}


def test_a_model_that_rewrites_may_not_change_an_answer(tmp_path: Path) -> None:
    run(tmp_path / "out", BY_MODEL, **rewriting_inputs(tmp_path, "We add: \\boxed{17}."))
    assert discards(tmp_path / "out") == {rejection.CHANGED: 1}
    found = {one.id: one for one in kept(tmp_path / "out")}
    assert {one.summary for one in found.values()} == {"We add: \\boxed{17}."}
    assert found["a-0"].reasoning == "12+5=17,"  # in the prompt's language already
    assert found["a-1"].reasoning == "We add: \\boxed{17}."  # was Chinese: translated, as far as a parrot can


def test_a_translation_in_another_language_fails_the_filter(tmp_path: Path) -> None:
    run(tmp_path / "out", BY_MODEL, **rewriting_inputs(tmp_path, "答案 \\boxed{17}"))
    assert discards(tmp_path / "out") == {rejection.UNREADABLE_REWRITE: 1, rejection.CHANGED: 1}


@pytest.mark.parametrize("recipe", [{"rewriter": "model"}, {"rewriter": "rules"}])
def test_a_rewriter_and_its_key_belong_together(tmp_path: Path, recipe: dict[str, Any]) -> None:
    inputs = {} if recipe["rewriter"] == "model" else {"rewriter": parrot.model(tmp_path / "rewriter", "ok")}
    with pytest.raises(RecipeError, match="`rewriter`"):
        run(tmp_path / "out", recipe, rollouts=rollouts(tmp_path / "in", [(prompt("a"), [GOOD])]), **inputs)


def test_killed_by_sigkill_and_run_again_it_ends_in_the_same_bytes_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "CHUNK", 1)
    inputs = rewriting_inputs(tmp_path, "We add: \\boxed{17}.")
    run(tmp_path / "whole", BY_MODEL, **inputs)
    asked = drawing.watched(monkeypatch, lambda batch: tiny.die() if batch == 3 and deadly else None)
    deadly = True
    child = os.fork()
    if child == 0:
        run(tmp_path / "killed", BY_MODEL, **inputs)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    deadly = False
    run(tmp_path / "killed", BY_MODEL, **inputs)
    assert len(asked) == 2  # one translation and three summaries in all, of which two were there
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_on_all_cores_and_in_short_stretches_the_bytes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [(prompt(f"p{n}"), [GOOD, GOOD, f"<think>{n}+0={n}. 12+5=17</think><answer>17</answer>"]) for n in range(9)]
    made = rollouts(tmp_path / "in", asked)
    against = tiny.prompts(tmp_path / "against", 1)
    write_rows(against.path / "prompts.jsonl", [prompt("x", problem="What is 12+5, p3?")])
    run(tmp_path / "whole", {"keep_per_prompt": 1}, rollouts=made, against=against)
    monkeypatch.setattr(curate, "ASKED", 9)
    monkeypatch.setattr(curate, "STRETCH", 4)
    monkeypatch.setattr(beside, "processes", lambda *_: 2)
    run(tmp_path / "parts", {"keep_per_prompt": 1}, rollouts=made, against=against)
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert discards(tmp_path / "parts") == {"contaminated": 3, "duplicate": 8, "more than keep_per_prompt": 8}


def test_a_model_that_is_asked_stretch_by_stretch_keeps_its_shards_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = rewriting_inputs(tmp_path, "We add: \\boxed{17}.")
    run(tmp_path / "whole", BY_MODEL, **inputs)
    monkeypatch.setattr(curate, "ASKED", 2)
    monkeypatch.setattr(curate, "ASKED_BYTES", 0)
    run(tmp_path / "parts", BY_MODEL, **inputs)
    workers = tmp_path / "parts" / "scratch" / "workers"
    assert {"rewriter-answer", "rewriter-answer-2"} <= {folder.name for folder in workers.iterdir()}
    told = [json.loads(line)["event"] for line in (tmp_path / "parts" / "events.jsonl").read_text().splitlines()]
    assert told.count("device") == 1, "the model is opened once for all stretches"
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_samples_of_a_prompt_that_do_not_follow_each_other_are_put_together(tmp_path: Path) -> None:
    made = rollouts(tmp_path / "in", [(prompt("a"), [GOOD]), (prompt("b"), [GOOD])])
    said = [Sample(id=name, sample=n, completion=GOOD, tokens=9, truncated=False) for n in (0, 1) for name in "ba"]
    write_rows(made.path / "samples.jsonl", said)
    parts = list(rejection.stretches(made.prompts(), made.samples(), 1, 0, where="drawn"))
    assert [[(row.id, row.sample) for row in part.samples] for part in parts] == [
        [("a", 0), ("a", 1)],
        [("b", 0), ("b", 1)],
    ]
    assert [[row.id for row in part.prompts] for part in parts] == [["a"], ["b"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_paragraph": 0},
        {"max_repetition": 1.5},
        {"repetition_ngram": 0},
        {"keep_per_prompt": -1},
        {"general_share": 1.0},
        {"ngram": 1},
        {"seed": -1},
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        curate.Recipe(**wrong)
