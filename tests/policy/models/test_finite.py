"""A weight that is no number is found while the file is copied, whatever its kind and wherever a piece ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.errors import InputError
from stages.core.storage import disk
from stages.policy.models.finite import Finite
from stages.policy.models.importing import import_model
from tests.policy import styles

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def copied(file: Path, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_COPIED", pieces)
    disk.copy_hashed(file, file.with_suffix(".copy"), Finite(file))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("place", [0, 1, 7, 16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_tensor_that_holds_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype, place: int, value: float
) -> None:
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.zeros(5, dtype=kind), "c": torch.ones(17, dtype=kind)}
    tensors["c"][place] = value
    save_file(tensors, tmp_path / "w.safetensors")
    for pieces in (1, 5, 64, 1 << 20):
        with pytest.raises(InputError, match="hold NaN or an infinity in c"):
            copied(tmp_path / "w.safetensors", pieces, monkeypatch)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_largest_and_smallest_numbers_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype
) -> None:
    most, least = torch.finfo(kind).max, torch.finfo(kind).tiny
    tensors = {"a": torch.tensor([most, -most, least, -least, 0.0, -0.0] * 9, dtype=kind)}
    tensors |= {"attn_mask": torch.tensor([-float("inf")], dtype=kind), "none": torch.zeros(0, dtype=kind)}
    tensors |= {"whole": torch.tensor([-1], dtype=torch.int64)}
    save_file(tensors, tmp_path / "w.safetensors")
    for pieces in (1, 7, 1 << 20):
        copied(tmp_path / "w.safetensors", pieces, monkeypatch)
    assert (tmp_path / "w.copy").read_bytes() == (tmp_path / "w.safetensors").read_bytes()


def test_an_import_of_weights_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    source = styles.folder("plain", tmp_path / "source")
    state = load_file(source / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(state, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"NaN or an infinity in model\.layers\.1\.mlp\.up_proj\.weight") as caught:
        import_model(source, tmp_path / "model")
    assert caught.value.hint


def test_other_chat_templates_of_a_tokenizer_are_kept(tmp_path: Path) -> None:
    source = styles.folder("qwen", tmp_path / "source")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("TOOLS {{ messages }}")
    import_model(source, tmp_path / "model")
    kept = tmp_path / "model" / "additional_chat_templates" / "tool_use.jinja"
    assert kept.read_text() == "TOOLS {{ messages }}"
    assert (tmp_path / "model" / "chat_template.jinja").read_text() == styles.QWEN
