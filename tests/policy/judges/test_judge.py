"""A judge in use: what it reads, that padding and company change nothing, and that every score is a number in 0..1."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.errors import ContractError, MissingError
from stages.policy.judges import judge
from stages.policy.judges.judge import JudgeConfig, JudgeScorer
from stages.policy.models import folders
from stages.policy.models.importing import import_model
from tests.policy import tiny

PLAIN = "User: {prompt}. Assistant:"


def judge_config(kind: str, sees: str, max_tokens: int = 120) -> JudgeConfig:
    return JudgeConfig(kind=kind, sees=sees, template=PLAIN, max_tokens=max_tokens, dtype="float32", mean=0.2, std=2.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def folder(base: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed-looking helpful judge whose head is as it was drawn."""
    path = tmp_path_factory.mktemp("judge")
    model = judge.load_scalar_model(base.path, seed=3)
    folders.save_model(model, folders.load_tokenizer(base.path), base.contract, path)
    judge_config("pairwise", "summary").write(path)
    return path


@pytest.fixture
def helpful(folder: Path) -> JudgeScorer:
    return judge.load_judge(folder)


@pytest.fixture
def safe(folder: Path) -> JudgeScorer:
    loaded = judge.load_judge(folder)
    return JudgeScorer(loaded.model, loaded.tokenizer, loaded.contract, judge_config("pointwise", "response"))


def response(summary: str, reasoning: str = "hm") -> str:
    return f"<think>{reasoning}</think><answer>{summary}</answer>"


def test_a_helpful_judge_reads_the_summary_and_nothing_else(helpful: JudgeScorer) -> None:
    same = [response("yes", reasoning) for reasoning in ("", "a", "long and wrong " * 20)] + [
        "b</think> <answer> yes </answer>"
    ]
    scores = helpful(["q"] * 4, same)
    assert scores == [scores[0]] * 4
    assert helpful(["q"], [response("no")]) != [scores[0]] != helpful(["other"], [same[0]])


def test_a_safe_judge_reads_the_reasoning_too(safe: JudgeScorer) -> None:
    first, other, prefilled = safe(
        ["q"] * 3, [response("yes", "a"), response("yes", "b"), "a</think><answer>yes</answer>"]
    )
    assert first != other and first == pytest.approx(prefilled, abs=1e-6)
    assert safe(["q"], ["no tags at all"])[0] > 0  # whatever was written is the response


def test_a_score_does_not_depend_on_what_it_is_padded_with_or_asked_beside(helpful: JudgeScorer) -> None:
    problems = ["q", "a much longer question", "r"]
    texts = [response("a"), response("b" * 60), response("ends in padding <pad>")]
    alone = [helpful([problem], [text])[0] for problem, text in zip(problems, texts, strict=True)]
    together = helpful(problems, texts)
    assert together == pytest.approx(alone, abs=1e-6)
    assert helpful(problems[::-1], texts[::-1]) == pytest.approx(together[::-1], abs=1e-6)
    assert helpful(problems, texts) == together
    assert len(set(together)) == 3


def test_plain_transformers_reads_the_judge_and_agrees_with_padding_on_either_side(
    folder: Path, helpful: JudgeScorer
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.num_labels == 1 and not list(folder.glob("*.bin"))
    texts = ["User: q. Assistant: yes<eos>", "User: q. Assistant: no, and for long<eos>"]
    ours = helpful.raw(["q", "q"], [response("yes"), response("no, and for long")])
    for side in ("left", "right"):
        with torch.no_grad():
            theirs = model(**tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")).logits[:, 0]
        assert theirs.tolist() == pytest.approx(ours, abs=1e-4)


def test_what_cannot_be_read_gets_the_lowest_score_and_is_counted(helpful: JudgeScorer) -> None:
    unread = [
        "",
        "<think>a",
        "<think>a</think>b",
        "<think>a</think><answer>cut off",
        "<think><answer>a</answer></think>",
    ]
    scores = helpful(["q"] * 7, [*unread, response("x" * 200), response("")])
    assert scores[:6] == [0.0] * 6 and scores[6] > 0
    assert helpful.faults == {"no summary": 5, "too long": 1}


def test_no_score_is_ever_nan(helpful: JudgeScorer) -> None:
    helpful.model.score.weight.data[:] = math.nan
    assert helpful(["q"], [response("yes")]) == [0.0] and helpful.faults == {"not a number": 1}
    assert helpful([], []) == []


def test_a_batch_larger_than_a_pass_keeps_its_order(helpful: JudgeScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [response("ab" * (n % 7) + str(n)) for n in range(20)]
    whole = helpful(["q"] * 20, texts)
    monkeypatch.setattr(judge, "PASS_TOKENS", 64)
    assert helpful(["q"] * 20, texts) == pytest.approx(whole, abs=1e-6)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_a_score_lies_between_0_and_1_and_rises_with_the_output(one: float, other: float) -> None:
    made = judge_config("pairwise", "summary")
    low, high = sorted((one, other))
    assert 0.0 <= made.score(low) <= made.score(high) <= 1.0


def test_a_score_by_hand() -> None:
    made = judge_config("pairwise", "summary")
    assert made.score(0.2) == 0.5
    assert made.score(2.2) == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_first_head_is_its_seeds_and_torchs_own_chance_is_left_alone(base: Model) -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    heads = [judge.load_scalar_model(base.path, seed=seed).score.weight for seed in (1, 1, 2)]
    assert torch.rand(1) == before
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    policy = folders.load_model(base.path)
    assert torch.equal(
        policy.model.layers[0].mlp.up_proj.weight, judge.load_scalar_model(base.path).model.layers[0].mlp.up_proj.weight
    )


def test_a_judge_from_a_folder_is_imported_whole(folder: Path, helpful: JudgeScorer, tmp_path: Path) -> None:
    import_model(folder, tmp_path)
    problems, texts = ["q", "r"], [response("yes"), response("no")]
    assert judge.load_judge(tmp_path)(problems, texts) == helpful(problems, texts)


def test_a_folder_that_is_no_judge_is_named(base: Model, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="is no judge"):
        judge.load_judge(base.path)
    with pytest.raises(MissingError, match="holds no model"):
        judge.load_scalar_model(tmp_path)


@pytest.mark.parametrize("change", [{"std": 0.0}, {"std": -1.0}, {"mean": math.nan}, {"sees": None}])
def test_a_nature_that_gives_no_scores_is_refused(tmp_path: Path, change: dict[str, float | None]) -> None:
    judge_config("pairwise", "summary").write(tmp_path)
    file = tmp_path / judge.JUDGE_FILE
    written = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({name: value for name, value in written.items() if value is not None}))
    with pytest.raises(ContractError):
        JudgeConfig.read(tmp_path)


def test_the_text_a_judge_reads_is_prompt_and_response() -> None:
    contract = Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=9)
    assert judge.written("User: what {prompt}?. Assistant:", " it is ", contract).endswith("Assistant: it is")
    assert judge.written("<|user|>q<|assistant|>\n", "a", contract) == "<|user|>q<|assistant|>\na"
    chat = replace(contract, template="{{ messages }}", syntax="jinja", prefill="<think>\n", before_end="\n")
    assert judge.written("<|assistant|><think>\n", "<think>a</think>b ", chat) == "<|assistant|><think>a</think>b\n"
    assert judge.seen("a</think><answer>b</answer>", "response", contract) == "<think>a</think><answer>b</answer>"
    assert judge.seen("a</think><answer>b</answer>", "summary", contract) == "b"
