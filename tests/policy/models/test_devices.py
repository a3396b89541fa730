"""The same on every device: each test runs on the CPU, and on a GPU where there is one (`pytest -m gpu`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from stages import rl, sample, sft
from stages.core.artifact import Model, Prompts, Rollouts
from stages.core.errors import StageError
from stages.core.run import events
from stages.core.run.runtime import Runtime
from stages.core.run.sources import resolve
from stages.core.storage.store import Store
from stages.core.templates import with_template
from stages.policy.models import memory
from tests.policy import tiny, tiny_sft

RUNTIME = {"micro_batch": 4, "checkpoint_every": 2}
ROUNDING = {"cpu": 0.0, "cuda": 1e-3}
"""How far weights may lie apart after a resume: a GPU adds in another order from run to run."""


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def greedy(model: Model, prompts: list[list[int]], ends: list[int], count: int) -> list[list[int]]:
    """What plain transformers says on the CPU in float32, one prompt at a time, up to and with the end token."""
    plain = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    said = []
    for ids in prompts:
        given = torch.tensor([ids])
        options = {"do_sample": False, "max_new_tokens": count, "eos_token_id": ends, "pad_token_id": ends[0]}
        with torch.no_grad():
            said.append(plain.generate(given, attention_mask=torch.ones_like(given), **options)[0, len(ids) :].tolist())
    return said


def test_the_embedded_base_says_its_likeliest_words_as_plain_transformers_does_on_the_cpu(
    tmp_path: Path, device: str
) -> None:
    store = Store(tmp_path / "home")
    model, prompts = resolve("world:base", Model, store), resolve("world:heldout?count=8", Prompts, store)
    contract = with_template(model.contract, "")
    words = AutoTokenizer.from_pretrained(model.path)
    place = tiny.work(tmp_path / "run", device=device, engine="transformers")
    recipe = sample.Recipe(samples=1, temperature=1e-6, max_tokens=48)
    with place.events:
        sample.run(recipe, sample.Inputs(model=model, prompts=prompts), place)
    rollouts = Rollouts(path=place.path, record=tiny.record("rollouts", "greedy"))
    asked = [words(contract.render(row.problem))["input_ids"] for row in rollouts.prompts()]
    ends = set(contract.eos_ids)
    for one, ids in zip(rollouts.samples(), greedy(model, asked, contract.eos_ids, 48), strict=True):
        assert one.completion == words.decode([each for each in ids if each not in ends])
        assert one.tokens == len(ids)


def train_policy(folder: Path, device: str, place: str) -> None:
    """RL in `folder`, to the end, or to death at an event such as `step 3`."""
    home = folder.parent
    inputs = rl.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        prompts=Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny-prompts")),
    )
    draft = tiny.run(folder, inputs, {"steps": 4}, mortal(place), device=device, engine="transformers", **RUNTIME)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


def train_by_imitation(folder: Path, device: str, place: str) -> None:
    """SFT in `folder`, to the end, or to death at an event."""
    home = folder.parent
    inputs = sft.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        conversations=tiny_sft.conversations(home / "conversations", tiny_sft.rows(8)),
    )
    draft = tiny_sft.run(folder, inputs, {}, mortal(place), device=device, **RUNTIME)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


def mortal(place: str) -> Callable[[dict[str, Any]], None]:
    return lambda event: tiny.die() if f"{event['event']} {event.get('step')}" == place else None


@pytest.mark.parametrize("train", [train_policy, train_by_imitation], ids=["rl", "sft"])
def test_training_learns_there_and_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, device: str, train: Callable[[Path, str, str], None]
) -> None:
    tiny.model(tmp_path / "model")
    tiny.prompts(tmp_path / "prompts", 8)
    assert tiny.in_a_process(train, tmp_path / "whole", device, "") == 0
    assert tiny.in_a_process(train, tmp_path / "killed", device, "step 3") == -9
    assert tiny.in_a_process(train, tmp_path / "killed", device, "") == 0
    before, whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "whole", "killed"))
    assert any(not torch.equal(before[name], whole[name]) for name in before)
    for name in whole:
        torch.testing.assert_close(killed[name], whole[name], rtol=ROUNDING[device], atol=ROUNDING[device])
    steps = events.curve(tmp_path / "killed" / "events.jsonl", "step")
    numbers = [value for line in steps for value in line.values() if isinstance(value, float)]
    assert [line["step"] for line in steps] == [1, 2, 3, 4] and all(map(math.isfinite, numbers))


@pytest.mark.parametrize("tokens", [64, 256])
def test_as_many_rows_as_the_planner_allows_stay_within_their_share_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, device: str, tokens: int
) -> None:
    """A machine of 256 MiB; what the backward pass needs is counted as autograd keeps it, each storage once."""
    machine = 256 * 2**20
    monkeypatch.setattr(memory, "memory", lambda _: machine)
    monkeypatch.setattr(memory, "cpu_rows", lambda _: 10**6)
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config).to(device)
    rows = memory.rows_that_fit(model, tokens)
    allowed = memory.SHARE[device] * machine
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        out = model(torch.zeros(rows, tokens, dtype=torch.long, device=device)).logits.mean()
    used = sum(size for pointer, size in kept.items() if pointer not in own)
    out.backward()
    assert rows > 1 and 0.25 * allowed < used <= allowed


def test_a_device_that_others_have_taken_is_told_before_the_first_step() -> None:
    """A layer takes for a token what enters it, and the one that is computed again what it keeps; by the forecast."""
    config = Qwen2Config(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    model = Qwen2ForCausalLM(config)
    numbers = model.num_parameters()
    row = 100 * 4 * (8 * 64 + (6 + 2 + 2) * 64 + 4 * 256 + 3 * 256)
    memory.refuse_full(model, 100, 16 * numbers, 12 * numbers + row)
    memory.refuse_full(model, 100, 16 * numbers, None)
    with pytest.raises(StageError, match="other programs have the rest") as caught:
        memory.refuse_full(model, 100, 16 * numbers, 12 * numbers + row - 1)
    assert "adapter.rank=16" in caught.value.hint
    with pytest.raises(StageError, match=r"the machine has \d+\.\d GB free, and training takes"):
        memory.compute_twice_if_asked(model, Runtime(), 10**9)
