"""GRPO in one flat file: a model and problems enter, a model that reasons better leaves.

The whole of what `r1 rl` does to the weights, to be read from top to bottom: ask each problem many times, judge the
answers by rules, compare each with the others of its group, make what was better likelier. The parts are the
project's own, and one step gives the same weights as the real trainer's, bit for bit (tests/examples/test_flat_rl.py).
What the trainer adds is not in the method: checkpoints, validation, micro-batches, other engines, figures, judges.

    python examples/flat_rl.py            # on the embedded base, a few minutes on two cores

Axes at the end of tensors' names: B completions, P problems, G completions of a problem, T tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from stages.core.artifact import Model, Prompts
from stages.core.contract import Contract
from stages.core.recipe.parts import Objective, taken
from stages.core.rows import Prompt
from stages.core.run.sources import resolve
from stages.core.sampling import Sampling
from stages.core.storage.store import Store
from stages.core.templates import with_template
from stages.policy.engines.client import Prompted, in_order, requests
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.models.folders import load_model, load_tokenizer
from stages.policy.models.prefix import selected_logprobs, shared_prefix_length
from stages.policy.rl.losses import LossInputs, LossNormaliser, group_advantages, policy_loss
from stages.policy.rl.own_loss import load_loss
from stages.policy.seeding import PromptOrder, derive, permutation
from stages.rewards.grading import Grader
from stages.rewards.scoring import total
from stages.rl import Recipe


def train(folder: Path, prompts: Sequence[Prompt], recipe: Recipe, seed: int, tell: Callable[[str], None]) -> Any:
    """Return the model of `folder` after `recipe.steps` updates; `tell` hears a line a step."""
    contract = with_template(
        Contract.read(folder), recipe.template
    )  # how a problem becomes a prompt, what ends an answer
    tokenizer, policy = load_tokenizer(folder), load_model(folder)
    reference = copy.deepcopy(policy)  # what the KL keeps the policy near to
    engine = LocalEngine(policy, contract)  # samples from the very weights that are trained
    optimizer = torch.optim.AdamW(
        policy.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.adam_betas,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    objective, loss_function = taken(Objective, recipe), load_loss(recipe.loss)
    grader = Grader(contract=contract, rewards=recipe.rewards, options=recipe.reward_options)
    sampling = Sampling(temperature=recipe.temperature, max_tokens=recipe.max_completion_tokens)
    prompt_ids = {row.id: tokenizer(contract.render(row.problem))["input_ids"] for row in prompts}
    prompted = {name: Prompted.of(ids) for name, ids in prompt_ids.items()}
    order = PromptOrder(len(prompts), recipe.prompts_per_step * recipe.minibatches, seed)
    step = reference_step = 0

    while step < recipe.steps:
        number = step // recipe.minibatches
        if recipe.reference_steps and step - step % recipe.reference_steps > reference_step:
            reference.load_state_dict(policy.state_dict())  # R1: replaced whole, every 400 steps
            reference_step = step

        # Ask: a group of completions for each problem, each completion with a seed of its own.
        rows = [prompts[index] for index in order.rollout(number) for _ in range(recipe.group_size)]
        asked = requests(rows, prompted, 1, sampling, derive(seed, "rollout", number))
        completions = in_order(asked, engine.sample(asked))

        # Judge: each reward is a rule; what none could judge is NaN, and moves nothing.
        judged = grader.grade(completions, rows, tokenizer)
        earned = [total(one.verdicts, recipe.rewards) for one in judged]
        rewards_B = torch.tensor([float("nan") if one is None else one for one in earned])

        # Compare: an answer is as good as it is better than the others of its group. No value model is needed.
        rewards_PG = rewards_B.view(-1, recipe.group_size)
        advantages_B = group_advantages(rewards_PG, scale=recipe.scale_rewards).flatten()

        # Learn: the rollout is dealt into minibatches at random, and each makes one update.
        shared = shared_prefix_length([prompt_ids[row.id] for row in rows])  # the template: computed once for all rows
        dealt = permutation(len(rows), seed=derive(seed, "minibatches", number))
        for chosen in torch.tensor(dealt).view(recipe.minibatches, -1).tolist():
            chosen.sort(key=lambda place: len(completions[place].ids))
            prompt_BT, prompt_mask_BT = padded([prompt_ids[rows[place].id] for place in chosen], "left")
            ids_BT, mask_BT = padded([completions[place].ids for place in chosen], "right")
            batch = (prompt_BT, prompt_mask_BT, ids_BT, mask_BT)
            how: Any = {"temperature": recipe.temperature, "shared_prefix": shared}
            logprobs_BT, _ = selected_logprobs(policy, *batch, **how)
            with torch.no_grad():
                ref_BT, _ = selected_logprobs(reference, *batch, **how)
            # At the first minibatch the policy is still the one that sampled: its ratio to itself is exactly 1.
            drawn = [torch.tensor(completions[place].logprobs) for place in chosen]
            fresh = step % recipe.minibatches == 0
            old_BT = logprobs_BT.detach() if fresh else pad_sequence(drawn, batch_first=True)
            inputs = LossInputs(
                logprobs_BT=logprobs_BT,
                old_logprobs_BT=old_BT,
                ref_logprobs_BT=ref_BT,
                advantages=advantages_B[chosen],
                mask_BT=mask_BT,
                normaliser=LossNormaliser(
                    rows=len(chosen), tokens=int(mask_BT.sum()), max_tokens=recipe.max_completion_tokens
                ),
            )
            loss, _ = policy_loss(loss_function, inputs, objective)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(policy.parameters(), recipe.max_grad_norm or float("inf"))
            optimizer.step()
            step += 1
            tell(f"step {step}: reward {rewards_B.nanmean():.3f}, loss {loss.item():+.5f}")
            if step == recipe.steps:
                break
    return policy


def padded(rows: Sequence[Sequence[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of token ids as one tensor, and where it holds real tokens; both [B, T]."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_side=side)
    mask = pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True, padding_side=side)
    return ids, mask.bool()


if __name__ == "__main__":
    store = Store()  # as for every command: $R1_HOME
    base, problems = resolve("world:base", Model, store), resolve("world:train", Prompts, store)
    settings = Recipe(
        prompts_per_step=8,
        group_size=16,
        minibatches=4,
        steps=24,
        learning_rate=2e-4,  # R1's 3e-6 is for a model a million times as large
        max_completion_tokens=128,
    )
    train(base.path, problems.rows(), settings, seed=0, tell=print)
