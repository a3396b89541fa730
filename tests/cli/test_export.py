"""`r1 export`: what leaves is whole, says where it comes from, and never overwrites what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1cli.main import ASKED_WRONGLY, DONE, run
from stages.core.storage.store import Store
from tests.fake_hub import running


def test_a_folder_loads_in_plain_transformers_and_a_second_export_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out" / "nano"
    assert run(["export", "world:qwen-nano", str(target), "--licence", "mit"]) == DONE
    sealed = Store().open("qwen-nano@1").path
    assert (target / "model.safetensors").read_bytes() == (sealed / "model.safetensors").read_bytes()
    loaded, words = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    assert loaded.generation_config.eos_token_id == words.convert_tokens_to_ids("<|end|>")
    card = (target / "README.md").read_text()
    assert "license: mit" in card and "`qwen-nano@1`" in card and "Nobody has evaluated this model" in card
    capsys.readouterr()
    assert run(["export", "world:qwen-nano", str(target), "--licence", "mit", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["plan"][0]["action"] == "reuse"
    (target / "config.json").write_text("{}")
    assert run(["export", "world:qwen-nano", str(target)]) == ASKED_WRONGLY
    assert "holds another `config.json`" in capsys.readouterr().err and (target / "config.json").read_text() == "{}"


def test_a_gguf_says_what_its_numbers_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    target = tmp_path / "nano.gguf"
    assert run(["export", "world:qwen-nano", str(target), "quantization=q8_0", "--json"]) == DONE
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["reading_difference"] < 1e-3 < metrics["logit_difference"] and 0.5 < metrics["top1_same"] <= 1
    assert target.read_bytes()[:4] == b"GGUF" and f"{metrics['top1_same']:.1%}" in target.with_suffix(".md").read_text()
    assert run(["export", "world:llama-nano", str(tmp_path / "other.gguf")]) == ASKED_WRONGLY
    assert "llama.cpp has no name for" in capsys.readouterr().err


def test_the_hub_gets_every_file_and_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "none-that-is-known")
    with running(monkeypatch, tmp_path / "cache") as hub:
        assert run(["export", "world:qwen-nano", "hf:owner/nano", "--private"]) == DONE
        assert hub.created[0]["name"] == "nano" and hub.created[0]["visibility"] == "private"
        sealed = Store().open("qwen-nano@1").path
        assert hub.given["model.safetensors"] == (sealed / "model.safetensors").read_bytes()
        assert b"How it was made" in hub.given["README.md"] and "events.jsonl" not in hub.given
        hub.status = 403
        capsys.readouterr()
        assert run(["export", "world:qwen-nano", "hf:owner/nano"]) != DONE
        assert "the hub has no `hf:owner/nano`, or does not show it to us (403)" in capsys.readouterr().err


def test_what_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "world:heldout", str(tmp_path / "x")]) == ASKED_WRONGLY
    assert "model" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_what_is_there_stays_and_is_told_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "nano.md").write_text("my notes")
    for target, more, why in (
        ("full", [], "`{}` is there already"),
        ("nano.gguf", [], "is there already, and is no card"),
        ("other.gguf", ["format=folder"], "is to be a GGUF, and `format` says folder"),
        ("new", ["--private"], "`--private` is for the hub"),
    ):
        place = tmp_path / target
        assert run(["export", "world:qwen-nano", str(place), *more, "--dry-run"]) == ASKED_WRONGLY
        assert why.format(place) in capsys.readouterr().err
    assert run(["export", "world:qwen-nano", "hf:owner/nano@v2"]) == ASKED_WRONGLY
    assert "names a revision" in capsys.readouterr().err
    assert (tmp_path / "nano.md").read_text() == "my notes" and not list(Store().all())
