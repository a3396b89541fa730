"""`python -m tests.bench.forecast`: the peak memory of training that `r1 plan` forecasts, against what it takes.

For each configuration a fresh process (or two) trains a random model of published or small widths by the stage's own
code for two steps; its highest resident memory above that after the imports is compared with the formula's. None of
the configurations was used to fit anything: what the formula counts was counted elsewhere (docs/scale.md).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.scale import memory
from stages.core.scale.memory import Training
from stages.core.scale.shapes import Shapes, of_config

WIDTHS = {
    "12M": (256, 704, 6, 4, 2, 16_000),
    "30M": (384, 1024, 8, 6, 2, 32_000),
    "SmolLM2-135M": (576, 1536, 30, 9, 3, 49_152),
}
"""Model -> hidden, feed-forward, layers, heads, key heads, vocabulary; embeddings tied."""
PREFIX = 81
"""Tokens that all prompts of an RL case share; the rest of a prompt has at most 6."""
PROMPT = 32
"""Tokens of a prompt of an SFT case."""


@dataclass(frozen=True)
class Case:
    """A way of training."""

    stage: str
    model: str
    rows: int
    """Of a micro-batch."""
    tokens: int
    """RL: of a completion; SFT: of a row."""
    rank: int = 0
    twice: bool = False
    parts: int = 1
    """Micro-batches of a step, in each process."""
    processes: int = 1

    @property
    def text(self) -> str:
        """`rl SmolLM2-135M 8 x 64, LoRA 16`."""
        said = f"{self.stage} {self.model} {self.rows} x {self.tokens}"
        aside = [f"LoRA {self.rank}"] * bool(self.rank) + ["layers twice"] * self.twice
        aside += [f"{self.parts} micro-batches"] * (self.parts > 1) + ["2 processes, each"] * (self.processes > 1)
        return ", ".join([said, *aside])


CASES = (
    Case("sft", "12M", 4, 128),
    Case("sft", "30M", 8, 256),
    Case("sft", "30M", 8, 256, twice=True),
    Case("sft", "30M", 4, 128, parts=2, processes=2),
    Case("rl", "12M", 16, 64),
    Case("rl", "30M", 8, 128),
    Case("rl", "30M", 8, 128, rank=16),
    Case("rl", "30M", 8, 128, rank=16, twice=True),
    Case("sft", "SmolLM2-135M", 4, 128),
    Case("sft", "SmolLM2-135M", 4, 128, rank=16),
    Case("rl", "SmolLM2-135M", 8, 64, parts=2),
    Case("rl", "SmolLM2-135M", 8, 64, rank=16, parts=2, twice=True),
)


def shapes(model: str) -> Shapes:
    """The widths of a model of WIDTHS."""
    found = of_config(config(model))
    assert found is not None
    return found


def config(model: str) -> dict[str, Any]:
    """Its config."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    plain = dict(zip((*names, "vocab_size"), WIDTHS[model], strict=True))
    return {"model_type": "llama", **plain, "tie_word_embeddings": True, "max_position_embeddings": 4096}


def forecast(case: Case) -> int:
    """The peak in bytes."""
    rl = case.stage == "rl"
    way = Training(
        shapes=shapes(case.model),
        rows=case.rows,
        tokens=PREFIX + 6 + case.tokens if rl else case.tokens,
        predicted=case.tokens if rl else case.tokens - PROMPT,
        shared=PREFIX if rl else 0,
        rank=case.rank,
        checkpointing=case.twice,
        accumulated=case.parts > 1,
        reference=rl,
        entropy=rl,
        sampled_rows=case.rows * case.parts if rl else 0,
        processes=case.processes,
    )
    return memory.training(way).peak


def measured(case: Case) -> int:
    """The peak in bytes of a fresh process, the highest of several."""
    launcher = [sys.executable, "-m"]
    if case.processes > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={case.processes}", "-m"]
    told = ["tests.bench.forecast", "--child", json.dumps(vars(case))]
    done = subprocess.run([*launcher, *told], capture_output=True, text=True, check=False)
    peaks = [int(line.partition(" ")[2]) for line in done.stdout.splitlines() if line.startswith("peak ")]
    if done.returncode or len(peaks) != case.processes:
        raise SystemExit(f"{case.text} failed: {done.stderr[-2000:]}")
    return max(peaks)


def child(case: Case) -> None:
    """Train and print the peak."""
    import torch

    from stages import rl, sft  # noqa: F401 - imports are not what is measured
    from stages.policy import sft as training  # noqa: F401
    from stages.policy.engines import opening  # noqa: F401
    from stages.policy.judges import judge  # noqa: F401
    from stages.policy.models import adapters  # noqa: F401
    from stages.policy.ranks.world import RankDone, join
    from stages.policy.rl import ppo  # noqa: F401

    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp())
    try:
        writer = os.fork()  # the model is made elsewhere, so that its memory is not ours
        if writer == 0:
            _write_model(home / "model", case.model)
            os._exit(0)
        os.waitpid(writer, 0)
        if case.processes > 1:
            join("cpu")
        start = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        with contextlib.suppress(RankDone):
            (_rl if case.stage == "rl" else _sft)(case, home)
        print(f"peak {_resident('VmHWM') - start}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _write_model(folder: Path, model: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from stages.core.contract import Contract
    from stages.policy.models import folders
    from tests.policy import tiny

    words = tiny.tokenizer()
    own = {key: value for key, value in config(model).items() if key != "model_type"}
    built = AutoConfig.for_model("llama", **own, bos_token_id=None, eos_token_id=words.eos_token_id)
    ends = {"eos_ids": [words.eos_token_id], "pad_id": words.pad_token_id}
    contract = Contract(template="", template_name="", tokenizer_sha256="", max_positions=4096, **ends)
    folders.save_model(AutoModelForCausalLM.from_config(built), words, contract, folder)


def _runtime(case: Case) -> dict[str, Any]:
    return {"micro_batch": case.rows, "checkpoint_every": 99, "gradient_checkpointing": case.twice, "threads": 1}


def _adapter(case: Case) -> dict[str, Any]:
    from stages.core.recipe.adaptation import Adaptation

    return {"adapter": Adaptation(rank=case.rank)} if case.rank else {}


def _sft(case: Case, home: Path) -> None:
    from stages.core.contract import Contract
    from stages.core.data.imitation import Example
    from stages.core.recipe.parts import Tuning
    from stages.policy import sft
    from stages.policy.models import adapters, device, folders
    from stages.policy.models.weights import Policy
    from tests.policy import tiny

    folder, batch = home / "model", case.rows * case.parts * case.processes
    work = tiny.work(home / "run", **_runtime(case))
    device.place(work.runtime)
    policy = Policy.load(folder, tiny.tokenizer(), Contract.read(folder))
    tuning = Tuning(epochs=1, batch_size=batch, **_adapter(case))
    policy = adapters.adapted(policy, tuning.adapter, seed=0, tell=work.note, again=lambda: folders.load_model(folder))
    examples = [
        Example(
            str(row),
            [5 + (7 * row + at) % 200 for at in range(PROMPT)],
            [5 + (3 * row + at) % 200 for at in range(case.tokens - PROMPT)],
        )
        for row in range(2 * batch)
    ]
    sft.train(policy, examples, tuning, work=work)


def _rl(case: Case, home: Path) -> None:
    from stages import rl
    from stages.core.artifact import Model
    from tests.policy import tiny

    changes = {
        **tiny.SETTINGS,
        "template": f"{tiny.TEMPLATE.removesuffix('{prompt}')}{'x' * 70} {{prompt}}",
        "prompts_per_step": case.rows * case.parts // 4,
        "minibatches": 1,
        "steps": 2,
        "max_completion_tokens": case.tokens,
        "learning_rate": 1e-6,
        **_adapter(case),
    }
    model = Model(path=home / "model", record=tiny.record("model", "random"))
    inputs = rl.Inputs(model=model, prompts=tiny.prompts(home / "prompts", 16))
    rl.run(rl.Recipe(**changes), inputs, tiny.work(home / "run", **_runtime(case)))


def _resident(key: str) -> int:
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise SystemExit("this bench needs Linux")


def main() -> None:
    """Measure the cases, or one of them, and print a row for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", help="cases whose words hold this")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(Case(**json.loads(asked.child)))
        return
    print("| training, rows x tokens | forecast, MB | measured, MB | error |\n|---|---|---|---|")
    for case in CASES:
        if asked.only and asked.only not in case.text:
            continue
        mine, theirs = forecast(case) / 1e6, measured(case) / 1e6
        print(f"| {case.text} | {mine:,.0f} | {theirs:,.0f} | {100 * (mine / theirs - 1):+.1f} % |", flush=True)


if __name__ == "__main__":
    main()
