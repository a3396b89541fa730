"""What every trainer has in common: a mixin that enters a class before transformers' Trainer, or one of TRL's, leaves a
trainer that resumes exactly.

Loop, optimizer, schedule and file formats stay theirs. With this in front of them a run is a row of numbers, and what a
number trains on is made from it, so that a resumed run just starts further on; a checkpoint is a draft that is sealed
when whole (see `checkpoint`), carries the trainer's typed state, and is refused when it lacks weights; a step ends in a
`StepReport` to one callback, or in a refusal when its gradient is no number. TRL's telemetry and model cards are left
out.

Several processes train as one, each with a copy of the weights or a part of them (`sharding`): each takes every
so-many-th micro-batch of a step, gradients are added up before the update, and the first rank alone writes and tells.
No wrapper stands around the model for that (DDP would want its own forward to be called, and losses here call the
decoder), and no mean is taken over ranks: a loss is already its part of the whole step's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from stages.core.errors import StageError
from stages.policy.models import folders
from stages.policy.models.routing import RouterLoad
from stages.policy.models.weights import Policy
from stages.policy.ranks import sharding
from stages.policy.ranks.world import RankDone, World, world
from stages.policy.training.checkpoint import Checkpoints, step_of
from stages.policy.training.half import HalfAdamW
from stages.policy.training.steps import RunState, Silent, StepCallback, StepReport

if TYPE_CHECKING:
    from stages.core.run.runner import Work

STATE_FILE = "run_state.json"
HALF = ("bfloat16_master", "bfloat16")
"""What a recipe's `weights` may say besides float32; the arguments of a trainer carry it."""
ADAPTER_FILE = "adapter.safetensors"
WEIGHTS_FILE = "weights.safetensors"
"""The weights that several processes hold together, in one file."""
PROCESSES_FILE = "processes.json"
"""How many processes trained a checkpoint; absent = one."""

StateT = TypeVar("StateT", bound=RunState)


class ResumableTrainer(Generic[StateT]):
    """Mixin with whole checkpoints, a typed state and step reports.

    `run_state` is what a checkpoint holds besides the trainer's own files. `args.output_dir` must be
    `checkpoints.fresh_draft()`. A loss that the trainer returns is already its part of the whole step's: nothing
    divides it again.
    """

    loss_is_scaled_for_ga = True  # what transformers asks from 5.19 on

    args: Any
    state: Any
    model: Any
    data_collator: Any
    callback: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        policy: Policy,
        *,
        run_state: StateT,
        checkpoints: Checkpoints,
        callback: StepCallback,
        args: Any,
        **theirs: Any,
    ) -> None:
        self.world = world()
        refuse_other_world(self.world, args)
        if self.world.shards and args.optim != "adamw_torch_fused":
            what = f"the optimizer {args.optim} cannot hold its states in parts"
            raise StageError(what, hint="use `optimizer=adamw`, or leave `runtime.shard` out")
        self.policy = policy
        self.run_state = run_state
        self.checkpoints = checkpoints
        shared = getattr(callback, "then", None) if self.world.shards else None
        self.callback = callback if self.world.first else Silent(shared)
        hold(policy.module, args)
        policy.ready()
        policy.shard()
        self.router_load = RouterLoad(policy.module)
        super().__init__(model=policy.module, args=args, callbacks=[_Ends(self)], **theirs)  # type: ignore[call-arg]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        if args.optim_args in HALF:
            moves = {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
            self.optimizer_cls_and_kwargs = HalfAdamW, moves | {"master": args.optim_args == HALF[0]}
        self.data_collator = _as_it_is
        # What transformers asks until 5.19.
        self.model_accepts_loss_kwargs, self.compute_loss_func = False, _whole

    # ---- overridden: TRL and transformers call these ----

    def get_train_dataloader(self) -> DataLoader:
        """Serve 0, 1, 2 … below `total_micro_batches()`, one at a time, the way transformers serves rows: one pass over
        them is the whole run. Each of several processes is served all of them: they are numbers of its own share."""
        make: Any = self._get_dataloader  # type: ignore[attr-defined]
        numbers: Any = range(self.total_micro_batches())
        if self.world.size > 1:
            return DataLoader(numbers, 1, sampler=SequentialSampler(numbers), collate_fn=_as_it_is)
        return make(numbers, "Training", 1, sampler_fn=SequentialSampler, is_training=True)

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """Keep accelerate from standing DDP around a model that several processes train."""
        if self.world.size == 1 or isinstance(model, _Replica):
            return super()._wrap_model(model, training, dataloader)  # type: ignore[misc]
        return _Replica(model)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Take a micro-batch's gradient; after a step's last one every process has the sum over all."""
        own = model.module if isinstance(model, _Replica) else model
        loss: Tensor = super().training_step(own, inputs, num_items_in_batch)  # type: ignore[misc]
        if self.world.size > 1 and self.accelerator.sync_gradients:
            self.world.sum_gradients(one for group in self.optimizer.param_groups for one in group["params"])
        return loss * self.world.size  # transformers reports the mean over processes, and this is a part of a sum

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Write and read its state whole where several processes hold it together."""
        first = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)  # type: ignore[misc]
        if first and self.world.shards:
            sharding.follow(optimizer)
        return optimizer

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm over all processes' parts of the gradient."""
        return sharding.whole(super()._get_grad_norm(model, grad_norm))  # type: ignore[misc]

    def _send_telemetry(self) -> None:
        """Send nothing: TRL reports each run to a hub by default."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let transformers write its files into a draft, add what it forgets, and seal the whole."""
        # Past TRL's own version, which writes a model card first.
        Trainer._save_checkpoint(self, model, trial)
        draft = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        for name, policy in self.policies_beside().items():
            policy.snapshot(draft / name)
        self.world.wait()
        if self.world.first:
            self.save_state_files(draft)
            if self.world.size > 1:
                (draft / PROCESSES_FILE).write_text(json.dumps(self.world.size), encoding="ascii")
            self.checkpoints.seal(draft, self.state.global_step)
        self.world.wait()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Let transformers write all weights; an adapted policy writes what it trains, one that several processes hold
        together all of it."""
        if output_dir is None or not (self.policy.adapted or self.world.shards):
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
            return
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        self.policy.snapshot(Path(output_dir) / self._weights_file)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Take part in it where the state lies in all processes."""
        if self.world.shards and not self.world.first:
            self.optimizer.state_dict()
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        """Read them again, in as many processes as there are now."""
        found = [Path(checkpoint) / name for name in (self._weights_file, SAFE_WEIGHTS_NAME)]
        if found[0].is_file() or self.world.shards:
            self.policy.restore(next(filter(Path.is_file, found), found[0]))
        else:
            super()._load_from_checkpoint(checkpoint, model)  # type: ignore[misc]

    @property
    def _weights_file(self) -> str:
        return ADAPTER_FILE if self.policy.adapted else WEIGHTS_FILE

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load what `_save_checkpoint` added too."""
        if checkpoint is not None and self.world.shards:  # transformers would read the whole onto each device
            for name, one in ((OPTIMIZER_NAME, self.optimizer), (SCHEDULER_NAME, self.lr_scheduler)):
                file = Path(checkpoint) / name
                one.load_state_dict(torch.load(file, map_location="cpu", mmap=True, weights_only=True))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self.load_state_files(Path(checkpoint))
            for name, policy in self.policies_beside().items():
                policy.restore(Path(checkpoint) / name)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint that lacks weights or holds strange ones; tied weights are stored once."""
        missing = set(load_result.missing_keys) - set(self.model.all_tied_weights_keys)
        strange = set(load_result.unexpected_keys)
        if missing or strange:
            raise StageError(
                f"the checkpoint does not fit the model: {', '.join(sorted(missing | strange))}",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            )

    # ---- what a trainer says ----

    def policies_beside(self) -> dict[str, Policy]:
        """The policies that a checkpoint holds beside the one in training, by the names of their files."""
        return {}

    def total_micro_batches(self) -> int:
        """How many micro-batches the whole run has; one is one number of the loader."""
        return int(self.args.max_steps * self.args.gradient_accumulation_steps)

    def begin_run(self) -> None:
        """The first step of this process is next, and everything is loaded."""

    def begin_step(self) -> None:
        """The first micro-batch of a step is next."""

    def step_figures(self, step: int, logs: dict[str, float]) -> dict[str, Any]:
        """Return the figures of update `step` (from 1), which just ended; `logs` are transformers' own."""
        raise NotImplementedError

    def close_step(self, logs: dict[str, float]) -> None:
        """Report the update that just ended; its checkpoint, written next, holds what this changes in `run_state`.

        Raises StageError when its loss or its gradient is no number.
        """
        step = self.state.global_step
        refuse_no_number(step, logs["grad_norm"], logs["loss"])
        figures = self.step_figures(step, logs) | self.router_load.figures()
        report = StepReport(step=step, steps=self.args.max_steps, figures=figures)
        self.state.log_history.clear()  # it would grow with every step, and is written into every checkpoint
        self.callback.on_step(report)

    def save_state_files(self, folder: Path) -> None:
        """Write into a checkpoint what transformers does not know of."""
        self.run_state.write(folder / STATE_FILE)

    def load_state_files(self, folder: Path) -> None:
        """Read what `save_state_files` wrote."""
        self.run_state = type(self.run_state).read(folder / STATE_FILE)


class _Ends(TrainerCallback):  # type: ignore[misc]
    """Tells a trainer of its beginning and of the ends of its steps; `on_log` comes after the update and before its
    checkpoint."""

    def __init__(self, trainer: ResumableTrainer[Any]) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.begin_run()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.router_load.restart()
        self.trainer.begin_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "grad_norm" in logs:  # the summary at the end has none
            self.trainer.close_step(logs)


class _Replica(nn.Module):
    """The model as transformers holds it where several processes have a copy each: nothing but its parameters."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def refuse_other_world(known: World, args: Any) -> None:
    """Raise StageError where accelerate sees other processes or another device than this process was promised."""
    seen, device = int(args.world_size), torch.device(args.device).type
    if seen != known.size:
        raise StageError(
            f"{seen} processes were started, and this run is one of {known.size}",
            hint=f"start r1 itself without a launcher, with `runtime.processes={seen}` or `--launcher`",
        )
    if known.size > 1 and device != known.device:
        raise StageError(
            f"accelerate trains on {device}, and {known.device} was promised",
            hint="take ACCELERATE_* out of the environment, or use the configurations in recipes/launch",
        )


def hold(module: Any, args: Any) -> None:
    """Hold a module's weights as the recipe's `weights` says, in place, before anything copies or wraps them."""
    if args.optim_args in HALF:
        folders.cast(module, "bfloat16")


def refuse_no_number(step: int, *values: float) -> None:
    """Raise StageError when a gradient's norm, or another figure of the update `step`, is not finite."""
    if not all(map(math.isfinite, values)):
        raise StageError(
            f"the gradient of step {step} is not a number", hint="lower the learning rate: `recipe.learning_rate=…`"
        )


def train(trainer: Any, work: Work) -> None:
    """Train from the newest whole checkpoint of `trainer.checkpoints`, or from the start, and say which.

    Of several processes the first alone returns: the others raise RankDone, for what follows is not theirs to write.
    """
    known: World = trainer.world
    found = trainer.checkpoints.latest(lambda said: work.emit("warning", text=said)) if known.first else None
    resumed: Path | None = known.gather(found)[0]
    if resumed is not None:
        work.emit("note", text=f"resumed from {resumed.name}")
        before = _processes_of(resumed)
        if before != known.size:
            text = f"{resumed.name} was trained by {before} processes and is gone on with by {known.size}: the weights "
            work.emit("warning", text=text + "will be equal to rounding, not bit for bit")
        if getattr(type(trainer.run_state).read(resumed / STATE_FILE), "stopped_by", ""):
            trainer.args.max_steps = step_of(resumed)  # its guard ended it: only the sealing is left
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    known.wait()
    trainer.policy.unshard()
    if not known.first:
        raise RankDone


def _processes_of(checkpoint: Path) -> int:
    file = checkpoint / PROCESSES_FILE
    return int(json.loads(file.read_text(encoding="ascii"))) if file.is_file() else 1


def _as_it_is(numbers: list[int]) -> list[int]:
    """A loader's numbers, untouched: the trainer turns them into rows itself."""
    return numbers


def _whole(*_: Any, **__: Any) -> Any:
    """Stand where transformers looks whether a loss is of the whole step already; it is never called."""
    raise StageError("transformers tried to take the loss itself")
