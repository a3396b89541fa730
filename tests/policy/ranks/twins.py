"""Trainings on recorded batches, the same in one process and in two: gradients of the first step, weights after three.

The work of each is a name; `gradients` does them all in this process, `both` in two that gloo connects, started once.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages import rl
from stages.core.data.imitation import Example
from stages.core.data.surveyed import Surveyed
from stages.core.recipe.adaptation import Adaptation
from stages.core.recipe.parts import JudgeTuning, Objective, Tuning, taken
from stages.core.run.events import Events
from stages.core.run.runner import Work
from stages.policy import sft
from stages.policy.distill.exam import cached_loss
from stages.policy.distill.losses import Top
from stages.policy.judges import judge, judge_training
from stages.policy.models import folders
from stages.policy.models.adapters import adapted
from stages.policy.models.weights import Policy
from stages.policy.ranks import sharding, world
from stages.policy.rl import ppo
from stages.policy.rl.losses import LOSSES
from stages.policy.rl.rollout import Collector, Rollout
from stages.policy.training import epochs, settings
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.steps import Silent
from tests.policy import tiny

ROWS, STEPS = 8, 3
Found = tuple[list[Tensor], list[Tensor]]
"""Gradients of the first step and weights after the last, parameter by parameter."""


def rollout_of(number: int) -> Rollout:
    """A recorded rollout: rows of unequal length, a policy that has moved away, a reference, another sampler."""
    chance = torch.Generator().manual_seed(number)
    lengths = [1 + (3 * row + number) % 7 for row in range(ROWS)]
    drawn = [torch.randint(1, 250, (length,), generator=chance).tolist() for length in lengths]
    near = [[-torch.rand(length, generator=chance) * 3 for length in lengths] for _ in range(3)]
    return Rollout(
        number=number,
        reference="init",
        max_tokens=8,
        shared_prefix=2,
        prompt_ids=[[5, 6, *range(10, 12 + row % 3)] for row in range(ROWS)],
        completion_ids=drawn,
        order=list(range(ROWS)),
        rewards_B=torch.randn(ROWS, generator=chance),
        advantages_B=torch.randn(ROWS, generator=chance),
        old_logprobs=near[0],
        ref_logprobs=near[1],
        sampler_logprobs=near[2],
        facts={"reflective": 0.0, "flat_groups": 0.0},
    )


class Recorded(ppo.PolicyTrainer):
    """The trainer on rollouts that were made before."""

    def _roll_out(self, number: int, step: int) -> Rollout:
        made = rollout_of(number)
        self.assign_advantages(made, [])
        return made


class RecordedPPO(ppo.PPOTrainer):
    def _roll_out(self, number: int, step: int) -> Rollout:
        made = rollout_of(number)
        values = [torch.sin(ids.float()) for ids in map(torch.tensor, made.completion_ids)]
        own = [values[row] for rows in self.micro_batches() for row in rows]
        made.traces["values"] = self.of_all_rows(own)
        self.assign_advantages(made, [])
        return made


def on_policy_gradient(home: Path, folder: Path, loss: str, micro: int) -> Found:
    """Three steps of GRPO or PPO under a loss."""
    kind = RecordedPPO if loss == "ppo" else Recorded
    named = {} if loss == "ppo" else {"loss": loss}
    asked = {"steps": STEPS, "minibatches": 1, "kl_weight": 0.05, "learning_rate": 1e-3, "max_grad_norm": None, **named}
    recipe = rl.Recipe(**{**tiny.SETTINGS, **asked})
    policy, checkpoints = tiny.policy(home), Checkpoints(folder)
    trainer = kind(
        policy,
        collector=Collector(
            recipe=recipe, rows=[], prompt_ids=[], tokenizer=policy.tokenizer, contract=policy.contract, seed=3
        ),
        engine=tiny.engine(policy, rl.Recipe(dtype="bfloat16")),  # no exact one: what was recorded is used
        objective=taken(Objective, recipe),
        config=settings.configuration(
            recipe, folder=checkpoints.fresh_draft(), seed=3, micro=micro, save_steps=1000, cpu=True
        ),
        checkpoints=checkpoints,
        callback=Silent(),
    )
    return watched(trainer)


def quiet(folder: Path, micro: int) -> Work:
    """Work in a folder whose events go nowhere."""
    made = tiny.work(folder, micro_batch=micro, checkpoint_every=1000)
    made.events.close()
    return replace(made, events=Nowhere())


class Nowhere(Events):
    def __init__(self) -> None:
        pass

    def emit(self, event: str, /, **fields: Any) -> None:
        pass


class Teacher:
    """A cached teacher's three likeliest tokens, from the number of the row."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def top(self, rows: list[int], device: Any) -> Top:
        parts = []
        for row in rows:
            chance = torch.Generator().manual_seed(row)
            tokens = len(self.examples[row].completion_ids)
            ids = torch.stack([torch.randperm(200, generator=chance)[:3] for _ in range(tokens)])
            whole = torch.randn(tokens, 4, generator=chance).log_softmax(-1)
            parts.append((ids, whole[:, :3], whole[:, 3]))
        return Top(*(torch.cat(part) for part in zip(*parts, strict=True)))


def on_examples(home: Path, folder: Path, loss: str, micro: int) -> Found:
    """Two epochs over 13 rows in batches of 9: the last step has fewer rows than two processes have micro-batches."""
    policy = tiny.policy(home)
    if loss == "adapter":
        policy = adapted(policy, Adaptation(rank=4), seed=3, tell=lambda _: None, again=lambda: None)
    examples = [
        Example(f"row-{n}", [5, 6, *range(10, 12 + n % 3)], [(7 * n + t) % 250 + 1 for t in range(1 + 5 * n % 7)])
        for n in range(13)
    ]
    tuning = Tuning(epochs=2, batch_size=9, learning_rate=1e-3, max_grad_norm=None)
    place = quiet(folder, micro)
    lengths = [one.tokens for one in examples]
    plan = epochs.schedule_of(lengths, tuning, policy, place)
    cached = cached_loss(Teacher(examples), list(range(13)), len(policy.tokenizer))  # type: ignore[arg-type]
    trainer = sft.SupervisedTrainer(
        policy,
        Surveyed.of(examples),
        loss=cached if loss == "logprobs" else sft.completion_loss,
        schedule=plan,
        args=epochs.configuration(tuning, plan, policy, place),
        checkpoints=Checkpoints(place.scratch / "checkpoints"),
        callback=Silent(),
    )
    return watched(trainer)


def on_texts(home: Path, folder: Path, loss: str, micro: int) -> Found:
    """A judge on pairs or on labelled points."""
    tuning = JudgeTuning(epochs=2, batch_size=9, learning_rate=1e-3, max_grad_norm=None)
    words = folders.load_tokenizer(home)
    scorer = Policy(judge.load_scalar_model(home), words, tiny.policy(home).contract)
    texts = [[(3 * n + t) % 250 + 1 for t in range(2 + n % 5)] for n in range(26)]
    pairs = [judge_training.Example((texts[n], texts[n + 13])) for n in range(13)]
    points = [judge_training.Example((texts[n],), float(n % 2)) for n in range(13)]
    examples = pairs if loss == "pairs" else points
    place = quiet(folder, micro)
    lengths = [max(map(len, one.texts)) for one in examples]
    plan = epochs.schedule_of(lengths, tuning, scorer, place, each=len(examples[0].texts))
    trainer = judge_training.JudgeTrainer(
        scorer,
        examples,
        schedule=plan,
        args=epochs.configuration(tuning, plan, scorer, place),
        checkpoints=Checkpoints(place.scratch / "checkpoints"),
        callback=Silent(),
    )
    return watched(trainer)


def watched(trainer: Any) -> Found:
    """Train three steps; the gradients are looked at where the first update is about to be made."""
    first: list[Tensor] = []
    norm = trainer._get_grad_norm

    def looked(model: Any, grad_norm: Any = None) -> Any:
        if not first:
            moved = [one for group in trainer.optimizer.param_groups for one in group["params"]]
            first.extend(sharding.whole(one.grad).clone() for one in moved)
        return norm(model, grad_norm)

    trainer._get_grad_norm = looked
    trainer.train()
    moved = [one for group in trainer.optimizer.param_groups for one in group["params"]]
    return first, [sharding.whole(one.detach()).clone() for one in moved]


JOBS: dict[str, tuple[Callable[[Path, Path, str, int], Found], str]] = {
    **{loss: (on_policy_gradient, loss) for loss in (*LOSSES, "ppo")},
    **{loss: (on_examples, loss) for loss in ("traces", "logprobs", "adapter")},
    **{loss: (on_texts, loss) for loss in ("pairs", "points")},
}
MICRO = (4, 1)
"""Rows of a micro-batch: 2 and 8 of them a step in one process, half as many in each of two."""
SHARDED = MICRO[:1]
"""Those that are trained with weights in parts."""


def everything(home: Path, folder: Path, cut: tuple[int, ...] = MICRO) -> dict[str, Found]:
    """Every loss under every accumulation, by `loss/rows of a micro-batch`."""
    torch.set_num_threads(1)
    gc.freeze()  # accelerate collects garbage at the end of a training, and what was imported is none
    try:
        return {
            f"{name}/{micro}": job(home, folder / f"{name}-{micro}", loss, micro)
            for name, (job, loss) in JOBS.items()
            for micro in cut
        }
    finally:
        gc.unfreeze()


PRELOADED = ("tests.policy.ranks.twins", "stages.policy.engines.local.engine", "stages.rewards.grading")


def both(target: Callable[..., None], folder: Path, *more: object) -> list[int]:
    """Run a function in two processes that are connected as a launcher's are; returns their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    started = [context.Process(target=_rank, args=(target, rank, port, folder, *more)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    return [process.exitcode if process.exitcode is not None else -1 for process in started]


@contextmanager
def together() -> Iterator[None]:
    """The processes hold the weights together inside the block."""
    before = world._joined[0]
    world._joined[0] = replace(before, shards=True)
    try:
        yield
    finally:
        world._joined[0] = before


def _rank(target: Callable[..., None], rank: int, port: int, folder: Path, *more: object) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    world.join("cpu")
    torch.set_num_threads(1)
    target(rank, folder, *more)
    world.leave()


def keep_everything(rank: int, folder: Path) -> None:
    """The work of a rank: everything, kept as rank-N.pt, and with weights that both hold together, as sharded-N.pt."""
    torch.save(everything(folder / "model", folder / "two"), folder / f"rank-{rank}.pt")
    with together():
        torch.save(everything(folder / "model", folder / "sharded", SHARDED), folder / f"sharded-{rank}.pt")
