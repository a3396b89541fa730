"""Where and how a stage runs: one dataclass for every stage, never part of a fingerprint.

What enters: the `runtime:` map of a recipe. What leaves: a `Runtime`. Nothing here may change weights or the sampled
distribution beyond rounding; whatever does belongs in the stage's own Recipe.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from stages.core.errors import RecipeError, nearest
from stages.core.run.endpoint import EndpointSettings, server_address
from stages.core.sampling import ENGINES

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The circumstances of a run."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto = cuda where torch sees one, else cpu."""
    engine: str = "auto"
    """What samples: auto, transformers or vllm; auto = vllm where `vllm_server` is given, and on a GPU where it is
    installed, else transformers (on a CPU ours is two to three times as fast)."""
    vllm_memory: float | None = None
    """Share of the GPU's memory that vLLM takes for weights and cache, above 0 and at most 1; None = 0.4 beside a
    trainer, 0.9 alone. On a CPU it is not read."""
    vllm_server: str | None = None
    """URL of a `vllm serve` that serves the model of this run and samples instead of a vLLM in this process; None
    or empty = none. How to start it: docs/gpu.md."""
    vllm_wait_s: float = 1800.0
    """Longest wait for one answer of that server, or for it to take new weights, in seconds, above 0: one that hangs is
    given up then, and the request asked again or told as lost."""
    threads: int | None = None
    """CPU threads for torch, 1 or more; None = one for a small model, all cores for others."""
    micro_batch: int | None = None
    """Rows per forward pass, 1 or more; None = derived from the recipe and the memory."""
    micro_tokens: int | None = None
    """Tokens per forward pass of training, padding included, 1 or more; None = what `micro_batch` says. Rows of unlike
    lengths then come in micro-batches of unlike sizes (RL: of its longest possible row)."""
    gradient_checkpointing: bool | None = None
    """Whether training computes each layer twice instead of keeping what it computed: a third more time, a fraction of
    the memory; None = where not one row fits otherwise."""
    price: float | None = None
    """Dollars an hour of one device, 0 or more: `r1 plan` says what a run costs; None = it does not."""
    preflight: bool = True
    """Whether RL looks before its first step at what it would meet (docs/rl.md), for a hundredth of its completions."""
    checkpoint_every: int | None = None
    """Optimizer steps between resumable checkpoints, 1 or more; None = once per rollout of RL, ten times in SFT."""
    processes: int | None = None
    """Processes that train together, on one machine or several, 1 or more: each holds the whole model and draws its
    share of every rollout. On one machine with GPUs: as many as it has. None = two for long RL of a small model on a
    CPU, else one."""
    shard: bool = False
    """Whether they hold weights, gradients and the optimizer's states together, each one part of every layer (FSDP2,
    which is ZeRO stage 3), instead of all of them each. `accelerate launch` with fsdp2.yaml says the same."""
    launcher: str | None = None
    """What starts them, such as `accelerate launch --config_file FILE` or `srun torchrun --nnodes 2 …`; None or empty =
    torchrun, on this machine."""
    ray: str | None = None
    """The Ray cluster whose workers draw, curate and grade (docs/scale.md): `auto` (which this machine is part of) or
    HOST:PORT; None or empty = this machine alone."""
    log_every: int = 1
    """Optimizer steps between `step` events, 1 or more."""
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    """How a model behind `openai:URL#model` is asked."""

    def __post_init__(self) -> None:
        if self.engine not in ("auto", *ENGINES):
            known = ", ".join(("auto", *ENGINES))
            raise RecipeError(f"unknown engine `{self.engine}`", hint=f"{nearest(self.engine, ENGINES)}known: {known}")
        if self.vllm_server:
            server_address(self.vllm_server)
            if self.engine not in ("auto", "vllm"):
                hint = "use `runtime.engine=vllm`, or leave runtime.vllm_server out"
                raise RecipeError(f"`vllm_server` is given, but the engine is {self.engine}", hint=hint)
        if self.vllm_memory is not None and not 0 < self.vllm_memory <= 1:
            what = f"`vllm_memory` is a share, above 0 and at most 1, not {self.vllm_memory}"
            raise RecipeError(what, hint="try runtime.vllm_memory=0.4")
        if not self.vllm_wait_s > 0:
            what = f"`vllm_wait_s` must be above 0, not {self.vllm_wait_s}"
            raise RecipeError(what, hint="try runtime.vllm_wait_s=300")
        if self.ray and self.ray != "auto" and not _ADDRESS.fullmatch(self.ray):
            what = f"`ray` is `auto` or HOST:PORT of a Ray cluster, not `{self.ray}`"
            raise RecipeError(what, hint="`ray start --head` prints it; start r1 on a machine of the cluster")
        if self.launcher and self.world_size == 1:
            what = "a launcher is given, and `processes` does not say how many it starts"
            raise RecipeError(what, hint="add runtime.processes=2, or leave the launcher out")
        if self.shard and self.world_size == 1:
            what = "`shard` splits the weights among processes, and `processes` does not say how many"
            raise RecipeError(what, hint="add runtime.processes=2, or leave `shard` out")
        if self.price is not None and not self.price >= 0:
            what = f"`price` must be 0 or more, not {self.price}"
            raise RecipeError(what, hint="try runtime.price=2.5, in dollars an hour of one device")
        for key in ("processes", "threads", "micro_batch", "micro_tokens", "checkpoint_every", "log_every"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise RecipeError(f"`{key}` must be 1 or more, not {value}", hint=f"try runtime.{key}=1")

    @property
    def world_size(self) -> int:
        """Processes that train together: one where nothing is said."""
        return 1 if self.processes is None else self.processes


def available_cores() -> list[int]:
    """Return the numbers of the cores that this process may use, ascending; at least one."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
