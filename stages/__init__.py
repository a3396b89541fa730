"""The rooms of the house: one module per stage of the DeepSeek-R1 recipe.

A raw problem walks in at `prepare` and becomes prompts with checked answers; `rl` lets a base model practise on
them until it reasons (R1-Zero); `eval` measures what it learned on problems it never saw. Each stage takes sealed
artifacts, returns one unsealed artifact, and knows nothing of the others: the runner in `stages.core` carries things
between them. What enters: nothing. What leaves: STAGES, the command name of each stage and the module it lives in.
"""

from __future__ import annotations

STAGES: dict[str, str] = {
    "prepare": "stages.prepare",
    "sft": "stages.sft",
    "rl": "stages.rl",
    "sample": "stages.sample",
    "curate": "stages.curate",
    "prefer": "stages.prefer",
    "reward-model": "stages.reward_model",
    "logprobs": "stages.logprobs",
    "distill": "stages.distill",
    "eval": "stages.evaluate",
    "kl": "stages.kl",
}
