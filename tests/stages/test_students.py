"""Every published student's style, as a tiny model of its real config class, in the three ways to learn.

The sizes stand to each other as the real ones do: one tokenizer of Qwen2.5 under embeddings of 271 and 399 rows more
(151,665 tokens; 151,936 rows up to 3B, 152,064 from 7B on), the small one tied to its output layer, the large one not;
Llama 3 untied and without a spare row; SmolLM2 tied and without one, with a tokenizer of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages import distill, logprobs
from stages.core.artifact import Logprobs, Model
from stages.core.contract import Contract
from stages.core.errors import InputError
from tests.policy import pairs, tiny
from tests.stages.test_distill import QUICK, run

STYLES: dict[str, dict[str, Any]] = {
    "qwen-1.5b": {"more": 271, "tied": True},
    "qwen-7b": {"more": 399, "tied": False},
    "llama-8b": {"llama": True, "tied": False, "bos": True},
    "smollm2": {"llama": True, "tied": True, "digits": True, "added": ("<|im_start|>",)},
    "qwen3": {"more": 267, "tied": True, "added": ("<tool_response>", "</tool_response>")},
    "r1-distill": {"more": 399, "tied": False, "renamed": True},
}
QWEN = ("qwen-1.5b", "qwen-7b")


def tokenizer(style: dict[str, Any]) -> Any:
    """Bytes as tokens; begun with a token of its own, cut into digits, with tokens more or another name for the end."""
    from tokenizers import pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = pairs.words((*style.get("added", ()), *(("<|begin|>",) if style.get("bos") else ())))
    if style.get("renamed"):
        text = made.backend_tokenizer.to_str().replace("<eos>", "<\\uff5cend\\uff5c>")
        return _plain(text, "<\uff5cend\uff5c>")
    if not style.get("llama"):
        return made
    inner = made.backend_tokenizer
    if style.get("bos"):
        special = [("<|begin|>", inner.token_to_id("<|begin|>"))]
        inner.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=special)
    if style.get("digits"):
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        inner.pre_tokenizer = pre_tokenizers.Sequence(parts)
    bos = "<|begin|>" if style.get("bos") else None
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token="<eos>", pad_token="<pad>", unk_token=None,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _plain(text: str, eos: str) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), eos_token=eos, pad_token="<pad>")


def model(folder: Path, style: dict[str, Any], seed: int) -> None:
    """A model of the style's real class, its embedding `more` rows longer than its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    from stages.policy.models import folders

    torch.manual_seed(seed)
    words = tokenizer(style)
    kinds: Any = (LlamaConfig, LlamaForCausalLM) if style.get("llama") else (Qwen2Config, Qwen2ForCausalLM)
    config = kinds[0](
        vocab_size=len(words) + style.get("more", 0), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.15,
        tie_word_embeddings=style["tied"], bos_token_id=words.bos_token_id,
    )  # fmt: skip
    contract = Contract(
        template=pairs.TEMPLATE, template_name="custom", eos_ids=[words.eos_token_id], pad_id=words.pad_token_id,
        tokenizer_sha256="", max_positions=128,
    )  # fmt: skip
    folders.save_model(kinds[1](config), words, contract, folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of each style, traces, prompts, and what the large Qwen says of the traces."""
    folder = tmp_path_factory.mktemp("students")
    for seed, (name, style) in enumerate(STYLES.items()):
        model(folder / name, style, seed)
    model(folder / "llama-70b", STYLES["llama-8b"], 77)
    pairs.traces(folder / "traces", 8, length=2)
    pairs.prompts(folder / "prompts", 4)
    for teacher in ("qwen-7b", "llama-70b"):
        given = {"teacher": named(folder, teacher), "conversations": "traces"}
        run(folder / f"{teacher}-cache", logprobs, {"top_k": 8, "whole_tokens": 10}, given)
    return folder


def named(home: Path, name: str) -> Model:
    return Model(path=home / name, record=tiny.record("model", name))


def cache(home: Path, teacher: str) -> Logprobs:
    return Logprobs(path=home / f"{teacher}-cache", record=tiny.record("logprobs", f"{teacher}-cache"))


def sealed_as(home: Path, made: Path, student: str) -> Any:
    """The model that plain transformers loads, with the student's own embedding, tied as before."""
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(made)
    base = AutoModelForCausalLM.from_pretrained(home / student)
    assert found.config.vocab_size == base.config.vocab_size == found.get_input_embeddings().weight.shape[0]
    assert found.get_output_embeddings().weight.shape == base.get_output_embeddings().weight.shape
    tied = found.get_output_embeddings().weight is found.get_input_embeddings().weight
    assert tied == STYLES[student]["tied"] == found.config.tie_word_embeddings
    return found


def beyond(found: Any, rows: int) -> float:
    """The probability that a model gives to what no text has, in the mean over some positions."""
    import torch

    with torch.no_grad():
        return float(found(torch.arange(1, 60)[None]).logits.softmax(-1)[..., rows:].sum(-1).mean())


@pytest.mark.parametrize("student", STYLES)
def test_traces_teach_every_style_of_student(home: Path, student: str) -> None:
    inputs = {"student": named(home, student), "teacher": named(home, "qwen-7b"), "conversations": "traces"}
    draft = run(home / f"traces-{student}", distill, {**QUICK, "heldout_share": 0.0}, inputs)
    assert draft.metrics["rows"] == 8
    sealed_as(home, home / f"traces-{student}", student)


@pytest.mark.parametrize(
    ("teacher", "student"), [("qwen-7b", "qwen-1.5b"), ("qwen-7b", "qwen-7b"), ("llama-70b", "llama-8b")]
)
def test_log_probabilities_are_aligned_over_unequal_rows_and_draw_the_student_away_from_those_no_text_has(
    home: Path, teacher: str, student: str
) -> None:
    inputs = {"student": named(home, student), "logprobs": cache(home, teacher)}
    made = home / f"logprobs-{student}"
    draft = run(made, distill, {"mode": "logprobs", **QUICK, "epochs": 8}, inputs)
    assert draft.metrics["heldout_rows"] == 2
    rows = len(tokenizer(STYLES[student]))
    found = sealed_as(home, made, student)
    if STYLES[student].get("more"):
        from transformers import AutoModelForCausalLM

        base = beyond(AutoModelForCausalLM.from_pretrained(home / student), rows)
        assert base > 0.3 and beyond(found, rows) < 0.9 * base
    if teacher != student:
        assert draft.metrics["heldout_kl_after"] < draft.metrics["heldout_kl_before"]


@pytest.mark.parametrize(
    ("teacher", "student"), [("qwen-7b", "qwen-1.5b"), ("qwen-1.5b", "qwen-7b"), ("llama-70b", "llama-8b")]
)
def test_a_student_speaks_for_itself_beside_a_teacher_of_other_rows(home: Path, teacher: str, student: str) -> None:
    recipe = {"mode": "on-policy", "learning_rate": 5e-3, "steps": 2, "batch_size": 2, "max_completion_tokens": 6}
    inputs = {"student": named(home, student), "teacher": named(home, teacher), "prompts": "prompts"}
    draft = run(home / f"spoken-{student}", distill, recipe, inputs, micro_batch=2)
    assert draft.metrics["steps"] == 2
    sealed_as(home, home / f"spoken-{student}", student)


@pytest.mark.parametrize("mode", ["logprobs", "on-policy"])
@pytest.mark.parametrize("student", [name for name in STYLES if name not in QWEN])
def test_another_tokenizer_is_refused_and_traces_are_named(home: Path, mode: str, student: str) -> None:
    """Of Llama and SmolLM2, of Qwen3 (the same words and a few more), of an R1 distill (another end at the same id)."""
    given: dict[str, Any] = {"logprobs": cache(home, "qwen-7b")}
    if mode == "on-policy":
        given = {"teacher": named(home, "qwen-7b"), "prompts": "prompts"}
    with pytest.raises(InputError, match=f"mode {mode} needs one tokenizer") as caught:
        run(
            home / f"refused-{mode}-{student}",
            distill,
            {"mode": mode, **QUICK},
            {"student": named(home, student), **given},
        )
    assert "`mode=traces` works with any tokenizer" in caught.value.hint


def test_a_teacher_that_knows_more_tokens_tells_its_log_probabilities_in_the_student_s(home: Path) -> None:
    teacher, student = named(home, "qwen3"), named(home, "qwen-1.5b")
    with pytest.raises(InputError, match="hold others, such as <tool_response>") as caught:
        run(home / "own", logprobs, {"top_k": 8}, {"teacher": teacher, "conversations": "traces"})
        own = Logprobs(path=home / "own", record=tiny.record("logprobs", "own"))
        run(home / "refused-own", distill, {"mode": "logprobs", **QUICK}, {"student": student, "logprobs": own})
    assert "inputs.student=STUDENT" in caught.value.hint and "mode=traces" in caught.value.hint
    given = {"teacher": teacher, "student": student, "conversations": "traces"}
    draft = run(home / "theirs", logprobs, {"top_k": 8, "whole_tokens": 10}, given)
    assert draft.metrics["vocabulary"] == len(tokenizer(STYLES["qwen-1.5b"])) < len(tokenizer(STYLES["qwen3"]))
    theirs = Logprobs(path=home / "theirs", record=tiny.record("logprobs", "theirs"))
    draft = run(home / "learned", distill, {"mode": "logprobs", **QUICK}, {"student": student, "logprobs": theirs})
    assert draft.metrics["heldout_kl_after"] < draft.metrics["heldout_kl_before"]


def test_a_teacher_that_knows_more_tokens_reads_what_a_student_says(home: Path) -> None:
    recipe = {"mode": "on-policy", "learning_rate": 5e-3, "steps": 1, "batch_size": 2, "max_completion_tokens": 6}
    inputs = {"student": named(home, "qwen-1.5b"), "teacher": named(home, "qwen3"), "prompts": "prompts"}
    assert run(home / "heard", distill, recipe, inputs, micro_batch=2).metrics["steps"] == 1
    sealed_as(home, home / "heard", "qwen-1.5b")
