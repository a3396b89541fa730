"""For every family sampler and trainer say what a plain forward pass of the row alone says, whatever way they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stages.core.contract import Contract
from stages.core.sampling import Request, Sampling
from stages.policy.engines.client import in_order
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.models import families
from stages.policy.models.prefix import mapped_logits, selected_logits, selected_logprobs
from tests.families import building

SHARED = [5 + n % 40 for n in range(60)]
PROMPTS = [[*SHARED, 9, 8], [*SHARED, 9, 8], [*SHARED, 7], [*SHARED, 4, 3, 2, 1, 0]]
COMPLETIONS = [[30, 31, 32, 33, 34, 35], [50, 51], [60, 61, 62], [70]]
EXACT = 5e-6
"""Nats a token between two ways of computing the same row in float32, at most."""


@pytest.fixture(scope="module", params=building.FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return building.model(request.param)


def alone(model: Any, prompt: list[int], said: list[int]) -> Tensor:
    """What a plain forward pass over one row, without cache, mask or padding, says of its completion."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + said]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]


def padded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width, tokens = max(map(len, PROMPTS)), max(map(len, COMPLETIONS))
    prompts, said = torch.zeros(4, width, dtype=torch.long), torch.zeros(4, tokens, dtype=torch.long)
    real, spoken = prompts.bool(), said.bool()
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        prompts[row, width - len(prompt) :], real[row, width - len(prompt) :] = torch.tensor(prompt), True
        said[row, : len(completion)], spoken[row, : len(completion)] = torch.tensor(completion), True
    return prompts, real, said, spoken


def test_what_is_sampled_has_the_logprobs_of_a_plain_forward_pass(model: Any) -> None:
    contract = Contract(
        template="", template_name="", eos_ids=[257], pad_id=258, tokenizer_sha256="", max_positions=512
    )
    asked = [Request(prompt_ids=ids, sampling=Sampling(max_tokens=8), seed=n, key=n) for n, ids in enumerate(PROMPTS)]
    engine = LocalEngine(model, contract)
    for prompt, one in zip(PROMPTS, in_order(asked, engine.sample(asked)), strict=True):
        assert not one.failed, one.fault
        torch.testing.assert_close(torch.tensor(one.logprobs), alone(model, prompt, one.ids), rtol=0, atol=EXACT)
    fast = not families.why_not_fast(model.config, 73)
    assert len(engine.notes) == (0 if fast else 1)


def test_padded_rows_with_a_shared_start_have_the_logprobs_of_each_row_alone(model: Any) -> None:
    rows = padded()
    wanted = [alone(model, prompt, said) for prompt, said in zip(PROMPTS, COMPLETIONS, strict=True)]
    with torch.no_grad():
        found, _ = selected_logprobs(model, *rows, temperature=1.0, shared_prefix=60)
        logits = selected_logits(model, *rows, shared_prefix=60).log_softmax(-1)
        numbers: list[int] = []

        def value(logits_NV: Tensor, first: int) -> Tensor:
            numbers.append(first)
            return logits_NV.log_softmax(-1)

        mapped = mapped_logits(model, rows, value, 60)
    for row, one in enumerate(wanted):
        torch.testing.assert_close(found[row, : len(one)], one, rtol=0, atol=EXACT)
    ids = torch.tensor([token for said in COMPLETIONS for token in said])[:, None]
    for every in (logits, mapped):
        torch.testing.assert_close(every.gather(1, ids)[:, 0], torch.cat(wanted), rtol=0, atol=EXACT)
    assert numbers[0] == 0 and numbers == sorted(numbers)
