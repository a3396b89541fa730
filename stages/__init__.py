"""The rooms of the house: one module per stage of the DeepSeek-R1 recipe.

A raw problem walks in at `prepare`. `rl` lets a base practise until it reasons (R1-Zero); `sample` and `curate` turn
what it says into readable conversations, from which `sft` makes a cold start; `rl` practises again, one language a
thought; `sample` and `curate` reject, and `sft` begins anew from the base. `prefer` and `reward-model` make the
judges for the last `rl`, of all scenarios: R1. `distill` (with `logprobs`) passes it on to small students, `eval`
measures each on problems it never saw, `kl` looks into the formulas, and `export` hands a model to the world. Each
stage takes sealed artifacts, returns one unsealed artifact, and knows nothing of the others: the runner in
`stages.core` carries things between them. What enters: nothing. What leaves: STAGES, the command name of each stage and
the module it lives in.
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
    "export": "stages.export",
}
