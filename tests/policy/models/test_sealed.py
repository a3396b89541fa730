"""A sealed folder is asked as it was trained by whoever opens it: the same ids in transformers, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from stages.core.contract import Contract
from stages.core.rendering import render
from stages.policy.engines.vllm import setup
from tests.policy import sealing
from tests.policy.sealing import Case


@pytest.fixture(scope="module", params=sealing.CASES, ids=lambda case: case.name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    case: Case = request.param
    yield sealing.sealed(case, tmp_path_factory.mktemp("sealed"))


def test_transformers_makes_the_contracts_ids_and_knows_all_ends(folder: Path) -> None:
    words, agreed = AutoTokenizer.from_pretrained(folder), Contract.read(folder)
    cases = list(sealing.asked(folder))
    assert len(cases) == (4 if agreed.syntax == "jinja" else 1)
    for messages, wanted in cases:
        assert words.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == wanted
        assert wanted[-1] not in agreed.eos_ids and wanted[1:].count(words.bos_token_id) == 0
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    assert set([ends] if isinstance(ends, int) else ends) == set(agreed.eos_ids)


def test_llama_cpp_is_given_the_template_and_tokens_that_make_the_contracts_ids(folder: Path) -> None:
    """What its converter reads of the folder (gguf.SpecialVocab), put together as its server does: a begin token that
    the template writes is taken off where the vocabulary adds one. `python -m tests.bench.llamacpp` asks llama.cpp."""
    gguf = pytest.importorskip("gguf")
    words, agreed = AutoTokenizer.from_pretrained(folder).backend_tokenizer, Contract.read(folder)
    read = gguf.SpecialVocab(folder, load_merges=True)
    begin, end = (read.special_token_ids.get(name) for name in ("bos", "eos"))
    assert end in agreed.eos_ids
    special = {"eos_token": words.id_to_token(end), "bos_token": "" if begin is None else words.id_to_token(begin)}
    for messages, wanted in sealing.asked(folder):
        text = render(read.chat_template, messages, asks=True, special=special)
        adds = read.add_special_token.get("bos", False)
        text = text.removeprefix(special["bos_token"]) if adds else text
        assert ([begin] if adds else []) + words.encode(text, add_special_tokens=False).ids == wanted


@pytest.fixture(scope="module")
def renderer() -> Any:
    """Opens what stands before vLLM's engine, in `LLM.chat` as in its server."""
    setup.announce()
    from vllm.engine.arg_utils import EngineArgs
    from vllm.renderers import renderer_from_config

    return lambda folder: renderer_from_config(EngineArgs(model=str(folder), max_model_len=512).create_engine_config())


@pytest.mark.vllm
def test_vllm_makes_the_contracts_ids(folder: Path, renderer: Any) -> None:
    from vllm.renderers import ChatParams

    opened, how = renderer(folder), ChatParams(chat_template_kwargs={"add_generation_prompt": True})
    for messages, wanted in sealing.asked(folder):
        _, (made,) = opened.render_chat([messages], how)
        assert list(made["prompt_token_ids"]) == wanted


def test_a_date_is_the_templates_own_where_undefining_the_clock_would_leave_it_running(tmp_path: Path) -> None:
    """llama.cpp goes on to its clock where a template sets its name to something undefined; a macro goes before it."""
    folder = sealing.sealed(Case("llama3", "chat"), tmp_path)
    source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert '{% macro strftime_now(format) %}{{ "26 Jul 2024" }}{% endmacro %}' in source
    assert "Today Date: 26 Jul 2024\n" in render(source, [sealing.USER], asks=True)


def test_a_sealed_folder_has_one_word_on_its_template(tmp_path: Path) -> None:
    """A null beside the template's file is what llama.cpp's converter takes: it would ask in a template of its own."""
    folder = sealing.sealed(Case("plain", "r1_zero"), tmp_path)
    assert "chat_template" not in (folder / "tokenizer_config.json").read_text(encoding="utf-8")
