"""One rollout: prompts are answered in groups, judged, and laid out as rows to train on.

The policy and a rollout's number enter; completions with rewards, advantages and log-probabilities of the sampling and
the reference policy leave. A rollout depends on the weights, the seed and its number alone, never on the state of a
global random generator, which is what makes a resumed run exact. Rows keep their own lengths; padding is added where a
micro-batch is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stages.core import text
from stages.core.contract import Contract
from stages.core.errors import EngineError, RecipeError
from stages.core.guard.endings import endings
from stages.core.judged import Judged
from stages.core.language import scripts
from stages.core.language.reflection import reflective_words
from stages.core.rows import JUDGES, Prompt
from stages.core.sampling import Completion, Engine, Request, Sampling, Text
from stages.policy.engines.client import Prompted, answered, in_order, requests
from stages.policy.models.prefix import shared_prefix_length
from stages.policy.ranks.world import world
from stages.policy.rl.losses import flat_groups, group_advantages, group_spread, normalised_advantages
from stages.policy.seeding import MixedOrder, derive, permutation
from stages.rewards.grading import Grader
from stages.rewards.scoring import Scorer, total

if TYPE_CHECKING:
    from stages.core.recipe.parts import Reinforcement


class LoggedCompletion(NamedTuple):
    """An answer worth writing down, with the advantage that it was trained with."""

    answer: Judged
    advantage: float

    def row(self, rewards: Collection[str]) -> dict[str, Any]:
        """Return it as a row of completions/rollout-*.jsonl, with what each of `rewards` that applies said and why."""
        prompt = self.answer.prompt
        asked = {"id": prompt.id, "problem": prompt.problem, "gold": prompt.answer}
        return asked | self.answer.row(rewards) | {"advantage": self.advantage}


@dataclass(kw_only=True)
class Rollout:
    """The rows of one rollout in the order they are trained on, which is random across groups; B rows."""

    number: int
    reference: str
    """The reference policy whose log-probabilities these are, such as `init` or `step-400`."""
    max_tokens: int
    shared_prefix: int
    """Tokens that all prompts share at their start."""
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    order: list[int]
    """Row -> its place among the answers, where groups lie together."""
    rewards_B: Tensor
    """What each row was given, weighted and summed; NaN = could not be judged."""
    advantages_B: Tensor
    old_logprobs: list[Tensor]
    ref_logprobs: list[Tensor]
    """One [T] tensor a row; empty when no KL is taken."""
    own_reference: bool = False
    """Whether the reference was the policy that drew the rows: `ref_logprobs` are then the sampler's too."""
    facts: dict[str, float]
    """What a step reports about the rollout: rewards, lengths, shares, how far the sampler is from the trainer."""
    sampler_logprobs: list[Tensor] = field(default_factory=list)
    """The sampler's own, one [T] tensor a row, where `old_logprobs` are the trainer's; empty where both agree."""
    traces: dict[str, list[Tensor]] = field(default_factory=dict)
    """More figures for each token by name, one [T] tensor a row: PPO's values, returns and advantages."""

    def batch(self, rows: range, pad_id: int, device: torch.device | str) -> dict[str, Tensor]:
        """Return some rows as padded tensors: prompts left, completions right, masks True at real tokens."""
        prompts = [torch.tensor(self.prompt_ids[row]) for row in rows]
        completions = [torch.tensor(self.completion_ids[row], dtype=torch.long) for row in rows]
        prompt_ids, prompt_mask = _padded(prompts, pad_id, left=True)
        completion_ids, completion_mask = _padded(completions, pad_id)
        batch = {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "advantages": self.advantages_B[rows.start : rows.stop],
        }
        names = ("old_logprobs", "sampler_logprobs", "ref_logprobs")
        traces = {name: getattr(self, name) for name in names} | self.traces
        for name, per_row in traces.items():
            if per_row:
                batch[name] = _wide(pad_sequence([per_row[row] for row in rows], batch_first=True))
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def texts(self) -> Iterator[Text]:
        """Yield prompt and completion of each row that said something."""
        for prompt_ids, completion_ids in zip(self.prompt_ids, self.completion_ids, strict=True):
            if completion_ids:
                yield Text(prompt_ids, completion_ids)

    def tokens(self, rows: range) -> int:
        """Return how many completion tokens these rows hold."""
        return sum(len(self.completion_ids[row]) for row in rows)

    def trained_tokens(self, rows: range) -> int:
        """Return how many of them are trained on: all, but for completions that were cut, under `mask_truncated`."""
        trained = self.traces.get("trained")
        return self.tokens(rows) if trained is None else sum(int(trained[row].sum()) for row in rows)

    def useful(self, rows: range) -> int:
        """Return how many of these rows have an advantage, and so teach something."""
        return int((self.advantages_B[rows.start : rows.stop] != 0).sum())

    def processed(self, rows: range) -> int:
        """Return how many tokens a model reads to take these rows: prompts and completions, the shared start once."""
        prompts = sum(len(self.prompt_ids[row]) - self.shared_prefix for row in rows)
        return self.shared_prefix + prompts + self.tokens(rows)


@dataclass(frozen=True, kw_only=True)
class Collector:
    """What all rollouts of a run share, and how one is made."""

    recipe: Reinforcement
    rows: Sequence[Prompt]
    prompt_ids: Sequence[list[int]]
    tokenizer: Any
    contract: Contract
    seed: int
    general: int = 0
    """How many of the rows, at their end, are general prompts: asked from the recipe's `general_from_step` on."""
    judges: Mapping[str, Scorer] = field(default_factory=dict)
    """Reward name -> the learned judge that gives it."""

    @property
    def prompts_per_rollout(self) -> int:
        """Prompts that one rollout asks; each becomes a group."""
        return self.recipe.prompts_per_step * self.recipe.minibatches

    def max_tokens(self, step: int) -> int:
        """Return the completion limit of a rollout that starts after `step` updates: the length switch acts here."""
        switch = self.recipe.length_switch
        return self.recipe.max_completion_tokens if switch is None or step < switch.step else switch.tokens

    def collect(
        self,
        engine: Engine,
        number: int,
        step: int,
        on_progress: Callable[[int, int], None],
        *,
        further: Sequence[int] = (),
    ) -> list[Completion]:
        """Sample the groups of rollout `number`, which starts after `step` updates; the rows of a group follow each
        other. Each completion has a seed of its own, from (seed, rollout, prompt, number). Of several processes each
        asks for whole groups of its own; `on_progress` hears how many of those are there. `further`: rows whose prompts
        are asked instead (see `refill`).
        """
        asked = world().share(self.requests(number, step, further=further))
        return in_order(asked, answered(engine, asked), on_progress)

    def requests(self, number: int, step: int, *, further: Sequence[int] = ()) -> list[Request]:
        """Return the requests of rollout `number`, group by group, or those of `further` rows."""
        chosen = self._each(further) or self._chosen(number)
        rows = [self.rows[index] for index in chosen]
        prompts = {self.rows[index].id: Prompted.of(self.prompt_ids[index]) for index in set(chosen)}
        sampling = Sampling(temperature=self.recipe.temperature, max_tokens=self.max_tokens(step))
        return requests(rows, prompts, 1, sampling, derive(self.seed, "refill" if further else "rollout", number))

    def judge(self, number: int, completions: Sequence[Completion], *, further: Sequence[int] = ()) -> list[Judged]:
        """Return this process's completions of rollout `number`, or of `further` rows, with their prompts and verdicts,
        in order."""
        recipe = self.recipe
        grader = Grader(
            contract=self.contract, rewards=recipe.rewards, options=recipe.reward_options, judges=self.judges
        )
        rows = [self.rows[index] for index in world().share(self._each(further) or self._chosen(number))]
        return grader.grade(completions, rows, self.tokenizer)

    def places(self, number: int) -> list[int]:
        """Return the row of each group of rollout `number`."""
        return self._chosen(number)[:: self.recipe.group_size]

    def earned(self, answers: Sequence[Judged]) -> Tensor:
        """Return what each answer earned, NaN where it could not be judged."""
        earned = [None if one.failed else total(one.verdicts, self.recipe.rewards) for one in answers]
        return torch.tensor([float("nan") if value is None else value for value in earned])

    def lay_out(
        self,
        answers: Sequence[Judged],
        number: int,
        step: int,
        reference: str,
        *,
        places: Sequence[int] | None = None,
        drawn: Sequence[Judged] | None = None,
    ) -> tuple[Rollout, list[LoggedCompletion]]:
        """Turn judged groups into a rollout whose `old_logprobs` are still the sampler's, and its first two groups to
        keep.

        With `shuffle_rewards` the rewards change places across all rows before they become advantages: a control under
        which nothing can be learned. What is reported of them stays as it was earned. `places`: the row of each group,
        where some are not the rollout's own; `drawn`: all that was drawn, which is then what is reported.
        """
        prompt_ids = [self.prompt_ids[index] for index in self._each(places or self.places(number))]
        earned_B = self.earned(answers)
        given = list(range(len(answers)))
        if self.recipe.shuffle_rewards:
            given = permutation(len(answers), seed=derive(self.seed, "shuffle", number))
        given_B = earned_B[given]
        given_PG = given_B.view(-1, self.recipe.group_size)
        if self.recipe.normalise_rewards:
            advantages_PG = self._normalised([answers[place] for place in given])
        else:
            advantages_PG = group_advantages(given_PG, scale=self.recipe.scale_rewards)
        advantages_B = advantages_PG.flatten()
        order = self._training_order(answers, number)
        rollout = Rollout(
            number=number,
            reference=reference,
            max_tokens=self.max_tokens(step),
            shared_prefix=shared_prefix_length(prompt_ids),
            prompt_ids=[prompt_ids[row] for row in order],
            completion_ids=[answers[row].completion.ids for row in order],
            order=order,
            rewards_B=given_B[order],
            advantages_B=advantages_B[order],
            old_logprobs=[torch.tensor(answers[row].completion.logprobs, dtype=torch.float32) for row in order],
            ref_logprobs=[],
            facts=self._facts(answers, earned_B) | {"flat_groups": flat_groups(given_PG).float().mean().item()},
        )
        if drawn is not None and len(drawn) > len(answers):
            all_B = self.earned(drawn)
            flat = flat_groups(all_B.view(-1, self.recipe.group_size)).float().mean().item()
            rollout.facts |= {"flat_trained": rollout.facts["flat_groups"], **self._facts(drawn, all_B)}
            rollout.facts |= {"flat_groups": flat, "drawn": float(len(drawn))}
        if self.recipe.mask_truncated:
            whole = [not answers[row].completion.truncated for row in order]
            ids = rollout.completion_ids
            rollout.traces["trained"] = [torch.full((len(ids[row]),), one) for row, one in enumerate(whole)]
        kept = [
            LoggedCompletion(answers[row], advantages_B[row].item())
            for row in range(min(2 * self.recipe.group_size, len(answers)))
        ]
        return rollout, kept

    def _chosen(self, number: int) -> list[int]:
        recipe = self.recipe
        order = MixedOrder(
            reasoning=len(self.rows) - self.general,
            general=self.general,
            per_rollout=self.prompts_per_rollout,
            first=math.ceil((recipe.general_from_step or 0) / recipe.minibatches),
            share=recipe.general_share,
            seed=self.seed,
        )
        return self._each(order.rollout(number))

    def _each(self, places: Sequence[int]) -> list[int]:
        """Each row as often as a group has completions."""
        return [place for place in places for _ in range(self.recipe.group_size)]

    def _normalised(self, answers: Sequence[Judged]) -> Tensor:
        """Return the advantages of groups whose rewards are normalised one by one; what could not be judged has 0."""
        weights = {name: weight for name, weight in self.recipe.rewards.items() if weight}
        rows = []
        for verdicts in (answer.verdicts for answer in answers):
            values = [verdicts[name].value if name in verdicts else None for name in weights]
            judged = total(verdicts, weights) is not None
            rows.append([float("nan") if value is None or not judged else value for value in values])
        rewards_PGK = torch.tensor(rows).view(-1, self.recipe.group_size, len(weights))
        return normalised_advantages(rewards_PGK, torch.tensor([*weights.values()]), scale=self.recipe.scale_rewards)

    def _training_order(self, answers: Sequence[Judged], number: int) -> list[int]:
        """Deal all rows into minibatches at random; within one, short rows come first, so that micro-batches are padded
        little.
        """
        dealt = permutation(len(answers), seed=derive(self.seed, "minibatches", number))
        size = len(dealt) // self.recipe.minibatches
        minibatches = [dealt[start : start + size] for start in range(0, len(dealt), size)]
        return [row for rows in minibatches for row in sorted(rows, key=lambda row: len(answers[row].completion.ids))]

    def _facts(self, answers: Sequence[Judged], earned_B: Tensor) -> dict[str, float]:
        by_reward = {f"reward_{name}": _mean_of(answers, name) for name in self.recipe.rewards}
        general = [answer.prompt.verifier in JUDGES for answer in answers]
        earned_PG = earned_B.view(-1, self.recipe.group_size)
        return {
            "reward": earned_B.nanmean().item(),
            "reward_std": group_spread(earned_PG).nanmean().item(),
            **_known(by_reward),
            **measured(answers, self.contract),
            "unjudged": earned_B.isnan().float().mean().item(),
            **({"general": sum(general) / len(general)} if self.general else {}),
        }


def refuse_nothing_said(answers: Sequence[Judged], number: int, engine: str) -> None:
    """Raise EngineError when the engine failed every completion of rollout `number`."""
    if all(one.failed for one in answers):
        done = answers[0].completion
        raise EngineError(
            f"nothing came of rollout {number + 1}: the {engine} engine failed all {len(answers)} completions "
            f"({done.finish}: {done.fault})",
            hint="mend that and run the same command again, which goes on from the last checkpoint",
        )


def refuse_unjudged(answers: Sequence[Judged], rewards: Mapping[str, float]) -> None:
    """Raise RecipeError when rewards could judge none of the completions that came, where some came: each raised, say,
    or returned no number."""
    came = [one for one in answers if not one.failed]
    if not came or any(total(one.verdicts, rewards) is not None for one in came):
        return
    said = came[0].verdicts
    name = next(name for name, weight in rewards.items() if weight and name in said and said[name].value is None)
    raise RecipeError(
        f"the reward `{name}` could judge none of {len(came)} completions ({said[name].reason})",
        hint=f"mend it, or take `{name}` out of `rewards`; what was trained lies in the last checkpoint",
    )


def measured(answers: Sequence[Judged], contract: Contract) -> dict[str, float]:
    """Return means over completions: accuracy in any format, the strict format, both together, the length in tokens,
    the shares of completions that were truncated, that end badly in another way (`endings`) and whose prose mixes
    English and Chinese, `reflective` words a completion, the share of words in the prompt's `language` where there is
    thinking to look at, and `judges`: the score of the judge that each general prompt belongs to.

    Each mean is over the completions that it applies to, and left out where there is none. Those that the engine failed
    are the share `failed`, where there are some, and truncated; nothing else is read off them.
    """
    scored = [one for one in answers if not one.failed]
    thinking = [one for one in scored if text.spans(contract.prefill + one.text, contract.think_tags)]
    judgements = [one.value(name) for one in scored for name in JUDGES if name in one.verdicts]
    figures = {
        **{name: _mean_of(scored, name) for name in ("accuracy", "format", "strict")},
        "length": _mean(one.completion.length for one in scored),
        "truncated": _mean(one.completion.truncated for one in answers),
        "failed": _mean(one.failed for one in answers) if len(scored) < len(answers) else None,
        "mixed": _mean(scripts.mixes_languages(one.text, contract.answer_tags) for one in scored),
        "reflective": _mean(reflective_words(one.text) for one in scored),
        **endings(answers, contract),
        "language": _mean(one.value("language") for one in thinking if one.verdicts["language"].value is not None),
        "judges": _mean(judgements),
    }
    return _known(figures)


def _padded(rows: list[Tensor], pad_id: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    side = "left" if left else "right"
    lengths = torch.tensor([len(row) for row in rows]).unsqueeze(1)
    ids = _wide(pad_sequence(rows, batch_first=True, padding_value=pad_id, padding_side=side), pad_id)
    place = torch.arange(ids.shape[1])
    return ids, (place >= ids.shape[1] - lengths) if left else (place < lengths)


def _wide(padded_BT: Tensor, value: float = 0) -> Tensor:
    """The same with one column at least: where nothing came of any row, there is padding to stand on."""
    return padded_BT if padded_BT.shape[1] else torch.nn.functional.pad(padded_BT, (0, 1), value=value)


def _mean_of(answers: Sequence[Judged], name: str) -> float | None:
    """Return a reward's mean over the completions it applies to."""
    return _mean(one.value(name) for one in answers if name in one.verdicts and not one.failed)


def _mean(values: Iterable[float]) -> float | None:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed) if listed else None


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
