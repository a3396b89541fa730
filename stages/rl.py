"""A model and problems in, a model that reasons out: reinforcement learning as DeepSeek-R1-Zero did it.

The model answers each problem many times; rules judge the answers; what beat its own group becomes likelier (GRPO,
DeepSeekMath arXiv 2402.03300). No answer is ever shown to it. R1-Zero, reasoning RL and RL for all scenarios are this
stage with other recipes. The defaults are R1-Zero's published values (DeepSeek-R1, arXiv 2501.12948v2 §2.1), and where
none was published, TRL's or ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Adapter, Artifact, Draft, Judge, Model, Prompts, Rollouts
from stages.core.contract import Contract
from stages.core.encoding import Hear, PromptIds, Reader
from stages.core.errors import InputError, RecipeError
from stages.core.guard import difficulty
from stages.core.language.reflection import first_spike
from stages.core.recipe.adaptation import still
from stages.core.recipe.parts import LOSSES, TOKEN_LOSSES, Objective, Reinforcement, taken
from stages.core.recipe.ranges import Rule, at_least, check, idle
from stages.core.rowfile import RowFile
from stages.core.rows import JUDGES, RULES, Prompt
from stages.core.templates import Asked

if TYPE_CHECKING:
    from stages.core.contract import Contract
    from stages.core.run.runner import Work
    from stages.policy.rl.grpo import PolicyTrainer
    from stages.policy.rl.validation import ValidationPlan
    from stages.rewards.scoring import Scorer

VERSION = 10


@dataclass(frozen=True, kw_only=True)
class Recipe(Reinforcement, Asked):
    template: str = "r1_zero"
    algorithm: Literal["grpo", "ppo"] = "grpo"
    """`grpo`: a completion is judged against its group. `ppo`: by a learned value model, for each token; the KL is then
    k1 in the reward, and `kl_estimator` only reports it.
    """
    seed: int = 0
    """Decides prompts, samples and minibatches, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """The policy to start from; also the first reference."""
    prompts: Prompts
    """What is practised on: problems that rules judge."""
    validation: Prompts | None = None
    """What the policy is validated on every `eval_every` steps; never trained on."""
    general: Prompts | None = None
    """General prompts, each for the judge its verifier names; practised on from `general_from_step` on."""
    safety: Prompts | None = None
    """More of them, where those for the judge `safe` lie in a file of their own."""
    difficulty: Rollouts | None = None
    """A sampling of those problems (`r1 sample`): only such as are solved as often as `pass_rates` says are kept."""
    helpful: Judge | None = None
    """Gives the reward `helpful`."""
    safe: Judge | None = None
    """Gives the reward `safe`."""


def kind_of(recipe: Recipe) -> type[Artifact]:
    """Return the kind of artifact that this stage makes."""
    return Adapter if recipe.adapter.kept else Model


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train the policy and write the model under `work.path`, with completions/rollout-*.jsonl beside it.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises ContractError for a template or tokens that cannot work, InputError for prompts without room to answer
    or in the wrong place, RecipeError for judges and general prompts on which recipe and inputs disagree.
    """
    from stages.policy.engines.opening import open_engine
    from stages.policy.judges import judge
    from stages.policy.models import adapters, device, folders
    from stages.policy.rl import ppo, preflight
    from stages.policy.rl.logbook import MetricsLogger
    from stages.policy.rl.rollout import Collector
    from stages.policy.training import resumable, settings
    from stages.policy.training.checkpoint import Checkpoints

    _check_inputs(recipe, inputs)
    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    contract = policy_contract(recipe, inputs.model, work.note)
    tokenizer = folders.load_tokenizer(inputs.model.path)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(contract.pad_id)  # whatever the tokenizer says
    encoded = Reader(tokenizer.backend_tokenizer, contract)
    given = [one.rows() for one in (inputs.prompts, inputs.general, inputs.safety) if one is not None]
    given[0] = _of_difficulty(given[0], recipe, inputs, work)
    rows, reasoning, asked = reduce(add, given), len(given[0]), _Verifiers(len(given[0]))
    prompt_ids, longest = _prompt_ids(rows, recipe, inputs.model, encoded, asked)
    asked.tell_of_unjudged(recipe, work)
    judges = judge.load_judges(inputs, where)
    validation = _validation(recipe, inputs, work, tokenizer=tokenizer, encoded=encoded, judges=judges)
    policy = adapters.load(
        inputs.model.path, tokenizer, contract, recipe.adapter, device=where, seed=work.seed, tell=work.note
    )
    engine = open_engine(
        inputs.model.path, contract=contract, dtype=recipe.dtype, runtime=work.runtime, model=policy.module
    )
    checkpoints = Checkpoints(work.scratch / "checkpoints")
    trainer = ppo.TRAINERS[recipe.algorithm](
        policy,
        collector=Collector(
            recipe=recipe,
            rows=rows,
            prompt_ids=prompt_ids,
            tokenizer=tokenizer,
            contract=contract,
            seed=work.seed,
            general=len(rows) - reasoning,
            judges=judges,
        ),
        engine=engine,
        objective=taken(Objective, recipe),
        config=settings.configuration(
            recipe,
            folder=checkpoints.fresh_draft(),
            seed=work.seed,
            micro=settings.rows_at_once(recipe, policy.module, longest, work),
            save_steps=work.runtime.checkpoint_every or recipe.minibatches,
            cpu=policy.device.type == "cpu",
        ),
        checkpoints=checkpoints,
        callback=MetricsLogger(recipe, work, engine),
        validation=validation,
    )
    try:
        preflight.look(trainer, work)
        resumable.train(trainer, work)
    finally:
        engine.close()
    return _finish(trainer, recipe, inputs, work)


def refuse_processes(recipe: Recipe, processes: int) -> None:
    """Raise RecipeError where so many processes cannot share the prompts of a step: each takes whole groups."""
    asked = recipe.prompts_per_step
    if asked % processes:
        fits = max(one for one in range(1, processes) if asked % one == 0)
        more = -(-asked // processes) * processes
        raise RecipeError(
            f"{processes} processes cannot share {asked} prompts a step: each takes whole groups",
            hint=f"use runtime.processes={fits}, or prompts_per_step={more}",
        )


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the fingerprint cannot see in the recipe: the source of rewards and of a loss from outside this
    project.

    Raises RecipeError for a reward that does not exist and for a loss that cannot be trained with, before anything is
    spent.
    """
    from stages.rewards.registry import outside_sources

    found = outside_sources(recipe.rewards, recipe.reward_options)
    if recipe.loss in LOSSES:
        return found
    from stages.policy.rl import own_loss

    return found | {recipe.loss: own_loss.identity(recipe.loss, taken(Objective, recipe))}


def policy_contract(recipe: Recipe, model: Model, tell: Callable[[str], None] | None = None) -> Contract:
    """Return the model's contract with the recipe's template.

    Raises ContractError when the template cannot work with the tokens, or lacks the tags that a format reward asks for.
    """
    from stages.policy.models.asking import contract_for

    contract = contract_for(recipe, model, tell)
    contract.check(needs_tags=recipe.rewards.get("format", 0.0) > 0)
    return contract


def _finish(trainer: PolicyTrainer, recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Choose the weights, write the model, and sum the run up."""
    from stages.policy.rl import preflight
    from stages.policy.rl.logbook import RECORDED
    from stages.policy.training import costs

    state, policy = trainer.run_state, trainer.policy
    largest = policy.largest_change(inputs.model.path)
    done = trainer.state.global_step
    kept = _restored(trainer, recipe, work)
    saved = policy.save(work.path, recipe.dtype)
    metrics = {
        "steps": done,
        "kept_step": done if kept is None else kept,
        "largest_weight_change": largest,
        **{name: state.last[name] for name in RECORDED if name in state.last},
        "trained_parameters": costs.trained_parameters(trainer.optimizer),
        "trained_mb": costs.trained_mb(trainer.optimizer),
        "peak_memory_mb": round(state.peak_memory_mb, 1),
        "seconds_per_step": round(state.seconds / done, 4),
        "flops": {"sampling": state.sampling_flops, "update": state.update_flops},
        "reflective_spike": first_spike(state.reflective),
        "preflight": preflight.found(work),
        "alarms": state.watch.get("raised", {}),
        **({"stopped_by": state.stopped_by} if state.stopped_by else {}),
        **saved,
    }
    if state.best_step is not None:
        metrics |= {
            "strict_before": state.base_validation["strict"],
            "strict_best": state.best_validation["strict"],
            "best_step": state.best_step,
        }
    return Draft(kind_of(recipe), metrics)


def _restored(trainer: PolicyTrainer, recipe: Recipe, work: Work) -> int | None:
    """Give the policy its best weights, or those of before the alarm that ended the run, where they are wanted and not
    the last; return their step, and say so when they are gone."""
    plan, state = trainer.validation, trainer.run_state
    kept, step, which = plan.best if plan else None, state.best_step, "best"
    if kept is None and state.stopped_by:
        kept, step, which = trainer.guard.good, state.good_step, "last healthy"
    if kept is None or step is None or step == trainer.state.global_step:
        return None
    if kept.restore(trainer.policy, step):
        return step
    work.emit("warning", text=f"the {which} weights, of step {step}, are gone from the disk: the last are kept")
    return None


def _check_inputs(recipe: Recipe, inputs: Inputs) -> None:
    """Raise RecipeError where recipe and inputs disagree on judges and general prompts."""
    from stages.rewards.registry import check_judges

    way = "give `{name}` a weight in `rewards` (0 = only measure), or leave the judge out"
    check_judges(recipe.rewards, inputs, way)
    if (inputs.difficulty is None) != (recipe.pass_rates == (0.0, 1.0)):
        raise RecipeError(
            "inputs.difficulty and `pass_rates` are given together or not at all",
            hint="add inputs.difficulty=ADDRESS of a sampling of these prompts, and `pass_rates=[0.1,0.9]`",
        )
    general = inputs.general or inputs.safety
    if general is not None and recipe.general_from_step is None:
        raise RecipeError(
            "general prompts are given, and `general_from_step` is null: none would ever be asked",
            hint="say from when on: `general_from_step=0` is from the start",
        )
    if general is None and (recipe.general_from_step is not None or set(JUDGES) & set(recipe.rewards)):
        raise RecipeError(
            "`general_from_step` and the judges are for general prompts, and none are given",
            hint="add inputs.general=ADDRESS, or set `general_from_step=null` and leave the judges out of `rewards`",
        )


def _of_difficulty(rows: RowFile[Prompt], recipe: Recipe, inputs: Inputs, work: Work) -> RowFile[Prompt]:
    """Return the prompts that are solved as often as the recipe wants. Raises InputError where none is."""
    if inputs.difficulty is None:
        return rows
    low, high = recipe.pass_rates
    rates = difficulty.pass_rates(inputs.difficulty.samples().plain())
    kept, unknown = difficulty.within(rows.ids(), rates, low, high)
    if not kept:
        what = f"none of {len(rows)} prompts is solved in {low:g} to {high:g} of its samples ({unknown} have none)"
        raise InputError(what, hint="widen `pass_rates`, or sample these very prompts: `r1 sample inputs.prompts=…`")
    text = f"{len(kept)} of {len(rows)} prompts are solved in {low:g} to {high:g} of their samples and practised on"
    work.note(f"{text}; {unknown} have no sample" if unknown else text)
    return rows.picked(kept)


class _Verifiers:
    """Who judges the prompts: hears each of them, the reasoning prompts first."""

    def __init__(self, reasoning: int) -> None:
        self.reasoning, self.general = reasoning, set[str]()

    def __call__(self, place: int, row: Mapping[str, Any]) -> None:
        """Hear a prompt. Raises InputError for one that another input is for."""
        verifier = row["verifier"]
        wrong, right = (JUDGES, "general") if place < self.reasoning else (RULES, "prompts")
        if verifier in wrong:
            what = f"prompt {row['id']} has the verifier `{verifier}`"
            raise InputError(what, hint=f"such prompts go into inputs.{right}")
        if place >= self.reasoning:
            self.general.add(verifier)

    def tell_of_unjudged(self, recipe: Recipe, work: Work) -> None:
        """Say which general prompts no reward judges."""
        for name in JUDGES:
            if name not in recipe.rewards and name in self.general:
                text = f"no reward judges what `{name}` prompts ask for: add inputs.{name} and give `{name}` a weight"
                work.emit("warning", text=text)


def _prompt_ids(
    rows: RowFile[Prompt], recipe: Recipe, model: Model, encoded: Reader, hear: Hear = lambda *_: None
) -> tuple[PromptIds, int]:
    """Return the prompts of rows as token ids, and the length of the longest; `hear` is told of each row. Raises
    InputError for a prompt that leaves no room to answer, or holds a token that the model does not have."""
    from stages.policy.distill.vocab import embedding_rows

    contract, known, ids = encoded.contract, embedding_rows(model.path), PromptIds(rows, encoded)
    tokens = max(recipe.max_completion_tokens, recipe.length_switch.tokens if recipe.length_switch else 0)
    longest = ids.longest(contract.max_positions - tokens, hear)
    room = contract.max_positions - len(ids[longest])
    if room < tokens:
        raise InputError(
            f"prompt {rows[longest].id} takes {len(ids[longest])} of the model's {contract.max_positions} positions, "
            f"which leaves no {tokens} tokens for a completion",
            hint=f"lower the limit: `max_completion_tokens={max(room, 1)}`",
        )
    beyond = max(encoded.tokenizer.get_vocab().values()) >= known
    odd = next((place for place, own in enumerate(ids) if max(own, default=0) >= known), None) if beyond else None
    if odd is not None:
        raise InputError(
            f"prompt {rows[odd].id} holds token {max(ids[odd])}, and the model's embedding has {known} rows",
            hint="leave the prompt out, or resize the model's embedding to its tokenizer and import it again",
        )
    return ids, len(ids[longest])


def _validation(
    recipe: Recipe, inputs: Inputs, work: Work, *, tokenizer: Any, encoded: Reader, judges: Mapping[str, Scorer]
) -> ValidationPlan | None:
    """Return the validation the recipe asks for, if it does. Raises InputError when no rule could mark it."""
    from stages.policy.rl.validation import BestWeights, ValidationPlan, ValidationRun
    from stages.policy.seeding import derive
    from stages.rewards.scoring import applies

    if inputs.validation is None:
        return None
    rows = inputs.validation.rows()
    prompt_ids, _ = _prompt_ids(rows, recipe, inputs.model, encoded)
    if not 0 < recipe.eval_every <= recipe.steps:
        return None
    if not any(applies("strict", row) for row in rows):
        raise InputError(
            "the validation prompts are all general or code, and validation is by strict pass@1",
            hint="put other reasoning prompts among them, or leave inputs.validation out",
        )
    return ValidationPlan(
        validation=ValidationRun(
            rows=rows,
            prompt_ids=prompt_ids,
            tokenizer=tokenizer,
            contract=encoded.contract,
            samples=recipe.eval_samples,
            seed=derive(work.seed, "examination"),
            judges=judges,
            reward_options=recipe.reward_options,
        ),
        every=recipe.eval_every,
        best=BestWeights(work.scratch / "best") if recipe.keep == "best" else None,
    )


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    if recipe.group_size == 1:
        raise RecipeError(
            "a group of 1 has no advantage: `group_size` must be 2 or more", hint="R1-Zero uses 16: `group_size=16`"
        )
    rules = [*at_least(recipe, 0, "seed"), still(recipe.adapter, "in rl: sampler and trainer would be two policies")]
    values = ("gae_lambda", "value_learning_rate", "value_clip") if recipe.algorithm == "grpo" else ()
    if recipe.algorithm == "ppo":
        rules.append(Rule("normalise_rewards", not recipe.normalise_rewards, "false under `ppo`"))
        rules.append(Rule("loss", recipe.loss in TOKEN_LOSSES, f"{', '.join(TOKEN_LOSSES)} under `ppo`"))
        rules += idle(recipe, "under `ppo`", "refill", "mask_truncated", "kl_placement")
    check(recipe, "rl", rules, idle(recipe, "under `grpo`", *values))
