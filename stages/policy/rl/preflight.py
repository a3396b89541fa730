"""The look before the first step of reinforcement learning: a trainer that is ready enters; warnings, samples and
figures leave, or a refusal.

A sample of golds is put to the very rewards of the recipe, through the run's own tokenizer and template, and a few
groups of the base are drawn by the run's own engine under its own limits. Nothing of it is trained on: its draws have
seeds of their own, and no weight, no optimizer and no random generator of the run is touched. A run that goes on where
a killed one was does not look again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from stages.core.errors import RecipeError
from stages.core.guard import foresight, rates
from stages.core.guard.watch import Asked
from stages.core.judged import Judged, decoded
from stages.core.rows import JUDGES, Prompt
from stages.core.sampling import Completion, Finish, Sampling
from stages.core.storage import disk
from stages.policy.engines.client import Prompted, answered, in_order, requests
from stages.policy.models.prefix import shared_prefix_length
from stages.policy.rl.losses import flat_groups
from stages.policy.rl.rollout import Rollout, measured, refuse_unjudged
from stages.policy.seeding import derive, permutation
from stages.rewards.grading import Grader
from stages.rewards.scoring import Counted, applies, needs, score, total
from stages.rewards.verdict import Verdict

if TYPE_CHECKING:
    from stages.core.run.runner import Work
    from stages.policy.rl.grpo import PolicyTrainer
    from stages.policy.rl.rollout import Collector

FILE = "preflight.json"
"""What was found: figures and warnings."""
SAMPLES = "preflight.jsonl"
"""The base's samples, beside those of the run."""


def look(trainer: PolicyTrainer, work: Work) -> None:
    """Look at what the run would meet, tell it as an event and as warnings, and write it down in `work.path`.

    Raises RecipeError where many golds are not paid by the rewards, or nothing can be judged. Does nothing where the
    run has looked before, or `runtime.preflight` is false.
    """
    known, file = trainer.world, work.path / FILE
    if not work.runtime.preflight or known.gather(file.is_file())[0]:
        return
    collector, recipe = trainer.collector, trainer.collector.recipe
    rows = len(collector.rows) - collector.general
    seed = derive(collector.seed, "preflight")
    chosen = permutation(rows, seed=seed)[: foresight.golds(recipe, rows)]
    said = golds_fault(collector, [collector.rows[index] for index in chosen])
    adapter = bool(recipe.adapter.rank)
    said += [rates.fault(recipe.learning_rate, trainer.policy.parameters, adapter=adapter)]
    figures, judged = _samples(trainer, permutation(rows, seed=derive(seed, "asked"))[: foresight.groups(recipe)], seed)
    said = [one for one in said if one] + foresight.of_samples(figures, Asked.of(recipe))
    for text in said:
        work.emit("warning", text=f"before the first step: {text}")
    work.emit("preflight", figures=figures, findings=said)
    if known.first:
        if judged:
            _keep(judged, recipe.rewards, work)
        disk.write_atomically(file, json.dumps({"figures": figures, "findings": said}, indent=1) + "\n")


def _keep(judged: Sequence[Judged], rewards: Mapping[str, float], work: Work) -> None:
    folder = work.path / "completions"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"id": one.prompt.id, **one.row(rewards)}, ensure_ascii=False) for one in judged]
    (folder / SAMPLES).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def found(work: Work) -> dict[str, Any]:
    """Return the figures of the look that was taken, or nothing."""
    file = work.path / FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))["figures"]) if file.is_file() else {}


def golds_fault(collector: Collector, rows: Sequence[Prompt]) -> list[str]:
    """Return warnings that name the rows whose gold the recipe's rewards do not pay, and those too long for the limit.

    What must pay is what compares with a gold, and the format; another reward, a user's own say, must only be able to
    judge. Raises RecipeError where a quarter is not paid.
    """
    recipe, contract = collector.recipe, collector.contract
    rows = [row for row in rows if row.verifier not in (*JUDGES, "code")]
    names = [name for name, weight in recipe.rewards.items() if weight and name not in JUDGES]
    if not rows or not names:
        return []
    texts = [foresight.golden(row, contract) for row in rows]
    ids = [list(collector.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    said = [decoded(Completion(ids=one, finish=Finish.END), contract, collector.tokenizer) for one in ids]
    counted = [Counted(text, len(one) + 1) for text, one in zip(said, ids, strict=True)]
    options = {name: told for name, told in recipe.reward_options.items() if name in names}
    verdicts = score(counted, rows, contract, dict.fromkeys(names, 1.0), options=options)
    unpaid = [
        foresight.Unpaid(row.id, name, _reason(verdict, text, heard))
        for row, text, heard, each in zip(rows, texts, said, verdicts, strict=True)
        for name, verdict in each.items()
        if verdict.value is None or (verdict.value < 1 and _must_pay(name, row))
    ]
    warnings, refusal = foresight.of_golds(unpaid, len(rows))
    if refusal:
        way = f"mend the rows or the template, or take `{unpaid[0].reward}` out of `rewards`"
        raise RecipeError(refusal, hint=f"{way}; `runtime.preflight=false` does not look")
    long = [row.id for row, one in zip(rows, ids, strict=True) if len(one) + 1 > recipe.max_completion_tokens]
    if long:
        longest = max(len(one) for one in ids) + 1
        what = f"the gold of prompt {long[0]} and {len(long) - 1} more" if len(long) > 1 else f"the gold of {long[0]}"
        warnings.append(f"{what} of {len(rows)} cannot be said within the limit: `max_completion_tokens={2 * longest}`")
    return warnings


def _must_pay(name: str, row: Prompt) -> bool:
    return name == "format" or (needs(name, "gold") and applies(name, row))


def _reason(verdict: Verdict, text: str, heard: str) -> str:
    lost = f"; the tokenizer makes {heard[:60]!r} of {text[:60]!r}" if heard.split() != text.split() else ""
    return f"{verdict.reason}{lost}"


def _samples(trainer: PolicyTrainer, places: Sequence[int], seed: int) -> tuple[dict[str, float], list[Judged]]:
    """Draw a group for each prompt, judge it, and return what they came to; nothing where there is no prompt."""
    collector, recipe, known = trainer.collector, trainer.collector.recipe, trainer.world
    if not places:
        return {}, []
    rows = [collector.rows[place] for place in places for _ in range(recipe.group_size)]
    prompts = {collector.rows[place].id: Prompted.of(collector.prompt_ids[place]) for place in places}
    sampling = Sampling(temperature=recipe.temperature, max_tokens=collector.max_tokens(0))
    asked = known.share(requests(rows, prompts, 1, sampling, seed))
    grader = Grader(
        contract=collector.contract, rewards=recipe.rewards, options=recipe.reward_options, judges=collector.judges
    )
    _warm(trainer, grader, places[0])
    began = time.perf_counter()
    with trainer.accelerator.autocast(), trainer.policy.gathered():
        completions = in_order(asked, answered(trainer.engine, asked))
    drawn = time.perf_counter()
    answers = known.joined(grader.grade(completions, known.share(rows), collector.tokenizer))
    judged = time.perf_counter()
    refuse_unjudged(answers, recipe.rewards)
    asked_ids = [collector.prompt_ids[place] for place in places for _ in range(recipe.group_size)]
    said = [one.completion.ids for one in answers]
    reading = _reading(trainer, asked_ids, said, trainer.sizes.micro) / known.size
    rewards_B = torch.tensor([_earned(one, recipe.rewards) for one in answers])
    drawing, judging = (drawn - began) / len(answers), (judged - drawn) / len(answers)
    again = bool(trainer.reference) + (not trainer.engine.exact)
    whole = measured(answers, collector.contract)
    figures: dict[str, float] = {
        "samples": float(len(answers)),
        "reward": rewards_B.nanmean().item(),
        "unjudged": rewards_B.isnan().float().mean().item(),
        "flat_groups": flat_groups(rewards_B.view(-1, recipe.group_size)).float().mean().item(),
        **{name: whole[name] for name in ("length", "truncated", "unclosed", "malformed", "strict") if name in whole},
        "tokens_a_second": sum(one.completion.length for one in answers) / max(drawn - began, 1e-9),
        "seconds": time.perf_counter() - began,
        "run_seconds": foresight.seconds(recipe, drawing, judging, reading, again=again, processes=trainer.world.size),
    }
    return {name: float(f"{value:.4g}") for name, value in figures.items()}, answers


def _warm(trainer: PolicyTrainer, grader: Grader, place: int) -> None:
    """Judge and read one gold, so that what a run starts once (tables, workers, kernels) is not taken for its pace."""
    collector, row = trainer.collector, trainer.collector.rows[place]
    ids = list(collector.tokenizer(foresight.golden(row, grader.contract), add_special_tokens=False)["input_ids"])
    grader.grade([Completion(ids=ids, finish=Finish.END)], [row], collector.tokenizer)
    _reading(trainer, [collector.prompt_ids[place]], [ids], 1)


def _earned(one: Judged, rewards: Mapping[str, float]) -> float:
    value = None if one.failed else total(one.verdicts, rewards)
    return float("nan") if value is None else value


@torch.no_grad()
def _reading(
    trainer: PolicyTrainer, prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]], rows: int
) -> float:
    """Seconds that a forward pass over so many rows takes for each; where there are fewer, they are read again."""
    places = [place % len(completion_ids) for place in range(rows)]
    prompts = [prompt_ids[place] for place in places]
    rollout = Rollout(
        number=-1,
        reference="",
        max_tokens=trainer.collector.max_tokens(0),
        shared_prefix=shared_prefix_length(prompts),
        prompt_ids=prompts,
        completion_ids=[completion_ids[place] for place in places],
        order=places,
        rewards_B=torch.zeros(rows),
        advantages_B=torch.zeros(rows),
        old_logprobs=[],
        ref_logprobs=[],
        facts={},
    )
    began = time.perf_counter()
    trainer.read(rollout, range(rows))
    return (time.perf_counter() - began) / rows
