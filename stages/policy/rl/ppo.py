"""PPO with a learned value model, beside GRPO and on the same path: what the comparison of the two needs.

What enters and leaves is what `PolicyTrainer` takes and gives: rollouts, log-probabilities, the clipped objective,
checkpoints and figures are its own. The difference is where advantages come from. A value model, as large as the
policy (DeepSeekMath, arXiv 2402.03300 §4.1.1), foresees the reward from every token on; generalised advantage
estimation turns reward and values into an advantage for each token; and the KL is a penalty in the reward (k1 for each
token) instead of a term of the loss. Groups mean nothing here: every completion is a sample of its own.

The value model starts as a copy of the policy with a head of one zero, so it foresees 0 for everything at first. One
optimizer trains both, with a learning rate and a gradient norm for each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from stages.policy.models.prefix import selected_logits
from stages.policy.models.weights import Policy
from stages.policy.rl.grpo import PolicyTrainer
from stages.policy.rl.ppo_losses import explained_variance, gae, kl_rewards, value_loss, whiten
from stages.policy.rl.rollout import LoggedCompletion, Rollout

VALUE_FILE = "value.safetensors"
GAMMA = 1.0
"""Discount of later rewards: a completion is one episode, and its end is what counts."""


def value_model(policy: Policy) -> Policy:
    """Return a copy of a causal language model whose output layer gives one number, 0 at first, instead of logits."""
    made = policy.copy()
    module = made.module
    width = module.get_output_embeddings().weight.shape[1]
    head = nn.Linear(width, 1, device=module.device, dtype=module.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    module.config.get_text_config().tie_word_embeddings = False  # the head stands alone, whatever the policy ties
    module.set_output_embeddings(head)
    module.eval()
    made.train_whole(next(name for name, part in module.named_modules() if part is head))
    return made


class PPOTrainer(PolicyTrainer):
    """`PolicyTrainer` with a value model, advantages for each token and the KL in the reward."""

    def copy_policy(self) -> None:
        """Make the value model too."""
        super().copy_policy()
        self.value = value_model(self.policy)
        self.value.shard()
        self.kl_weight = self.objective.kl_weight
        self.objective = replace(self.objective, kl_weight=0.0)  # it is in the reward; the loss only reports it

    # ---- overridden: transformers calls these ----

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Let the same optimizer train the value model, in groups of its own."""
        first = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if first:
            for group in self._value_groups():
                optimizer.add_param_group(group)
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip the value model's gradient on its own: its size must not shorten the policy's step."""
        nn.utils.clip_grad_norm_(self.value.module.parameters(), self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Add the value model's gradient, and return the policy's loss.

        The value model's graph is gone before the policy's is built, so that both take the memory of one.
        """
        returns_BT = inputs["returns"]
        known_BT = inputs["completion_mask"] & ~returns_BT.isnan()
        errors_BT = value_loss(
            self._values(inputs), returns_BT, inputs["values"], known_BT, self.collector.recipe.value_clip
        )
        with torch.autocast(errors_BT.device.type, enabled=False):
            (errors_BT.sum() / max(inputs["normaliser"].tokens, 1)).backward()
        self.totals.sums["value_loss"] += errors_BT.sum().item()
        return super().compute_loss(model, inputs)

    # ---- rollouts ----

    @torch.no_grad()
    def take_logprobs(self, rollout: Rollout) -> None:
        """Take the values too, in the micro-batches that will be trained on."""
        super().take_logprobs(rollout)
        values: list[Tensor] = []
        for rows in self.micro_batches():
            found_BT = self._values(self._batch(rollout, rows)).cpu()
            values += [found_BT[place, : len(rollout.completion_ids[row])].clone() for place, row in enumerate(rows)]
        rollout.traces["values"] = self.of_all_rows(values)

    def assign_advantages(self, rollout: Rollout, kept: list[LoggedCompletion]) -> list[LoggedCompletion]:
        """Give each token its advantage and its return, and each row the mean advantage of its tokens to be shown.

        Advantages are whitened over all tokens of the rollout; `scale_rewards` off leaves out the division. A row that
        could not be judged has advantage 0 and no return: it moves neither model.
        """
        recipe = self.collector.recipe
        lengths = [len(ids) for ids in rollout.completion_ids]
        mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        old_BT, values_BT = _padded(rollout.old_logprobs), _padded(rollout.traces["values"])
        ref_BT = _padded(rollout.ref_logprobs) if rollout.ref_logprobs else None
        rewards_BT = kl_rewards(rollout.rewards_B, old_BT, ref_BT, mask_BT, self.kl_weight)
        judged_BT = mask_BT & ~rollout.rewards_B.isnan().unsqueeze(1)
        raw_BT = gae(rewards_BT, values_BT, mask_BT, GAMMA, recipe.gae_lambda)
        advantages_BT = whiten(raw_BT, judged_BT, scale=recipe.scale_rewards)
        returns_BT = torch.where(judged_BT, raw_BT + values_BT, float("nan"))
        to_come_BT = gae(rewards_BT, torch.zeros_like(values_BT), mask_BT, GAMMA, 1.0)
        rollout.traces["returns"] = _rows(returns_BT, lengths)
        rollout.traces["advantages"] = _rows(advantages_BT, lengths)
        rollout.advantages_B = advantages_BT.sum(dim=1) / mask_BT.sum(dim=1)
        # Of the reward that really came, not of the return, which with λ < 1 is partly the value itself.
        rollout.facts["explained_variance"] = explained_variance(values_BT, to_come_BT, judged_BT)
        del rollout.facts["flat_groups"]  # groups teach nothing here, flat or not
        place = {answer: row for row, answer in enumerate(rollout.order)}
        return [one._replace(advantage=rollout.advantages_B[place[at]].item()) for at, one in enumerate(kept)]

    def _values(self, batch: dict[str, Any]) -> Tensor:
        """The value before each completion token, [B, T] float32, 0 at padding."""
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        with self.accelerator.autocast():
            found_N1 = selected_logits(
                self.value.module, *(batch[name] for name in names), shared_prefix=batch["shared_prefix"]
            )
        mask_BT = batch["completion_mask"]
        return found_N1.new_zeros(mask_BT.shape, dtype=torch.float32).masked_scatter(mask_BT, found_N1[:, 0].float())

    # ---- steps and checkpoints ----

    def update_flops(self) -> int:
        """The value model's too."""
        return super().update_flops() + self.value.update_flops

    def close_step(self, logs: dict[str, float]) -> None:
        """Forget the value model's gradient; transformers only forgets the policy's."""
        self.value.module.zero_grad()
        super().close_step(logs)

    def policies_beside(self) -> dict[str, Policy]:
        """The value model too."""
        return super().policies_beside() | {VALUE_FILE: self.value}

    def _value_groups(self) -> list[dict[str, Any]]:
        recipe = self.collector.recipe
        rate = recipe.learning_rate if recipe.value_learning_rate is None else recipe.value_learning_rate
        decayed = set(self.get_decay_parameter_names(self.value.module))
        named = [(name, one) for name, one in self.value.module.named_parameters() if one.requires_grad]
        return [
            {"params": [one for name, one in named if (name in decayed) == flag], "lr": rate, "weight_decay": decay}
            for flag, decay in ((True, recipe.weight_decay), (False, 0.0))
        ]


TRAINERS: dict[str, type[PolicyTrainer]] = {"grpo": PolicyTrainer, "ppo": PPOTrainer}
"""The trainer of each `algorithm` that a recipe may name."""


def _padded(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True)


def _rows(padded_BT: Tensor, lengths: list[int]) -> list[Tensor]:
    return [row[:length].clone() for row, length in zip(padded_BT, lengths, strict=True)]
