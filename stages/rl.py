"""A model and problems in, a model that reasons out: reinforcement learning as DeepSeek-R1-Zero did it.

The model answers each problem many times; rules judge the answers; what beat its own group becomes likelier (GRPO,
DeepSeekMath arXiv 2402.03300). No answer is ever shown to it. R1-Zero, reasoning RL and RL for all scenarios are this
stage with other recipes. The defaults are R1-Zero's published values (DeepSeek-R1, arXiv 2501.12948v2 §2.1), and where
none was published, TRL's or ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.core.artifact import Draft, Model, Prompts
from stages.core.contract import TEMPLATES, Contract
from stages.core.errors import InputError, RecipeError, nearest

if TYPE_CHECKING:
    from stages.core.runner import Work
    from stages.policy.grpo import PolicyTrainer
    from stages.policy.logbook import Logbook
    from stages.policy.losses import Objective
    from stages.policy.rollout import Asker
    from stages.policy.validation import Examination

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LengthSwitch:
    """A later, longer limit on completions."""

    step: int
    """Rollouts that start after this many steps use it; 1 or more."""
    tokens: int
    """The new limit in tokens; 1 or more."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    template: str = "r1_zero"
    """Prompt template: `r1_zero`, `plain`, a file that holds one, or the text itself with {prompt}; its text is what is
    hashed.
    """
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0})
    """Reward name (or `package.module:function`) -> weight, 0 or more; the sum is what is maximised, 0 leaves a reward
    out.
    """
    prompts_per_step: int = 32
    """Prompts an optimizer step is made of, 1 or more; with group_size they give its rows."""
    group_size: int = 16
    """Completions for each prompt, 2 or more: a completion is judged against the others of its group."""
    minibatches: int = 16
    """Optimizer steps one rollout is split into at random, 1 or more; 1 = a fresh rollout for every step."""
    steps: int = 10400
    """Optimizer steps in all, 1 or more."""
    learning_rate: float = 3e-6
    """Of AdamW, above 0."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warmup; linear and cosine end at 0 with the last step."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0; 0 = none."""
    kl_weight: float = 0.001
    """Weight of the KL divergence from the reference policy, per token, in the loss; 0 = no reference at all."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """How that divergence is estimated; R1 uses k3. k1 in a loss has no gradient on average."""
    kl_correction: bool = False
    """Multiply the KL by the ratio to the sampling policy (DeepSeek-V3.2), which makes its gradient exact; R1 did not.
    """
    clip_epsilon: float = 0.2
    """How far a token's ratio to the sampling policy may leave 1 and still count, 0 or more."""
    clip_epsilon_high: float | None = None
    """The same for ratios above 1; None = clip_epsilon."""
    loss: Literal["grpo", "dr_grpo", "dapo"] = "grpo"
    """How tokens are averaged: grpo within each completion, then over completions; dr_grpo by the limit; dapo over all
    tokens.
    """
    scale_rewards: bool = True
    """Divide advantages by the standard deviation of the group."""
    reference_steps: int | None = 400
    """Steps after which the reference policy is replaced by the policy, at the next rollout; 0 or None = never."""
    max_completion_tokens: int = 32768
    """Longest completion in tokens, 1 or more."""
    length_switch: LengthSwitch | None = None
    """Another limit from a later step on; None = one limit throughout."""
    temperature: float = 1.0
    """Of sampling, above 0; log-probabilities are taken at it too."""
    seed: int = 0
    """Decides prompts, samples and minibatches, 0 or more."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments, each in [0, 1)."""
    weight_decay: float = 0.0
    """Of AdamW, 0 or more."""
    max_grad_norm: float | None = 1.0
    """Longer gradients are scaled down to this norm; 0 or None = never."""
    eval_every: int = 0
    """Steps between examinations on the validation prompts, besides the first and the last; 0, or more than `steps`, =
    never.
    """
    eval_samples: int = 4
    """Completions for each validation prompt, 1 or more."""
    keep: Literal["best", "last"] = "best"
    """Which weights are sealed: those of the best examination (strict pass@1), or the last; without examinations the
    last.
    """
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the forward passes and of the sealed weights; while training, weights are float32."""
    shuffle_rewards: bool = False
    """A control: rewards change places across prompts inside each rollout, so that nothing can be learned."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", _template_text(self.template))
        _check(self)

    @property
    def step_rows(self) -> int:
        """Completions an optimizer step is made of."""
        return self.prompts_per_step * self.group_size


@dataclass(frozen=True, kw_only=True)
class Inputs:
    model: Model
    """The policy to start from; also the first reference."""
    prompts: Prompts
    """What is practised on."""
    validation: Prompts | None = None
    """What `eval_every` examines; never trained on."""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Train the policy and write the model under `work.path`, with completions/rollout-*.jsonl beside it.

    Resumes from the checkpoints in `work.scratch`; on a CPU the weights are then those of an uninterrupted run, bit for
    bit. Raises ContractError for a template or tokens that cannot work, InputError for prompts without room to
    answer.
    """
    from stages.policy import device, grpo, models, settings
    from stages.policy.checkpoint import Checkpoints
    from stages.policy.logbook import Logbook
    from stages.policy.validation import Best

    where = device.place(work.runtime)
    work.emit("device", device=device.described(where))
    contract = policy_contract(recipe, inputs.model.contract)
    tokenizer = models.load_tokenizer(inputs.model.path)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(contract.pad_id)  # TRL would put eos where there is none
    rooms = [_asked(prompts, recipe, contract, tokenizer) for prompts in (inputs.prompts, inputs.validation) if prompts]
    model = models.load_model(inputs.model.path, device=where)
    checkpoints = Checkpoints(work.scratch / "checkpoints")
    logbook = Logbook(recipe, work, _examination(recipe, rooms, contract, tokenizer, work), Best(work.scratch / "best"))
    trainer = grpo.PolicyTrainer(
        model,
        asker=_asker(recipe, rooms[0], contract, tokenizer, work),
        objective=_objective(recipe),
        config=settings.configuration(
            recipe,
            folder=checkpoints.fresh_draft(),
            seed=work.seed,
            micro=_micro_rows(recipe, model, rooms[0], work),
            save_steps=work.runtime.checkpoint_every or recipe.minibatches,
            cpu=model.device.type == "cpu",
        ),
        checkpoints=checkpoints,
        watch=logbook,
    )
    resumed = checkpoints.latest(lambda said: work.emit("warning", text=said))
    if resumed is not None:
        work.emit("note", text=f"resumed from {resumed.name}")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    return _finish(trainer, logbook, inputs, contract, work)


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the fingerprint cannot see in the recipe: the source of rewards from outside this project.

    Raises RecipeError for a reward that does not exist, before anything is spent.
    """
    from stages.rewards.registry import REWARDS, source_sha256

    return {name: source_sha256(name) for name in recipe.rewards if name not in REWARDS}


def policy_contract(recipe: Recipe, base: Contract) -> Contract:
    """Return the base's contract with the recipe's template; what it ends with after `<think>` opens becomes the
    prefill.

    Raises ContractError when the template cannot work with the tokens, or lacks the tags that a format reward asks for.
    """
    shown = TEMPLATES.get(recipe.template, recipe.template)
    opening = base.think_tags[0]
    cut = shown.rindex(opening) if shown.rstrip().endswith(opening) else len(shown)
    name = recipe.template if recipe.template in TEMPLATES else "custom"
    contract = replace(base, template=shown[:cut], template_name=name, prefill=shown[cut:])
    contract.check(needs_tags=recipe.rewards.get("format", 0.0) > 0)
    return contract


def _finish(trainer: PolicyTrainer, logbook: Logbook, inputs: Inputs, contract: Contract, work: Work) -> Draft:
    """Choose the weights, write the model, and sum the run up."""
    import torch

    from stages.policy import models

    recipe, carried, model = logbook.recipe, trainer.carried, trainer.model
    change = models.load_model(inputs.model.path, device=str(model.device)).state_dict()
    largest = max((value - change[name]).abs().max().item() for name, value in model.state_dict().items())
    kept, best = recipe.steps, carried.get("best")
    if recipe.keep == "best" and best is not None and best["step"] != recipe.steps:
        if logbook.best.restore(model, best["step"]):
            kept = best["step"]
        else:
            work.emit(
                "warning", text=f"the best weights, of step {best['step']}, are gone from the disk: the last are kept"
            )
    model = model.to(torch.bfloat16) if recipe.dtype == "bfloat16" else model
    models.save_model(model, trainer.asker.tokenizer, contract, work.path)
    metrics = {"steps": recipe.steps, "kept_step": kept, "largest_weight_change": largest, **carried["last"]}
    if best is not None:
        metrics |= {
            "strict_before": carried["before"]["strict"],
            "strict_best": best["strict"],
            "best_step": best["step"],
        }
    return Draft(Model, metrics)


def _asked(prompts: Prompts, recipe: Recipe, contract: Contract, tokenizer: Any) -> dict[str, Any]:
    """Return rows and their prompts as token ids. Raises InputError for a prompt that leaves no room to
    answer.
    """
    rows = prompts.rows()
    ids = [list(tokenizer(contract.render(row.problem))["input_ids"]) for row in rows]
    tokens = max(recipe.max_completion_tokens, recipe.length_switch.tokens if recipe.length_switch else 0)
    longest = max(range(len(ids)), key=lambda index: len(ids[index]))
    room = contract.max_positions - len(ids[longest])
    if room < tokens:
        raise InputError(
            f"prompt {rows[longest].id} takes {len(ids[longest])} of the model's {contract.max_positions} positions, "
            f"which leaves no {tokens} tokens for a completion",
            hint=f"lower the limit: `max_completion_tokens={max(room, 1)}`",
        )
    return {"rows": rows, "prompt_ids": ids}


def _asker(recipe: Recipe, asked: dict[str, Any], contract: Contract, tokenizer: Any, work: Work) -> Asker:
    from stages.policy.rollout import Asker

    return Asker(recipe=recipe, contract=contract, tokenizer=tokenizer, seed=work.seed, **asked)


def _examination(
    recipe: Recipe, rooms: list[dict[str, Any]], contract: Contract, tokenizer: Any, work: Work
) -> Examination | None:
    from stages.policy.sampler import derive
    from stages.policy.validation import Examination

    if len(rooms) < 2 or not 0 < recipe.eval_every <= recipe.steps:
        return None
    seed = derive(work.seed, "examination")
    return Examination(contract=contract, tokenizer=tokenizer, samples=recipe.eval_samples, seed=seed, **rooms[1])


def _objective(recipe: Recipe) -> Objective:
    from stages.policy.losses import Objective

    return Objective(**{part.name: getattr(recipe, part.name) for part in fields(Objective)})


def _micro_rows(recipe: Recipe, model: Any, asked: dict[str, Any], work: Work) -> int:
    """Derive the rows of a forward pass, from the runtime or from the memory, and say how the run is cut."""
    from stages.policy.memory import rows_that_fit
    from stages.policy.settings import micro_rows

    tokens = max(map(len, asked["prompt_ids"])) + recipe.max_completion_tokens
    limit = work.runtime.micro_batch or rows_that_fit(model, tokens)
    micro = micro_rows(recipe.step_rows, limit)
    rollout = recipe.prompts_per_step * recipe.minibatches
    work.emit(
        "note",
        text=f"a rollout asks {rollout} prompts {recipe.group_size} times and is trained on in {recipe.minibatches} "
        f"steps of {recipe.step_rows} rows, {micro} at once",
    )
    return micro


def _template_text(template: str) -> str:
    """Return a known name or a text as it is, and the text of a file, so that the fingerprint covers what was read."""
    if template in TEMPLATES or "{prompt}" in template:
        return template
    path = Path(template)
    if len(template) < 1000 and path.is_file():
        text = path.read_text(encoding="utf-8")
        if "{prompt}" not in text:
            raise RecipeError(
                f"the `template` file {template} lacks {{prompt}}", hint="write {prompt} where the problem goes"
            )
        return text
    known = ", ".join(TEMPLATES)
    raise RecipeError(
        f"no `template` named {template}",
        hint=f"{nearest(template, TEMPLATES)}{known}, a file, or a text with {{prompt}}",
    )


def _check(recipe: Recipe) -> None:
    """Raise RecipeError for the first value that is out of its range."""
    if recipe.group_size == 1:
        raise RecipeError(
            "a group of 1 has no advantage: `group_size` must be 2 or more", hint="R1-Zero uses 16: `group_size=16`"
        )
    counts = ("prompts_per_step", "group_size", "minibatches", "steps", "max_completion_tokens", "eval_samples")
    from_zero = ("kl_weight", "clip_epsilon", "warmup_steps", "seed", "weight_decay", "eval_every")
    positive = ("learning_rate", "temperature")
    optional = ("reference_steps", "max_grad_norm", "clip_epsilon_high")
    ranges = [(name, getattr(recipe, name) >= 1, "1 or more") for name in counts]
    ranges += [(name, getattr(recipe, name) >= 0, "0 or more") for name in from_zero]
    ranges += [(name, getattr(recipe, name) > 0, "above 0") for name in positive]
    ranges += [(name, (getattr(recipe, name) or 0) >= 0, "0 or more, or null") for name in optional]
    ranges += [("adam_betas", all(0 <= beta < 1 for beta in recipe.adam_betas), "two numbers in [0, 1)")]
    ranges += [("rewards", _weights_fit(recipe.rewards), "weights of 0 or more, at least one above 0")]
    if recipe.length_switch is not None:
        switch = asdict(recipe.length_switch)
        ranges += [("length_switch", min(switch.values()) >= 1, "a step and a number of tokens, each 1 or more")]
    for name, fits, wanted in ranges:
        if not fits:
            raise RecipeError(
                f"`{name}` must be {wanted}, not {getattr(recipe, name)}", hint="see: `r1 recipes keys rl`"
            )


def _weights_fit(rewards: dict[str, float]) -> bool:
    return all(weight >= 0 for weight in rewards.values()) and any(rewards.values())
