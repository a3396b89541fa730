"""Families in vLLM, through the stages: sampled within the gap, or refused in one sentence; docs/models.md says which.

A mixture of experts, a class of transformers' own behind vLLM's door for those, rotary frequencies of two lengths and
an architecture whose kernels are not here; `python -m tests.bench.families --engine vllm` runs every family.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from stages.core.errors import EngineError
from stages.core.run.runtime import Runtime
from stages.core.sampling import Request, Sampling
from stages.policy.engines.vllm import likeness
from stages.policy.engines.vllm.engine import VllmEngine
from tests.families.renewing import renewed
from tests.families.test_matrix import Family, cell, table, written

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("name", ["Qwen3-MoE", "SmolLM3", "Phi-4-mini (longrope)", "LFM2"])
def test_sampling_and_rl_by_vllm_do_what_docs_models_says(
    name: str, tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    family = Family(name, tmp_path, rows)
    family.engine = "vllm"
    sample, drawn = cell(family, "sample")
    rl, _ = cell(family, "rl")
    assert [sample, rl] == table()[name][-3:-1]
    assert (drawn is None) == (sample == "no") and not multiprocessing.active_children()
    assert rl == "no" or family.gap() < 1e-5
    assert "Traceback" not in "".join(capfd.readouterr())
    family.engine = "transformers"
    assert cell(family, "sft")[0] == "yes"  # the model's class is left as it was


def test_a_tensor_that_stays_old_is_seen_whichever_it_is(tmp_path: Path, rows: Path) -> None:
    """Phi's queries, keys and values are one tensor, as are its gate and its values."""
    found = renewed(Family("Phi-4", tmp_path, rows).home / "model")
    assert found.before < 1e-5 and found.after < 1e-5 and found.tensors == 15 and not found.unseen


def test_rows_beyond_the_border_of_rotary_frequencies_are_refused_and_another_model_is_found_out(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Family("Phi-4-mini (longrope)", tmp_path, rows)
    runtime = Runtime(device="cpu")
    where, contract = tmp_path / "model", likeness.Contract.read(tmp_path / "model")
    engine = VllmEngine.open(where, contract=contract, dtype="float32", runtime=runtime)
    long = Request(prompt_ids=[5] * 150, sampling=Sampling(max_tokens=10), seed=0)
    brief = Request(prompt_ids=[5] * 150, sampling=Sampling(max_tokens=9), seed=0)
    ((_, refused), (_, answered)) = engine.sample([long, brief])
    engine.close()
    assert "159 positions of the rotary frequencies that vLLM can use" in refused.fault and not answered.failed
    monkeypatch.setattr(likeness.setup, "positions", lambda folder, most: most)  # as vLLM is usually opened
    with pytest.raises(EngineError, match=r"vLLM and transformers are .* nats a token apart at the same weights"):
        VllmEngine.open(where, contract=contract, dtype="float32", runtime=runtime)
