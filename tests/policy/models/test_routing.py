"""The load of experts, by hand, and the balancing bias that training leaves alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stages import sft
from stages.core.artifact import Model
from stages.core.run import events
from stages.policy.models import attending, importing, prefix
from stages.policy.models.routing import RouterLoad, real_tokens
from tests.families import building
from tests.policy import tiny, tiny_sft


class Layer(nn.Module):
    """Four experts that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Module()
        self.experts.down_proj = nn.Parameter(torch.zeros(4, 2, 2))
        self.experts.forward = lambda hidden_TH, chosen_TK: hidden_TH  # type: ignore[method-assign]

    def forward(self, chosen_TK: Tensor) -> None:
        self.experts(torch.zeros(len(chosen_TK), 2), chosen_TK)


def test_the_load_by_hand() -> None:
    """Of 8 choices 4, 2, 2 and 0: the fullest expert has twice its even share; 1.5 of at most 2 bits."""
    layer = Layer()
    load = RouterLoad(layer)
    layer(torch.tensor([[0, 1], [0, 2]]))
    layer(torch.tensor([[0, 1], [0, 2]]))
    with torch.no_grad():
        layer(torch.tensor([[3, 3]]))  # sampling is not training
    assert load.figures() == {"router_max_load": 2.0, "router_entropy": pytest.approx(0.75)}
    load.restart()
    assert load.figures() == {}
    layer(torch.tensor([[0, 1], [2, 3]]))
    assert load.figures() == {"router_max_load": 1.0, "router_entropy": pytest.approx(1.0)}


def test_padding_stands_still() -> None:
    """A row of four tokens after two of padding, one of three before three, one whole; and a mask says it itself."""
    places = torch.tensor([[0, 0, 0, 1, 2, 3], [7, 8, 9, 9, 9, 9], [0, 1, 2, 3, 4, 5]])
    real_BT = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    assert real_tokens(None, places).equal(real_BT)  # type: ignore[union-attr]
    assert real_tokens(torch.ones(3, 1, 6, 6), places).equal(real_BT)  # type: ignore[union-attr]
    assert real_tokens(real_BT.long(), None).equal(real_BT)  # type: ignore[union-attr]
    assert real_tokens(None, None) is None


@pytest.mark.parametrize("way", ["shared", "together", "behind", "twice"])
def test_padded_rows_count_as_the_rows_alone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of 5 and 9 tokens, completions of 7 and 2; each token that is read counts once, in whatever way rows are
    laid out: of a tree the last token of a completion, behind which nothing is asked, is not read."""
    model, lengths = building.model("Qwen3-MoE").train(), [(5, 7), (9, 2)]
    load = RouterLoad(model)
    draws = torch.Generator().manual_seed(0)
    prompts_BP, completions_BT = (torch.randint(5, 200, (2, size), generator=draws) for size in (9, 7))
    prompt_real = torch.arange(9)[None] >= 9 - torch.tensor([[5], [9]])
    real_T = torch.arange(7)[None] < torch.tensor([[7], [2]])
    prompts_BP[:, :] = torch.where(prompt_real, prompts_BP, 0)
    shared = 3 if way == "shared" else 0
    if shared:
        prompts_BP[0, 4:7] = prompts_BP[1, :3]
    if way == "behind":
        monkeypatch.setattr(prefix, "MASK_AT_ONCE", 1)
    if way == "twice":
        attending.compute_twice(model)
    rows = (prompts_BP, prompt_real, completions_BT, real_T)
    logprobs_BT, _ = prefix.selected_logprobs(model, *rows, temperature=1.0, shared_prefix=shared)
    logprobs_BT.sum().backward()
    together = dict(load._counts)
    load.restart()
    model.gradient_checkpointing_disable()
    for row, (prompt, completion) in enumerate(lengths):
        read = completion - (way != "behind")
        ids = torch.cat([prompts_BP[row, 9 - prompt :], completions_BT[row, :read]])
        model(input_ids=ids[None], use_cache=False)
    for name, alone_E in load._counts.items():
        assert alone_E.sum() == 2 * (5 + 7 + 9 + 2 - 2 * (way != "behind"))  # two experts a token
        start = 2 * shared
        assert together[name].sum() == alone_E.sum() - start  # the shared start is computed once
        if not shared:
            assert together[name].equal(alone_E)


@pytest.mark.parametrize("family", ["DeepSeek-V3", "gpt-oss", "Qwen3-MoE"])
def test_each_real_mixture_is_watched(family: str) -> None:
    model = building.model(family)
    load = RouterLoad(model)
    model(input_ids=torch.arange(60)[None], use_cache=False)
    experts = 8 if family == "DeepSeek-V3" else 4
    figures = load.figures()
    assert 1 < figures["router_max_load"] <= experts / 2  # two experts a token: none has more than half
    assert math.log(2) / math.log(experts) <= figures["router_entropy"] < 1
    assert RouterLoad(building.model("SmolLM2")).figures() == {}


def test_sft_of_all_weights_tells_the_load_and_leaves_the_bias_as_it_is(tmp_path: Path) -> None:
    building.folder("DeepSeek-V3", tmp_path / "outside")
    importing.import_model(tmp_path / "outside", tmp_path / "v3")
    inputs = sft.Inputs(
        model=Model(path=tmp_path / "v3", record=tiny.record("model", "v3")),
        conversations=tiny_sft.conversations(tmp_path / "traces", tiny_sft.rows(6)),
    )
    tiny_sft.run(tmp_path / "node", inputs)
    steps = events.curve(tmp_path / "node" / "events.jsonl", "step")
    assert all(1 <= line["router_max_load"] <= 4 and 0 < line["router_entropy"] <= 1 for line in steps)
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path / "v3", tmp_path / "node"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert bias in before and bias not in moved and "model.layers.1.mlp.gate.weight" in moved
