"""`python -m tests.bench.before COMMIT`: the transformers engine against the sampler of an older commit.

A commit that has stages/policy/generate.py enters; for the embedded base and the random model of `make bench` a line
leaves: seconds of both, and the median of older / today's over pairs taken in turn. The older file runs in this process
beside today's tree and meets the same machine; what it stands on must be as it was then, or it is refused. It is given
the numbers that today's rows draw, so that both say the same tokens. Seconds are those of the processor, which other
programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stages.core.contract import Contract
from stages.core.sampling import Sampling
from stages.policy.engines.local.choosing import Draws
from stages.policy.models import prefix
from stages.policy.seeding import derive
from tests.bench.__main__ import contract, described, model_and_prompts
from tests.bench.pairs import Pair, paired
from tests.policy.drawing import generate
from tests.policy.engines.world import Base

SAMPLER, BENEATH = "stages/policy/generate.py", "stages/policy/prefix.py"
"""Where older commits have them."""
LONGEST = 128


class Numbers:
    """torch as the older sampler sees it: `rand` gives the numbers that today's rows draw from one seed."""

    def __init__(self, seed: int, rows: int) -> None:
        draws = Draws([derive(seed, row) for row in range(rows)], torch.device("cpu"))
        self.numbers = torch.stack([draws.at(torch.arange(rows), token) for token in range(LONGEST)], dim=1)

    def rand(self, rows: int, tokens: int, **_: Any) -> Tensor:
        """Every row's, once."""
        assert self.numbers.shape == (rows, tokens), "the older sampler wants other numbers"
        return self.numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def sampler(commit: str) -> ModuleType:
    """The sampler of a commit as a module of its own."""
    if shown(commit, BENEATH) != Path(prefix.__file__).read_text(encoding="utf-8"):
        raise SystemExit(f"{BENEATH} is another one than in {commit}, so its sampler would not be what it was")
    module = ModuleType("sampler_before")
    sys.modules[module.__name__] = module  # dataclasses look for it there
    sys.modules["stages.policy.prefix"] = prefix  # as the commit calls it
    exec(compile(shown(commit, SAMPLER), SAMPLER, "exec"), module.__dict__)
    return module


def shown(commit: str, path: str) -> str:
    """A file of a commit."""
    return subprocess.run(["git", "show", f"{commit}:{path}"], check=True, capture_output=True, text=True).stdout


def pair(
    what: str, repeats: int, before: ModuleType, model: Any, prompts: Sequence[Sequence[int]], own: Contract
) -> Pair:
    """Both on the same prompts and numbers."""
    before.__dict__["torch"] = Numbers(0, len(prompts))
    said: list[list[list[int]]] = []

    def ours() -> int:
        said.append([one.ids for one in generate(model, prompts, Sampling(max_tokens=LONGEST), contract=own, seed=0)])
        return sum(map(len, said[-1]))

    def older() -> int:
        sampling = before.Sampling(max_tokens=LONGEST)
        said.append([one.ids for one in before.generate(model, prompts, sampling, contract=own, seed=0)])
        return sum(map(len, said[-1]))

    found = paired(what, repeats, ours, older, clock=time.process_time)
    assert all(one == said[0] for one in said), "the two did not say the same"
    return found


def main() -> None:
    """Compare on both models and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.before", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("commit")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    before = sampler(asked.commit)
    print(f"torch {torch.__version__}, {asked.threads} threads, {asked.repeats} pairs each; plain = {asked.commit}")
    with tempfile.TemporaryDirectory() as scratch:
        base = Base.fetched(Path(scratch))
        rows = [ids for ids in base.prompts(32) for _ in range(16)]
        print(described(pair("embedded base, 512 rows", asked.repeats, before, base.model, rows, base.contract)))
    model, prompts = model_and_prompts(16, 16)
    print(described(pair("random Qwen2, 256 rows", asked.repeats, before, model, prompts, contract())))


if __name__ == "__main__":
    main()
