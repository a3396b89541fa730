"""A key that nothing reads under the choices of its recipe is refused, and taken under those that read it."""

from __future__ import annotations

from typing import Any

import pytest

from stages import curate, distill, prefer, prepare, rl, sft
from stages.core.errors import RecipeError
from stages.core.recipe.generation import GenerationSettings

ANSWERS = {"steps": 7, "max_completion_tokens": 9, "temperature": 0.5, "divergence": 0.25}
GOLDS = {
    "answer_pattern": "(.)", "verifier": "exact", "options": False, "first_option": 1, "several": "any",
    "real_answers": ["none"],
}  # fmt: skip
LABELLER = {"temperature": 0.5, "max_tokens": 9, "dtype": "bfloat16", "template": "plain"}
MODES: list[tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (distill, {"mode": "traces"}, {"mode": "on-policy"}, ANSWERS),
    (distill, {"mode": "logprobs"}, {"mode": "on-policy"}, ANSWERS),
    (distill, {"mode": "on-policy"}, {"mode": "traces"}, {"max_tokens": 9, "too_long": "drop"}),
    (rl, {"algorithm": "grpo"}, {"algorithm": "ppo"},
     {"gae_lambda": 0.9, "value_learning_rate": 1e-4, "value_clip": 0.2}),
    (rl, {"importance": "none"}, {"importance": "mask"}, {"importance_cap": 3.0}),
    (sft, {"lr_schedule": "constant"}, {"lr_schedule": "cosine"}, {"min_lr_share": 0.5}),
    (prefer, {"kind": "pairs"}, {"kind": "points"}, {"safe_above": 6.5}),
    (prefer, {"kind": "points"}, {"kind": "pairs"}, {"min_margin": 2.0, "pairs_per_prompt": 3}),
    (prefer, {}, {"labeller": "model"}, LABELLER),
    (curate, {"rewriter": "rules"}, {"rewriter": "model"}, {"rewriter_manner": GenerationSettings(max_tokens=9)}),
    (prepare, {"source": "x", "kind": "conversations"}, {"source": "x"}, GOLDS),
    (prepare, {"source": "x", "kind": "preferences"}, {"source": "x"}, GOLDS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "unread", "read", "key", "value"),
    [(stage, unread, read, *item) for stage, unread, read, keys in MODES for item in keys.items()],
)
def test_a_key_that_nothing_reads_is_refused_by_name(
    stage: Any, unread: dict[str, Any], read: dict[str, Any], key: str, value: Any
) -> None:
    stage.Recipe(**unread)
    stage.Recipe(**read, **{key: value})
    with pytest.raises(RecipeError, match=f"`{key}` must be left out"):
        stage.Recipe(**unread, **{key: value})
